"""Several loads of one folder of files: at once, one after a dead one, and after those of an older version."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError
from pyspark.sql import SparkSession
from upath import UPath

from devtools.pipelines import listing
from devtools.services.s3 import S3Server
from pipeline_platform.connectors.files import committer, folder_lock
from pipeline_platform.connectors.files.committer import LEDGER, FileCommitter
from pipeline_platform.connectors.files.folder_lock import alive, if_dead, only_writer
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.connectors.storage.location import place_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.load import LoadResult, LoadRun
from pipeline_platform_tests.duckdb_rows import frame_of

WAIT_SECONDS = 60

Load = Callable[..., LoadResult]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def write(spark: SparkSession, folder: Path) -> Load:
    """Load rows of these ids, each with a partition `p`."""

    def once(ids: Sequence[int], load_id: str, **config: Any) -> LoadResult:
        frame = frame_of(spark, [(number, "ab"[number % 2]) for number in ids], "id BIGINT, p STRING").coalesce(1)
        config = {"path": str(folder), "format": "parquet", **config}
        return ToFiles(**config).prepare(frame, LoadRun(load_id, load_id)).write()

    return once


def ids(folder: Path) -> list[int]:
    files = [str(folder / name) for name in listing(folder) if not name.startswith("_")]
    return sorted(row[0] for row in duckdb.read_parquet(files, hive_partitioning=False).project("id").fetchall())


def pending(folder: Path) -> list[str]:
    return [name for name in listing(folder) if name.startswith(f"{LEDGER}/pending/")]


@pytest.fixture
def staged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two loads go on when both have written their files aside."""
    both, real = threading.Barrier(2, timeout=WAIT_SECONDS), FileCommitter._stage

    def stage(self: FileCommitter, *args: Any) -> Any:
        staged = real(self, *args)
        both.wait()
        return staged

    monkeypatch.setattr(FileCommitter, "_stage", stage)


def at_once(*loads: Callable[[], LoadResult]) -> list[LoadResult]:
    with ThreadPoolExecutor(len(loads)) as threads:
        return [future.result() for future in [threads.submit(load) for load in loads]]


@pytest.mark.usefixtures("staged_together")
def test_of_two_overwrites_at_once_one_wins_whole(write: Load, folder: Path) -> None:
    at_once(
        lambda: write([1, 2, 3], "one", mode="overwrite", partitionBy="p"),
        lambda: write([4, 5, 6], "two", mode="overwrite", partitionBy="p"),
    )
    assert ids(folder) in ([1, 2, 3], [4, 5, 6])


@pytest.mark.usefixtures("staged_together")
def test_two_appends_at_once_are_both_loaded_and_neither_again(write: Load, folder: Path) -> None:
    written = at_once(lambda: write([1, 2], "one"), lambda: write([3], "two"))
    assert [load.skipped for load in written] == [None, None]
    assert ids(folder) == [1, 2, 3]
    assert pending(folder) == []


@pytest.mark.usefixtures("staged_together")
def test_the_same_load_twice_at_once_is_loaded_once(write: Load, folder: Path) -> None:
    written = at_once(lambda: write([1, 2], "same"), lambda: write([1, 2], "same"))
    assert sorted(load.skipped is None for load in written) == [False, True]
    assert ids(folder) == [1, 2]
    assert pending(folder) == []


@pytest.mark.usefixtures("staged_together")
def test_of_two_loads_at_once_that_want_an_empty_folder_one_is_told(write: Load, folder: Path) -> None:
    first, second = (lambda name=name: write([1], name, mode="errorIfExists") for name in ("one", "two"))
    with pytest.raises(PipelineExecutionException, match="mode is errorIfExists"):
        at_once(first, second)
    assert ids(folder) == [1]


