"""Files that are new, each loaded once into a Delta table, which is compared as delta-rs reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import parquet
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from devtools.pipelines import StepValue, extract, last_step, load, pipeline_text, run, wrote_nothing
from pipeline_platform.cli import app
from pipeline_platform.connectors.delta.cursor import DeltaCursor
from pipeline_platform.connectors.delta.write import DeltaWrite
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.metrics.run import RunMetrics

NOON = 1_704_110_400
"""2024-01-01 12:00:00 in UTC."""


class Inbox:
    """A folder that others put files into, and the table that they are loaded into."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.table = spark, folder / "in", folder / "table"
        self.folder.mkdir()
        self.load_config: dict[str, Any] = {}

    def put(self, name: str, *ids: int, seconds: float = 0) -> Path:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("id,note\n" + "".join(f"{number},{file.stem}\n" for number in ids))
        os.utime(file, (NOON + seconds, NOON + seconds))
        return file

    def steps(self, incremental: dict[str, Any] | None = None, **keys: Any) -> list[StepValue]:
        config = {
            "path": str(self.folder),
            "format": "csv",
            "schema": "id INT, note STRING",
            "registerAs": "in",
            **keys,
        }
        source = extract("fromFiles", incremental=incremental or {}, **config)
        return [source, load("toDeltaLake", path=str(self.table), **self.load_config)]

    def load(self, incremental: dict[str, Any] | None = None, **keys: Any) -> RunMetrics:
        return run(self.spark, *self.steps(incremental, **keys))

    def ids(self) -> list[int]:
        if not self.table.joinpath("_delta_log").exists():
            return []
        return sorted(DeltaTable(self.table).to_pyarrow_table(columns=["id"])["id"].to_pylist())

    def refused(self, *said: str, **keys: Any) -> None:
        with pytest.raises(PipelineExecutionException) as raised:
            self.load(**keys)
        for text in said:
            assert text in str(raised.value)


@pytest.fixture
def inbox(spark: SparkSession, tmp_path: Path) -> Inbox:
    return Inbox(spark, tmp_path)


def test_each_file_is_loaded_once_whatever_its_time(inbox: Inbox):
    inbox.put("a.csv", 1, seconds=10)
    inbox.put("b [1] %20#é.csv", 2, seconds=20)
    assert last_step(inbox.load()).cursor == "2024-01-01 12:00:20+00:00"
    inbox.put("same time.csv", 3, seconds=20)
    inbox.put("older.csv", 4, seconds=-86400)
    inbox.put("newer.csv", 5, seconds=20.5)
    inbox.put("_being_written.csv", 6)
    assert last_step(inbox.load()).rows == 3
    (inbox.folder / "nothing in it.csv").touch()
    assert last_step(inbox.load(schema=None)).skipped is None
    inbox.put("7.csv", 6)
    assert last_step(inbox.load(schema=None)).rows == 1
    (inbox.folder / "older.csv").unlink()
    version = DeltaTable(inbox.table).version()
    assert last_step(inbox.load()).skipped == "there is nothing new in the source"
    assert DeltaTable(inbox.table).version() == version
    assert inbox.ids() == [1, 2, 3, 4, 5, 6]
    elsewhere = inbox.folder.parent / "else" / "where none.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("id,note\n7,x\n")
    inbox.refused(f"the files of {inbox.folder} were loaded", "where none of them is", path=str(elsewhere.parent))
    inbox.put("zoo.csv", 7)
    assert last_step(inbox.load(path=f"{inbox.folder}/{{a,z}}*.csv")).rows == 1


class Killed(BaseException):
    """What stands for a SIGKILL: nothing that comes after it is done."""


@pytest.mark.parametrize(
    ("owner", "point", "is_loaded"),
    [(DeltaWrite, "_written", False), (DeltaCursor, "settle", True)],
    ids=["before the commit", "after the commit"],
)
def test_a_load_that_is_killed_leaves_no_file_out_and_repeats_none(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, owner: type, point: str, is_loaded: bool
):
    inbox.put("a.csv", 1)
    stage = DeltaCursor.stage

    def staged(*given: Any) -> None:
        # After the folder was listed, and before its files are read.
        inbox.put("b.csv", 2)
        stage(*given)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(DeltaCursor, "stage", staged)
        patch.setattr(owner, point, killed)
        with pytest.raises(Killed):
            inbox.load()
    assert inbox.ids() == ([1] if is_loaded else [])
    inbox.load()
    assert last_step(inbox.load()).rows == 0
    assert inbox.ids() == [1, 2]


