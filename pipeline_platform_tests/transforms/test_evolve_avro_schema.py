from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.evolve_avro_schema import EvolveAvroSchema
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows, comparable, frame_of, rows_of
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def record(*fields: dict[str, Any], name: str = "Row") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def evolve(*fields: dict[str, Any]) -> EvolveAvroSchema:
    return EvolveAvroSchema.model_validate({"targetSchema": record(*fields)})


def optional(type_: Any) -> list[Any]:
    return ["null", type_]


def bare(data_type: DataType) -> DataType:
    """The type with everything in it nullable."""
    match data_type:
        case StructType():
            return StructType([StructField(item.name, bare(item.dataType)) for item in data_type.fields])
        case ArrayType():
            return ArrayType(bare(data_type.elementType))
        case MapType():
            return MapType(bare(data_type.keyType), bare(data_type.valueType))
        case _:
            return data_type


def read_by_spark(spark: Any, folder: Path, schema: dict[str, Any], records: list[Any], **options: str) -> Any:
    """An Avro file that fastavro wrote, as Spark's own reader has it."""
    with (folder / "rows.avro").open("wb") as file:
        fastavro.writer(file, schema, records)
    return spark.read.format("avro").options(**options).load(str(folder))


NUMBERS = Table(
    "i INT, l BIGINT, f FLOAT, s STRING, b BINARY, extra INT, t TINYINT",
    [
        (1, 2**53 + 1, 0.5, "é", b"x", 1, -128),
        (-(2**31), -(2**63), float("nan"), "", b"", 2, 127),
        (None, None, None, None, None, None, None),
        (1, 2**53 + 1, 0.5, "é", b"x", 1, -128),
    ],
)


def test_types_are_promoted_order_is_the_targets_and_extras_are_dropped(spark: Any):
    step = evolve(
        field("s", optional("bytes")),
        field("b", optional("string")),
        field("t", optional("long")),
        field("i", optional("double")),
        field("l", optional("float")),
        field("f", optional("double")),
    )
    frame = applied(spark, step, NUMBERS)
    assert_same_rows(
        frame,
        """SELECT encode(s) AS s, decode(b) AS b, t::BIGINT AS t, i::DOUBLE AS i, l::FLOAT AS l, f::DOUBLE AS f
           FROM t""",
        t=NUMBERS,
    )
    assert frame.schema.simpleString() == "struct<s:binary,b:string,t:bigint,i:double,l:float,f:double>"


@pytest.mark.parametrize("target", ["int", "long", "float", "double"])
def test_an_int_becomes_every_wider_number(spark: Any, target: str):
    sql = {"int": "INT", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE"}[target]
    frame = applied(spark, evolve(field("i", target), field("t", target)), NUMBERS)
    assert_same_rows(frame, f"SELECT i::{sql} AS i, t::{sql} AS t FROM t", t=NUMBERS)
    assert {item.dataType.typeName() for item in frame.schema} == {{"int": "integer"}.get(target, target)}


DEFAULTS: list[tuple[Any, Any, Any]] = [
    ("int", 7, 7),
    ("long", 2**40, 2**40),
    ("float", 1, 1.0),
    ("double", 0.1, 0.1),
    ("boolean", True, True),
    ("string", "it's", "it's"),
    ("bytes", "\u00ff\u0000a", b"\xff\x00a"),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
    ({"type": "fixed", "name": "F", "size": 2}, "\u0001\u00fe", b"\x01\xfe"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}, "\u00ff\u0085", Decimal("-1.23")),
    (
        {"type": "fixed", "name": "D", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 1},
        "\u0000" * 7 + "\u0001",
        Decimal("0.1"),
    ),
    ({"type": "int", "logicalType": "date"}, 19723, date(2024, 1, 1)),
    ({"type": "long", "logicalType": "timestamp-millis"}, 1704067200123, datetime(2024, 1, 1, 0, 0, 0, 123000)),
    ({"type": "long", "logicalType": "timestamp-micros"}, 1704067200123456, datetime(2024, 1, 1, 0, 0, 0, 123456)),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, -1, datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ({"type": "long", "logicalType": "local-timestamp-millis"}, 1500, datetime(1970, 1, 1, 0, 0, 1, 500000)),
    (["null", "string"], None, None),
    (["string", "null"], "x", "x"),
    (["null", "string"], "x", "x"),
    (["int", "long"], 5, 5),
    ({"type": "array", "items": "int"}, [1, 2], [1, 2]),
    ({"type": "array", "items": ["null", "string"]}, [], []),
    ({"type": "map", "values": "long"}, {"a": 1}, {"a": 1}),
    ({"type": "map", "values": "long"}, {}, {}),
    (record(field("a", "int"), field("b", ["null", "string"], default=None), name="R"), {"a": 1}, {"a": 1, "b": None}),
    (["int", "string"], 3, {"member0": 3, "member1": None}),
    (["int", "string"], "x", {"member0": None, "member1": "x"}),
    (["null", "int", "string"], None, None),
]


