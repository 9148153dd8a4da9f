"""Values of a contract in the type of a column: nothing is rounded on the way."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pyspark.sql import types as T

from pipeline_platform.config.contracts.values import WrongValue
from pipeline_platform.frames.promised_values import exact_limit, is_comparable, values_in

MONEY = T.DecimalType(4, 2)


@pytest.mark.parametrize(
    ("kind", "limit", "least", "most"),
    [
        (MONEY, "1.5", "1.50", "1.50"),
        (MONEY, "1.234", "1.24", "1.23"),
        (MONEY, "-1.234", "-1.23", "-1.24"),
        (MONEY, "99.99", "99.99", "99.99"),
        (MONEY, "99.991", True, True),
        (MONEY, "-1e40", False, False),
        (T.LongType(), "9007199254740993.0", "9007199254740993", "9007199254740993"),
        (T.LongType(), "1e19", True, True),
        (T.ByteType(), "-128.5", False, False),
        (T.DecimalType(38, 38), "0.5", f"0.5{'0' * 37}", f"0.5{'0' * 37}"),
    ],
)
def test_a_limit_divides_the_values_of_a_column_as_it_did(
    kind: T.DataType, limit: str, least: str | bool, most: str | bool
) -> None:
    found = [exact_limit(kind, Decimal(limit), is_least=is_least) for is_least in (True, False)]
    assert [one if isinstance(one, bool) else str(one) for one in found] == [least, most]


def test_a_value_is_what_the_column_has_or_none_of_it() -> None:
    assert values_in(MONEY, "number", "1.5") == ["1.50"]
    assert values_in(MONEY, "number", Decimal("1.555")) == []
    assert values_in(MONEY, "number", 100) == []
    assert values_in(T.DecimalType(38, 2), "number", Decimal("12345678901234567890.12")) == ["12345678901234567890.12"]
    assert values_in(T.TimestampType(), "timestamp", "2024-01-02T03:04:05") == ["2024-01-02 03:04:05"]
    assert values_in(T.BooleanType(), "flag", True) == ["true"]
    with pytest.raises(WrongValue, match="expected a string, not a boolean"):
        values_in(T.StringType(), "text", False)


def test_a_time_is_given_to_spark_in_the_one_spelling_that_it_always_reads() -> None:
    at, there = T.TimestampType(), T.TimestampNTZType()
    assert (
        values_in(T.DateType(), "date", "20240102") == values_in(T.DateType(), "date", "2024-W01-2") == ["2024-01-02"]
    )
    assert values_in(at, "timestamp", "20240101T000000") == ["2024-01-01 00:00:00"]
    # Spark has no zone that is so far from UTC.
    assert values_in(at, "timestamp", "2024-01-01T00:00:00+23:30") == ["2023-12-31 00:30:00+00:00"]
    assert values_in(there, "timestamp", "2024-01-01T00:00:00+01:00") == ["2024-01-01 00:00:00"]
    with pytest.raises(WrongValue, match="after the year 9999 in UTC"):
        values_in(at, "timestamp", "9999-12-31T23:00:00-05:00")


def test_no_two_maps_are_told_apart() -> None:
    inner = T.MapType(T.StringType(), T.StringType())
    assert not is_comparable(T.ArrayType(T.StructType([T.StructField("x", inner)])))
    assert is_comparable(T.ArrayType(T.StructType([T.StructField("x", MONEY)])))
