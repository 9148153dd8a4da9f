"""What is logged as JSON: every line is an object that says which run, step and micro-batch it is about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.pipelines import StepValue, extract, load, pipeline_text, transform
from pipeline_platform.logs import LOG_VARIABLE
from pipeline_platform.metrics.exporter import METRICS_VARIABLE

SECRET = "hush-hush-11"


def logged(tmp_path: Path, *steps: StepValue, exit_code: int = 0, **keys: Any) -> list[dict[str, Any]]:
    """The lines on standard error of a run at the command line; each has to be an object."""
    file = tmp_path / "tested.json"
    file.write_text(pipeline_text(steps, **keys))
    program = str(Path(sys.executable).with_name("pipeline-platform"))
    # `run --json`, so that standard output is checked to hold nothing else.
    done = subprocess.run(
        [program, "run", "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
        env={**os.environ, LOG_VARIABLE: "json", METRICS_VARIABLE: "log", "SPARK_LOG_LEVEL": "INFO", "KEY": SECRET},
    )
    assert done.returncode == exit_code, done.stderr[-3000:]
    assert json.loads(done.stdout)["pipeline"] == "tested"
    assert SECRET not in done.stderr
    lines: list[dict[str, Any]] = []
    for line in done.stderr.splitlines():
        assert line.startswith("{"), line
        lines.append(json.loads(line))
    return lines


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("batch")
    keep = transform("filterRows", condition="value > 0 AND '${env:KEY}' <> 'x'")
    return logged(folder, extract("fromRate", rowsPerSecond=10), keep, load("toDeltaLake", path=str(folder / "out")))


def test_every_line_has_its_time_level_logger_and_message(batch: list[dict[str, Any]]):
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in batch)
    assert {line["level"] for line in batch} >= {"INFO"}


def test_the_lines_of_the_run_and_those_of_spark_bear_the_same_ids(batch: list[dict[str, Any]]):
    told = [line for line in batch if line["logger"] == "pipeline_platform.metrics.log"]
    assert [line["run"]["status"] for line in told] == ["RUNNING", "COMPLETED"]
    run_id = told[0]["run"]["run_id"]
    sparks = [line for line in batch if line["logger"].startswith("org.apache.spark.scheduler")]
    assert len(sparks) > 5
    during = batch[batch.index(told[0]) : batch.index(told[1]) + 1]
    assert {(line["pipeline"], line["run_id"]) for line in during} == {("tested", run_id)}
    assert [line for line in sparks if line in during]


def test_a_failure_is_a_line_too_and_has_what_to_do_next(tmp_path: Path):
    steps = extract("fromRate", rowsPerSecond=1), load("toDeltaLake", path=str(tmp_path / "out"), partitionBy="nowhere")
    lines = logged(tmp_path, *steps, exit_code=1)
    errors = [line["message"] for line in lines if line["level"] == "ERROR"]
    assert len(errors) == 2
    assert all("nowhere" in error for error in errors)
    assert "next: " in errors[-1]


def test_what_a_micro_batch_logs_bears_its_query_and_its_number(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text('{"id": 1}\n')
    source = extract("fromFiles", path=str(tmp_path / "in"), format="json", schema="id INT")
    sinks = [load("toDeltaLake", path=str(tmp_path / name), trigger="availableNow") for name in ("a", "b")]
    lines = logged(tmp_path, source, *sinks, mode="streaming", streaming={"checkpointRoot": str(tmp_path / "c")})
    query = json.loads((tmp_path / "c" / "tested" / "stream" / "metadata").read_text())["id"]
    steps = {line["step"] for line in lines if line.get("batch") == 0 and line.get("query") == query and "step" in line}
    assert steps == {"from_files", "to_delta_lake", "to_delta_lake_2"}