def test_a_manifest_is_carried_out_by_its_own_load_as_long_as_that_lives(
    write: Load, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline_platform.connectors.files import committer as publication

    second_is_staged, moved_by_others = threading.Event(), []
    real_move, real_stage = publication._move, FileCommitter._stage
    owner: list[int] = []

    def move(source: Any, target: Any) -> None:
        if not owner:
            owner.append(threading.get_ident())
            assert second_is_staged.wait(WAIT_SECONDS)
            moved_by_others.append(target.exists())
        real_move(source, target)

    def stage(self: FileCommitter, *args: Any) -> Any:
        staged = real_stage(self, *args)
        if self.load_id == "second":
            second_is_staged.set()
        return staged

    monkeypatch.setattr(publication, "_move", move)
    monkeypatch.setattr(FileCommitter, "_stage", stage)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(write, [1], "first")
        while not owner:
            time.sleep(0.01)
        second = threads.submit(write, [2], "second")
        assert (first.result().skipped, second.result().skipped) == (None, None)
    assert moved_by_others == [False]
    assert ids(folder) == [1, 2]


def test_the_newest_micro_batch_of_a_stream_is_that_of_the_highest_number(write: Load, folder: Path) -> None:
    for number in (3, 12):
        write([number], f"query/{number}")
    nothing: Any = None
    next_one = FileCommitter(str(folder), UPath(folder), "query/13", "append", writer=nothing, stream="query")
    assert next_one.last_batch() == 12


def test_a_load_whose_lock_was_taken_over_publishes_nothing(
    write: Load, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([1], "one")
    before = listing(folder)

    @contextmanager
    def lost(*_: Any) -> Generator[Any]:
        lock = folder_lock._S3Lock(UPath("s3://bucket/out"), UPath("s3://bucket/out/lock"))
        lock.lost = True
        yield lock

    monkeypatch.setattr(committer, "only_writer", lost)
    with pytest.raises(PipelineExecutionException, match="took over the lock"):
        write([2], "two", mode="overwrite")
    assert listing(folder) == before


def test_what_a_dead_load_left_is_removed_and_what_a_live_one_writes_stays(write: Load, folder: Path) -> None:
    dead, living = (folder / LEDGER / "pending" / name for name in ("dead", "living"))
    for load in (dead, living):
        (load / "attempt").mkdir(parents=True)
        (load / "attempt" / "part-0.parquet").write_text("half")
        (load / "attempt.lock").touch()
    with alive(UPath(living / "attempt.lock")):
        write([1], "next")
        assert pending(folder) == [
            f"{LEDGER}/pending/living/attempt.lock",
            f"{LEDGER}/pending/living/attempt/part-0.parquet",
        ]
    assert ids(folder) == [1]


def test_files_of_which_nothing_is_known_are_swept_when_they_are_a_week_old(write: Load, folder: Path) -> None:
    old, new = (folder / LEDGER / "pending" / name / "staged" / "part-0.parquet" for name in ("old", "new"))
    for file in (old, new):
        file.parent.mkdir(parents=True)
        file.touch()
    week = 8 * 24 * 3600
    os.utime(old, (time.time() - week, time.time() - week))
    write([1], "next")
    assert pending(folder) == [str(new.relative_to(folder))]


# What version 11 left on the disk.
def old_name(load_id: str) -> str:
    return hashlib.sha256(load_id.encode()).hexdigest()[:20]


def test_a_record_of_the_last_version_is_still_honoured(write: Load, folder: Path) -> None:
    record = folder / LEDGER / "done" / f"{old_name('run-1/0')}.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"load": "run-1/0", "files": 1, "bytes": 700}')
    assert write([1], "run-1/0").skipped == "an earlier attempt of this run has loaded it already"


@pytest.mark.parametrize("load_id", ["run-1/0", "another"])
def test_a_manifest_of_the_last_version_is_carried_out(write: Load, folder: Path, load_id: str) -> None:
    name = old_name("run-1/0")
    work = folder / LEDGER / "pending" / name
    (work / "staged").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table({"id": [7]}), work / "staged" / "part-00000.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": [5]}), folder / "old.parquet")
    manifest = (
        '{"load":"run-1/0","added":{"part-00000.parquet":"part-00000-%s.parquet"},'
        '"removed":["old.parquet"],"bytes":700}'
    )
    (work / "manifest.json").write_text(manifest % name)
    written = write([1], load_id)
    assert (written.skipped is None) == (load_id == "another")
    assert ids(folder) == ([7] if load_id == "run-1/0" else [1, 7])
    assert json.loads((folder / LEDGER / "done" / f"{name}.json").read_text())["load"] == "run-1/0"
    assert pending(folder) == []


