"""`repartition`, `coalesce` and `repartitionByColumns`."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import functions as F

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.transform import Transform
from pipeline_platform.transforms.coalesce import Coalesce
from pipeline_platform.transforms.repartition import Repartition
from pipeline_platform.transforms.repartition_by_columns import RepartitionByColumns
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

ROWS = Table(
    "id INT, `a.b c` STRING, x DOUBLE",
    [(n % 7, None if n % 5 == 0 else f"v{n % 3}", float("nan") if n % 11 == 0 else n / 3) for n in range(100)],
)
SAME = "SELECT * FROM t"


def partitions(frame: Any) -> int:
    # Asking the RDD would skip adaptive execution, which may merge partitions.
    return frame.select(F.spark_partition_id().alias("p")).distinct().count()


@pytest.mark.in_jvm
@pytest.mark.parametrize("number", [1, 5, "8"])
def test_repartition_makes_so_many_partitions_and_keeps_the_rows(spark: Any, number: Any):
    frame = applied(spark, Repartition.model_validate({"numPartitions": number}), ROWS)
    assert frame.rdd.getNumPartitions() == int(number)
    assert_same_rows(frame, SAME, t=ROWS)


@pytest.mark.in_jvm
@pytest.mark.parametrize(
    "step",
    [
        Repartition.model_validate({"numPartitions": 4, "columns": ["a.b c", "id"]}),
        RepartitionByColumns.model_validate({"numPartitions": "4", "columns": ["a.b c", "ID"]}),
        RepartitionByColumns.model_validate({"columns": "a.b c"}),
    ],
)
def test_equal_rows_come_into_the_same_partition(spark: Any, step: Transform):
    frame = applied(spark, step, ROWS)
    names: list[str] = step.as_config()["columns"]
    placed = frame.withColumn("place", F.spark_partition_id())
    spread = placed.groupBy(*[f"`{name}`" for name in names]).agg(F.count_distinct("place").alias("n"))
    assert {row["n"] for row in spread.collect()} == {1}
    if "numPartitions" in step.as_config():
        assert frame.rdd.getNumPartitions() == 4
    assert_same_rows(frame, SAME, t=ROWS)


def test_coalesce_merges_partitions_and_never_makes_more(spark: Any):
    frame = ROWS.frame(spark).repartition(6)
    for number, expected in ((2, 2), (50, 6)):
        merged = applied(spark, Coalesce.model_validate({"numPartitions": number}), frame)
        assert partitions(merged) == expected
        assert_same_rows(merged, SAME, t=ROWS)


@pytest.mark.parametrize(
    "step",
    [
        Repartition.model_validate({"numPartitions": 4, "columns": ["ids"]}),
        RepartitionByColumns.model_validate({"columns": "ids"}),
    ],
)
def test_a_missing_column_is_named_with_a_hint(spark: Any, step: Transform):
    with pytest.raises(PipelineExecutionException, match=r"no column 'ids'; the columns are id, a\.b c, x") as raised:
        applied(spark, step, ROWS)
    assert raised.value.hint == "did you mean 'id'?"


@pytest.mark.parametrize(
    ("method", "config", "key"),
    [
        (Repartition, {}, "numPartitions"),
        (Repartition, {"numPartitions": 0}, "numPartitions"),
        (Repartition, {"numPartitions": "many"}, "numPartitions"),
        (Coalesce, {"numPartitions": -1}, "numPartitions"),
        (Coalesce, {"numPartitions": 1, "columns": ["a"]}, "columns"),
        (RepartitionByColumns, {"numPartitions": 2}, "columns"),
        (RepartitionByColumns, {"columns": []}, "columns"),
    ],
)
def test_a_wrong_config_is_an_error_at_its_key(method: type[Transform], config: dict[str, Any], key: str):
    assert [where for where, _ in mistakes(method, config)] == [key]


@pytest.mark.parametrize("method", [Repartition, Coalesce, RepartitionByColumns])
def test_they_keep_rows_and_columns(method: type[Transform]):
    config = {"columns": ["a"]} if method is RepartitionByColumns else {"numPartitions": 2}
    step = method.model_validate(config)
    assert step.traits().keeps_row_count
    assert sources(step, {"f": ["a", "b"]}, ["a", "b"]) == {"a": ["f.a"], "b": ["f.b"]}


def test_the_old_names_are_aliases():
    assert Repartition.aliases == ("repartitionData",)
    assert Coalesce.aliases == ("coalesceData",)
