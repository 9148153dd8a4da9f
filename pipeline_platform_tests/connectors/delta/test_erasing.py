"""A person's rows in a Delta table that keeps them in more places: change data, marked rows, values in paths."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta.tables import DeltaTable
from deltalake import DeltaTable as TableOfDeltaRs
from deltalake import write_deltalake
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


@pytest.mark.parametrize(
    ("kind", "value", "spellings", "other"),
    [
        (pa.decimal128(9, 2), Decimal("7.00"), ["7", "7.0"], "07.01"),
        (pa.int64(), 7, ["07", "7.0"], "7.5"),
        (pa.float64(), 7.0, ["7"], "seven"),
        (pa.date32(), dt.date(2026, 1, 5), ["2026-1-5"], "5.1.2026"),
        (pa.timestamp("us", "UTC"), dt.datetime(2026, 1, 5, tzinfo=dt.UTC), ["2026-01-05 00:00:00"], "yesterday"),
    ],
)
@pytest.mark.parametrize("by", [[], ["key"]])
def test_a_key_is_compared_as_the_type_of_the_column_says_also_in_the_log(
    kind: Any, value: Any, spellings: list[str], other: str, by: list[str], tmp_path: Path
):
    rows = pa.table({"key": pa.array([value, None], kind), "x": [1, 2]})
    write_deltalake(tmp_path, rows, partition_by=by)
    erasure = DeltaErasure(StorageLocation(str(tmp_path)))
    for text in spellings:
        found = erasure.found(Wanted({"key": frozenset({text})}, frozenset({text})), "erase/1")
        assert (found.rows, found.log, found.unsearched) == (1, 1, ())
    missed = erasure.found(Wanted({"key": frozenset({other})}, frozenset({other})), "erase/1")
    assert (missed.rows, missed.log) == (0, 0)
    assert bool(missed.unsearched) == (other != "07.01")


def test_columns_and_fields_that_can_not_be_searched_are_told(tmp_path: Path):
    payload = pa.array([{"flag": 1}], pa.struct([("flag", pa.int64())]))
    write_deltalake(tmp_path, pa.table({"flag": [True], "tags": [["7"]], "payload": payload}))
    erasure = DeltaErasure(StorageLocation(str(tmp_path)))
    found = erasure.found(Wanted({"flag": frozenset({"7"}), "tags": frozenset({"7"})}, frozenset({"7"})), "erase/1")
    assert found.unsearched == (
        "rows can't be found by 'flag', whose type is BOOLEAN",
        "rows can't be found by 'tags', whose type is ARRAY",
    )
    assert found.doubts == ("'flag' within the column 'payload' is not looked into",)


def test_rows_leave_change_data_marks_and_older_files(spark: SparkSession, tmp_path: Path):
    path = tmp_path / "kept"
    _write(spark, path, range(5, 10), **KEEPS)
    _write(spark, path, range(105, 110))
    DeltaTable.forPath(spark, str(path)).delete("id = 107")
    wanted = Wanted({"person": frozenset({KEY})}, frozenset({KEY}))
    erasure = DeltaErasure(StorageLocation(str(path)))
    before = erasure.found(wanted, "erase/1")
    assert (before.rows, before.marked, before.total) == (1, 1, 9), "one of them is only marked"
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


def test_a_value_in_a_path_leaves_the_log_too(spark: SparkSession, tmp_path: Path):
    path = tmp_path / "by_person"
    _write(spark, path, range(6, 9), by="person", **KEEPS)
    wanted = Wanted({"person": frozenset({KEY})}, frozenset({KEY}))
    erasure = DeltaErasure(StorageLocation(str(path)))
    assert erasure.erase(wanted, Order("erase/1", lambda: spark, at_once=True)).removed >= 1
    assert _left(spark, path) == [6, 8]
    assert [*path.glob("person=*")]
    assert not [*path.rglob("person=kEy*")]
    after = erasure.found(wanted, "erase/1")
    assert (after.rows, after.remains, after.notes) == (0, False, ())
    assert not any(word in _values(path) for word in (KEY, "kEy%20", "kEy 7", "7%25"))
    _write(spark, path, range(10, 12))
    DeltaTable.forPath(spark, str(path)).delete("id = 6")
    assert _left(spark, path) == [8, 10, 11]
    assert sorted(TableOfDeltaRs(path).partitions(), key=str) == [
        {"person": name} for name in ("key 10", "key 11", "key 8")
    ]


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