def test_a_retry_removes_what_the_last_version_wrote_for_it(write: Load, folder: Path) -> None:
    staged = folder / LEDGER / "pending" / old_name("run-1/0") / "staged" / "part-0.parquet"
    staged.parent.mkdir(parents=True)
    staged.touch()
    write([1], "run-1/0")
    assert pending(folder) == []
    assert ids(folder) == [1]


def test_a_crash_between_the_record_and_the_end_is_cleaned_up(
    write: Load, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the load are gone by then, as a later one has replaced them."""
    write([1], "first", mode="overwrite")
    name = old_name("first")
    work = folder / LEDGER / "pending" / name
    work.mkdir(parents=True)
    manifest = {"load": "first", "added": {"part-0.parquet": "gone.parquet"}, "removed": [], "bytes": 1, "staged": "x"}
    (work / "manifest.json").write_text(json.dumps(manifest))
    write([2], "second", mode="overwrite")
    assert ids(folder) == [2]
    assert pending(folder) == []


DYNAMIC = {"mode": "overwrite", "partitionBy": "p"}


def test_overwrite_replaces_the_partitions_it_has_rows_for_if_so_asked(
    write: Load, folder: Path, spark: SparkSession
) -> None:
    write([1, 2, 3, 4], "first", partitionBy="p")
    write([5], "by key", **DYNAMIC, partitionOverwrite="dynamic")
    assert ids(folder) == [2, 4, 5]
    spark.conf.set("spark.sql.sources.partitionOverwriteMode", "DYNAMIC")
    try:
        write([6], "by session", **DYNAMIC)
        assert ids(folder) == [5, 6]
        write([], "nothing", **DYNAMIC)
        assert ids(folder) == [5, 6]
        write([8], "key wins", **DYNAMIC, partitionOverwrite="static")
    finally:
        spark.conf.unset("spark.sql.sources.partitionOverwriteMode")
    assert ids(folder) == [8]


HOLD = """
import sys, time
from upath import UPath
from pipeline_platform.connectors.files.folder_lock import only_writer
folder = UPath(sys.argv[1])
with only_writer(folder, folder / "lock"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_process_that_is_killed_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = UPath(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(folder_lock, "WAIT_SECONDS", 0.1)
        with (
            pytest.raises(PipelineExecutionException, match="another load has been committing") as told,
            only_writer(folder, folder / "lock"),
        ):
            pass
        assert told.value.retryable
        holder.send_signal(signal.SIGKILL)
    with only_writer(folder, folder / "lock"):
        assert (tmp_path / "lock").exists()
    assert listing(tmp_path) == []


@pytest.fixture
def bucket_folder(s3: S3Server) -> UPath:
    bucket = "locked"
    if bucket not in [found["Name"] for found in s3.client().list_buckets()["Buckets"]]:
        s3.make_bucket(bucket)
    return place_of(f"s3a://{bucket}/out", S3Credentials.model_validate(s3.credentials())).path()


@pytest.mark.usefixtures("staged_together")
def test_of_two_overwrites_of_a_folder_on_s3_at_once_one_wins_whole(
    spark: SparkSession, bucket_folder: UPath, s3: S3Server
) -> None:
    keys = S3Credentials.model_validate(s3.credentials())

    def overwrite(number: int) -> LoadResult:
        frame = frame_of(spark, [(number, "a"), (number, "b")], "id BIGINT, p STRING")
        sink = ToFiles(path="s3a://locked/two", format="parquet", mode="overwrite", partition_by=["p"])
        return sink.prepare(frame, LoadRun(f"load {number}", "x", credentials=keys)).write()

    at_once(lambda: overwrite(1), lambda: overwrite(2))
    found = [key for key in s3.keys("locked", "two/") if f"/{LEDGER}/" not in key]
    bodies = [s3.client().get_object(Bucket="locked", Key=key)["Body"].read() for key in found]
    tables = [pyarrow.parquet.read_table(pyarrow.BufferReader(body)) for body in bodies]
    numbers = [number for table in tables for number in table["id"].to_pylist()]
    assert numbers in ([1, 1], [2, 2])
    assert s3.keys("locked", f"two/{LEDGER}/pending") == s3.keys("locked", f"two/{LEDGER}/lock") == []


def test_on_s3_what_a_dead_load_left_is_swept_when_it_is_a_week_old(
    spark: SparkSession, bucket_folder: UPath, s3: S3Server
) -> None:
    swept = f"swept/{LEDGER}/pending"
    ages = {"old": 8, "young": 6, "mixed": 8}
    for load, days in ages.items():
        key = f"{swept}/{load}/attempt/part-0.parquet"
        s3.client().put_object(Bucket="locked", Key=key, Body=b"half")
        s3.set_age("locked", key, days=days)
    # A live load may have begun long ago and still write.
    s3.client().put_object(Bucket="locked", Key=f"{swept}/mixed/attempt/part-1.parquet", Body=b"half")
    sink = ToFiles(path="s3a://locked/swept", format="parquet")
    keys = S3Credentials.model_validate(s3.credentials())
    sink.prepare(spark.range(1), LoadRun("next", "x", credentials=keys)).write()
    left = [key.removeprefix(f"{swept}/") for key in s3.keys("locked", swept)]
    assert left == ["mixed/attempt/part-0.parquet", "mixed/attempt/part-1.parquet", "young/attempt/part-0.parquet"]


def test_on_s3_the_second_writer_waits_for_the_first(bucket_folder: UPath, s3: S3Server) -> None:
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with only_writer(bucket_folder, bucket_folder / "lock"):
            order.append("second")

    with ThreadPoolExecutor(1) as threads:
        with only_writer(bucket_folder, bucket_folder / "lock"):
            waiting = threads.submit(second)
            begun.wait(WAIT_SECONDS)
            time.sleep(1.5)
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]
    assert s3.keys("locked", "out/") == []


def test_on_s3_the_lock_of_a_dead_writer_is_taken_over_and_one_that_lost_it_is_told(
    bucket_folder: UPath, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 1.0)
    s3.client().put_object(Bucket="locked", Key="out/lock", Body=b"of one that is dead")
    with only_writer(bucket_folder, bucket_folder / "lock") as held:
        held.require()
        s3.client().put_object(Bucket="locked", Key="out/lock", Body=b"of one that took it for dead")
        time.sleep(1)
        with pytest.raises(PipelineExecutionException, match="took over the lock"):
            held.require()
    assert s3.client().get_object(Bucket="locked", Key="out/lock")["Body"].read() == b"of one that took it for dead"
    s3.client().delete_object(Bucket="locked", Key="out/lock")


def test_a_live_writer_on_s3_keeps_its_lock_longer_than_the_lease(
    bucket_folder: UPath, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(folder_lock, "WAIT_SECONDS", 2.5)
    with (
        only_writer(bucket_folder, bucket_folder / "lock") as held,
        pytest.raises(PipelineExecutionException, match=r"another load .*: process \d+ of "),
        only_writer(bucket_folder, bucket_folder / "lock"),
    ):
        pass
    held.require()


@pytest.mark.parametrize("answer", ["ignores them", "does not implement them"])
def test_a_store_without_conditional_writes_is_found_out(
    bucket_folder: UPath,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: str,
) -> None:
    real = folder_lock._S3Lock._call

    def without_conditions(self: Any, method: str, **arguments: Any) -> Any:
        kept = {name: value for name, value in arguments.items() if not name.startswith("If")}
        if kept != arguments and answer == "does not implement them":
            told = {"Error": {"Code": "NotImplemented", "Message": "A header you provided implies what is not there"}}
            raise OSError("not implemented") from ClientError(told, "PutObject")
        return real(self, method, **kept)

    monkeypatch.setattr(folder_lock._S3Lock, "_call", without_conditions)
    with only_writer(bucket_folder, bucket_folder / "lock"):
        assert s3.keys("locked", "out/") == []
    assert "does not support conditional writes" in caplog.text


def test_a_mark_that_another_load_looks_at_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    mark = UPath(tmp_path / "attempt.lock")
    looked, marked = threading.Event(), threading.Event()

    def look() -> None:
        with if_dead(mark) as dead:
            assert dead
            looked.set()
            # Until the other one waits for it.
            assert not marked.wait(0.3)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        assert looked.wait(10)
        with alive(mark):
            marked.set()
            assert mark.exists()
        looking.result()
