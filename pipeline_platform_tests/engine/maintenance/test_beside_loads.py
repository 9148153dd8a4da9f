"""Maintenance beside loads: whoever commits second, no load fails, and no row is lost or there twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import extract, json_rows, load, pipeline_of, run, transform
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.transform import Frames, Transform


class Maintained(Transform):
    """Maintains a table once, while its rows are read: a load has looked at the table by then, and not committed."""

    method: ClassVar[str] = "maintained"
    table: str
    once: str

    def apply(self, frames: Frames) -> DataFrame:
        table, once = self.table, Path(self.once)

        def maintain(batches: Iterable[Any]) -> Iterable[Any]:
            from deltalake import DeltaTable

            if DeltaTable.is_deltatable(table) and not once.exists():
                once.touch()
                assert DeltaTable(table).optimize.compact()["numFilesRemoved"] > 1
            yield from batches

        return frames.frame.mapInPandas(maintain, frames.frame.schema)


_PLATFORM = method_registry()
METHODS = replace(
    _PLATFORM, methods={**_PLATFORM.methods, "transform": {**_PLATFORM["transform"], "maintained": Maintained}}
)
SCHEMA = "id BIGINT, value STRING"


def small_files(spark: SparkSession, table: Path) -> None:
    """A table of three files."""
    for number in range(3):
        rows = spark.createDataFrame([(number, "old")], SCHEMA).coalesce(1)
        rows.write.format("delta").mode("append").save(str(table))


def rows_of(table: Path) -> list[tuple[Any, ...]]:
    """The rows, as DuckDB reads the files that delta-rs names."""
    from deltalake import DeltaTable

    files = DeltaTable(str(table)).file_uris()
    query = f"SELECT id, value FROM read_parquet({files}) ORDER BY id"
    return duckdb.connect().sql(query).fetchall()


@pytest.mark.in_jvm
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mode": "merge", "mergeKeys": ["id"]}, [(0, "old"), (1, "old"), (2, "new"), (3, "new")]),
        ({"mode": "overwrite"}, [(2, "new"), (3, "new")]),
    ],
    ids=["merge", "overwrite"],
)
def test_a_load_whose_table_is_maintained_before_it_commits_is_repeated_at_once(
    spark: SparkSession, tmp_path: Path, config: dict[str, Any], expected: list[tuple[Any, ...]]
):
    table = tmp_path / "table"
    small_files(spark, table)
    new = json_rows(tmp_path / "new.json", [{"id": 2, "value": "new"}, {"id": 3, "value": "new"}], SCHEMA)
    beside = transform("maintained", table=str(table), once=str(tmp_path / "once"))
    # Who wants no retries gets none for what is another's fault, but this.
    done = run(
        spark, new, beside, load("toDeltaLake", path=str(table), **config), methods=METHODS, retry={"maxAttempts": 1}
    )
    assert (done.status, done.attempts) == ("COMPLETED", 2)
    assert rows_of(table) == expected


@pytest.mark.in_jvm
def test_a_stream_that_merges_goes_on_when_its_table_is_maintained(spark: SparkSession, tmp_path: Path):
    table, incoming = tmp_path / "table", tmp_path / "in"
    incoming.mkdir()
    small_files(spark, table)
    (incoming / "1.json").write_text('{"id": 2, "value": "new"}\n{"id": 3, "value": "new"}\n')
    stream = pipeline_of(
        [
            extract("fromFiles", path=str(incoming), format="json", schema=SCHEMA),
            transform("maintained", table=str(table), once=str(tmp_path / "once")),
            load("toDeltaLake", path=str(table), mode="merge", mergeKeys=["id"], trigger="availableNow"),
        ],
        METHODS,
        mode="streaming",
        streaming={"checkpointRoot": str(tmp_path / "checkpoints")},
    )
    StreamRun(stream, spark).run()
    assert (tmp_path / "once").exists()
    assert rows_of(table) == [(0, "old"), (1, "old"), (2, "new"), (3, "new")]
