"""`python -m devtools.bench.groups`: how much memory and CPU many small streams take that share a process.

Each generates some rows a second into a table of its own, as a member of one group; the group's job runs as
`dagster job execute` runs it. Each minute those are counted that are healthy: their heartbeat is fresh, they have not
failed, and their last micro-batch is no older than two triggers. A script that starts the same queries says of none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from pipeline_platform.engine.streaming.stream_group import GroupMembers, Member
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamState, state_file

_GROUP = "bench"
_SCRIPT = """
import sys, time
from pipeline_platform.engine.spark.settings import FAIR_CONF
from pipeline_platform.engine.spark.session import spark_session

count, rate, trigger, folder = sys.argv[1:]
spark = spark_session("by hand", FAIR_CONF)
for number in range(int(count)):
    rows = spark.readStream.format("rate").option("rowsPerSecond", rate).load()
    writer = rows.writeStream.format("delta").option("checkpointLocation", f"{folder}/checkpoints/{number}")
    writer.trigger(processingTime=f"{trigger} seconds").start(f"{folder}/lake/{number}")
while True:
    time.sleep(60)
"""


def main() -> None:
    """Print a row for each minute."""
    parser = argparse.ArgumentParser(prog="bench.groups", description=__doc__)
    parser.add_argument("--streams", type=int, default=100, help="how many, by default 100")
    parser.add_argument("--minutes", type=int, default=20, help="how long, by default 20")
    parser.add_argument("--rate", type=int, default=10, help="rows a second of each, by default 10")
    parser.add_argument("--trigger", type=int, default=60, help="seconds between micro-batches, by default 60")
    parser.add_argument("--by-hand", action="store_true", help="the same queries by a script, in the same session")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groups-") as name:
        folder = Path(name)
        os.environ[STREAMS_VARIABLE] = str(folder / "streams")
        names = _write(folder, options.streams, options.rate, options.trigger)
        home = folder / "home"
        home.mkdir()
        command = ["dagster", "job", "execute", "-m", "pipeline_platform.definitions", "-j", f"streams_{_GROUP}"]
        if options.by_hand:
            given = [str(value) for value in (options.streams, options.rate, options.trigger, folder)]
            python = ["-c", _SCRIPT, *given]
        else:
            python = ["-W", "ignore", "-m", *command]
        run = subprocess.Popen(
            [sys.executable, *python],
            cwd=folder,
            env={**os.environ, "DAGSTER_HOME": str(home), "PIPELINES_DIR": "pipelines"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("w"),
        )
        try:
            print(
                "| minute | healthy | micro-batches | Python MB | JVM MB | Python CPU s | JVM CPU s |\n"
                "|---|---|---|---|---|---|---|"
            )
            for minute in range(1, options.minutes + 1):
                time.sleep(60)
                if run.poll() is not None:
                    raise SystemExit(f"the run has ended\n{(folder / 'log').read_text()[-3000:]}")
                batches = len([*(folder / "lake").glob("*/_delta_log/*.json")])
                _report(minute, names, batches, psutil.Process(run.pid), timedelta(seconds=2 * options.trigger))
        finally:
            run.terminate()
            run.wait()


def _write(folder: Path, count: int, rate: int, trigger: int) -> list[str]:
    (folder / "pipelines").mkdir()
    names = [f"stream_{number}" for number in range(count)]
    for name in names:
        pipeline = {
            "name": name,
            "mode": "streaming",
            "streaming": {"checkpointRoot": str(folder / "checkpoints"), "group": _GROUP},
            "steps": [
                {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": rate}},
                {
                    "type": "load",
                    "method": "toDeltaLake",
                    "config": {"path": str(folder / "lake" / name), "trigger": f"{trigger} seconds"},
                },
            ],
        }
        (folder / "pipelines" / f"{name}.json").write_text(json.dumps(pipeline))
    said = GroupMembers.of(folder / "pipelines", _GROUP, [Member(pipeline=name, run_id=name) for name in names])
    said.write(said.file)
    return names


def _report(minute: int, names: list[str], batches: int, python: psutil.Process, patience: timedelta) -> None:
    now = datetime.now(UTC)
    states = [state for name in names if (state := StreamState.read(state_file(name))) is not None]
    healthy = sum(
        state.is_alive(now) and state.progress is not None and state.moved is not None and now - state.moved < patience
        for state in states
    )
    # The short-lived programs of Spark's start script end while they are looked at.
    java: list[psutil.Process] = []
    for child in python.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            java += [child] if child.name() == "java" else []
    megabytes = [process.memory_info().rss / 2**20 for process in (python, *java)]
    seconds = [sum(process.cpu_times()[:2]) for process in (python, *java)]
    print(
        f"| {minute} | {healthy} of {len(names)} | {batches} | {megabytes[0]:.0f} | {sum(megabytes[1:]):.0f} "
        f"| {seconds[0]:.0f} | {sum(seconds[1:]):.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
