"""The check of a stream's health, as whoever runs it sees it: what the stream says, and the tables of its sinks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from devtools.services.s3 import S3Server, delta_rs_options
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.orchestration.stream_health import HEALTH_CHECK
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta

KEY = dg.AssetCheckKey(dg.AssetKey(["flow", "to_delta_lake"]), HEALTH_CHECK)
ROWS = pa.table({"value": [1, 2]})


def stream(path: Path | str, folder: Path, **load: Any) -> dict[str, Any]:
    streaming = {"mode": "streaming", "streaming": {"checkpointRoot": str(folder)}}
    return {**rate_to_delta("flow", path, trigger="5 seconds", **load), **streaming}


def runs(batch: int) -> None:
    """Let the stream say that it runs, and has finished so many micro-batches."""
    now = datetime.now(UTC)
    progress = {
        "query_id": "q",
        "query_run_id": "r",
        "name": None,
        "batch": batch,
        "worked": True,
        "at": now,
        "rows": 1,
    }
    speed = {"rows_per_second_in": 1.0, "rows_per_second": 1.0, "seconds": 1.0, "sources": []}
    state = {"pipeline": "flow", "checkpoint": "c", "run_id": "r", "phase": "running", "moved": now}
    said = {**state, "started": now, "heartbeat": now, "progress": {**progress, **speed}}
    StreamState.model_validate(said).write(state_file("flow"))


def checked(definitions: dg.Definitions) -> dg.AssetCheckEvaluation:
    job = dg.define_asset_job("health", dg.AssetSelection.checks(KEY))
    done = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("health").execute_in_process()
    (found,) = done.get_asset_check_evaluations()
    return found


def tables_of(found: dg.AssetCheckEvaluation) -> list[dict[str, Any]]:
    table = found.metadata["tables"]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def test_a_table_that_is_gone_while_the_stream_runs_is_told(define: MakeDefinitions, tmp_path: Path):
    definitions = define(stream(tmp_path / "t", tmp_path))
    for _ in range(3):
        write_deltalake(tmp_path / "t", ROWS, mode="append")
    runs(batch=7)
    found = checked(definitions)
    assert (found.passed, found.description) == (True, None)
    (table,) = tables_of(found)
    assert (table["sink"], table["version"]) == ("to_delta_lake", 2)
    assert (datetime.now(UTC) - datetime.fromisoformat(table["committed"])).total_seconds() < 60
    rmtree(tmp_path / "t")
    found = checked(definitions)
    assert not found.passed
    assert found.description == f"there is no table at {(tmp_path / 't').as_uri()}"


def test_a_table_on_s3_is_looked_at_with_the_credentials_of_its_load(
    define: MakeDefinitions, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    owner = s3.make_owner("stream-health", "watcher", "wJalrXUtnFEMI/K7MDENG+bPx")
    for name, key in (("HEALTH_ID", "accessKeyId"), ("HEALTH_SECRET", "secretAccessKey")):
        monkeypatch.setenv(name, owner[key])
    write_deltalake("s3://stream-health/t", ROWS, storage_options=delta_rs_options(owner))
    keys = {"accessKeyId": "${env:HEALTH_ID}", "secretAccessKey": "${env:HEALTH_SECRET}", "endpoint": s3.endpoint}
    definitions = define(stream("s3://stream-health/t", tmp_path, region=owner["region"], **keys))
    runs(batch=1)
    found = checked(definitions)
    assert (found.passed, found.description) == (True, None)
    assert [table["version"] for table in tables_of(found)] == [0]
    monkeypatch.setenv("HEALTH_SECRET", "another")
    found = checked(definitions)
    assert not found.passed
    assert "its tables can't be looked at" in (found.description or "")
