from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.deduplicate import Deduplicate
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows, rows_of
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

EVENTS = Table(
    "id BIGINT, `the kind` STRING, x DOUBLE, seen TIMESTAMP, seq INT",
    [
        (1, "a", 1.0, datetime(2024, 1, 1), 1),
        (1, "a", 2.0, datetime(2024, 1, 3), 2),
        (1, "a", 3.0, datetime(2024, 1, 2), 3),
        (1, "b", 4.0, None, 4),
        (1, "b", 5.0, datetime(2024, 1, 1), 5),
        (None, None, float("nan"), None, 6),
        (None, None, float("nan"), None, 7),
        (2, None, None, datetime(2024, 1, 1), 8),
    ],
)


def dedup(**config: Any) -> Deduplicate:
    return Deduplicate.model_validate(config)


@pytest.mark.parametrize(
    ("order", "sql"),
    [
        ("seen DESC, seq", "seen DESC NULLS LAST, seq"),
        (["seen", "seq DESC"], "seen ASC NULLS FIRST, seq DESC"),
        ("seq", "seq"),
        (["-seq"], "seq DESC"),
        (["seen ASC NULLS LAST", "`the kind`", "seq"], "seen ASC NULLS LAST, seq"),
    ],
)
def test_the_first_row_in_order_wins(spark: Any, order: Any, sql: str):
    assert_same_rows(
        applied(spark, dedup(columns=["id", "the kind"], orderBy=order), EVENTS),
        f"""SELECT * FROM events QUALIFY row_number() OVER (PARTITION BY id, "the kind" ORDER BY {sql}) = 1""",
        events=EVENTS,
    )


def test_without_an_order_one_row_of_each_is_kept(spark: Any):
    frame = applied(spark, dedup(columns=["ID", "the kind"]), EVENTS)
    assert_same_rows(frame.select("id", "`the kind`"), 'SELECT DISTINCT id, "the kind" FROM events', events=EVENTS)
    assert set(map(str, rows_of(frame))) <= set(map(str, rows_of(EVENTS.frame(spark))))


def test_rows_equal_in_all_their_columns_are_told_by_all_of_them(spark: Any):
    twice = Table("a INT, b DOUBLE", [(1, float("nan")), (1, float("nan")), (None, None), (None, None), (1, 0.5)])
    assert_same_rows(applied(spark, dedup(columns=["a", "b"]), twice), "SELECT DISTINCT * FROM twice", twice=twice)


def test_a_watermark_has_no_effect_in_batch_but_its_column_must_be_there(spark: Any):
    step = dedup(columns="id", orderBy="seq", watermark={"column": "seen", "delay": "1 hour"})
    assert_same_rows(
        applied(spark, step, EVENTS),
        "SELECT * FROM events QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq) = 1",
        events=EVENTS,
    )
    with pytest.raises(PipelineExecutionException, match="no column 'att'"):
        applied(spark, dedup(columns="id", watermark={"column": "att", "delay": "1 hour"}), EVENTS)


def test_a_stream_drops_repeated_rows_within_the_watermark(spark: Any, tmp_path: Path):
    events = Table(
        "id BIGINT, seen TIMESTAMP", [(1, datetime(2024, 1, 1, 0, m)) for m in (0, 1, 2)] + [(2, datetime(2024, 1, 1))]
    )
    events.frame(spark).coalesce(1).write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema("id BIGINT, seen TIMESTAMP").parquet(str(tmp_path / "in"))
    step = dedup(columns="id", watermark={"column": "seen", "delay": "10 minutes"})
    query = (
        applied(spark, step, stream)
        .writeStream.format("memory")
        .queryName("deduplicated_stream")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    assert query.awaitTermination(120)
    frame = spark.table("deduplicated_stream").select("id")
    assert_same_rows(frame, "SELECT DISTINCT id FROM events", events=events)
    spark.catalog.dropTempView("deduplicated_stream")


def test_a_stream_needs_a_watermark_and_takes_no_order():
    found = dict(dedup(columns="value", orderBy="value").mode_errors("streaming"))
    assert "needs a 'watermark'" in found[None]
    assert "no meaning in a stream" in found["orderBy"]
    assert dedup(columns="value", orderBy="value").mode_errors("batch") == []


def test_a_missing_column_is_named_with_a_hint(spark: Any):
    with pytest.raises(PipelineExecutionException, match="no column 'idd'; the columns are id, the kind") as raised:
        applied(spark, dedup(columns="idd"), EVENTS)
    assert raised.value.hint == "did you mean 'id'?"


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({}, "columns"),
        ({"columns": []}, "columns"),
        ({"columns": ["a"], "orderBy": []}, "orderBy"),
        ({"columns": ["a"], "orderBy": "b DSC x"}, "orderBy"),
        ({"columns": ["a"], "orderBy": "b) FROM x --"}, "orderBy"),
        ({"columns": ["a"], "watermark": {"column": "t", "delay": "10"}}, "watermark"),
    ],
)
def test_a_wrong_config_is_an_error_at_its_key(config: dict[str, Any], key: str):
    assert [where for where, _ in mistakes(Deduplicate, config)] == [key]


def test_lineage_hands_columns_on():
    assert sources(dedup(columns="a"), {None: ["a", "b"]}, ["a", "b"]) == {"a": ["a"], "b": ["b"]}
