"""A run that is stopped by a signal ends soon, says so, and leaves nothing half-written."""

from __future__ import annotations

import _thread
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, listing, load, transform
from devtools.services.postgres import Postgres
from pipeline_platform.engine import cancellation
from pipeline_platform.engine.cancellation import CancellationToken, interruptible
from pipeline_platform.exceptions import PipelineCancelledException
from pipeline_platform.metrics.exporter import METRICS_VARIABLE
from pipeline_platform_tests.engine.processes import (
    finished,
    java_of,
    runs_a_task,
    started,
    starting_spark,
    wait_until,
    waiting,
    write_pipeline,
    write_rows,
)

HOUR = 3_600_000
PHASES: dict[str, list[StepValue]] = {
    # A pivot without its values asks for them while it is planned.
    "planning": [transform("reshapeData", operation="pivot", pivotColumn="waited", groupByColumns=["id"])],
    "validating": [{"type": "validate", "method": "validateNulls", "config": {"notNullColumns": ["waited"]}}],
    "loading": [],
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("phase", "sent"),
    [
        ("planning", signal.SIGTERM),
        ("validating", signal.SIGINT),
        ("loading", signal.SIGINT),
        ("loading", signal.SIGTERM),
    ],
)
def test_a_signal_stops_a_run_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, sent: signal.Signals
) -> None:
    monkeypatch.setenv(METRICS_VARIABLE, f"jsonl:{tmp_path}/runs.jsonl")
    files, table = tmp_path / "files", tmp_path / "table"
    sinks: list[dict[str, Any]] = [
        dict(load("toFiles", path=str(files), format="parquet")),
        dict(load("toDeltaLake", path=str(table))),
    ]
    steps = [write_rows(tmp_path, wait_milliseconds=HOUR), waiting(), *PHASES[phase], *sinks]
    with started(write_pipeline(tmp_path, steps), "--load-id", "stopped") as process:
        wait_until(lambda: runs_a_task(process), process)
        if phase == "loading":
            wait_until(lambda: any(files.rglob("*.parquet")), process)
        java = java_of(process)
        began = time.monotonic()
        process.send_signal(sent)
        said = finished(process)
        seconds = time.monotonic() - began
    assert process.returncode == 130, said
    assert "the run was stopped; nothing is half-written" in said
    assert "run it again with the load id stopped" in " ".join(said.split())
    assert "Traceback" not in said
    assert "\tat " not in said
    assert seconds < 30
    told = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [run["status"] for run in told] == ["RUNNING", "CANCELLED"]
    assert not [step for step in told[-1]["steps"] if step["status"] == "FAILED"]
    assert [name for name in listing(tmp_path) if "runs.jsonl" not in name] == ["pipeline.json", "rows.json"]
    assert not table.exists()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{java}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{java}").exists()


def test_a_signal_while_java_starts_leaves_no_java_behind(tmp_path: Path) -> None:
    steps = [write_rows(tmp_path, wait_milliseconds=0), load("toDeltaLake", path=str(tmp_path / "table"))]

    with started(write_pipeline(tmp_path, steps)) as process:
        wait_until(lambda: bool(starting_spark(process)), process)
        javas = starting_spark(process)
        process.send_signal(signal.SIGINT)
        said = finished(process)
    assert process.returncode == 130, said
    assert psutil.wait_procs(javas, timeout=30)[1] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_that_waits_for_its_source(
    tmp_path: Path, postgres: Postgres, sent: signal.Signals
) -> None:
    slowly = {**postgres.credentials(), "query": "SELECT 1 AS id, (SELECT 'x' FROM pg_sleep(3600)) AS waited"}
    sinks = [
        load("toFiles", path=str(tmp_path / "files"), format="parquet"),
        load("toDeltaLake", path=str(tmp_path / "t")),
    ]
    running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    with started(write_pipeline(tmp_path, [extract("fromPostgres", **slowly), *sinks])) as process:
        wait_until(lambda: postgres.query(running) == [(1,)], process)
        java = java_of(process)
        process.send_signal(sent)
        said = finished(process)
    assert process.returncode == 130, said
    assert "the run was stopped; nothing is half-written" in said
    assert "Traceback" not in said
    assert listing(tmp_path) == ["pipeline.json"]
    deadline = time.monotonic() + 30
    while (Path(f"/proc/{java}").exists() or postgres.query(running) != [(0,)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{java}").exists()
    assert postgres.query(running) == [(0,)]


def test_work_that_looks_ends_by_itself_before_a_job_is_interrupted(spark: SparkSession) -> None:
    ended: list[str] = []

    def work(stop: CancellationToken) -> None:
        _thread.interrupt_main()
        try:
            stop.sleep(10)
        except PipelineCancelledException:
            ended.append("by itself")
            raise

    with pytest.raises(PipelineCancelledException):
        interruptible(work, spark, patience_seconds=5)
    assert ended == ["by itself"]


def test_a_server_that_does_not_answer_keeps_nobody_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def interruptAll(self) -> None:  # noqa: N802
            answer.wait()

    def work(_: CancellationToken) -> None:
        _thread.interrupt_main()
        answer.wait()

    monkeypatch.setattr(cancellation, "_GRACE_SECONDS", 1.0)
    answer = threading.Event()
    session: Any = Silent()
    try:
        with pytest.raises(PipelineCancelledException, match="did not end within 1 s"):
            interruptible(work, session)
    finally:
        answer.set()