@pytest.mark.parametrize(("type_", "default", "expected"), DEFAULTS)
def test_a_missing_field_takes_its_default(spark: Any, tmp_path: Path, type_: Any, default: Any, expected: Any):
    frame = applied(
        spark, evolve(field("x", type_, default=default), field("id", "int")), Table("id INT", [(1,), (2,)])
    )
    assert rows_of(frame) == comparable([(expected, 1), (expected, 2)])
    if default is not None and not (isinstance(type_, list) and isinstance(default, str) and type_[0] != "string"):
        # What Avro's own library makes of a file without the field.
        target = record(field("x", type_, default=default), field("id", "int"))
        own = read_by_spark(
            spark, tmp_path, record(field("id", "int")), [{"id": 1}, {"id": 2}], avroSchema=json.dumps(target)
        )
        assert bare(frame.schema) == bare(own.schema)
        assert rows_of(frame) == rows_of(own)


def test_a_missing_field_without_a_default_is_null(spark: Any):
    step = evolve(
        field("id", "int"),
        field("x", optional("string")),
        field("y", "long"),
        field("z", record(field("a", "int"), name="Z")),
    )
    table = Table("id INT", [(1,), (2,)])
    frame = applied(spark, step, table)
    assert frame.schema.simpleString() == "struct<id:int,x:string,y:bigint,z:struct<a:int>>"
    assert_same_rows(frame, "SELECT id, NULL AS x, NULL AS y, NULL AS z FROM t", t=table)


def test_nested_records_arrays_and_maps_are_evolved_within(spark: Any):
    ddl = "id INT, s STRUCT<b: INT, gone: STRING, deep: STRUCT<n: FLOAT>>, xs ARRAY<STRUCT<n: INT>>, m MAP<STRING, INT>"
    rows: list[Any] = [
        (1, (5, "x", (0.5,)), [(1,), None, (None,)], {"k": 1, "n": None}),
        (2, None, None, None),
        (3, (None, None, None), [], {}),
    ]
    step = evolve(
        field("m", optional({"type": "map", "values": optional("long")})),
        field(
            "xs",
            optional(
                {
                    "type": "array",
                    "items": optional(
                        record(field("v", "string", default="d"), field("n", optional("double")), name="X")
                    ),
                }
            ),
        ),
        field(
            "s",
            optional(
                record(
                    field(
                        "deep",
                        optional(record(field("n", optional("double")), field("c", "int", default=9), name="Deep")),
                    ),
                    field("b", optional("long")),
                    name="S",
                )
            ),
        ),
    )
    frame = applied(spark, step, frame_of(spark, rows, ddl))
    assert frame.schema.simpleString() == (
        "struct<m:map<string,bigint>,xs:array<struct<v:string,n:double>>,s:struct<deep:struct<n:double,c:int>,b:bigint>>"
    )
    assert_same_rows(
        frame,
        """SELECT m::MAP(VARCHAR, BIGINT) AS m,
                  list_transform(xs, lambda x: CASE WHEN x IS NOT NULL THEN {'v': 'd', 'n': x.n::DOUBLE} END) AS xs,
                  CASE WHEN s IS NOT NULL THEN {
                    'deep': CASE WHEN s.deep IS NOT NULL THEN {'n': s.deep.n::DOUBLE, 'c': 9} END, 'b': s.b::BIGINT
                  } END AS s
           FROM (VALUES
             (1, {'b': 5, 'gone': 'x', 'deep': {'n': 0.5}}, [{'n': 1}, NULL, {'n': NULL}], MAP {'k': 1, 'n': NULL}),
             (2, NULL, NULL, NULL),
             (3, {'b': NULL, 'gone': NULL, 'deep': NULL}, [], MAP {})) t(id, s, xs, m)""",
    )


