"""`python -m devtools.bench.keeping`: a stream of many micro-batches whose table is maintained beside it.

Each micro-batch has one small file of rows, as many as there are triggers of 5 seconds in an hour, one right after the
other. Beside it the table is maintained every few seconds, a second stream copies it, and DuckDB reads all of it again
and again. In the end all of them have to have the same rows. The table without maintenance has the same rows in as many
commits of delta-rs, which takes less long than a second stream.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from devtools.pipelines import extract, load, pipeline_of
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.maintenance.sinks import sinks
from pipeline_platform.engine.maintenance.upkeep import Kept, Upkeep
from pipeline_platform.engine.spark.session import session_beside, spark_session
from pipeline_platform.engine.streaming.stream import StreamRun

ROWS = 200
_READ_SECONDS, _COPY_SECONDS = 5, 60
SCHEMA = "id BIGINT, sensor STRING, value DOUBLE"
Totals = tuple[int, int]


@dataclass
class Seen:
    """What was seen beside the stream."""

    kept: list[Kept] = field(default_factory=list[Kept])
    files: list[int] = field(default_factory=list[int])
    reads: list[float] = field(default_factory=list[float])
    errors: list[str] = field(default_factory=list[str])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="bench.keeping", description=__doc__)
    parser.add_argument("--batches", type=int, default=720, help="micro-batches, by default 720: an hour of 5 s")
    parser.add_argument("--every", type=float, default=10, help="seconds between two maintenances, by default 10")
    parser.add_argument("--merge", action="store_true", help="the stream merges by a key in place of appending")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keeping-") as name:
        folder = Path(name)
        _write_source(folder / "in", options.batches)
        spark = spark_session("keeping", {"spark.master": "local[2]"})
        beside = _measured(spark, folder, options.every, is_merge=options.merge)
        alone = ["–"] * len(beside) if options.merge else _without(spark, folder)
        print("| | without | with maintenance |\n|---|---|---|")
        for told in zip(_TOLD, alone, beside, strict=True):
            print(f"| {' | '.join(told)} |")
        spark.stop()


_TOLD = (
    "seconds of the stream",
    "maintenances, median s",
    "files of the newest version at most",
    "files of the newest version at the end",
    "full reads by DuckDB beside it, median s",
    "errors of the stream, the copy or the reads",
    "full read by Spark at the end, s",
    "the same after one more maintenance, s",
    "files on disk, and a week later",
    "rows, and whether those of the copy are the same",
)


def _write_source(folder: Path, batches: int) -> None:
    folder.mkdir()
    for number in range(batches):
        rows = ({"id": number * ROWS + row, "sensor": f"s{row % 10}", "value": row / 7} for row in range(ROWS))
        (folder / f"{number:05}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _streams(folder: Path, *, is_merge: bool) -> tuple[PipelineConfig, PipelineConfig]:
    table, copy = str(folder / "table"), str(folder / "copy")
    how: dict[str, Any] = {"mode": "merge", "mergeKeys": ["id"]} if is_merge else {}
    keys: dict[str, Any] = {"mode": "streaming", "streaming": {"checkpointRoot": str(folder / "checkpoints")}}
    one_file = {"maxFilesPerTrigger": "1"}
    source = extract("fromFiles", path=str(folder / "in"), format="json", schema=SCHEMA, options=one_file)
    writing = [source, load("toDeltaLake", path=table, trigger="availableNow", **how)]
    reading = [extract("fromDeltaLake", path=table), load("toDeltaLake", path=copy, trigger="availableNow")]
    return (
        pipeline_of(writing, name="readings", maintenance={}, **keys),
        pipeline_of(reading, name="copying", **keys),
    )


def _without(spark: SparkSession, folder: Path) -> list[str]:
    arrow: Any = pa
    table = folder / "alone"
    for file in sorted((folder / "in").glob("*.json")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        write_deltalake(str(table), arrow.Table.from_pylist(rows), mode="append")
    began = time.monotonic()
    totals = _totals(table)
    read = time.monotonic() - began
    files = len(DeltaTable(str(table)).file_uris())
    before = _read_by_spark(spark, table)
    _upkeep(
        pipeline_of(
            [extract("fromRate", rowsPerSecond=1), load("toDeltaLake", path=str(table))], name="alone", maintenance={}
        )
    )
    return ["–", "–", f"{files:,}", f"{files:,}", f"1, {read:.2f}", "–", *_end(spark, folder, before, table, totals)]


def _measured(spark: SparkSession, folder: Path, every: float, *, is_merge: bool) -> list[str]:
    writer, reader = _streams(folder, is_merge=is_merge)
    table, copy = folder / "table", folder / "copy"
    seen, over = Seen(), threading.Event()
    beside = [
        threading.Thread(target=_read, args=(table, seen, over)),
        threading.Thread(target=_maintain, args=((writer, reader), every, seen, over)),
    ]
    if not is_merge:
        # A stream of a Delta table reads only what is appended.
        beside.append(threading.Thread(target=_copy, args=(spark, reader, table, seen, over)))
    for thread in beside:
        thread.start()
    began = time.monotonic()
    try:
        StreamRun(writer, session_beside(spark, writer.name)).run()
    finally:
        took = time.monotonic() - began
        over.set()
        for thread in beside:
            thread.join()
    if not is_merge:
        StreamRun(reader, session_beside(spark, reader.name)).run()
    files = len(DeltaTable(str(table)).file_uris())
    before = _read_by_spark(spark, table)
    _upkeep(writer, reader)
    return [
        f"{took:.0f}",
        f"{len(seen.kept)}, {_median([kept.seconds for kept in seen.kept])}",
        f"{max([*seen.files, files]):,}",
        f"{files:,}",
        f"{len(seen.reads)}, {_median(seen.reads)}",
        f"{len(seen.errors)}{': ' + seen.errors[0][:200] if seen.errors else ''}",
        *_end(spark, folder, before, table, _totals(table if is_merge else copy)),
    ]


def _end(spark: SparkSession, folder: Path, before: float, table: Path, expected: Totals) -> list[str]:
    after = _read_by_spark(spark, table)
    on_disk = len([*table.glob("*.parquet")])
    # Nobody reads it any more, so that a week need not pass.
    DeltaTable(str(table)).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    totals = _totals(table)
    is_same = totals == expected and totals[0] == _wanted(folder)
    return [
        f"{before:.2f}",
        f"{after:.2f}",
        f"{on_disk:,}, {len([*table.glob('*.parquet')]):,}",
        f"{totals[0]:,}, {'the same' if is_same else 'DIFFERENT'}",
    ]


def _upkeep(*pipelines: PipelineConfig) -> Kept:
    [sink] = [sink for sink in sinks(pipelines) if sink.maintenance is not None]
    credentials = RunCredentials.from_environment("bench", pipelines[0].location)
    return Upkeep(sink, pipelines, credentials, _no_spark, lambda _: None).run()


def _no_spark() -> SparkSession:
    raise AssertionError("delta-rs maintains such a table")


def _again_and_again(over: threading.Event, every: float, seen: Seen, what: Callable[[], None]) -> None:
    while not over.wait(every):
        try:
            what()
        except Exception as error:  # noqa: BLE001 - any of them is what this is to find.
            seen.errors.append(str(error))


def _maintain(streams: tuple[PipelineConfig, PipelineConfig], every: float, seen: Seen, over: threading.Event) -> None:
    def maintain() -> None:
        kept = _upkeep(*streams)
        if kept.skipped is None:
            seen.kept.append(kept)

    _again_and_again(over, every, seen, maintain)


def _read(table: Path, seen: Seen, over: threading.Event) -> None:
    rows = 0

    def read() -> None:
        nonlocal rows
        if not DeltaTable.is_deltatable(str(table)):
            return
        began = time.monotonic()
        found = _totals(table)[0]
        seen.reads.append(time.monotonic() - began)
        seen.files.append(len(DeltaTable(str(table)).file_uris()))
        if found < rows:
            seen.errors.append(f"{rows} rows became {found}")
        rows = found

    _again_and_again(over, _READ_SECONDS, seen, read)


def _copy(spark: SparkSession, reader: PipelineConfig, table: Path, seen: Seen, over: threading.Event) -> None:
    def copy() -> None:
        if DeltaTable.is_deltatable(str(table)):
            StreamRun(reader, session_beside(spark, reader.name)).run()

    _again_and_again(over, _COPY_SECONDS, seen, copy)


def _totals(table: Path) -> Totals:
    """Rows, and the sum of what tells them apart, by DuckDB."""
    files = DeltaTable(str(table)).file_uris()
    query = f"SELECT count(*), sum(id) FROM read_parquet({files})"
    [(count, total)] = duckdb.connect().sql(query).fetchall()
    return int(count), int(total)


def _wanted(folder: Path) -> int:
    return ROWS * len([*(folder / "in").glob("*.json")])


def _read_by_spark(spark: SparkSession, table: Path) -> float:
    """Seconds of the faster of two full reads, as the first one warms up."""
    times: list[float] = []
    for _ in range(2):
        began = time.monotonic()
        spark.read.format("delta").load(str(table)).agg(F.sum("id"), F.sum("value"), F.max("sensor")).collect()
        times.append(time.monotonic() - began)
    return min(times)


def _median(values: list[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.2f}" if values else "–"


if __name__ == "__main__":
    main()
