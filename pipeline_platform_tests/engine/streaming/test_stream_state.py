"""What a stream says of itself while it runs, and what it hears."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from devtools.pipelines import extract, load, pipeline_of, pipeline_text, validate
from pipeline_platform.cli import app
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming import heartbeat
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_group import GroupMembers, Member
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException, StreamingQueryException
from pipeline_platform.metrics.stream import StreamProgress, StreamTotals
from pipeline_platform_tests.engine.processes import write_pipeline

Flow = Callable[..., PipelineConfig]


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    """A stream of generated rows that hears at once what is asked of it, and its file."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.1)

    def make(*between: Any) -> PipelineConfig:
        sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="100 milliseconds")
        steps = [extract("fromRate", rowsPerSecond=50), *between, sink]
        options = {"checkpointRoot": str(tmp_path / "checkpoints")}
        write_pipeline(tmp_path, steps, mode="streaming", streaming=options)
        return pipeline_of(steps, mode="streaming", streaming=options)

    return make


def said(pipeline: PipelineConfig) -> StreamState:
    state = StreamState.read(state_file(pipeline.name))
    assert state is not None
    return state


def test_while_it_runs_it_says_who_runs_it_and_how_far_it_is(spark: SparkSession, flow: Flow, tmp_path: Path):
    pipeline, seen = flow(), []

    def listen(progress: StreamProgress) -> None:
        if progress.worked:
            seen.append((progress, said(pipeline)))
        if len(seen) == 2:
            assert CliRunner().invoke(app, ["stop", str(tmp_path / "pipeline.json")]).exit_code == 0

    with pytest.raises(PipelineCancelledException):
        StreamRun(pipeline, spark, run_id="mine", listener=listen, restarts=2).run()
    for progress, state in seen:
        assert state.progress == progress
        assert (state.phase, state.run_id, state.pid, state.restarts) == ("running", "mine", os.getpid(), 2)
        assert state.is_alive(datetime.now(UTC))
        assert state.checkpoint == f"{tmp_path}/checkpoints/tested/stream"
    assert said(pipeline).phase == "stopped"
    assert not said(pipeline).is_alive(datetime.now(UTC))


def test_a_stream_that_others_have_ended_has_not_completed(spark: SparkSession, flow: Flow):
    pipeline = flow()

    def listen(progress: StreamProgress) -> None:
        if progress.worked:
            run.queries.stop_all()

    run = StreamRun(pipeline, spark, listener=listen)
    with pytest.raises(StreamingQueryException, match="was ended, and not by this run") as found:
        run.run()
    assert found.value.retryable
    assert said(pipeline).phase == "failed"
    assert not said(pipeline).lasting


def test_a_request_to_stop_holds_for_what_ran_then_and_not_for_what_is_started_later(
    spark: SparkSession, flow: Flow, tmp_path: Path
):
    pipeline = flow()
    assert "is not running" in CliRunner().invoke(app, ["stop", str(tmp_path / "pipeline.json")]).output
    progressed: list[int] = []
    first_stop = threading.Event()

    def listen(progress: StreamProgress) -> None:
        progressed.append(progress.batch)
        if len(progressed) == 5 and not first_stop.is_set():
            first_stop.set()
            told = CliRunner().invoke(app, ["stop", str(tmp_path / "pipeline.json")]).output
            assert "will stop after its current micro-batch" in told

    with pytest.raises(PipelineCancelledException):
        StreamRun(pipeline, spark, listener=listen).run()
    assert len(progressed) >= 5


def test_a_run_that_nobody_counts_on_any_more_stops_itself(spark: SparkSession, flow: Flow):
    pipeline, lost = flow(), threading.Event()
    run = StreamRun(pipeline, spark, listener=lambda _: lost.set(), is_wanted=lambda: not lost.is_set())
    with pytest.raises(PipelineCancelledException):
        run.run()
    assert not run.queries.has_active()


def test_a_failure_stands_in_the_file_with_whether_it_would_come_again(spark: SparkSession, flow: Flow):
    pipeline = flow(validate("validateRanges", ranges={"value": {"max": -1}}))
    with pytest.raises(PipelineException):
        StreamRun(pipeline, spark).run()
    state = said(pipeline)
    assert (state.phase, state.lasting) == ("failed", True)
    assert "validateRanges" in (state.error or "")


def test_a_state_that_can_t_be_written_does_not_end_the_stream(
    spark: SparkSession, flow: Flow, streams: Path, caplog: pytest.LogCaptureFixture
):
    pipeline, batches = flow(), []
    state_file(pipeline.name).mkdir(parents=True)
    wanted = threading.Event()

    def listen(progress: StreamProgress) -> None:
        batches.append(progress.batch)
        if len(batches) == 3:
            wanted.set()

    with pytest.raises(PipelineCancelledException):
        StreamRun(pipeline, spark, listener=listen, is_wanted=lambda: not wanted.is_set()).run()
    assert len(batches) >= 3
    told = [record.message for record in caplog.records if "can't be written" in record.message]
    assert len(told) == 1
    assert list(streams.glob(".*")) == []


