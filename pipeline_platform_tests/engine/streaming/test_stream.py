"""Streams: one query, each of whose micro-batches leaves every row once, however often it comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform, validate
from pipeline_platform.cli import app
from pipeline_platform.connectors.files.committer import FileCommitter
from pipeline_platform.engine.streaming.lock import checkpoint_lock
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState, request_file, state_file
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    StreamingQueryException,
    ValidationException,
)
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform_tests.engine.processes import finished, started, wait_until, write_pipeline

NOW = "availableNow"


def arrive(folder: Path, name: str, ids: Sequence[int]) -> None:
    """Put a file of these numbers into a folder, all at once."""
    folder.mkdir(exist_ok=True)
    aside = folder.parent / f"{name}.tmp"
    aside.write_text("".join(json.dumps({"id": number, "kind": f"k{number % 3}"}) + "\n" for number in ids))
    aside.rename(folder / f"{name}.json")


def stream(spark: SparkSession, tmp_path: Path, *steps: StepValue, **run: Any) -> RunMetrics:
    """Run a stream until it has read what is there."""
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    return StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark, **run).run()


def arrivals(tmp_path: Path) -> StepValue:
    return extract("fromFiles", path=str(tmp_path / "in"), format="json", schema="id BIGINT, kind STRING")


def ids_in(path: Path) -> list[int]:
    return sorted(DeltaTable(path).to_pyarrow_table()["id"].to_pylist())


def to_delta(path: Path, **config: Any) -> StepValue:
    return load("toDeltaLake", path=str(path), trigger=NOW, **config)


def test_each_run_loads_what_has_come_since_the_last(spark: SparkSession, tmp_path: Path):
    steps = arrivals(tmp_path), transform("filterRows", condition="id % 2 = 0"), to_delta(tmp_path / "out")
    arrive(tmp_path / "in", "a", range(10))
    first = stream(spark, tmp_path, *steps)
    arrive(tmp_path / "in", "b", range(10, 16))
    second = stream(spark, tmp_path, *steps)
    third = stream(spark, tmp_path, *steps)
    assert ids_in(tmp_path / "out") == list(range(0, 16, 2))
    loaded = [{step.name: step.rows for step in found.steps}.get("to_delta_lake") for found in (first, second, third)]
    assert loaded == [5, 3, None]
    assert DeltaTable(tmp_path / "out").version() == 1


def test_a_stopped_stream_ends_its_micro_batch_and_goes_on_where_it_was(spark: SparkSession, tmp_path: Path):
    steps = extract("fromRate", rowsPerSecond=50), load("toDeltaLake", path=str(tmp_path / "out"), trigger="1 second")
    for _ in range(2):
        seen: list[StreamProgress] = []

        def stop_after_three(progress: StreamProgress, seen: list[StreamProgress] = seen) -> None:
            seen.append(progress)
            if len(seen) == 3:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        with pytest.raises(PipelineCancelledException, match="stopped"):
            stream(spark, tmp_path, *steps, listener=stop_after_three)
        assert [progress.batch for progress in seen] == sorted({progress.batch for progress in seen})
        assert spark.streams.active == []
    values = sorted(DeltaTable(tmp_path / "out").to_pyarrow_table()["value"].to_pylist())
    assert values == list(range(len(values)))
    assert len(values) >= 100


def test_a_micro_batch_that_fails_between_two_loads_is_in_both_once(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = load("toFiles", path=str(tmp_path / "files"), format="parquet", trigger=NOW)
    steps = arrivals(tmp_path), to_delta(tmp_path / "out"), files
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, *steps)
    arrive(tmp_path / "in", "b", range(5, 9))
    with monkeypatch.context() as patch:
        patch.setattr(FileCommitter, "write", broken)
        with pytest.raises(PipelineException, match="toFiles"):
            stream(spark, tmp_path, *steps)
    assert ids_in(tmp_path / "out") == list(range(9))
    stream(spark, tmp_path, *steps)
    assert ids_in(tmp_path / "out") == list(range(9))
    found = duckdb.execute(f"SELECT id FROM '{tmp_path}/files/*.parquet' ORDER BY id").fetchall()
    assert found == [(number,) for number in range(9)]
    assert len(list((tmp_path / "files" / "_pipeline_platform" / "done").iterdir())) == 1


def broken(*_: object) -> None:
    raise OSError("sesame: the disk is gone")


def test_rows_of_every_micro_batch_are_loaded_or_kept_aside_once(spark: SparkSession, tmp_path: Path):
    rule = validate("validateBusinessRules", rules=["kind <> 'k1'"], onFailure="quarantine")
    steps = arrivals(tmp_path), rule, to_delta(tmp_path / "out")
    for name, ids in (("a", range(10)), ("b", range(10, 30))):
        arrive(tmp_path / "in", name, ids)
        found = stream(spark, tmp_path, *steps)
        by_name = {step.name: step for step in found.steps}
        assert by_name["validate_business_rules"].quarantined == len([number for number in ids if number % 3 == 1])
    kept = ids_in(tmp_path / "out_quarantine")
    assert kept == [number for number in range(30) if number % 3 == 1]
    assert ids_in(tmp_path / "out") == [number for number in range(30) if number % 3 != 1]


def test_a_broken_rule_stops_the_stream_before_its_micro_batch_is_loaded(spark: SparkSession, tmp_path: Path):
    steps = arrivals(tmp_path), validate("validateRanges", ranges={"id": {"max": 10}}), to_delta(tmp_path / "out")
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, *steps)
    arrive(tmp_path / "in", "b", [5, 11])
    for _ in range(2):
        with pytest.raises(ValidationException) as raised:
            stream(spark, tmp_path, *steps)
        assert raised.value.violations == 1
    assert ids_in(tmp_path / "out") == list(range(5))


def test_a_micro_batch_is_read_once_however_many_loads_and_rules_it_has(spark: SparkSession, tmp_path: Path):
    rules = [validate("validateNulls", notNullColumns=name) for name in ("id", "kind")]
    more = load("toFiles", path=str(tmp_path / "files"), format="parquet", trigger=NOW)
    arrive(tmp_path / "in", "a", range(10))
    seen: list[StreamProgress] = []
    kept_before = kept_frames(spark)
    found = stream(spark, tmp_path, arrivals(tmp_path), *rules, to_delta(tmp_path / "out"), more, listener=seen.append)
    assert [progress.rows for progress in seen] == [10]
    assert [step.rows for step in found.steps] == [10] * 5
    assert found.hints == []
    assert kept_frames(spark) == kept_before


def kept_frames(spark: SparkSession) -> set[int]:
    in_java: Any = spark.sparkContext._jsc
    return set(in_java.getPersistentRDDs())


def test_a_checkpoint_has_one_stream_at_a_time(spark: SparkSession, tmp_path: Path):
    arrive(tmp_path / "in", "a", range(5))
    steps = arrivals(tmp_path), to_delta(tmp_path / "out", checkpointLocation=str(tmp_path / "place"))
    with checkpoint_lock(str(tmp_path / "place")), pytest.raises(PipelineException, match="another process"):
        stream(spark, tmp_path, *steps)
    assert not (tmp_path / "out").exists()
    stream(spark, tmp_path, *steps)
    assert ids_in(tmp_path / "out") == list(range(5))


def test_a_stream_of_a_table_that_was_overwritten_fails_with_what_to_do(spark: SparkSession, tmp_path: Path):
    table = str(tmp_path / "table")
    spark.range(3).write.format("delta").save(table)
    steps = extract("fromDeltaLake", path=table), to_delta(tmp_path / "out")
    stream(spark, tmp_path, *steps)
    spark.range(5).write.format("delta").mode("overwrite").save(table)
    with pytest.raises(StreamingQueryException) as raised:
        stream(spark, tmp_path, *steps)
    assert raised.value.query_name == "tested-to_delta_lake"
    assert "reset-checkpoint" in (raised.value.hint or "")
    assert not raised.value.retryable
    assert ids_in(tmp_path / "out") == [0, 1, 2]


def counted(tmp_path: Path, group: str = "kind", **more: Any) -> list[StepValue]:
    """A stream that adds up by an event time that it makes."""
    time = transform("enrichData", columns={"at": "timestamp_seconds(id)", **more})
    watermark = {"column": "at", "delay": "1 second"}
    groups = transform("aggregateData", groupBy=group, aggregations={"n": "count(*)"}, watermark=watermark)
    return [arrivals(tmp_path), time, groups, to_delta(tmp_path / "out", outputMode="update")]


def test_a_change_that_a_checkpoint_can_t_take_is_refused_before_anything_happens(spark: SparkSession, tmp_path: Path):
    arrive(tmp_path / "in", "a", range(6))
    stream(spark, tmp_path, *counted(tmp_path))
    before = DeltaTable(tmp_path / "out").version()
    arrive(tmp_path / "in", "b", range(6, 9))
    changed = counted(tmp_path, group="at"), [*counted(tmp_path)[:2], to_delta(tmp_path / "out")]
    differences = """'groupBy' ["kind"], and now has ["at"]""", "it was created with fromFiles, aggregateData"
    for steps, difference in zip(changed, differences, strict=True):
        with pytest.raises(PipelineConfigurationException) as raised:
            stream(spark, tmp_path, *steps)
        assert difference in raised.value.message
        assert "reset-checkpoint" in str(raised.value)
    assert DeltaTable(tmp_path / "out").version() == before
    stream(spark, tmp_path, *counted(tmp_path, other="1"))
    assert DeltaTable(tmp_path / "out").version() > before


def test_a_checkpoint_of_another_pipeline_is_refused(spark: SparkSession, tmp_path: Path):
    arrive(tmp_path / "in", "a", range(3))
    source, place = arrivals(tmp_path), {"checkpointLocation": str(tmp_path / "place")}
    stream(spark, tmp_path, source, to_delta(tmp_path / "out", **place))
    other = source, to_delta(tmp_path / "other", **place)
    with pytest.raises(PipelineConfigurationException, match="belongs to the pipeline 'tested'"):
        StreamRun(pipeline_of(other, mode="streaming", name="other"), spark).run()


def test_a_stream_whose_checkpoint_is_reset_begins_anew(spark: SparkSession, tmp_path: Path):
    arrive(tmp_path / "in", "a", range(3))
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    stream(spark, tmp_path, *steps)
    file = str(file_of(tmp_path, *steps))
    for said in ("the checkpoint is now at", "there is no checkpoint yet"):
        result = CliRunner().invoke(app, ["reset-checkpoint", file])
        assert result.exit_code == 0
        assert said in result.stderr
    stream(spark, tmp_path, *steps)
    assert ids_in(tmp_path / "out") == sorted([*range(3), *range(3)])


def file_of(tmp_path: Path, *steps: StepValue) -> Path:
    return write_pipeline(
        tmp_path, steps, mode="streaming", streaming={"checkpointRoot": str(tmp_path / "checkpoints")}
    )


def test_a_stream_that_fails_says_why_and_no_more(tmp_path: Path):
    arrive(tmp_path / "in", "a", [1, 30])
    rule = validate("validateRanges", ranges={"id": {"max": 10}})
    with started(file_of(tmp_path, arrivals(tmp_path), rule, to_delta(tmp_path / "out"))) as process:
        said = finished(process)
    assert process.returncode == 1
    assert "1 of 2 rows (50.00%) break 'id <= 10'" in said
    for clutter in ("Traceback", "SQLSTATE", "org.apache", "\tat ", "ERROR"):
        assert clutter not in said


def test_a_signal_stops_a_stream_after_its_micro_batch(tmp_path: Path):
    rate, sink = (
        extract("fromRate", rowsPerSecond=50),
        load("toDeltaLake", path=str(tmp_path / "out"), trigger="1 second"),
    )
    file = file_of(tmp_path, rate, sink)
    for times, sent in ((1, signal.SIGINT), (2, signal.SIGTERM)):
        with started(file) as process:
            wait_until(lambda times=times: commits(tmp_path / "out") > 2 * times, process)
            process.send_signal(sent)
            said = finished(process)
        assert process.returncode == 130, said
        assert "it continues from its checkpoint" in " ".join(said.split())
        assert "Traceback" not in said
    values = sorted(DeltaTable(tmp_path / "out").to_pyarrow_table()["value"].to_pylist())
    assert values == list(range(len(values)))


def commits(table: Path) -> int:
    return len(list((table / "_delta_log").glob("*.json")))


def test_one_plain_load_is_spark_s_own_sink_and_goes_on_where_the_platform_s_has_stopped(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The last micro-batch is in the table, but not in the checkpoint, when the pipeline is changed."""
    plain = arrivals(tmp_path), to_delta(tmp_path / "out")
    rule = validate("validateRanges", ranges={"id": {"min": 0}})
    checked = plain[0], rule, plain[1]
    for name, ids, (before, after) in (("a", range(10), (plain, checked)), ("b", range(10, 16), (checked, plain))):
        arrive(tmp_path / "in", name, ids)
        stream(spark, tmp_path, *before)
        [commits] = (tmp_path / "checkpoints").rglob("commits")
        newest = max((path for path in commits.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        newest.unlink()
        (commits / f".{newest.name}.crc").unlink(missing_ok=True)
        stream(spark, tmp_path, *after)
        assert ids_in(tmp_path / "out") == list(range(ids.stop))


def test_what_spark_s_own_sink_has_taken_is_counted_over_all_micro_batches(spark: SparkSession, tmp_path: Path):
    waiting = [("b", range(10, 16)), ("c", range(16, 40))]
    arrive(tmp_path / "in", "a", range(10))

    def listen(progress: StreamProgress) -> None:
        if not progress.worked:
            return
        if waiting:
            arrive(tmp_path / "in", *waiting.pop(0))
        else:
            StreamRequest(action="stop").write(request_file("tested"))

    sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="100 milliseconds")
    steps = arrivals(tmp_path), transform("filterRows", condition="id % 2 = 0"), sink
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    run = StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark, listener=listen)
    with pytest.raises(PipelineCancelledException):
        run.run()
    by_name = {step.name: step for step in run.record.steps.values()}
    assert by_name["to_delta_lake"].rows == len(ids_in(tmp_path / "out")) == 20
    assert by_name["filter_rows"].rows == 20
    assert [column.name for column in by_name["to_delta_lake"].columns] == ["id", "kind"]