def test_names_match_in_any_case_and_by_alias(spark: Any):
    table = Table("ID INT, `old name` STRING, older INT", [(1, "a", 2), (None, None, None)])
    step = evolve(
        field("id", "long"),
        field("new", "string", aliases=["nothing", "old name"]),
        field("old", "int", aliases=["older"]),
    )
    assert_same_rows(
        applied(spark, step, table), 'SELECT "ID"::BIGINT AS id, "old name" AS new, older AS old FROM t', t=table
    )


LOGICAL: list[tuple[str, Any, str, Any]] = [
    ("DATE", "int", "int", "x - DATE '1970-01-01'"),
    ("INT", {"type": "int", "logicalType": "date"}, "date", "DATE '1970-01-01' + x"),
    ("TIMESTAMP", "long", "bigint", "epoch_us(x)"),
    ("BIGINT", {"type": "long", "logicalType": "timestamp-millis"}, "timestamp", "epoch_ms(x)"),
    ("BIGINT", {"type": "long", "logicalType": "timestamp-micros"}, "timestamp", "make_timestamp(x)"),
    ("TIMESTAMP", {"type": "long", "logicalType": "timestamp-millis"}, "timestamp", "x"),
    ("TIMESTAMP_NTZ", {"type": "long", "logicalType": "local-timestamp-micros"}, "timestamp_ntz", "x"),
    ("STRING", {"type": "string", "logicalType": "uuid"}, "string", "x"),
    ("DECIMAL(10,2)", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}, "decimal(20,2)", "x"),
    ("BINARY", {"type": "fixed", "name": "F", "size": 1}, "binary", "x"),
    ("INT", {"type": "int", "logicalType": "time-millis"}, "int", "x"),
]
VALUES: dict[str, list[Any]] = {
    "DATE": [date(2024, 2, 29), date(1969, 12, 31)],
    "INT": [19723, -1],
    "BIGINT": [1704067200123, -1],
    "TIMESTAMP": [datetime(2024, 1, 1, 0, 0, 0, 123456), datetime(1969, 12, 31, 23, 59, 59, 999999)],
    "TIMESTAMP_NTZ": [datetime(2024, 1, 1, 0, 0, 0, 123456)],
    "STRING": ["x"],
    "DECIMAL(10,2)": [Decimal("-12345678.91")],
    "BINARY": [b"x"],
}


@pytest.mark.parametrize(("source", "target", "spark_type", "sql"), LOGICAL)
def test_logical_types_come_from_what_stores_them(spark: Any, source: str, target: Any, spark_type: str, sql: str):
    rows = [(value,) for value in [*VALUES[source], None]]
    frame = applied(spark, evolve(field("x", optional(target))), Table(f"x {source}", rows))
    assert frame.schema.simpleString() == f"struct<x:{spark_type}>"
    stored = Table(f"x {source.replace('TIMESTAMP_NTZ', 'TIMESTAMP').replace('BINARY', 'BLOB')}", rows)
    assert_same_rows(frame, f"SELECT {sql} AS x FROM t", t=stored)


