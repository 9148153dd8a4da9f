"""Values of tests are read exactly, or refused at their place; what is written is read as the same."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql import types as T

from pipeline_platform.config.documents.document import SourcePosition, parse_document
from pipeline_platform.testing.values import ValueReader
from pipeline_platform.testing.written_rows import written_value

LONG = "12345678901234567890.123456789012345678"
BERLIN = ZoneInfo("Europe/Berlin")
NESTED = T.StructType(
    [
        T.StructField("A", T.ByteType()),
        T.StructField("b c", T.ArrayType(T.DecimalType(5, 2))),
        T.StructField("m", T.MapType(T.StringType(), T.LongType())),
    ]
)


def read(kind: T.DataType, text: str) -> tuple[Any, list[str]]:
    place = SourcePosition(parse_document(f'{{"c": {text}}}', Path("t.json")))
    reader = ValueReader(BERLIN)
    row = reader.row(place, T.StructType([T.StructField("c", kind)]))
    return row["c"], [problem.message for problem in reader.problems]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (T.LongType(), "9007199254740993", 9007199254740993),
        (T.ByteType(), "-128", -128),
        (
            T.DecimalType(38, 18),
            "12345678901234567890.123456789012345678",
            Decimal("12345678901234567890.123456789012345678"),
        ),
        (T.DecimalType(9, 2), "1.500", Decimal("1.50")),
        (T.DecimalType(9, 2), "1e3", Decimal("1000.00")),
        (T.DecimalType(9, 2), "0.000", Decimal("0.00")),
        (T.DoubleType(), "0.1", 0.1),
        (T.DoubleType(), '"-Infinity"', -math.inf),
        (T.FloatType(), "0.1", struct.unpack("f", struct.pack("f", 0.1))[0]),
        (T.DateType(), '"0001-01-01"', date(1, 1, 1)),
        (T.TimestampType(), '"2024-01-01T10:00:00.123456+01:30"', datetime(2024, 1, 1, 8, 30, 0, 123456, UTC)),
        (T.TimestampType(), '"2024-01-01 10:00"', datetime(2024, 1, 1, 9, tzinfo=UTC)),
        (T.TimestampType(), '"0001-01-01T00:00:00Z"', datetime(1, 1, 1, tzinfo=UTC)),
        (T.TimestampNTZType(), '"2024-01-01T10:00:00.5"', datetime(2024, 1, 1, 10, 0, 0, 500000)),
        (T.BinaryType(), '"AP8="', b"\x00\xff"),
        (T.StringType(), '"\\ud83d\\ude00"', "😀"),
        (NESTED, '{"A": 1, "m": {"k": null}}', {"A": 1, "b c": None, "m": [("k", None)]}),
    ],
)
def test_a_value_is_read_exactly(kind: T.DataType, text: str, value: Any) -> None:
    assert read(kind, text) == (value, [])


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (T.IntegerType(), "2147483648", "'c' does not fit INT"),
        (T.IntegerType(), "7.0", "'c' is not INT"),
        (T.IntegerType(), '"7"', "'c' is not INT"),
        (T.DecimalType(9, 2), "1.005", "'c' does not fit DECIMAL(9,2)"),
        (T.DecimalType(9, 2), "12345678.00", "'c' does not fit DECIMAL(9,2)"),
        (T.DecimalType(9, 2), "1e9999999", "'c' does not fit DECIMAL(9,2)"),
        (T.DecimalType(9, 2), "true", "'c' is not DECIMAL(9,2)"),
        (T.DoubleType(), "9007199254740993", "'c' does not fit DOUBLE"),
        (T.DoubleType(), "1e400", "'c' does not fit DOUBLE"),
        (T.FloatType(), "16777217", "'c' does not fit FLOAT"),
        (T.FloatType(), "1e39", "'c' does not fit FLOAT"),
        (T.BooleanType(), "1", "'c' is not BOOLEAN"),
        (T.DateType(), '"2024-02-30"', "'c' is not DATE"),
        (T.DateType(), '"2024-1-1"', "'c' is not DATE"),
        (T.TimestampType(), '"2024-01-01T10:00:00.1234567Z"', "more than six decimals of a second"),
        (T.TimestampType(), '"0001-01-01T00:00:00+14:00"', "'c' does not fit TIMESTAMP"),
        (T.TimestampNTZType(), '"2024-01-01T10:00:00Z"', "'c' is not TIMESTAMP_NTZ"),
        (T.BinaryType(), '"AQI"', "'c' is not BINARY"),
        (T.StringType(), "7", "expected a string, as the column holds text, not a number"),
        (NESTED, '{"a": 1}', "there is no field 'a' (did you mean 'A'?)"),
        (NESTED, '{"b c": [1.005]}', "'b c' does not fit DECIMAL(5,2)"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused(kind: T.DataType, text: str, message: str) -> None:
    _, (told,) = read(kind, text)
    assert message.partition(" (")[0] in told


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (T.LongType(), -9223372036854775808),
        (T.DecimalType(38, 18), Decimal("1E-18")),
        (T.DoubleType(), 5e-324),
        (T.DoubleType(), 9007199254740994.0),
        (T.DoubleType(), math.inf),
        (T.FloatType(), struct.unpack("f", struct.pack("f", 3.4e38))[0]),
        (T.DateType(), date(1582, 10, 10)),
        (T.TimestampType(), datetime(1, 1, 1, tzinfo=UTC)),
        (T.TimestampType(), datetime(2024, 10, 27, 1, 30, 0, 1, BERLIN)),
        (T.TimestampNTZType(), datetime(9999, 12, 31, 23, 59, 59, 999999)),
        (T.BinaryType(), b""),
        (T.StringType(), 'a "quoted" \\ text\nin two lines\u2028'),
        (NESTED, {"A": None, "b c": [Decimal("1.10"), None], "m": [('"', 1)]}),
    ],
)
def test_what_is_written_is_read_as_the_same_value(kind: T.DataType, value: Any) -> None:
    again, problems = read(kind, written_value(value, kind))
    assert (again, problems) == (value, [])
    assert type(again) is type(value)


def test_not_a_number_stays_one() -> None:
    assert math.isnan(read(T.DoubleType(), written_value(math.nan, T.DoubleType()))[0])
    assert math.copysign(1, read(T.DoubleType(), written_value(-0.0, T.DoubleType()))[0]) == -1
