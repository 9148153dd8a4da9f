"""JSON texts as columns, held against Python's json module, which is told to be as strict as the standard."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from pipeline_platform.frames.json_values import with_json
from pipeline_platform_tests.duckdb_rows import frame_of

FLAT = (
    "id BIGINT, tiny TINYINT, short SMALLINT, price DECIMAL(6,2), ratio DOUBLE, single FLOAT, what STRING, day DATE, "
    "at TIMESTAMP, local TIMESTAMP_NTZ, ok BOOLEAN, data BINARY"
)
NESTED = (
    "id INT NOT NULL, inner STRUCT<tiny: TINYINT, price: DECIMAL(4,1), n: INT NOT NULL>, prices ARRAY<DECIMAL(5,2)>, "
    "by_name MAP<STRING, TINYINT>, many ARRAY<STRUCT<ratio: DOUBLE>>"
)


def read(spark: SparkSession, texts: Sequence[bytes | None], ddl: str) -> list[Row]:
    """Of each text its `fields`, times as text, and the `reason`."""
    schema = StructType.fromDDL(ddl)
    assert isinstance(schema, StructType)
    frame = frame_of(spark, [(number, text) for number, text in enumerate(texts)], "number INT, data BINARY")
    parsed = with_json(frame.coalesce(1), F.col("data").cast("string"), schema)
    columns = [
        (column.cast("string") if name in ("at", "local") else column).alias(name)
        for name, column in parsed.fields.items()
    ]
    return (
        parsed.frame.select("number", F.struct(*columns).alias("fields"), parsed.reason.alias("reason"))
        .orderBy("number")
        .collect()
    )


MALFORMED: list[tuple[str, str]] = [
    ("", "empty"),
    (" \n", "empty"),
    ("null", "not a JSON object"),
    ("7", "not a JSON object"),
    ("[1]", "not a JSON object"),
    ('[{"id": 1}, {"id": 2}]', "not a JSON object"),
    ("no json", "not JSON"),
    ('{"id": 1', "not JSON"),
    ('{"id": 8}{"id": 9}', "something follows the JSON object"),
    ('{"id": 8} x', "something follows the JSON object"),
    ('{"id": 8}}', "something follows the JSON object"),
    ('{"id": 8}]', "something follows the JSON object"),
    ('{"id": 8},"id":9', "something follows the JSON object"),
    ('{"id": 8}], "x": [1', "something follows the JSON object"),
    ('{"id": 8, "x": {}} // {}', "something follows the JSON object"),
    ('{"id": 1, "id": 2}', "a key occurs twice in it"),
    ('{"id": 1, "i\\u0064": 2}', "a key occurs twice in it"),
    ("{'id': 1}", "not JSON"),
    ('{"id": 01}', "not JSON"),
    ('{"ratio": NaN}', "not JSON"),
    ('{"id": "x"}', "'id' is not BIGINT"),
    ('{"id": "7"}', "'id' is not BIGINT"),
    ('{"id": 1.0}', "'id' is not BIGINT"),
    ('{"id": 9223372036854775808}', "'id' is not BIGINT"),
    ('{"tiny": 200}', "'tiny' does not fit TINYINT"),
    ('{"tiny": -129}', "'tiny' does not fit TINYINT"),
    ('{"short": 40000}', "'short' is not SMALLINT"),
    ('{"price": 1.999}', "'price' does not fit DECIMAL(6,2)"),
    ('{"price": 12345.1}', "'price' does not fit DECIMAL(6,2)"),
    ('{"price": 1999e-3}', "'price' does not fit DECIMAL(6,2)"),
    ('{"price": 1.5000000000000000001}', "'price' does not fit DECIMAL(6,2)"),
    ('{"price": 9999.99000000000001}', "'price' does not fit DECIMAL(6,2)"),
    ('{"price": "1,5"}', "'price' does not fit DECIMAL(6,2)"),
    ('{"price": true}', "'price' does not fit DECIMAL(6,2)"),
    ('{"ratio": 1e400}', "'ratio' does not fit DOUBLE"),
    ('{"ratio": "1.5"}', "'ratio' is not DOUBLE"),
    ('{"single": 1e39, "ratio": "Infinity"}', "'single' does not fit FLOAT"),
    ('{"what": "\\ud800"}', "a text in it has half of a surrogate pair"),
    ('{"what": "\\\\\\ude00\\ud83d"}', "a text in it has half of a surrogate pair"),
    ('{"day": "20240101"}', "'day' is not DATE"),
    ('{"day": "2024-01-01 garbage"}', "'day' is not DATE"),
    ('{"day": "2024-02-30"}', "'day' is not DATE"),
    ('{"day": "12345"}', "'day' is not DATE"),
    ('{"at": "12:30"}', "'at' is not TIMESTAMP"),
    ('{"at": "2024"}', "'at' is not TIMESTAMP"),
    ('{"at": 1700000000000}', "'at' does not fit TIMESTAMP"),
    ('{"local": "2024-01-01T12:00:00Z"}', "'local' is not TIMESTAMP_NTZ"),
    ('{"ok": "true"}', "'ok' is not BOOLEAN"),
    ('{"data": "%"}', "'data' is not BINARY"),
]
NESTED_MALFORMED: list[tuple[str, str]] = [
    ("{}", "'id' is missing or null"),
    ('{"ID": 1}', "'id' is missing or null"),
    ('{"id": 1, "inner": {"tiny": 1}}', "'inner' lacks a field that is NOT NULL"),
    ('{"id": 1, "inner": {"n": 1, "n": 2}}', "a key occurs twice in it"),
    ('{"id": 1, "inner": {"n": 1, "tiny": 200}}', "'inner' does not fit STRUCT<TINY:TINYINT,PRICE:DECIMAL(4,1),N:INT>"),
    (
        '{"id": 1, "inner": {"n": 1, "price": 1.25}}',
        "'inner' does not fit STRUCT<TINY:TINYINT,PRICE:DECIMAL(4,1),N:INT>",
    ),
    ('{"id": 1, "prices": [1.5, 1.125]}', "'prices' does not fit ARRAY<DECIMAL(5,2)>"),
    ('{"id": 1, "by_name": {"a": 1, "b": 128}}', "'by_name' does not fit MAP<STRING,TINYINT>"),
    ('{"id": 1, "many": [{"ratio": 1}, {"ratio": 1e999}]}', "'many' does not fit ARRAY<STRUCT<RATIO:DOUBLE>>"),
    ('{"id": 1, "inner": {"n": 1}} {}', "something follows the JSON object"),
    ('{"id": 1, "inner": {"n": 1}}]', "something follows the JSON object"),
]


@pytest.mark.parametrize(("ddl", "cases"), [(FLAT, MALFORMED), (NESTED, NESTED_MALFORMED)], ids=["flat", "nested"])
def test_what_can_t_be_used_has_a_reason(spark: SparkSession, ddl: str, cases: list[tuple[str, str]]):
    rows = read(spark, [text.encode() for text, _ in cases], ddl)
    assert [(text, row.reason) for (text, _), row in zip(cases, rows, strict=True)] == cases


def test_what_can_be_used_is_of_the_schema_and_unchanged(spark: SparkSession):
    at = "2024-01-01 11:30:00"
    cases: list[tuple[str, dict[str, Any]]] = [
        ("{}", {}),
        (' {"id": null}\n', {}),
        ('{"ID": 1, "other": {"a": {}}}', {}),
        ('{"id": -9223372036854775808, "tiny": -128}', {"id": -(2**63), "tiny": -128}),
        ('{"price": 1.50000}', {"price": Decimal("1.50")}),
        ('{"price": "-1.5"}', {"price": Decimal("-1.50")}),
        ('{"price": 15e-1}', {"price": Decimal("1.50")}),
        ('{"price": 1500.000000000000}', {"price": Decimal("1500.00")}),
        ('{"price": 1.5E+3}', {"price": Decimal("1500.00")}),
        ('{"price": 0E-10}', {"price": Decimal("0.00")}),
        ('{"ratio": 1e308, "single": 0.5}', {"ratio": 1e308, "single": 0.5}),
        ('{"ratio": "-Infinity"}', {"ratio": -math.inf}),
        ('{"what": "{\\"a\\": \\"}{\\\\"}', {"what": '{"a": "}{\\'}),
        ('{"what": {"a":1.0}}', {"what": '{"a":1.0}'}),
        ('{"what": 1.10}', {"what": "1.1"}),
        ('{"what": 0.12345678901234567891}', {"what": "0.12345678901234567891"}),
        ('{"what": 0.10000000000000000001}', {"what": "0.10000000000000000001"}),
        ('{"what": 12345678901234567890123}', {"what": "12345678901234567890123"}),
        ('{"what": "1.10", "price": 1.5}', {"what": "1.10", "price": Decimal("1.50")}),
        ('{"what": {"a": 0.12345678901234567891}}', {"what": '{"a":0.12345678901234567891}'}),
        ('{"what": "\\\\ud800 \\ud83d\\ude00 \\u0000"}', {"what": "\\ud800 \U0001f600 \0"}),
        ('{"day": "9999-12-31", "ok": true}', {"day": dt.date(9999, 12, 31), "ok": True}),
        ('{"data": "AP8="}', {"data": b"\x00\xff"}),
        *(
            (f'{{"at": {time}}}', {"at": at})
            for time in (
                '"2024-01-01T11:30:00Z"',
                '"2024-01-01 11:30"',
                '"2024-01-01T12:30:00.0+01:00"',
                '"2024-01-01T12:30:00+0100"',
                '"2024-01-01T12:30:00+01"',
                "1704108600",
            )
        ),
        (
            '{"at": "2024-01-01", "local": "2024-01-01T12:00"}',
            {"at": "2024-01-01 00:00:00", "local": "2024-01-01 12:00:00"},
        ),
        ('{"at": "2024-01-01T11:30:00.1234567Z"}', {"at": f"{at}.123456"}),
    ]
    rows = read(spark, [text.encode() for text, _ in cases] + [None], FLAT)
    assert [row.reason for row in rows] == [None] * len(rows)
    empty = dict.fromkeys(rows[0].fields.asDict())
    assert [row.fields.asDict() for row in rows[:-1]] == [{**empty, **wanted} for _, wanted in cases]
    assert rows[-1].fields.asDict() == empty
    text = (
        '{"id": 1, "inner": {"n": 2, "tiny": 127, "price": 1.5}, "prices": [null, 1.25], '
        '"by_name": {"a": -1}, "many": [{"ratio": "NaN"}]}'
    )
    [row] = read(spark, [text.encode()], NESTED)
    assert row.reason is None
    assert math.isnan(row.fields.many[0].ratio)
    assert row.fields.asDict(recursive=True) | {"many": None} == {
        "id": 1,
        "inner": {"tiny": 127, "price": Decimal("1.5"), "n": 2},
        "prices": [None, Decimal("1.25")],
        "by_name": {"a": -1},
        "many": None,
    }


def test_what_can_t_be_read_is_null_and_the_rest_of_its_object_is_not(spark: SparkSession):
    rows = read(
        spark,
        [b'{"id": "x", "what": "a"}', b'{"tiny": 200, "what": "a"}', b'{"what": "a"} x', b'{"what": "\xff"}'],
        FLAT,
    )
    assert [(row.fields.id, row.fields.tiny, row.fields.what) for row in rows] == [
        (None, None, "a"),
        (None, None, "a"),
        (None, None, None),
        (None, None, None),
    ]
    assert rows[-1].reason == "not UTF-8"


_ODDITIES = {
    "id": r'1 -7 0 -0 9223372036854775807 9223372036854775808 1.0 1e2 "7" null true 01 +1 []',
    "tiny": "127 128 255 -128 -129 null 1.5",
    "price": r'1.5 1.999 1.990 9999.99 10000 -0.00 15e-1 1e3 1e4 1e-3 "1.5" "" null {} 1.',
    "ratio": r'1 0.1 1e308 1e400 -1E-5 NaN Infinity "1.5" null 12345678901234567890',
    "what": r'"a" "" "}{" "\"" "\\" "\u00e9é\n" "\ud83d\ude00" "\ud83d" "\udead" "\x" "a":1 null',
    "day": r'"2024-02-29" "2023-02-29" "20240101" "2024-1-1" "0000-01-01" "2024-01-01T00:00" 5 null',
    "ok": r'true false null "true" 1 True',
    "unknown": r'{} [1,[2,{}]] 1e999 "x" } { {"id":1}',
}
"""Values of each field by blanks; the first is a good one."""


def generated(chance: random.Random) -> bytes:
    """A text that is often an object, with oddities, and often damaged."""
    names = [name for name in _ODDITIES if chance.random() < 0.4]
    if chance.random() < 0.1 and names:
        names.append(chance.choice(names))
    if chance.random() < 0.05:
        names.append("ID")
    # Most values are good ones: with several odd ones in each object nothing would ever be read.
    pairs = [
        f'"{name}"{chance.choice(["", " "])}:{chance.choice(["", " "])}'
        + (chance.choice(pool) if chance.random() < 0.3 else pool[0])
        for name in names
        for pool in [_ODDITIES.get(name, "1").split()]
    ]
    text = "{" + chance.choice([",", ", ", ",\n"]).join(pairs) + "}"
    match chance.randrange(12):
        case 0:
            text = text[: chance.randrange(len(text))]
        case 1:
            text += chance.choice(
                [" ", "\n", "\t", "x", "{}", text, "]", "}", ",1", ', "id": 1', "\0", "//", "\ufeff", "\u00a0"]
            )
        case 2:
            text = chance.choice([" ", "\n", "\ufeff", "[", "x", "{", "\v"]) + text
        case 3:
            text = text.replace('"', "'")
        case 4:
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice('{}[]",:\\') + text[place + 1 :]
        case _:
            pass
    data = text.encode()
    if chance.random() < 0.03:
        place = chance.randrange(len(data))
        data = data[:place] + b"\xff" + data[place:]
    return data


def reference(data: bytes) -> dict[str, Any] | None:
    """What the standard, and the types of `FLAT`, make of a text; None for malformed."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs) | ({_TWICE: True} if len({name for name, _ in pairs}) < len(pairs) else {})

    def refuse(_: str) -> None:
        raise ValueError

    try:
        value = json.loads(data.decode(), object_pairs_hook=unique, parse_constant=refuse, parse_float=Decimal)
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except ValueError:
        return None
    if not isinstance(value, dict) or _TWICE in value:
        return None
    try:
        return {name: _CONVERT[name](cast("dict[str, Any]", value).get(name)) for name in _CONVERT}
    except (ValueError, ArithmeticError):
        return None


