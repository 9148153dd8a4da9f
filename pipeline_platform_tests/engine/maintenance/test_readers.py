"""Streams and other readers of a table that is maintained, with Spark's own checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, pipeline_of
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.maintenance.sinks import sinks
from pipeline_platform.engine.maintenance.upkeep import Kept, Upkeep
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform_tests.engine.maintenance.test_upkeep import ids, no_spark, pipeline, table_of, tree

NEXT_WEEK = datetime.now(UTC) + timedelta(days=9)


def maintained(*pipelines: PipelineConfig, spark: Callable[[], Any] = no_spark, now: datetime = NEXT_WEEK) -> Kept:
    """Maintain the first table of pipelines, as if it were another time."""
    sink = next(sink for sink in sinks(pipelines) if sink.maintenance is not None)
    credentials = RunCredentials.from_environment("test", pipelines[0].location)
    return Upkeep(sink, pipelines, credentials, spark, lambda _: None, now=now).run()


def copying(table: Path, folder: Path, name: str = "copying") -> PipelineConfig:
    """A stream that copies what is appended to a table."""
    return pipeline_of(
        [
            extract("fromDeltaLake", path=str(table)),
            load("toDeltaLake", path=str(folder / "copy"), trigger="availableNow"),
        ],
        name=name,
        mode="streaming",
        streaming={"checkpointRoot": str(folder / "checkpoints")},
    )


@pytest.mark.in_jvm
def test_a_stream_that_is_behind_is_named_and_gets_every_row_once_it_has_read_them(
    spark: SparkSession, tmp_path: Path, streams: Path
):
    table = table_of(tmp_path / "table", 3)
    stream = copying(table, tmp_path)
    StreamRun(stream, spark).run()
    table_of(table, 2)
    # By hand, as nobody asks then who reads the table.
    assert DeltaTable(str(table)).optimize.compact()["numFilesRemoved"] == 5
    before = tree(table)
    told = r"'keepFiles' 7 days removes files .* the stream 'copying' has not read them: it is at version 3, 2 behind"
    with pytest.raises(PipelineExecutionException, match=told):
        maintained(pipeline(table), stream)
    # From another folder, too, of which this project knows no more than what the stream said of itself.
    with pytest.raises(PipelineExecutionException, match=told):
        maintained(pipeline(table))
    assert tree(table) == before
    # While all that it still has to read is younger, it hinders nobody.
    assert maintained(pipeline(table), stream, now=datetime.now(UTC)).skipped is None
    StreamRun(stream, spark).run()
    assert maintained(pipeline(table), stream).after.files == 1
    DeltaTable(str(table)).vacuum(0, dry_run=False, enforce_retention_duration=False)
    table_of(table, 1)
    StreamRun(stream, spark).run()
    assert ids(tmp_path / "copy") == ids(table) == sorted([*range(6), *range(4), *range(2)])


@pytest.mark.in_jvm
def test_a_table_that_delta_rs_would_read_as_nulls_is_maintained_by_spark(spark: SparkSession, tmp_path: Path):
    table = tmp_path / "table"
    mapped = "'delta.columnMapping.mode' = 'name'"
    spark.sql(f"CREATE TABLE delta.`{table}` (id BIGINT) USING delta TBLPROPERTIES ({mapped})")
    for number in range(3):
        spark.range(number, number + 1).coalesce(1).write.format("delta").mode("append").save(str(table))
    kept = maintained(pipeline(table), spark=lambda: spark, now=datetime.now(UTC))
    assert (kept.before.files, kept.after.files, kept.by_spark) == (3, 1, "columnMapping")
    assert [row.id for row in spark.read.format("delta").load(str(table)).orderBy("id").collect()] == [0, 1, 2]


@pytest.mark.in_jvm
def test_spark_reads_what_delta_rs_has_rewritten_and_whose_log_was_cleaned(spark: SparkSession, tmp_path: Path):
    table = table_of(tmp_path / "table", 55)
    DeltaTable(str(table)).create_checkpoint()
    table_of(table, 51)
    kept = maintained(pipeline(table, keepLog="7 days"), now=NEXT_WEEK)
    assert (kept.after.files, kept.removed_commits) == (1, 54)
    found = [row.id for row in spark.read.format("delta").load(str(table)).orderBy("id").collect()]
    assert found == ids(table) == sorted([*range(110), *range(102)])
    spark.range(1000, 1001).write.format("delta").mode("append").save(str(table))
    assert ids(table) == [*found, 1000]


PLAIN = ["a b", "50%", "x=y/z", None, "#?", "[c]{d}^|<e>"]
ODD = ["é:ü", "漢", "~!@$*();,'+&"]


@pytest.mark.in_jvm
@pytest.mark.parametrize(("parts", "by_spark"), [(PLAIN, False), (ODD, True)], ids=["plain", "odd"])
def test_every_value_that_spark_wrote_stays_as_it_is(
    spark: SparkSession, tmp_path: Path, parts: list[str | None], by_spark: bool
):
    table = tmp_path / "table"
    values = ", ".join("CAST(NULL AS STRING)" if part is None else f'"{part}"' for part in parts)
    frame = spark.sql(
        f"SELECT id, explode(array({values})) AS part, date'0001-01-01' + CAST(id AS INT) AS day, "
        "timestamp'1582-01-01 00:00:00.123456' AS moment, timestamp_ntz'2020-02-02 02:02:02' AS local, "
        "CAST(1.10 AS DECIMAL(38, 18)) AS amount, double('NaN') AS nan, X'00FF' AS bytes, "
        "named_struct('a.b', array(1, NULL), 'm', map('k', CAST(NULL AS INT))) AS nested, "
        "CAST(NULL AS STRUCT<a: INT>) AS nothing, CAST(1 AS TINYINT) AS `odd-näme.x`, '' AS empty FROM range(2)"
    )
    for _ in range(3):
        frame.coalesce(1).write.format("delta").partitionBy("part", "day").mode("append").save(str(table))
    reader = spark.read.format("delta")
    columns, before = reader.load(str(table)).dtypes, sorted(map(repr, reader.load(str(table)).collect()))
    kept = maintained(pipeline(table), spark=(lambda: spark) if by_spark else no_spark, now=datetime.now(UTC))
    count = 2 * len(parts)
    assert (kept.before.files, kept.after.files, kept.by_spark is not None) == (3 * count, count, by_spark)
    if not by_spark:
        # No file that is needed is taken for one that is not, however its path is spelled.
        DeltaTable(str(table)).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
        assert len([*table.rglob("part-*.parquet")]) == count
    after = reader.load(str(table))
    assert (after.dtypes, sorted(map(repr, after.collect()))) == (columns, before)
    assert after.filter("part = 'x=y/z' AND id = 1").count() == (0 if by_spark else 3)
