"""What maintenance does to a table and leaves alone, without a JVM; DuckDB says which rows there are."""

from __future__ import annotations

import os
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from filelock import FileLock

from devtools.pipelines import extract, load, pipeline_of, validate
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.delta import upkeep
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.maintenance.overview import overview
from pipeline_platform.engine.maintenance.sinks import sinks
from pipeline_platform.engine.maintenance.upkeep import Kept, Upkeep, last_maintenance
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException

SOURCE = extract("fromFiles", path="in", format="json", schema="id BIGINT")
ARROW: Any = pa


def pipeline(table: Path, name: str = "kept", **maintenance: Any) -> PipelineConfig:
    """A pipeline that loads a table and says how it is kept."""
    return pipeline_of([SOURCE, load("toDeltaLake", path=str(table))], name=name, maintenance=maintenance)


def no_spark() -> Any:
    raise AssertionError("a JVM was asked for")


def maintained(*pipelines: PipelineConfig, dry_run: bool = False, now: datetime | None = None) -> Kept:
    """Maintain the first table of pipelines."""
    sink = next(sink for sink in sinks(pipelines) if sink.maintenance is not None)
    credentials = RunCredentials.from_environment("test", pipelines[0].location)
    work = Upkeep(sink, pipelines, credentials, no_spark, lambda _: None, now=now or datetime.now(UTC))
    return work.run(dry_run=dry_run)


def table_of(folder: Path, commits: int) -> Path:
    """A table of as many commits, one file each, as a stream of that many micro-batches leaves it."""
    for number in range(commits):
        mark = CommitProperties(app_transactions=[Transaction("stream", number)])
        rows = ARROW.table({"id": [2 * number, 2 * number + 1]})
        write_deltalake(str(folder), rows, mode="append", commit_properties=mark)
    return folder


def ids(table: Path) -> list[int]:
    """The rows as DuckDB reads the files that delta-rs names."""
    query = f"SELECT id FROM read_parquet({DeltaTable(str(table)).file_uris()}) ORDER BY id"
    return [row[0] for row in duckdb.connect().sql(query).fetchall()]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder, with its size and when it was changed."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def make_old(paths: Any, days: int = 9) -> None:
    then = time.time() - days * 86_400
    for path in paths:
        os.utime(path, (then, then))


