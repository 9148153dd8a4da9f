"""The run of a group of streams, with a daemon, a code server and one JVM for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import psutil
import pytest
from dagster_graphql import DagsterGraphQLClient
from deltalake import DeltaTable

from devtools.deployment import Deployment, deploy
from devtools.pipelines import extract, load, validate
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamRequest, request_file

JOB = "streams_shared"
NAMES = ("files", "plain", "checked")
CANCELED, STARTED, FAILURE = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


def stream(folder: Path, name: str, *steps: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "mode": "streaming",
        "streaming": {
            "checkpointRoot": str(folder / "checkpoints"),
            "group": "shared",
            "restartDelaySeconds": 1,
            **options,
        },
        "steps": [extract("fromRate", rowsPerSecond=10), *steps],
    }


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Three streams that go on, of which two are Spark's own sink, and one that fails at its first rows."""

    def to_delta(name: str) -> Mapping[str, Any]:
        return load("toDeltaLake", path=str(tmp_path / name), trigger="1 second")

    rule = validate("validateRanges", ranges={"value": {"min": 0}}, onFailure="quarantine")
    broken = validate("validateRanges", ranges={"value": {"max": -1}})
    pipelines = {
        "plain": stream(tmp_path, "plain", to_delta("plain")),
        "checked": stream(tmp_path, "checked", rule, to_delta("checked")),
        "files": stream(tmp_path, "files", to_delta("files")),
        "fails": stream(tmp_path, "fails", broken, to_delta("fails"), maxRestarts=1),
    }
    (tmp_path / "deployment").mkdir()
    found = deploy(tmp_path / "deployment", pipelines, {}, "pipeline_platform.definitions")
    yield found
    found.end()


def rows(path: Path) -> int:
    has_version = any((path / "_delta_log").glob("*.json"))
    return DeltaTable(path).to_pyarrow_table().num_rows if has_version else 0


def process_of(deployment: Deployment, name: str) -> psutil.Process:
    state = deployment.state(name)
    assert state is not None
    return psutil.Process(state.pid)


def java_of(process: psutil.Process) -> psutil.Process:
    [java] = [child for child in process.children(recursive=True) if child.name() == "java"]
    return java


@pytest.mark.timeout(900)
def test_streams_of_a_group_share_a_jvm_and_survive_it_and_each_other(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(STREAMS_VARIABLE, str(deployment.streams))

    def all_get_on(*names: str) -> None:
        before = {name: rows(tmp_path / name) for name in names}
        deployment.wait_until(lambda: all(rows(tmp_path / name) > before[name] for name in names), f"{names} get on")

    def told(text: str) -> bool:
        return any(
            text in entry.message for run_id, _ in deployment.runs() for entry in deployment.instance.all_logs(run_id)
        )

    deployment.turn_sensor_on("streams")
    all_get_on(*NAMES)
    [(first, status)] = deployment.runs()
    assert status == STARTED
    assert len({process_of(deployment, name).pid for name in NAMES}) == 1
    java = java_of(process_of(deployment, "plain"))

    # One fails, and its check says why; one is stopped.
    deployment.wait_until(lambda: told("'fails', step 2 (validate validateRanges)"), "the run says what failed")
    deployment.wait_until(lambda: told("checked: micro-batch 0"), "its events name the stream")
    failed = dg.AssetCheckKey(dg.AssetKey(["fails", "to_delta_lake"]), "validate_ranges")
    checks = deployment.instance.event_log_storage.get_asset_check_execution_history(failed, limit=1)
    assert checks[0].event is not None
    StreamRequest(action="stop").write(request_file("files"))
    deployment.wait_until(lambda: (state := deployment.state("files")) is not None and state.phase == "stopped", "stop")
    all_get_on("plain", "checked")
    assert deployment.runs() == [(first, STARTED)]
    assert rows(tmp_path / "fails") == 0

    # The JVM dies with all of them, and they go on in another one.
    java.kill()
    deployment.wait_until(lambda: (first, FAILURE) in deployment.runs(), "the run fails")
    all_get_on("plain", "checked")
    second, status = deployment.runs()[0]
    assert (status, len(deployment.runs())) == (STARTED, 2)
    shown = deployment.instance.get_latest_materialization_event(dg.AssetKey(["plain", "to_delta_lake"]))
    assert shown is not None
    assert shown.run_id == second

    # A person terminates the run: all stop after their micro-batches, and stay stopped.
    process = process_of(deployment, "plain")
    address = urlsplit(deployment.address)
    DagsterGraphQLClient(address.hostname or "", port_number=address.port).terminate_run(second)
    deployment.wait_until(lambda: deployment.runs()[0] == (second, CANCELED), "the run is cancelled")
    deployment.wait_until(lambda: not process.is_running(), "its process ends")
    for name in NAMES:
        state = deployment.state(name)
        assert state is not None
        assert state.phase == "stopped"
        values = sorted(DeltaTable(tmp_path / name).to_pyarrow_table()["value"].to_pylist())
        assert values == [*range(len(values))]
