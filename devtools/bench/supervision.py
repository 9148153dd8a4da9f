"""How long a tick of the streams' sensor takes: with runs that live, with their state files, and with none of both."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from pipeline_platform.engine.streaming.stream_group import all_groups
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamState, state_file
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.streams_sensor import SENSOR


def main() -> None:
    """Print the seconds of some ticks, and whether any of them needed pyspark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100, help="Streams of the project.")
    parser.add_argument("--group", action="store_true", help="All of them in one group.")
    options = parser.parse_args()
    count = options.streams
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[STREAMS_VARIABLE] = str(folder / "streams")
        definitions = _definitions(folder / "pipelines", count, is_grouped=options.group)
        (folder / "instance").mkdir()
        with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
            cursor = _tick(definitions, instance, None, f"{count} streams to start")
            members = {
                each.pipeline: each for said in all_groups(folder / "pipelines").values() for each in said.members
            }
            if options.group:
                _begin(definitions, instance, "streams_bench")
            for number in range(count):
                job = definitions.resolve_job_def(f"stream_{number}")
                run_id = members[job.name].run_id if options.group else _begin(definitions, instance, job.name)
                now = datetime.now(UTC)
                state = StreamState(
                    pipeline=job.name, checkpoint="c", run_id=run_id, phase="running", started=now, heartbeat=now
                )
                state.write(state_file(job.name))
            for _ in range(5):
                cursor = _tick(definitions, instance, cursor, f"{count} streams that run")
    print("pyspark imported:", "pyspark" in sys.modules)


def _begin(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> str:
    job = definitions.resolve_job_def(name)
    return instance.create_run_for_job(job, tags=dict(job.tags), status=dg.DagsterRunStatus.STARTED).run_id


def _definitions(folder: Path, count: int, *, is_grouped: bool) -> dg.Definitions:
    folder.mkdir()
    for number in range(count):
        pipeline = {
            "name": f"stream_{number}",
            "mode": "streaming",
            "streaming": {"group": "bench" if is_grouped else False},
            "steps": [
                {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
                {"type": "load", "method": "toDeltaLake", "config": {"path": f"data/{number}"}},
            ],
        }
        (folder / f"stream_{number}.json").write_text(json.dumps(pipeline))
    return project_definitions(folder)


def _tick(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None, what: str) -> str | None:
    context = dg.build_sensor_context(instance, cursor=cursor, repository_def=definitions.get_repository_def())
    sensor = definitions.resolve_sensor_def(SENSOR)
    began = time.perf_counter()
    result = sensor(context)
    seconds = time.perf_counter() - began
    assert isinstance(result, dg.SensorResult)
    print(f"{what}: {seconds:.3f} s, {len(result.run_requests or ())} runs requested")
    return result.cursor


if __name__ == "__main__":
    main()
