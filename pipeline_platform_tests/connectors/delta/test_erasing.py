"""A person's rows in a Delta table that keeps them in more places: change data, marked rows, values in paths."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from delta.tables import DeltaTable
from deltalake import DeltaTable as TableOfDeltaRs
from pyspark.sql import SparkSession

from pipeline_platform.connectors.delta.erasing.sink import DeltaErasure
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.steps.erasing import Order, Wanted

KEY = "kEy 7%/é"
KEEPS = {"enableChangeDataFeed": "true", "enableDeletionVectors": "true"}


def _write(spark: SparkSession, path: Path, ids: range, *, by: str | None = None, **properties: str) -> None:
    rows = [(number, KEY if number % 100 == 7 else f"key {number}", f"seen {number}") for number in ids]
    writer = spark.createDataFrame(rows, "id int, person string, raw string").coalesce(1).write.format("delta")
    for name, value in properties.items():
        writer = writer.option(f"delta.{name}", value)
    (writer.partitionBy(by) if by else writer).mode("append").save(str(path))


def _values(path: Path) -> str:
    """What stands in all files below a folder."""
    files = [file for file in path.rglob("*") if file.is_file()]
    rows = [repr(pq.ParquetFile(file).read().to_pylist()) for file in files if file.suffix == ".parquet"]
    texts = [file.read_text() for file in files if file.suffix in (".json", ".crc") and not file.name.startswith(".")]
    return "\n".join([*rows, *texts])


def _left(spark: SparkSession, path: Path) -> list[int]:
    return sorted(row["id"] for row in spark.read.format("delta").load(str(path)).collect())


def test_rows_leave_change_data_marks_and_older_files(spark: SparkSession, tmp_path: Path):
    path = tmp_path / "kept"
    _write(spark, path, range(5, 10), **KEEPS)
    _write(spark, path, range(105, 110))
    DeltaTable.forPath(spark, str(path)).delete("id = 107")
    wanted = Wanted({"person": frozenset({KEY})}, frozenset({KEY}))
    erasure = DeltaErasure(StorageLocation(str(path)))
    assert erasure.found(wanted, "erase/1").rows == 2, "one of them is only marked"
    erased = erasure.erase(wanted, Order("erase/1", lambda: spark, at_once=True))
    assert erased.rows == 1
    assert KEY not in _values(path)
    assert "seen 107" not in _values(path)
    assert _left(spark, path) == [5, 6, 8, 9, 105, 106, 108, 109]
    after = erasure.found(wanted, "erase/1")
    assert (after.rows, after.remains) == (0, False)
    _write(spark, path, range(200, 201))
    assert len(_left(spark, path)) == 9
    assert TableOfDeltaRs(path).version() == (erased.version or 0) + 1


def test_a_value_in_a_path_is_told_until_the_log_forgets_it(spark: SparkSession, tmp_path: Path):
    path = tmp_path / "by_person"
    _write(spark, path, range(6, 9), by="person")
    wanted = Wanted({"person": frozenset({KEY})}, frozenset({KEY}))
    erasure = DeltaErasure(StorageLocation(str(path)))
    assert erasure.erase(wanted, Order("erase/1", lambda: spark, at_once=True)).removed == 1
    assert _left(spark, path) == [6, 8]
    assert [*path.glob("person=*")]
    assert not [*path.glob("person=kEy*")]
    after = erasure.found(wanted, "erase/1")
    assert (after.rows, after.history) == (0, 0)
    assert after.log == 2
    assert after.removable_at is not None
    assert after.notes == ("the log's entry of the newest version shows the key: run it again after the next load",)


def test_a_value_within_a_text_is_told_and_erased_when_asked(spark: SparkSession, tmp_path: Path):
    path = tmp_path / "raw"
    _write(spark, path, range(5, 9))
    seen = Wanted({}, frozenset({"7"}), looks_into_text=True)
    erasure = DeltaErasure(StorageLocation(str(path)))
    assert erasure.found(seen, "erase/1").within_text == 1
    assert erasure.erase(seen, Order("erase/1", lambda: spark, at_once=True)).rows == 0
    meant = Wanted({}, frozenset({"7"}), contains=True, looks_into_text=True)
    assert erasure.erase(meant, Order("erase/1", lambda: spark, at_once=True)).rows == 1
    assert _left(spark, path) == [5, 6, 8]
    assert "seen 7" not in _values(path)
