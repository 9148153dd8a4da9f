"""A code location in an environment: beside production in one instance, and nothing begins by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.config.environments import ENVIRONMENT_VARIABLE
from pipeline_platform.engine.streaming.stream_group import GroupMembers, Member, all_groups
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamState, all_states, state_file
from pipeline_platform.orchestration.apart import ENVIRONMENT_TAG
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.streams_sensor import has_orphans
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STREAMS_VARIABLE, str(tmp_path / "streams"))
    monkeypatch.setenv("PIPELINE_PLATFORM_REFRESH_SECONDS", "60")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "environments.json").write_text('{"environments": {"dev": {"prefix": "dev_", "shared": "in"}}}')
    write(pipeline(extract(path="in", format="csv", watch=True), load(path="lake/orders"), name="orders"))
    report = pipeline(extract("fromDeltaLake", path="lake/orders"), load(path="lake/report"), name="report")
    write({**report, "automation": "onUpstream"})
    write(pipeline(extract("fromRate", rowsPerSecond=1), load(path="lake/visits"), mode="streaming", name="visits"))
    return tmp_path


def write(value: Json) -> None:
    Path("pipelines", f"{value['name']}.json").write_text(json.dumps(value))


def definitions(monkeypatch: pytest.MonkeyPatch, environment: str | None) -> dg.Definitions:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, environment or "")
    return project_definitions(Path("pipelines"))


def _all(defs: dg.Definitions) -> dict[str, Any]:
    repository = defs.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    sensors = {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    keys = {key.to_user_string() for key in repository.asset_graph.materializable_asset_keys}
    return {"jobs": jobs, "sensors": sensors, "keys": keys}


def test_a_location_beside_production_shares_no_job_and_no_key_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production, dev = definitions(monkeypatch, None), definitions(monkeypatch, "dev")
    one, other = _all(production), _all(dev)
    assert one["keys"] >= {"orders/to_delta_lake", "report/to_delta_lake", "visits/to_delta_lake"}
    assert other["keys"] == {f"dev_{key}" for key in one["keys"]}
    assert other["jobs"] == {f"dev_{job}" for job in one["jobs"]}
    assert one["sensors"] == {
        "alerts": "RUNNING",
        "automation": "RUNNING",
        "items": "RUNNING",
        "new_data": "RUNNING",
        "streams": "STOPPED",
    }
    # The items of files are those of production.
    assert other["sensors"] == {
        "alerts": "STOPPED",
        "automation_dev": "STOPPED",
        "new_data_dev": "STOPPED",
        "streams_dev": "STOPPED",
    }


def test_lineage_and_tags_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = definitions(monkeypatch, "dev").get_repository_def()
    graph = repository.asset_graph
    spec = graph.get(dg.AssetKey(["dev_report", "from_delta_lake"]))
    assert dg.AssetKey(["dev_orders", "to_delta_lake"]) in spec.parent_keys
    assert spec.metadata["environment"] == "dev"
    assert repository.get_job("dev_orders").tags[ENVIRONMENT_TAG] == "dev"
    assert ENVIRONMENT_TAG not in definitions(monkeypatch, None).get_repository_def().get_job("orders").tags


def test_a_stream_of_the_environment_is_none_of_production_and_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "dev")
    dev = load_project(Path("pipelines"), method_registry())
    [stream] = [one for one in dev.pipelines if one.mode == "streaming"]
    file = str(Path("pipelines/visits.json").absolute())
    state = StreamState.starting(stream, None, "checkpoint", "run", 0).model_copy(update={"file": file})
    state.write(state_file(stream.name))
    assert [one.pipeline for one in all_states("dev")] == ["dev_visits"]
    assert all_states() == []
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    # It would be stopped as one whose pipeline was renamed.
    assert not has_orphans(load_project(Path("pipelines"), method_registry()))
    members = GroupMembers.of(Path("pipelines"), "1", [Member(pipeline="dev_visits", run_id="r")], "dev")
    members.write(members.file)
    assert all_groups(Path("pipelines")) == {}
    assert all_groups(Path("pipelines"), "dev") == {"1": members}
