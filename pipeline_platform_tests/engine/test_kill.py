"""A run that is killed, and the same command again."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable

from devtools.pipelines import extract, listing, load, transform
from pipeline_platform.connectors.files.committer import LEDGER
from pipeline_platform_tests.engine.processes import (
    WAITING,
    completed,
    started,
    wait_until,
    waiting,
    write_pipeline,
    write_rows,
)

HOUR = 3_600_000


def ids(files: list[str]) -> list[int]:
    if not files:
        return []
    return sorted(row[0] for row in duckdb.connect().read_parquet(files).project("id").fetchall())


def delta_ids(table: Path) -> list[int]:
    return ids(DeltaTable(str(table)).file_uris()) if DeltaTable.is_deltatable(str(table)) else []


def file_ids(folder: Path) -> list[int]:
    return ids([str(folder / name) for name in listing(folder) if not name.startswith("_")])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["toDeltaLake", "toFiles"])
def test_a_run_killed_in_the_middle_of_a_load_loads_every_row_once_when_repeated(tmp_path: Path, method: str) -> None:
    done, cut, cut_files = tmp_path / "done", tmp_path / "cut", tmp_path / "files"
    target, config = (cut, {}) if method == "toDeltaLake" else (cut_files, {"format": "parquet"})
    steps = [
        write_rows(tmp_path, wait_milliseconds=HOUR),
        load("toDeltaLake", path=str(done)),
        waiting(),
        load(method, path=str(target), **config),
    ]
    file = write_pipeline(tmp_path, steps)
    with started(file, "--load-id", "first") as process:
        wait_until(lambda: any(target.rglob("*.parquet")), process)
        # The first load is committed, of the second there are files and no commit.
        assert delta_ids(done) == [1, 2]
        process.kill()
        process.wait()
    assert (delta_ids(target) if method == "toDeltaLake" else file_ids(target)) == []

    write_rows(tmp_path, wait_milliseconds=0)
    metrics = completed(file, "--load-id", "first")

    assert delta_ids(done) == [1, 2]
    assert (delta_ids(target) if method == "toDeltaLake" else file_ids(target)) == [1, 2]
    assert [step["status"] for step in metrics["steps"] if step["type"] == "load"] == ["SKIPPED", "COMPLETED"]
    assert not (target / LEDGER / "pending").exists()


@pytest.mark.timeout(900)
def test_a_range_of_partitions_killed_in_the_middle_has_every_row_once_when_repeated(tmp_path: Path) -> None:
    target = tmp_path / "t"
    steps = [
        write_rows(tmp_path, wait_milliseconds=HOUR),
        transform("filterRows", condition="id = ${partition:key}"),
        waiting(),
        load("toDeltaLake", path=str(target), mode="overwrite"),
    ]
    file = write_pipeline(tmp_path, steps, partitions={"type": "static", "keys": ["1", "2"], "column": "id"})
    chosen = ["--load-id", "first", "--from", "1", "--to", "2"]
    with started(file, *chosen) as process:
        # The first partition is committed, of the second there are files and no commit.
        wait_until(lambda: len([*target.rglob("*.parquet")]) == 2, process)
        process.kill()
        process.wait()
    assert delta_ids(target) == [1]

    write_rows(tmp_path, wait_milliseconds=0)
    runs = completed(file, *chosen)

    assert delta_ids(target) == [1, 2]
    assert [run["partitions"] for run in runs] == [["1"], ["2"]]
    assert [run["steps"][-1]["status"] for run in runs] == ["SKIPPED", "COMPLETED"]
    completed(file, "--partition", "2")
    assert delta_ids(target) == [1, 2]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("committed", [0, 1], ids=["after the offset log", "between the two loads"])
def test_a_stream_killed_in_a_micro_batch_has_every_row_once_in_both_sinks_when_started_again(
    tmp_path: Path, committed: int
) -> None:
    folder, sinks = tmp_path / "in", [tmp_path / "one", tmp_path / "two"]
    folder.mkdir()
    write_rows(folder, wait_milliseconds=HOUR)
    loads = [
        load("toDeltaLake", path=str(sinks[0]), trigger="availableNow"),
        load("toFiles", path=str(sinks[1]), format="parquet"),
    ]
    source = extract("fromFiles", path=str(folder), format="json", schema=WAITING)
    steps = [source, *loads[:committed], waiting(), *loads[committed:]]
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    file = write_pipeline(tmp_path, steps, mode="streaming", streaming=checkpoints)
    # Where both loads are of rows that wait, these are kept before the first one begins.
    place, sign = (sinks[1], "*.parquet") if committed else (tmp_path / "checkpoints", "offsets/0")
    with started(file) as process:
        wait_until(lambda: any(place.rglob(sign)), process)
        process.kill()
        process.wait()
    assert delta_ids(sinks[0]) == [1, 2][: 2 * committed]
    assert file_ids(sinks[1]) == []

    write_rows(folder, wait_milliseconds=0)
    metrics = completed(file)

    assert delta_ids(sinks[0]) == file_ids(sinks[1]) == [1, 2]
    statuses = [step["status"] for step in metrics["steps"] if step["type"] == "load"]
    assert statuses == ["SKIPPED" if committed else "COMPLETED", "COMPLETED"]
    completed(file)
    assert delta_ids(sinks[0]) == file_ids(sinks[1]) == [1, 2]