def test_a_file_that_has_changed_is_an_error_or_left_or_merged(inbox: Inbox):
    inbox.put("a.csv", 1, 2)
    inbox.load()
    inbox.put("a.csv", 2, 3, seconds=5)
    inbox.put("b.csv", 4)
    inbox.refused("changed since it was loaded:", "a.csv; to load it again would repeat rows", "set 'changedFiles'")
    assert inbox.ids() == [1, 2]
    [hint] = inbox.load({"changedFiles": "ignore"}).hints
    assert "a.csv" in hint
    assert inbox.ids() == [1, 2, 4]
    inbox.put("a.csv", 2, 5, seconds=9)
    inbox.load_config = {"mode": "merge", "mergeKeys": ["id"]}
    inbox.load({"changedFiles": "load"})
    assert inbox.ids() == [1, 2, 4, 5]


def test_files_whose_changes_are_all_older_than_the_table_count_as_loaded(inbox: Inbox):
    inbox.load_config = {"mode": "applyChanges", "changes": {"keys": ["id"], "sequenceBy": "note"}}
    inbox.put("new.csv", 1)
    inbox.load()
    inbox.put("earlier.csv", 1)
    assert last_step(inbox.load()).skipped is None
    assert last_step(inbox.load()).skipped == "there is nothing new in the source"
    assert DeltaTable(inbox.table).to_pyarrow_table(columns=["note"])["note"].to_pylist() == ["new"]


def test_files_of_other_formats_keep_their_types_and_the_columns_of_their_folders(inbox: Inbox):
    def put(day: object, *ids: int, kind: Any) -> None:
        folder = inbox.folder / f"day={day}"
        folder.mkdir()
        parquet.write_table(pa.table({"id": pa.array(ids, kind)}), folder / "part.parquet")

    keys: dict[str, Any] = {"format": "parquet", "schema": None}
    put("07", 1, kind=pa.int64())
    pattern = f"{inbox.folder.parent}/i*"
    inbox.refused("are the column 'day', which single files of a pattern would lack", **keys, path=pattern)
    inbox.load(**keys)
    # Of other types, by themselves.
    put(10, 2, kind=pa.int32())
    inbox.load(**keys)
    put("__HIVE_DEFAULT_PARTITION__", 3, kind=pa.int64())
    inbox.load(**keys)
    rows = DeltaTable(inbox.table).to_pyarrow_table().to_pylist()
    assert sorted((row["id"], row["day"]) for row in rows) == [(1, "07"), (2, "10"), (3, None)]
    for file in inbox.folder.glob("*/*"):
        file.unlink()
    assert last_step(inbox.load(**keys)).skipped == "there is nothing new in the source"


@pytest.fixture
def command(inbox: Inbox, tmp_path: Path) -> Callable[..., str]:
    """The command `cursor` for the pipeline that `run` runs."""
    file = tmp_path / "tested.json"
    file.write_text(pipeline_text(inbox.steps()))

    def invoked(*options: str) -> str:
        return CliRunner().invoke(app, ["cursor", str(file), *options]).output

    return invoked


def test_a_person_sees_where_it_is_and_can_set_it(inbox: Inbox, command: Callable[..., str]):
    inbox.put("a.csv", 1, seconds=10)
    inbox.put("b.csv", 2, seconds=20)
    assert "in, modification time: nothing is loaded yet: the next run reads all files" in command()
    assert "--set has '7', which is no time" in command("--set", "7")
    assert wrote_nothing(inbox.table)
    assert "the next run begins at 2024-01-01 12:00:20+00:00" in command("--set", "2024-01-01T13:00:20+01:00")
    inbox.load()
    assert inbox.ids() == [2]
    assert "in, modification time: loaded up to 2024-01-01 12:00:20+00:00, by 1 loads" in command()
    command("--set", "2024-01-01T12:00:21Z")
    [hint] = inbox.load().hints
    assert "2 of the files count as loaded, since they were modified before 2024-01-01 12:00:21+00:00" in hint
    inbox.put("late.csv", 3, seconds=-86400)
    inbox.load()
    assert inbox.ids() == [2, 3]
    command("--reset")
    inbox.load()
    assert inbox.ids() == [1, 2, 2, 3, 3]