_TWICE = "a key that no text has"


def _integer(lowest: int, highest: int, value: Any) -> int | None:
    if value is not None and (type(value) is not int or not lowest <= value <= highest):
        raise ValueError
    return value


def _decimal(value: Any) -> Decimal | None:
    if value is None:
        return None
    if type(value) not in (int, Decimal, str):
        raise ValueError
    number = Decimal(value)
    if number != number.quantize(Decimal("0.01")) or abs(number) >= 10**4:
        raise ValueError
    return number


def _double(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, Decimal) or math.isinf(float(value)):
        raise ValueError
    return float(value)


def _typed(kind: type, value: Any) -> Any:
    if value is not None and type(value) is not kind:
        raise ValueError
    return value


def _date(value: Any) -> dt.date | None:
    if value is None:
        return None
    if type(value) is not str or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError
    return dt.date.fromisoformat(value)


_CONVERT: dict[str, Any] = {
    "id": lambda value: _integer(-(2**63), 2**63 - 1, value),
    "tiny": lambda value: _integer(-128, 127, value),
    "price": _decimal,
    "ratio": _double,
    "what": lambda value: _typed(str, value),
    "day": _date,
    "ok": lambda value: _typed(bool, value),
}


def test_a_thousand_generated_texts_are_read_as_python_reads_them_or_are_malformed(spark: SparkSession):
    chance = random.Random(12)
    texts = [generated(chance) for _ in range(1500)]
    rows = read(spark, texts, FLAT)
    wanted = [reference(text) for text in texts]
    found = [{name: row.fields[name] for name in _CONVERT} if row.reason is None else None for row in rows]
    assert [(text, one) for text, one, other in zip(texts, found, wanted, strict=True) if one != other] == []
    # Both kinds are there in numbers.
    assert 300 < sum(one is None for one in found) < 1200
