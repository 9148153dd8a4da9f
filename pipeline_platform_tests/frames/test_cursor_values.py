"""Values of a column that grows, without Spark."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import types as T

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.cursor_values import CursorColumn, cursor_column

SCHEMA = T.StructType(
    [
        T.StructField("id", T.LongType()),
        T.StructField("amount", T.DecimalType(9, 2)),
        T.StructField("day", T.DateType()),
        T.StructField("at", T.TimestampType()),
        T.StructField("local", T.TimestampNTZType()),
        T.StructField("ratio", T.DoubleType()),
    ]
)
BERLIN = timezone(timedelta(hours=1))


def column(name: str) -> CursorColumn:
    return cursor_column(SCHEMA, name)


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("id", Decimal("7"), "7"),
        ("ID", "7", "7"),
        ("amount", 7, "7"),
        ("amount", "7.50", "7.50"),
        ("day", date(2024, 1, 31), "2024-01-31"),
        ("at", datetime(2024, 1, 31, 1, tzinfo=BERLIN), "2024-01-31 00:00:00+00:00"),
        ("at", datetime(2024, 1, 31, 1, 0, 0, 5, tzinfo=UTC), "2024-01-31 01:00:00.000005+00:00"),
        ("at", "2024-01-31", "2024-01-31 00:00:00+00:00"),
        ("local", "2024-01-31T01:00", "2024-01-31 01:00:00"),
    ],
)
def test_a_value_is_the_same_when_its_text_is_read_again(name: str, given: Any, text: str):
    value = column(name).value(given)
    assert str(value) == text
    assert column(name).value(text) == value


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("id", "7.5"),
        ("id", "seven"),
        ("id", "9223372036854775808"),
        ("id", "1e5000"),
        ("id", "Infinity"),
        ("amount", "10000000"),
        ("at", "0001-01-01T00:00:00+05:00"),
        ("amount", "NaN"),
        ("day", "2024-01-31 10:00"),
        ("day", 7),
        ("at", 7),
        ("local", "2024-01-31T01:00+01:00"),
    ],
)
def test_what_is_no_value_of_the_column_is_refused(name: str, given: Any):
    with pytest.raises(PipelineExecutionException, match="which is no value of the column"):
        column(name).value(given)


@pytest.mark.parametrize(
    ("name", "given", "lag", "before"),
    [
        ("id", 7, Decimal(3), "4"),
        ("amount", "7.5", Decimal("0.25"), "7.25"),
        ("day", "2024-03-01", timedelta(days=1), "2024-02-29"),
        ("at", "2024-03-01", timedelta(minutes=10), "2024-02-29 23:50:00+00:00"),
        ("at", "0001-01-01 00:05", timedelta(minutes=10), "0001-01-01 00:00:00+00:00"),
    ],
)
def test_a_lag_goes_back_from_a_value(name: str, given: Any, lag: Any, before: str):
    assert str(column(name).value(given).before(lag)) == before


@pytest.mark.parametrize(
    ("name", "given", "lag"),
    [
        ("id", 7, timedelta(days=1)),
        ("id", 7, Decimal("0.5")),
        ("at", "2024-03-01", Decimal(1)),
        ("day", "2024-03-01", timedelta(hours=36)),
    ],
)
def test_a_lag_of_another_kind_is_refused(name: str, given: Any, lag: Any):
    with pytest.raises(PipelineExecutionException, match="'lag' has to be"):
        column(name).value(given).before(lag)


def test_floating_point_numbers_are_no_cursor():
    with pytest.raises(PipelineExecutionException, match="floating-point numbers are not exact"):
        column("ratio")
