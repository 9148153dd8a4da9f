from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.union_data_frames import UnionDataFrames
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

JAN = Table(
    "id INT, amount DECIMAL(10,2), x DOUBLE, seen TIMESTAMP",
    [
        (1, Decimal("1.10"), float("nan"), datetime(2024, 1, 1)),
        (1, Decimal("1.10"), float("nan"), datetime(2024, 1, 1)),
        (2, None, None, None),
    ],
)
FEB = Table(
    "x DOUBLE, ID BIGINT, seen TIMESTAMP, amount DECIMAL(12,3)",
    [
        (float("nan"), 1, datetime(2024, 1, 1), Decimal("1.100")),
        (0.5, 3, None, Decimal("2.125")),
        (None, 2, None, None),
    ],
)
MAR = Table("id BIGINT, note STRING", [(4, "late"), (4, "late"), (None, None)])


def union(*names: str, **config: Any) -> UnionDataFrames:
    return UnionDataFrames.model_validate({"inputDataFrames": list(names), **config})


def test_rows_are_put_together_by_column_name_duplicates_included(spark: Any):
    assert_same_rows(
        applied(spark, union("jan", "feb", "jan"), jan=JAN, feb=FEB),
        "SELECT * FROM jan UNION ALL BY NAME SELECT * FROM feb UNION ALL BY NAME SELECT * FROM jan",
        jan=JAN,
        feb=FEB,
    )


def test_a_single_name_is_put_below_the_primary_frame(spark: Any):
    assert_same_rows(
        applied(spark, union("feb"), JAN, feb=FEB),
        "SELECT * FROM jan UNION ALL BY NAME SELECT * FROM feb",
        jan=JAN,
        feb=FEB,
    )


def test_a_single_name_with_input_is_put_below_that(spark: Any):
    step = union("feb", input="jan")
    assert not step.reads_primary()
    assert step.referenced_frames() == [("input", "jan"), ("inputDataFrames", "feb")]
    frame = JAN.frame(spark)
    assert_same_rows(
        applied(spark, step, frame, jan=frame, feb=FEB),
        "SELECT * FROM jan UNION ALL BY NAME SELECT * FROM feb",
        jan=JAN,
        feb=FEB,
    )


def test_distinct_keeps_one_of_equal_rows_nan_and_null_included(spark: Any):
    assert_same_rows(
        applied(spark, union("jan", "feb", distinct="true"), jan=JAN, feb=FEB),
        "SELECT DISTINCT * FROM (SELECT * FROM jan UNION ALL BY NAME SELECT * FROM feb)",
        jan=JAN,
        feb=FEB,
    )


def test_missing_columns_are_filled_with_null_when_allowed(spark: Any):
    assert_same_rows(
        applied(spark, union("jan", "mar", allowMissingColumns=True), jan=JAN, mar=MAR),
        "SELECT * FROM jan UNION ALL BY NAME SELECT * FROM mar",
        jan=JAN,
        mar=MAR,
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("jan", "mar"), "'mar' lacks columns that 'jan' has: amount, x, seen; it has id, note"),
        (("some", "jan"), "'some' lacks columns that 'jan' has: x, seen; it has id, amount"),
    ],
)
def test_missing_columns_are_an_error_otherwise_that_names_frame_and_columns(
    spark: Any, names: tuple[str, ...], message: str
):
    some = Table("id INT, amount DECIMAL(10,2)", [])
    with pytest.raises(PipelineExecutionException, match=message) as raised:
        applied(spark, union(*names), jan=JAN, mar=MAR, some=some)
    assert "allowMissingColumns" in (raised.value.hint or "")


def test_the_primary_frame_is_read_only_beside_a_single_name():
    assert union("a").reads_primary()
    assert not union("a", "b").reads_primary()
    assert union("a", "b").referenced_frames() == [("inputDataFrames", "a"), ("inputDataFrames", "b")]


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({}, "inputDataFrames"),
        ({"inputDataFrames": []}, "inputDataFrames"),
        ({"inputDataFrames": ["a", "b"], "input": "c"}, "input"),
        ({"inputDataFrames": ["a"], "allowMissing": True}, "allowMissing"),
    ],
)
def test_a_wrong_config_is_an_error_at_its_key(config: dict[str, Any], key: str):
    assert [where for where, _ in mistakes(UnionDataFrames, config)] == [key]


def test_lineage_goes_to_every_frame_that_has_the_column():
    columns: dict[str | None, list[str]] = {None: ["id", "x"], "feb": ["ID", "note"]}
    assert sources(union("feb", allowMissingColumns=True), columns, ["id", "x", "note"]) == {
        "id": ["id", "feb.ID"],
        "x": ["x"],
        "note": ["feb.note"],
    }


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ("id STRING", "007", "'jan' has the column 'id' as int, and 'other' has 'id' as string"),
        ("ID DOUBLE", 0.5, None),
        ("id TIMESTAMP", datetime(2024, 1, 1), "'id' as timestamp"),
        ("id ARRAY<STRING>", ["007"], "'id' as array<string>"),
    ],
)
def test_types_that_would_change_values_are_refused_with_frame_and_column(
    spark: Any, schema: str, value: Any, told: str | None
):
    jan = Table("id INT", [(7,), (None,)])
    other = Table(schema, [(value,)])
    if told is None:
        query = "SELECT * FROM jan UNION ALL BY NAME SELECT * FROM other"
        assert_same_rows(applied(spark, union("jan", "other"), jan=jan, other=other), query, jan=jan, other=other)
        return
    with pytest.raises(PipelineExecutionException) as raised:
        applied(spark, union("jan", "other"), jan=jan, other=other)
    assert told in raised.value.message
    assert "CAST(id AS int)" in (raised.value.hint or "")


def test_each_frame_of_a_union_is_held_against_each_other(spark: Any):
    frames = {"a": Table("x INT", [(1,)]), "b": Table("y INT, x INT", [(1, 1)]), "c": Table("y STRING", [("007",)])}
    with pytest.raises(PipelineExecutionException, match="'b' has the column 'y' as int, and 'c' has 'y' as string"):
        applied(spark, union(*frames, allowMissingColumns=True), **frames)
