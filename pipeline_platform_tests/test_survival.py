"""A supervised stream of Kafka that is killed in every phase: each number once in every sink, and nobody helps."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from dagster import DagsterRunStatus
from deltalake import DeltaTable
from typer.testing import CliRunner

from devtools.deployment import KILL_AT, TRACE, Deployment, alive, deploy
from devtools.services.kafka import Kafka
from pipeline_platform.cli import app
from pipeline_platform.engine.streaming.stream_state import StreamState
from pipeline_platform_tests.connectors.kafka.numbers import Numbers, plain_flow
from pipeline_platform_tests.orchestration.browser import OpenPage

PHASES = {
    "after the offset log": "started validate_business_rules",
    "before the first load": "started to_delta_lake",
    "after the first of two loads": "finished to_delta_lake",
    "before the commit log": "finished to_files",
}
"""Where a micro-batch is cut: at each point at which it has left something more than at the one before.

The offsets are logged before its first step, the quarantine is written before its first load, and the commit is logged
after its last one.
"""


def flow(kafka: Kafka, folder: Path) -> dict[str, Any]:
    """JSON values of a topic, those of a kind kept aside, the others into two sinks."""
    rule = {"rules": ["kind <> 'odd'"], "onFailure": "quarantine"}
    plain = plain_flow(kafka, folder)
    *first, delta = plain["steps"]
    validation = {"type": "validate", "method": "validateBusinessRules", "config": rule}
    files = {"type": "load", "method": "toFiles", "config": {"path": str(folder / "files"), "format": "parquet"}}
    return plain | {"steps": [*first, validation, delta, files]}


class Stream:
    """The stream as its supervisor's watcher sees it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def runs_and_gets_on(self, *, unlike: str | None = None) -> str:
        """Wait until a run, another one than this, has finished a micro-batch; its run id."""

        def gets_on() -> bool:
            state = self.deployment.state("flow")
            return (
                state is not None
                and state.run_id != unlike
                and state.phase == "running"
                and state.progress is not None
                and state.progress.worked
            )

        self.deployment.wait_until(gets_on, f"a run other than {unlike} gets on")
        return self.state().run_id

    def state(self) -> StreamState:
        """What it last said of itself."""
        state = self.deployment.state("flow")
        assert state is not None
        return state

    def batch(self) -> int:
        progress = self.state().progress
        assert progress is not None
        return progress.batch

    def finishes_another(self, count: int = 2) -> None:
        """Wait until it has finished some more micro-batches."""
        now = self.batch()
        self.deployment.wait_until(lambda: self.batch() >= now + count, f"micro-batch {now + count}")

    def catches_up(self) -> None:
        """Wait until it has read everything."""

        def has() -> bool:
            state = self.deployment.state("flow")
            return state is not None and state.progress is not None and not state.progress.worked and not self.lag()

        self.deployment.wait_until(has, "no lag")

    def lag(self) -> int | None:
        state = self.deployment.state("flow")
        return state.progress.lag if state is not None and state.progress is not None else None


@pytest.mark.timeout(1800)
def test_a_supervised_stream_survives_everything_and_has_every_number_once(
    kafka: Kafka, tmp_path: Path, open_page: OpenPage
):
    kafka.make_topic("numbers", 2)
    (tmp_path / "trace").touch()
    environment = {KILL_AT: str(tmp_path / "kill_at"), TRACE: str(tmp_path / "trace")}
    numbers = Numbers(kafka, "numbers")
    deployment = deploy(tmp_path, {"flow": flow(kafka, tmp_path)}, environment)
    stream = Stream(deployment)
    file = str(tmp_path / "pipelines" / "flow.json")
    try:
        with numbers.flowing():
            deployment.turn_sensor_on("streams")
            run_id = stream.runs_and_gets_on()
            page = "/assets/flow/to_delta_lake?view=events"
            open_page(deployment.address, page, "stream/batch", "stream/lag", "stream/offsets", picture="stream")
            for phase, place in PHASES.items():
                (tmp_path / "kill_at").write_text(place)
                deployment.wait_until(lambda: not (tmp_path / "kill_at").exists(), f"killed {phase}")
                run_id = stream.runs_and_gets_on(unlike=run_id)

            assert deployment.instance.run_launcher.terminate(run_id)
            stays_stopped(deployment)
            asked("resume", file)
            run_id = stream.runs_and_gets_on(unlike=run_id)

            deployment.daemon.kill()
            deployment.daemon.start()
            stream.finishes_another()

            kafka.server.kill()
            kafka.server.start()
            run_id = stream.runs_and_gets_on()
            stream.finishes_another()

            deployment.replace_code_server(signal.SIGKILL)
            stream.finishes_another()
            # The new code server does not know the run: it can't terminate it.
            asked("stop", file)
            stays_stopped(deployment)
        asked("resume", file)
        stream.runs_and_gets_on(unlike=run_id)
        stream.catches_up()
        failed = [status for _, status in deployment.runs() if status == DagsterRunStatus.FAILURE]
        assert len(failed) == len(PHASES), deployment.describe()
    finally:
        deployment.end()
    assert_each_once(tmp_path, numbers.produced)
    assert_one_writer_at_a_time(tmp_path / "trace", kills=len(PHASES))


def asked(what: str, file: str) -> None:
    """Ask it of the stream at the command line."""
    assert CliRunner().invoke(app, [what, file]).exit_code == 0


def stays_stopped(deployment: Deployment) -> None:
    """Wait until the run has ended as canceled, and let the sensor tick twice more; it must not start anything."""
    deployment.wait_until(lambda: deployment.runs()[0][1] == DagsterRunStatus.CANCELED, "stopped")
    before, ticks = deployment.runs(), _ticks(deployment)
    deployment.wait_until(lambda: _ticks(deployment) >= ticks + 2, "two ticks")
    assert deployment.runs() == before


def _ticks(deployment: Deployment) -> int:
    return deployment.daemon.log.read_text(errors="replace").count("Checking for new runs for sensor: streams")


def assert_each_once(folder: Path, produced: int) -> None:
    """Hold both sinks and the quarantine against what was produced."""
    odd = [number for number in range(produced) if number % 10 == 1]
    even = [number for number in range(produced) if number % 10 != 1]
    for found, wanted in (
        (_ids(DeltaTable(folder / "delta").file_uris()), even),
        (_ids([str(path) for path in (folder / "files").glob("*.parquet")]), even),
        (_ids(DeltaTable(folder / "delta_quarantine").file_uris()), odd),
    ):
        repeated = [number for number, count in Counter(found).items() if count > 1]
        assert (repeated, sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))) == ([], [], [])


def _ids(files: list[str]) -> list[int]:
    return [row[0] for row in duckdb.connect().read_parquet(files).project("id").fetchall()]


def assert_one_writer_at_a_time(trace: Path, *, kills: int) -> None:
    """Once another process has begun to load, none of those before it ever does again."""
    pids = [line.split()[0] for line in trace.read_text().splitlines()]
    changes = [pid for pid, before in zip(pids, [None, *pids], strict=False) if pid != before]
    assert len(changes) == len(set(changes))
    assert len(changes) > kills
    assert not any(psutil.pid_exists(int(pid)) and alive(int(pid)) for pid in changes)
