"""A stream of Kafka into Spark's own sink for Delta that is killed in each phase of a micro-batch."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import psutil
import pytest
from deltalake import DeltaTable

from devtools.services.kafka import Kafka
from pipeline_platform.cli.output import CANCELLED
from pipeline_platform.engine.streaming.stream_state import StreamState
from pipeline_platform_tests.connectors.kafka.numbers import Numbers, plain_flow
from pipeline_platform_tests.engine.processes import PATIENCE_SECONDS, finished, started, wait_until

PHASES = ("after the offset log", "before the table's commit", "before the commit log")
"""Where a micro-batch is cut, in which the platform has no step: see `MicroBatch`."""


class MicroBatch:
    """A micro-batch, and how far it has come as its checkpoint and its table say."""

    def __init__(self, table: Path, state: StreamState) -> None:
        self._table = table
        self._checkpoint = Path(state.checkpoint)
        self._pid = state.pid

    def phase(self) -> str | None:
        """Which of `PHASES` it is in; None between two micro-batches."""
        offsets, commits = self._last("offsets"), self._last("commits")
        if offsets == commits:
            return None
        if self._committed() == offsets:
            return "before the commit log"
        began = (self._checkpoint / "offsets" / str(offsets)).stat().st_mtime_ns
        written = any(path.stat().st_mtime_ns > began for path in self._table.glob("*.parquet"))
        return "before the table's commit" if written else "after the offset log"

    def _last(self, log: str) -> int:
        names = [path.name for path in (self._checkpoint / log).iterdir()]
        return max((int(name) for name in names if name.isdigit()), default=-1)

    def _committed(self) -> int | None:
        """The micro-batch of the table's last version."""
        last = max((self._table / "_delta_log").glob("*.json"))
        entries = [json.loads(line) for line in last.read_text().splitlines()]
        return next((entry["txn"]["version"] for entry in entries if "txn" in entry), None)

    def is_cut(self, phase: str) -> None:
        """Kill the driver in this phase: it is halted, looked at, and let go on unless it is there."""
        python = psutil.Process(self._pid)
        driver = [python, *(child for child in python.children() if child.name() == "java")]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self.phase() == phase:
                for process in driver:
                    process.suspend()
                if self.phase() == phase:
                    for process in driver:
                        process.kill()
                    return
                for process in driver:
                    process.resume()
        pytest.fail(f"it was never {phase}")


def works(process: subprocess.Popen[str], streams: Path) -> StreamState:
    """The state of a run's stream, once it has finished a micro-batch in it."""
    file = streams / "flow.state.json"

    def has_worked() -> bool:
        state = StreamState.read(file)
        return state is not None and state.pid == process.pid and state.progress is not None and state.progress.worked

    wait_until(has_worked, process)
    state = StreamState.read(file)
    assert state is not None
    return state


@pytest.mark.timeout(900)
def test_each_number_is_there_once(kafka: Kafka, tmp_path: Path, streams: Path):
    kafka.make_topic("plain", 2)
    file, table = tmp_path / "flow.json", tmp_path / "delta"
    file.write_text(json.dumps(plain_flow(kafka, tmp_path, "plain")))
    numbers = Numbers(kafka, "plain")
    with numbers.flowing():
        for phase in PHASES:
            with started(file) as process:
                MicroBatch(table, works(process, streams)).is_cut(phase)
        with started(file) as process:
            before = works(process, streams).progress
            kafka.server.kill()
            kafka.server.start()
            assert before is not None
            wait_until(lambda: batch(works(process, streams)) > before.batch + 1, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == CANCELLED, finished(process)
    changed = json.loads(file.read_text())
    changed["steps"][-1]["config"]["trigger"] = "availableNow"
    file.write_text(json.dumps(changed))
    with started(file) as process:
        said = finished(process)
    assert process.returncode == 0, said
    delta = DeltaTable(table)
    found = duckdb.connect().read_parquet(delta.file_uris()).project("id").fetchall()
    assert sorted(number for [number] in found) == list(range(numbers.produced))
    # The platform's own micro-batches are writes.
    assert {commit["operation"] for commit in delta.history()} == {"STREAMING UPDATE"}


def batch(state: StreamState) -> int:
    assert state.progress is not None
    return state.progress.batch