JOIN = {
    "inputDataFrames": ["clicks", "orders"],
    "joinConditions": ["clicks.user = orders.buyer AND orders.paid BETWEEN clicks.at AND clicks.at + INTERVAL 1 HOUR"],
    "watermarks": {
        "clicks": {"column": "at", "delay": "10 minutes"},
        "orders": {"column": "paid", "delay": "10 minutes"},
    },
}


def put(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("kind", ["inner", "left"])
def test_two_streams_are_joined_over_their_micro_batches_and_what_is_too_old_is_forgotten(
    spark: SparkSession, tmp_path: Path, kind: str
):
    clicks = extract(
        "fromFiles", path=str(tmp_path / "c"), format="json", schema="user INT, at TIMESTAMP", registerAs="clicks"
    )
    orders = extract(
        "fromFiles", path=str(tmp_path / "o"), format="json", schema="buyer INT, paid TIMESTAMP", registerAs="orders"
    )
    steps = clicks, orders, transform("joinDataFrames", **JOIN, joinType=kind), to_delta(tmp_path / "out")
    state: list[int] = []
    batches = [
        ([(1, "10:00"), (2, "10:05"), (3, "10:10")], [(1, "10:30"), (9, "10:00")]),
        ([(4, "10:20")], [(2, "11:04"), (3, "11:11"), (4, "10:19")]),
        ([(5, "18:00")], [(6, "18:00")]),
        ([(7, "18:01")], [(7, "18:30")]),
    ]
    for number, (clicked, bought) in enumerate(batches):
        put(tmp_path / "c", f"{number}", [{"user": u, "at": f"2026-11-23T{t}:00Z"} for u, t in clicked])
        put(tmp_path / "o", f"{number}", [{"buyer": u, "paid": f"2026-11-23T{t}:00Z"} for u, t in bought])
        stream(spark, tmp_path, *steps, listener=lambda progress: state.append(progress.state_rows or 0))
    found = DeltaTable(tmp_path / "out").to_pyarrow_table()
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for name in ("c", "o"):
        db.execute(f"CREATE VIEW {name} AS SELECT * FROM read_json('{tmp_path}/{name}/*.json')")
    joined = db.sql(
        f'SELECT "user", buyer FROM c {kind} JOIN o ON "user" = buyer '
        'AND paid::TIMESTAMP BETWEEN c."at"::TIMESTAMP AND c."at"::TIMESTAMP + INTERVAL 1 HOUR '
        # Of the last hour it is not known yet whether an order is still to come.
        "WHERE buyer IS NOT NULL OR c.\"at\"::TIMESTAMP < '2026-11-23 17:00:00'"
    ).fetchall()
    assert sorted(zip(found["user"].to_pylist(), found["buyer"].to_pylist(), strict=True), key=str) == sorted(
        joined, key=str
    )
    assert max(state) > 6
    assert state[-1] < max(state)


def test_a_join_of_two_streams_without_watermarks_is_a_mistake_at_check_time(tmp_path: Path):
    sources = [
        extract("fromFiles", path=str(tmp_path / name), format="json", schema="id INT, at TIMESTAMP", registerAs=name)
        for name in ("one", "two")
    ]
    join = transform(
        "joinDataFrames",
        inputDataFrames=["one", "two"],
        joinColumn=["id"],
        watermarks={"one": {"column": "at", "delay": "1 hour"}},
    )
    with pytest.raises(PipelineConfigurationException, match=r"needs 'watermarks' for each of them.*: two"):
        pipeline_of([*sources, join, to_delta(tmp_path / "out")], mode="streaming")


@pytest.mark.parametrize("part", ["metadata", "offsets/0", "commits/0"])
def test_a_damaged_checkpoint_is_told_with_what_to_do_and_nothing_is_loaded(
    spark: SparkSession, tmp_path: Path, part: str
):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, *steps)
    damaged = tmp_path / "checkpoints" / "tested" / "stream" / part
    damaged.write_text("sesame")
    (damaged.parent / f".{damaged.name}.crc").unlink(missing_ok=True)
    arrive(tmp_path / "in", "b", range(5, 9))
    with pytest.raises(PipelineException) as raised:
        stream(spark, tmp_path, *steps)
    assert "checkpoint" in str(raised.value)
    assert "reset-checkpoint" in str(raised.value)
    assert ids_in(tmp_path / "out") == list(range(5))