def test_a_value_becomes_the_branch_of_a_union_that_fits(spark: Any):
    table = Table("x INT, y STRING, z FLOAT", [(1, "a", 0.5), (None, None, None)])
    step = evolve(
        field("x", ["null", "string", "long", "int"]), field("y", ["int", "string"]), field("z", ["double", "string"])
    )
    assert_same_rows(
        applied(spark, step, table),
        """SELECT CASE WHEN x IS NOT NULL THEN {'member0': NULL, 'member1': NULL, 'member2': x} END AS x,
                  CASE WHEN y IS NOT NULL THEN {'member0': NULL, 'member1': y} END AS y,
                  CASE WHEN z IS NOT NULL THEN {'member0': z::DOUBLE, 'member1': NULL} END AS z FROM t""",
        t=table,
    )


def test_a_file_of_another_implementation_evolves_as_that_resolves_it(spark: Any, tmp_path: Path):
    day, exact = {"type": "int", "logicalType": "date"}, {"type": "long", "logicalType": "timestamp-micros"}
    money = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    old = record(
        field("id", "int"),
        field("amount", ["null", "int", "double"]),
        field("either", ["string", "int"]),
        field("wider", ["int", "string"]),
        field("price", ["null", money]),
        field("born", day),
        field("seen", exact),
        field("note", "string", default="none"),
    )
    new = record(
        field("id", "double"),
        field("either", ["string", "int"]),
        field("wider", ["string", "long", "null"]),
        field("amount", ["null", "double"]),
        field("price", ["null", money]),
        field("seen", exact),
        field("born", day),
        field("state", {"type": "enum", "name": "State", "symbols": ["NEW", "OLD"]}, default="NEW"),
        field("scores", {"type": "map", "values": "long"}, default={"a": 1}),
        field("parent", ["null", "long"], default=None),
    )
    at = datetime(2024, 1, 1, 12, tzinfo=UTC)
    own = {"price": Decimal("12.50"), "born": date(1969, 12, 31), "seen": at, "note": "x"}
    records: list[dict[str, Any]] = [
        {"id": 1, "amount": 7, "either": "text", "wider": 5, **own},
        {"id": 2, "amount": 0.5, "either": 8, "wider": "w", **own, "price": None},
        {"id": 3, "amount": None, "either": "", "wider": -1, **own},
    ]
    frame = applied(
        spark, EvolveAvroSchema.model_validate({"targetSchema": new}), read_by_spark(spark, tmp_path, old, records)
    )
    with (tmp_path / "rows.avro").open("rb") as file:
        resolved: list[Any] = list(fastavro.reader(file, reader_schema=new))
    found = [row.asDict(recursive=True) for row in frame.orderBy("id").collect()]
    for row in found:
        # Spark has a union of several types as a record of its branches.
        for name in ("either", "wider"):
            [row[name]] = [branch for branch in row[name].values() if branch is not None]
        row["seen"] = row["seen"].replace(tzinfo=UTC)
    assert found == resolved
    assert list(found[0]) == [item["name"] for item in new["fields"]]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("STRING", "int", "the field 'x' can't become int: Avro allows no promotion from string"),
        ("BIGINT", "int", "from bigint"),
        ("DOUBLE", "float", "from double"),
        ("FLOAT", "long", "from float"),
        ("BOOLEAN", "int", "from boolean"),
        ("INT", "string", "from int"),
        ("INT", "boolean", "from int"),
        ("STRING", {"type": "int", "logicalType": "date"}, "'x' can't become date"),
        ("TIMESTAMP", {"type": "int", "logicalType": "date"}, "from timestamp"),
        ("TIMESTAMP", {"type": "long", "logicalType": "local-timestamp-micros"}, "from timestamp"),
        ("DECIMAL(10,2)", "double", r"from decimal\(10,2\)"),
        ("DECIMAL(10,2)", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}, "can't become"),
        ("DECIMAL(10,2)", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "can't become"),
        (
            "STRUCT<a: STRUCT<b: STRING>>",
            record(field("a", record(field("b", "int"), name="A")), name="X"),
            r"'x\.a\.b'",
        ),
        ("ARRAY<STRUCT<b: STRING>>", {"type": "array", "items": record(field("b", "int"), name="B")}, r"'x\[\]\.b'"),
        ("MAP<STRING, STRING>", {"type": "map", "values": "int"}, r"'x\[\]'"),
        ("MAP<INT, INT>", {"type": "map", "values": "int"}, "from map"),
        ("STRING", {"type": "array", "items": "string"}, "from string"),
        ("ARRAY<INT>", "int", "from array"),
        ("STRING", ["int", "double"], "one of a union"),
        ("STRUCT<member0: INT, member1: STRING>", "long", "'x' can't become bigint.* from string"),
    ],
)
def test_an_impossible_promotion_is_an_error_that_names_the_field(spark: Any, source: str, target: Any, message: str):
    with pytest.raises(PipelineExecutionException, match=message) as raised:
        applied(spark, evolve(field("x", target)), spark.createDataFrame([], f"x {source}"))
    assert raised.value.hint


