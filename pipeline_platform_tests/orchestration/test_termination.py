"""A batch that a person terminates in the UI."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psutil
import pytest
from dagster_graphql import DagsterGraphQLClient

from devtools.deployment import deploy
from devtools.pipelines import listing, load
from pipeline_platform.metrics.exporter import METRICS_VARIABLE
from pipeline_platform_tests.engine.processes import WAITING_ALLOWED, waiting, write_rows

HOUR = 3_600_000


@pytest.mark.timeout(600)
def test_a_batch_that_is_terminated_in_the_ui_is_cancelled_and_leaves_nothing(tmp_path: Path):
    files, table, told = tmp_path / "out" / "files", tmp_path / "out" / "table", tmp_path / "runs.jsonl"
    steps = [
        write_rows(tmp_path, wait_milliseconds=HOUR),
        waiting(),
        load("toFiles", path=str(files), format="parquet"),
        load("toDeltaLake", path=str(table)),
    ]
    (tmp_path / "out").mkdir()
    (tmp_path / "deployment").mkdir()
    deployment = deploy(
        tmp_path / "deployment",
        {"slow": {"name": "slow", "mode": "batch", "steps": steps}},
        {METRICS_VARIABLE: f"jsonl:{told}", **WAITING_ALLOWED},
    )
    try:
        address = urlsplit(deployment.address)
        ui = DagsterGraphQLClient(address.hostname or "", port_number=address.port)
        run_id = ui.submit_job_execution("slow", repository_location_name="streams", repository_name="__repository__")
        deployment.wait_until(lambda: any(files.rglob("*.parquet")), "the load begins")
        assert deployment.code_server.process is not None
        below = psutil.Process(deployment.code_server.process.pid).children(recursive=True)
        javas = [process for process in below if process.name() == "java"]
        assert javas
        ui.terminate_run(run_id)
        deployment.wait_until(lambda: deployment.runs() == [(run_id, dg.DagsterRunStatus.CANCELED)], "it is cancelled")
        assert psutil.wait_procs(javas, timeout=30)[1] == []
    finally:
        deployment.end()
    assert [json.loads(line)["status"] for line in told.read_text().splitlines()] == ["RUNNING", "CANCELLED"]
    assert listing(tmp_path / "out") == []
