"""Where the logical types of two Avro schemas differ, and which schemas Spark has no columns for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline_platform.connectors.files.avro_resolution import column_mistake, logical_difference

Json = dict[str, Any]


def record(*fields: Json, name: str = "Event", **more: Any) -> Json:
    return {"type": "record", "name": name, "namespace": "shop", "fields": list(fields), **more}


def of(name: str, kind: Any, **more: Any) -> Json:
    return {"name": name, "type": kind, **more}


def decimal(precision: int, scale: int, size: int | None = None) -> Json:
    kind = {"type": "bytes"} if size is None else {"type": "fixed", "name": "Money", "size": size}
    return {**kind, "logicalType": "decimal", "precision": precision, "scale": scale}


def logical(name: str, kind: str = "long") -> Json:
    return {"type": kind, "logicalType": name}


def difference(reader: Any, writer: Any) -> str | None:
    return logical_difference(json.dumps(reader), json.dumps(writer))


TAKEN_FOR_OTHERS: list[tuple[Any, Any]] = [
    (decimal(10, 2), decimal(10, 4)),
    (decimal(10, 2, 8), decimal(10, 3, 8)),
    (decimal(10, 2), decimal(4, 2)),
    (decimal(10, 2), "bytes"),
    ("bytes", decimal(10, 2)),
    (decimal(10, 2), "string"),
    (logical("timestamp-millis"), logical("timestamp-micros")),
    (logical("timestamp-micros"), logical("timestamp-millis")),
    (logical("timestamp-micros"), logical("timestamp-nanos")),
    (logical("timestamp-micros"), logical("local-timestamp-micros")),
    ("long", logical("timestamp-micros")),
    (logical("timestamp-micros"), "long"),
    ("int", logical("date", "int")),
    (logical("date", "int"), "int"),
    (logical("date", "int"), logical("timestamp-millis")),
    (logical("time-millis", "int"), logical("time-micros")),
]


@pytest.mark.parametrize(("writer", "reader"), TAKEN_FOR_OTHERS, ids=str)
def test_a_logical_type_that_would_be_taken_for_another_one_is_found_wherever_it_stands(writer: Any, reader: Any):
    inner = [record(of("x", kind), name="Inner") for kind in (writer, reader)]
    apart = [{"type": "array", "items": kind} for kind in (writer, reader)]
    maps = [{"type": "map", "values": ["null", kind]} for kind in (writer, reader)]
    for (written, wanted), name in (
        ((writer, reader), "x"),
        ((["null", writer], reader), "x"),
        ((writer, ["null", reader]), "x"),
        (apart, "x[]"),
        (maps, "x[]"),
        (inner, "x.x"),
        ((["null", inner[0]], [inner[1], "null"]), "x.x"),
    ):
        told = difference(record(of("x", wanted)), record(of("x", written)))
        assert told is not None
        assert told.startswith(f"'{name}' was written as ")
        assert difference(record(of("x", wanted)), record(of("x", wanted))) is None


def test_an_alias_and_a_type_that_is_named_again_and_a_record_in_itself_are_followed():
    tree = record(of("price", decimal(9, 2, 4)), of("next", ["null", "Event"]), of("old", "Money"))
    wanted = record(
        of("price", decimal(9, 3, 4)), of("next", ["null", "shop.Event"]), of("new", "Money", aliases=["old"])
    )
    assert difference(wanted, tree) == (
        "'price' was written as decimal(9,2), and is wanted as decimal(9,3); "
        "'new' was written as decimal(9,2), and is wanted as decimal(9,3)"
    )
    before = record(of("x", logical("timestamp-millis")), name="Before")
    after = record(of("x", logical("timestamp-micros")), name="After", aliases=["shop.Before"])
    other = record(of("x", logical("timestamp-millis")), name="Other")
    assert difference(["null", other, after], before) == (
        "'x' was written as timestamp-millis, and is wanted as timestamp-micros"
    )


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (decimal(10, 2), decimal(4, 2)),
        (["null", decimal(10, 2)], decimal(10, 2)),
        ("long", "int"),
        ("double", "long"),
        (["null", "string", logical("date", "int")], ["string", "null"]),
        # Which type of a union a value has is up to each value; no other is taken for it.
        ([logical("date", "int"), "long"], ["null", "long"]),
        ("long", {"type": "long", "logicalType": "date"}),
        ("bytes", {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}),
        ("string", logical("uuid", "string")),
        ("string", "int"),
    ],
    ids=str,
)
def test_what_keeps_its_value_and_what_is_not_about_logical_types_is_none_of_these(reader: Any, writer: Any):
    assert difference(record(of("x", reader)), record(of("x", writer))) is None


def test_a_part_of_a_schema_names_types_whose_namespace_stands_around_it():
    money, wanted = decimal(9, 2, 4), record(of("a", ["null", decimal(9, 3, 4)]), of("b", "shop.Money"))
    part = {"type": "record", "name": "part", "fields": [of("a", ["null", money]), of("b", "shop.Money")]}
    told = difference(wanted, part)
    assert told is not None
    assert told.count("was written as decimal(9,2), and is wanted as decimal(9,3)") == 2


def test_what_is_no_schema_is_left_to_who_uses_it():
    for schema in ("{", "null", '{"type": "record"}', '"unknown"', '[["a", 1], {"type": {}}]', "[" * 100000):
        assert logical_difference(schema, '"int"') is None
        assert column_mistake(schema) is None


def test_what_spark_has_no_column_for_is_told_with_its_field():
    tree = record(of("v", "int"), of("next", {"type": "array", "items": ["null", "Event"]}))
    assert column_mistake(json.dumps(tree)) == (
        "'next[]' is the record shop.Event, which contains itself, and no column does"
    )
    deep = record(of("s", record(of("price", ["null", decimal(50, 2)]), name="S")))
    assert column_mistake(json.dumps(deep)) == "'s.price' is decimal(50,2), and no column has more than 38 digits"
    assert column_mistake(json.dumps(record(of("id", "int"), of("ID", "int")))) == (
        "the fields 'id' and 'ID' differ only in case, which is ignored in the names of columns"
    )
    twice = record(of("a", record(of("x", "int"), name="S")), of("b", "S"))
    assert column_mistake(json.dumps(twice)) is None