ALL_TYPES = record(
    field("i", "int"),
    field("n", "null"),
    field("day", {"type": "int", "logicalType": "date"}),
    field("time", {"type": "int", "logicalType": "time-millis"}),
    field("ms", {"type": "long", "logicalType": "timestamp-millis"}),
    field("us", ["null", {"type": "long", "logicalType": "timestamp-micros"}]),
    field("ns", {"type": "long", "logicalType": "timestamp-nanos"}),
    field("lms", {"type": "long", "logicalType": "local-timestamp-millis"}),
    field("tus", {"type": "long", "logicalType": "time-micros"}),
    field("ym", {"type": "int", "spark.sql.catalyst.type": "interval year to month"}),
    field("ds", {"type": "long", "spark.sql.catalyst.type": "interval day to second"}),
    field("mi", {"type": "long", "spark.sql.catalyst.type": "interval minute"}),
    field("uuid", {"type": "string", "logicalType": "uuid"}),
    field("small", {"type": "fixed", "name": "Small", "size": 1, "logicalType": "decimal", "precision": 3}),
    field(
        "money",
        {"type": "fixed", "name": "org.money.Money", "size": 5, "logicalType": "decimal", "precision": 11, "scale": 2},
    ),
    field("more", ["org.money.Money", "null"]),
    field("bad", {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 3}),
    field("kind", {"type": "enum", "name": "Kind", "symbols": ["A"]}),
    field("one", ["string"]),
    field("whole", ["int", "long"]),
    field("real", ["double", "null", "float"]),
    field("mixed", ["null", "int", "string", {"type": "array", "items": "Kind"}]),
    field(
        "inner",
        {
            "type": "record",
            "name": "in.Inner",
            "fields": [
                field("x", {"type": "fixed", "name": "Own", "size": 3}),
                field("y", "Own"),
                field("z", "in.Own"),
            ],
        },
    ),
    field("again", {"type": "map", "values": {"type": "array", "items": ["null", "in.Inner"]}}),
)


def test_the_types_are_those_spark_reads_from_a_file_of_that_schema(spark: Any, tmp_path: Path):
    own = read_by_spark(spark, tmp_path, record(field("i", "int")), [], avroSchema=json.dumps(ALL_TYPES))
    step = EvolveAvroSchema.model_validate({"targetSchema": json.dumps(ALL_TYPES)})
    frame = applied(spark, step, spark.createDataFrame([], "i TINYINT"))
    assert bare(frame.schema) == bare(own.schema)
    # And from the very types that come out, nothing has to change.
    assert applied(spark, step, frame).schema == frame.schema