@pytest.mark.parametrize("running", [False, True], ids=["between two runs", "under a running stream"])
def test_a_target_whose_columns_were_changed_stops_the_stream_and_no_row_is_lost(
    spark: SparkSession, tmp_path: Path, running: bool
):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, *steps)
    table = spark.read.format("delta").load(str(tmp_path / "out"))

    def change_once(*_: object) -> None:
        if DeltaTable(tmp_path / "out").version() == 0:
            changed = table.selectExpr("CAST(id AS STRING) || 'x' AS id", "kind")
            changed.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(str(tmp_path / "out"))

    arrive(tmp_path / "in", "b", range(5, 12))
    if not running:
        change_once()
    # Changed when the validation begins: the load was held against the table before that.
    rule = validate("validateRanges", ranges={"id": {"min": 0}})
    with pytest.raises(PipelineException) as raised:
        stream(spark, tmp_path, steps[0], rule, steps[1], on_step=change_once)
    assert "toDeltaLake" in str(raised.value)
    assert "id" in str(raised.value)
    DeltaTable(tmp_path / "out").restore(0)
    stream(spark, tmp_path, *steps)
    assert ids_in(tmp_path / "out") == list(range(12))


@pytest.mark.parametrize("full", ["table", "checkpoint"])
@pytest.mark.parametrize("validated", [False, True], ids=["Spark's own sink", "validated"])
def test_a_stream_whose_disk_is_full_goes_on_when_there_is_room(
    spark: SparkSession, tmp_path: Path, small_disk: Path, full: str, validated: bool
):
    folders = {"table": tmp_path / "table", "checkpoint": tmp_path / "checkpoint", full: small_disk / full}
    rule = [validate("validateRanges", ranges={"id": {"min": 0}})] if validated else []
    big = transform("enrichData", columns={"text": "concat(uuid(), uuid(), uuid(), uuid(), uuid(), uuid())"})
    sink = to_delta(folders["table"], checkpointLocation=str(folders["checkpoint"]))
    steps = arrivals(tmp_path), big, *rule, sink
    arrive(tmp_path / "in", "a", range(10))
    stream(spark, tmp_path, *steps)
    if full == "checkpoint":
        (small_disk / "filler").write_bytes(bytes(left_on(small_disk)))
    arrive(tmp_path / "in", "b", range(10, 60_000))
    with pytest.raises(PipelineException) as raised:
        stream(spark, tmp_path, *steps)
    assert "No space left on device" in str(raised.value)
    assert "free some disk space" in str(raised.value)
    state = StreamState.read(state_file("tested"))
    assert state is not None
    assert (state.phase, state.error) == ("failed", str(raised.value))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    stream(spark, tmp_path, *steps)
    assert ids_in(folders["table"]) == list(range(60_000))


def left_on(folder: Path) -> int:
    """Bytes that are left on its file system."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