def test_the_list_of_streams_says_what_each_does(spark: SparkSession, flow: Flow, tmp_path: Path):
    pipeline = flow()

    def listed() -> str:
        found = CliRunner().invoke(app, ["streams", str(tmp_path)], env={"COLUMNS": "200"})
        assert found.exit_code == 0
        return " ".join(found.stdout.split())

    assert "tested never ran" in listed()
    seen: list[str] = []

    def listen(progress: StreamProgress) -> None:
        if progress.worked:
            seen.append(listed())
            CliRunner().invoke(app, ["stop", str(tmp_path / "pipeline.json")])
            seen.append(listed())

    with pytest.raises(PipelineCancelledException):
        StreamRun(pipeline, spark, listener=listen).run()
    assert "tested running" in seen[0]
    assert f"{tmp_path}/checkpoints/tested/stream" in seen[0]
    assert "tested stopping" in seen[1]
    assert "tested stopped" in listed()


def test_a_stream_goes_on_and_beats_while_it_can_t_ask_whether_it_is_wanted(
    spark: SparkSession, flow: Flow, caplog: pytest.LogCaptureFixture
):
    pipeline, asked, batches = flow(), [], []

    def is_wanted() -> bool:
        asked.append(said(pipeline).heartbeat)
        if len(asked) < 5:
            raise ConnectionError("sesame: the instance's database is away")
        return not batches

    run = StreamRun(
        pipeline,
        spark,
        is_wanted=is_wanted,
        listener=lambda progress: batches.append(progress) if len(asked) > 5 else None,
    )
    with pytest.raises(PipelineCancelledException):
        run.run()
    assert asked == sorted(set(asked))
    assert any("can't check whether it should stop" in record.message for record in caplog.records)


AT_EXIT = """
import sys, threading
from pathlib import Path
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.registry import method_registry

works, begun = threading.Event(), []

def on_step(event, step, metrics):
    begun.append(event)
    if begun.count("started") == 3:
        works.set()

pipeline = load_pipeline(Path(sys.argv[1]), method_registry())
run = StreamRun(pipeline, spark_session("exits", {"spark.master": "local[2]"}), on_step=on_step)
threading.Thread(target=run.run, daemon=True).start()
assert works.wait(120)
"""


def test_an_interpreter_that_ends_lets_the_micro_batch_come_to_its_end(flow: Flow, tmp_path: Path):
    flow(validate("validateRanges", ranges={"value": {"min": 0}}))
    file = str(tmp_path / "pipeline.json")
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, file], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "checkpoints" / "tested" / "stream"
    ended = {int(path.name) for path in (checkpoint / "commits").iterdir() if path.name.isdigit()}
    last = max((tmp_path / "out" / "_delta_log").glob("*.json")).read_text().splitlines()
    [loaded] = [entry["txn"]["version"] for entry in map(json.loads, last) if "txn" in entry]
    assert len(ended) >= 2
    assert loaded == max(ended)


def test_a_stream_without_a_pipeline_is_listed_as_orphaned_and_what_it_left_out_is_told(tmp_path: Path):
    now = datetime.now(UTC)
    told: dict[str, Any] = {"checkpoint": "c", "run_id": "r", "phase": "running", "host": "h", "pid": 7}
    totals = StreamTotals(late_rows=1200, future_rows=3)
    for name, file in (("gone", tmp_path / "gone.json"), ("elsewhere", Path("/elsewhere/x.json"))):
        state = StreamState(
            pipeline=name, file=str(file), sinks=("file:///t",), totals=totals, started=now, heartbeat=now, **told
        )
        state.write(state_file(name))
    found = CliRunner().invoke(app, ["streams", str(tmp_path)], env={"COLUMNS": "200"})
    said = " ".join(found.stdout.split())
    assert "gone orphaned" in said
    assert "gone: its pipeline was renamed or removed, and it is still running, on h as process 7" in said
    assert "1,200 rows came too late for the watermark and 3 rows have a time further ahead than 'maxFuture'" in said
    assert "gone: the stream 'elsewhere' is running too, and loads file:///t" in said
    assert "elsewhere orphaned" not in said


GROUPS = {"alone": "–", "named": "web", "moved": "files", "numbered": "1"}
"""Where the supervisor has put them, or else their file."""


def test_the_list_of_streams_names_the_group_of_each_if_there_is_one(tmp_path: Path):
    def write(name: str, **streaming: Any) -> None:
        steps = [extract("fromRate", rowsPerSecond=1), load("toDeltaLake", path=str(tmp_path / name))]
        text = pipeline_text(steps, name, mode="streaming", streaming=streaming)
        (tmp_path / f"{name}.json").write_text(text)

    def listed() -> str:
        found = CliRunner().invoke(app, ["streams", str(tmp_path)], env={"COLUMNS": "200"})
        assert found.exit_code == 0, found.output
        return " ".join(found.stdout.split())

    write("alone", group=False)
    assert "stream state batch" in listed()
    write("named", group="web")
    write("moved", group="web")
    write("numbered")
    for group, name in (("1", "numbered"), ("files", "moved")):
        members = GroupMembers.of(tmp_path, group, [Member(pipeline=name, run_id="r")])
        members.write(members.file)
    for row in ("stream state group batch", *(f"{name} never ran {group} –" for name, group in GROUPS.items())):
        assert row in listed()