def test_rows_evolve_as_avros_own_reader_has_them(spark: Any, tmp_path: Path):
    old = record(
        field("id", "int"),
        field("score", ["null", "float"]),
        field("data", "bytes"),
        field("at", {"type": "long", "logicalType": "timestamp-micros"}),
        field("tags", {"type": "array", "items": record(field("k", "string"), field("w", "int"), name="Tag")}),
        field("dropped", "string"),
    )
    new = record(
        field("at", {"type": "long", "logicalType": "timestamp-micros"}),
        field(
            "tags",
            {
                "type": "array",
                "items": record(
                    field("w", "double"), field("k", "bytes"), field("on", "boolean", default=True), name="Tag"
                ),
            },
        ),
        field("data", "string"),
        field("id", "long"),
        field("score", ["null", "double"]),
        field("since", {"type": "int", "logicalType": "date"}, default=0),
    )
    records: list[dict[str, Any]] = [
        {
            "id": 1,
            "score": 0.5,
            "data": b"abc",
            "at": datetime(2024, 1, 1, tzinfo=UTC),
            "tags": [{"k": "a", "w": 1}],
            "dropped": "x",
        },
        {"id": -1, "score": None, "data": b"", "at": datetime(1960, 1, 1, 1, tzinfo=UTC), "tags": [], "dropped": ""},
    ]
    frame = applied(
        spark, EvolveAvroSchema.model_validate({"targetSchema": new}), read_by_spark(spark, tmp_path, old, records)
    )
    own = spark.read.format("avro").option("avroSchema", json.dumps(new)).load(str(tmp_path))
    assert bare(frame.schema) == bare(own.schema)
    assert rows_of(frame) == rows_of(own)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "not JSON"),
        ({"type": "array", "items": "int"}, "has to be a record"),
        (record(), "at least one field"),
        ({"type": "record", "fields": []}, "needs a name"),
        (record(field("x", "integer")), "unknown type 'integer'"),
        (record({"name": "x"}), "needs a 'type'"),
        (record({"type": "int"}), "needs a name"),
        (record(field("x y", "int")), "needs a name of letters"),
        (record(field("x", "int"), field("x", "int")), "two fields of the same name"),
        (record(field("x", {"type": "array"})), "needs 'items'"),
        (record(field("x", optional("Row"))), "contains itself"),
        (record(field("x", [])), "at least one type"),
        (record(field("x", record(field("y", "int")))), "defined twice"),
        (record(field("x", {"type": "bytes", "logicalType": "decimal", "precision": 50})), "50 digits"),
        (record(field("x", 7)), "expected an Avro type"),
        (record(field("x", {"type": {"type": "array", "items": "int"}})), "'type' is missing"),
    ],
)
def test_a_schema_spark_could_not_use_is_a_config_error(schema: Any, message: str):
    [(key, said)] = mistakes(EvolveAvroSchema, {"targetSchema": schema})
    assert key == "targetSchema"
    assert message in said


def test_a_default_that_does_not_fit_its_type_is_an_error_that_names_the_field(spark: Any):
    for type_, default in (
        ("int", "x"),
        ("int", 2**31),
        ("string", 1),
        ("long", True),
        ("bytes", "€"),
        ({"type": "fixed", "name": "F", "size": 2}, "x"),
        ({"type": "array", "items": "int"}, ["x"]),
    ):
        with pytest.raises(PipelineExecutionException, match="'x': the default"):
            applied(spark, evolve(field("x", type_, default=default)), Table("id INT", []))


def test_lineage_goes_by_name_and_alias():
    step = evolve(field("id", "long"), field("new", "string", aliases=["old"]), field("added", "int", default=1))
    assert sources(step, {None: ["ID", "old", "gone"]}, ["id", "new", "added"]) == {
        "id": ["ID"],
        "new": ["old"],
        "added": [],
    }