@pytest.fixture(scope="module")
def many_commits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 70 commits, of which 65 are older than a week, with a checkpoint after ten of them."""
    table = tmp_path_factory.mktemp("many") / "table"
    table_of(table, 10)
    DeltaTable(str(table)).create_checkpoint()
    for number in range(10, 70):
        mark = CommitProperties(app_transactions=[Transaction("stream", number)])
        rows = ARROW.table({"id": [2 * number, 2 * number + 1]})
        write_deltalake(str(table), rows, mode="append", commit_properties=mark)
    log = sorted((table / "_delta_log").glob("*"))
    make_old(path for path in log if path.name < f"{65:020}")
    return table


@pytest.fixture
def table(many_commits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(many_commits, tmp_path / "table"))


def test_many_small_files_become_one_and_rows_and_marks_of_loads_stay(table: Path):
    cursor = table / "_pipeline_platform" / "cursors" / "a" / "1-x.seen" / "part.parquet"
    left_by_killed = table / "part-of-a-killed-load.parquet"
    for file in (cursor, left_by_killed):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    make_old([cursor, left_by_killed])
    kept = maintained(pipeline(table))
    assert (kept.before.files, kept.before.small, kept.after.files, kept.after.small) == (70, 70, 1, 0)
    assert ids(table) == list(range(140))
    assert DeltaTable(str(table)).transaction_version("stream") == 69
    assert kept.checkpointed
    # What a reader of the version before needs stays for seven days; what no version knows of goes after them.
    assert (kept.removed_files, left_by_killed.exists(), cursor.exists()) == (1, False, True)
    assert len([*table.glob("part-*.parquet")]) == 71
    again = maintained(pipeline(table))
    # Maintained or not: of a table that nobody loads no version more is made.
    assert (again.before, again.version) == (kept.after, again.version_before)


def test_old_entries_of_the_log_go_up_to_a_checkpoint_and_every_row_and_mark_can_still_be_read(table: Path):
    kept = maintained(pipeline(table, keepLog="7 days", optimize=False))
    assert (kept.commits_before, kept.removed_commits) == (70, 9)
    assert not [*(table / "_delta_log").glob(f"{8:020}*")]
    assert ids(table) == list(range(140))
    assert DeltaTable(str(table)).transaction_version("stream") == 69
    # The oldest version that is left is the one of the checkpoint.
    assert len(DeltaTable(str(table), version=9).file_uris()) == 10


def test_the_commits_in_which_loads_look_for_their_own_stay_however_old_they_are(table: Path):
    DeltaTable(str(table)).create_checkpoint()
    table_of(table, 1)
    make_old((table / "_delta_log").glob("*"), days=400)
    maintained(pipeline(table, keepLog="1 day", optimize=False))
    assert len([*(table / "_delta_log").glob("*.json")]) == 71 - 9
    assert len(DeltaTable(str(table)).history(50)) == 50


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(table: Path):
    before = tree(table)
    kept = maintained(pipeline(table, keepLog="7 days"), dry_run=True)
    assert (kept.before.small, kept.removed_commits, kept.version) == (70, 9, 69)
    assert tree(table) == before


def test_a_step_that_reads_an_old_version_keeps_the_table_from_being_maintained(table: Path):
    reader = pipeline_of(
        [extract("fromDeltaLake", path=str(table), version=5), load("toDeltaLake", path=str(table.parent / "copy"))],
        name="monthly",
    )
    before = tree(table)
    with pytest.raises(PipelineExecutionException, match="nothing was touched") as raised:
        maintained(pipeline(table, keepLog="7 days"), reader)
    assert "'keepLog' 7 days removes versions before 9" in raised.value.message
    assert "step 1, from_delta_lake, of 'monthly', which reads version 5" in raised.value.message
    assert tree(table) == before


def test_rows_that_would_be_there_twice_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = tmp_path / "cities"
    for number in range(2):
        rows = ARROW.table({"id": [number], "city": ["Zürich"]})
        write_deltalake(str(table), rows, mode="append", partition_by=["city"])
    # As Spark spells it.
    (table / "city=Z%C3%BCrich").rename(table / "city=Zürich")
    for commit in (table / "_delta_log").glob("*.json"):
        commit.write_text(commit.read_text().replace("city=Z%25C3%25BCrich", "city=Zürich"))
    with pytest.raises(PipelineExecutionException, match="a JVM was asked for"):
        maintained(pipeline(table))
    monkeypatch.setattr(upkeep, "_PLAIN_PATH", re.compile(".*"))
    with pytest.raises(PipelineExecutionException, match="2 rows became 4: this is a bug") as raised:
        maintained(pipeline(table))
    assert f"RESTORE TABLE delta.`{table}` TO VERSION AS OF 1" in (raised.value.hint or "")


def test_z_order_is_made_once_for_what_was_loaded_and_its_columns_have_to_be_there(table: Path):
    ordered = pipeline(table, optimize={"zOrderBy": ["ID"]})
    with pytest.raises(PipelineExecutionException, match="names 'nothing', and the table has no such column"):
        maintained(pipeline(table, optimize={"zOrderBy": ["nothing"]}))
    ordered = pipeline(table, optimize={"zOrderBy": ["id"]})
    assert maintained(ordered).after.files == 1
    assert ids(table) == list(range(140))
    again = maintained(ordered)
    assert again.version == again.version_before
    table_of(table, 1)
    assert maintained(ordered).after.files == 1


def test_what_is_no_delta_table_is_refused_and_a_table_that_is_not_there_is_no_failure(tmp_path: Path):
    assert maintained(pipeline(tmp_path / "none")).skipped == "there is no table yet"
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.parquet").write_text("x")
    with pytest.raises(PipelineExecutionException, match="is not a Delta table: it has files, and no log"):
        maintained(pipeline(files))
    assert (files / "a.parquet").exists()


def test_a_table_within_the_folder_of_another_is_not_taken_for_files_that_nobody_needs(table: Path):
    inside = pipeline_of([SOURCE, load("toFiles", path=f"{table}/export", format="parquet")], name="export")
    with pytest.raises(PipelineExecutionException, match=r"the step 'to_files' of 'export' writes .*/table/export"):
        maintained(pipeline(table), inside)
    hidden = pipeline_of([SOURCE, load("toFiles", path=f"{table}/_export", format="parquet")], name="export")
    assert maintained(pipeline(table), hidden, dry_run=True).skipped is None


def test_two_processes_do_not_maintain_one_table_at_a_time(table: Path, streams: Path):
    maintained(pipeline(table), dry_run=True)
    [lock] = streams.glob("*.maintenance.lock")
    with FileLock(lock), pytest.raises(PipelineExecutionException, match="another process maintains the table"):
        maintained(pipeline(table))


def test_the_longer_of_what_is_said_and_of_what_the_table_says_holds(tmp_path: Path):
    table = tmp_path / "table"
    properties = {"delta.deletedFileRetentionDuration": "interval 30 days"}
    write_deltalake(str(table), ARROW.table({"id": [1]}), configuration=properties)
    write_deltalake(str(table), ARROW.table({"id": [2]}), mode="append")
    kept = maintained(pipeline(table))
    assert kept.remarks == ("files stay for 30 days, as the table's property delta.deletedFileRetentionDuration says",)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("keepFiles", "6 days", "'6 days' is shorter than 7 days: a run that still reads or writes the table"),
        ("keepFiles", "a week", "expected a number of hours, days or weeks, such as '7 days', not 'a week'"),
        ("keepLog", "23 hours", "'23 hours' is shorter than 1 day"),
        ("schedule", "every night", "not a cron string"),
    ],
)
def test_what_would_break_readers_or_means_nothing_is_refused_by_check(key: str, value: str, told: str):
    with pytest.raises(PipelineConfigurationException) as raised:
        pipeline(Path("lake/a"), **{key: value})
    assert told in str(raised.value.problems[0])


def test_every_sink_is_in_the_table_of_tables_and_one_that_can_not_be_read_hides_no_other(table: Path, tmp_path: Path):
    bad = tmp_path / "bad" / "_delta_log"
    bad.mkdir(parents=True)
    (bad / f"{0:020}.json").write_text("{}")
    steps = [
        SOURCE,
        validate("validateRanges", ranges={"id": {"min": 0}}, onFailure="quarantine"),
        load("toDeltaLake", path=str(table)),
        load("toDeltaLake", path=str(bad.parent)),
        load("toFiles", path=str(tmp_path / "files"), format="parquet"),
        load("toPostgres", host="h", database="d", table="t"),
    ]
    [quarantine, good, broken, files, other] = overview(
        sinks([pipeline_of(steps, maintenance={"schedule": "@daily"})]), lambda _: None
    )
    assert (quarantine.kind, quarantine.note) == ("quarantine", "there is no table yet")
    assert (good.files, good.small_share, good.version, good.commits, good.schedule) == (70, 1.0, 69, 70, "@daily")
    assert good.loaded is not None
    assert good.loaded > datetime.now(UTC) - timedelta(hours=1)
    assert (good.maintained, broken.files) == (None, None)
    assert broken.error is not None
    assert (files.note, other.note) == ("there are no files yet", "not looked at: it is in another system")
    maintained(pipeline(table))
    last = last_maintenance(StorageLocation(str(table)))
    assert last is not None
    assert last.version == DeltaTable(str(table)).version()
