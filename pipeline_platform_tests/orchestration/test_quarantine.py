"""Rows in quarantine in Dagster: the check of how many there are, and the jobs that replay and delete them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.quarantine_check import reported_quarantine
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.orchestration.streams import StreamEvents
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.vault import VaultResource
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta, validation

SMALL = validation("validateRanges", ranges={"value": {"max": 39}}, onFailure="quarantine")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def flow(folder: Path, *more: dict[str, Any], **limits: Any) -> dict[str, Any]:
    return {**rate_to_delta("my-flow", folder / "t", SMALL, *more, mode="append"), "quarantine": limits}


def executed(definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, **config: Any) -> Any:
    ops = {"ops": {f"run_{job}": {"config": config}}} if config else {}
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, run_config=ops, raise_on_error=False)


def test_the_run_checks_its_quarantine_and_jobs_replay_and_delete_what_is_in_it(
    spark: SparkSession, define: MakeDefinitions, instance: dg.DagsterInstance, tmp_path: Path
):
    definitions = define(flow(tmp_path, maxRows=10))
    [check] = [
        one
        for one in executed(definitions, "my_flow", instance).get_asset_check_evaluations()
        if one.check_name == "quarantine"
    ]
    assert (check.asset_key.path, check.passed, check.metadata["rows"].value) == (
        ["my_flow", "to_delta_lake"],
        False,
        20,
    )
    assert check.description == (
        "20 rows are in quarantine, more than 10: look at them with: pipeline-platform quarantine list"
    )
    asked = {"pipeline": "my-flow", "step": "validate_ranges"}
    done = executed(
        definitions, "replay_quarantine", instance, **asked, where="value < 50", set_columns={"value": "value - 40"}
    )
    [event] = done.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert event.asset_key.path == ["my_flow", "to_delta_lake"]
    assert (metadata["replay/rows"], metadata["replay/still_in_quarantine"]) == (10, 0)
    run = instance.get_run_by_id(done.run_id)
    assert run is not None
    assert run.tags["pipeline_platform/step"] == "validate_ranges"
    dropped = executed(definitions, "drop_quarantine", instance, **asked, where="value = 59")
    assert dropped.success
    values = [
        sorted(DeltaTable(tmp_path / name).to_pyarrow_table()["value"].to_pylist()) for name in ("t", "t_quarantine")
    ]
    assert values == [sorted([*range(40), *range(10)]), list(range(50, 59))]
    failed = executed(definitions, "replay_quarantine", instance, pipeline="nope", step="validate_ranges")
    assert not failed.success
    [error] = [event.step_failure_data.error for event in failed.all_node_events if event.is_step_failure]
    assert "there is no pipeline called 'nope'; those with a quarantine are my-flow" in error.message


def test_a_stream_that_runs_tells_how_its_quarantine_stands(
    define: MakeDefinitions, instance: dg.DagsterInstance, tmp_path: Path
):
    stream = {**flow(tmp_path, maxRows=0), "mode": "streaming", "streaming": {"checkpointRoot": str(tmp_path)}}
    definitions = define(stream)
    view = AssetView(load_project(tmp_path / "pipelines", method_registry()))
    [pipeline] = view.project.pipelines
    check = reported_quarantine(instance, view, pipeline, VaultResource())
    aside(tmp_path, datetime.now(UTC))
    told: list[Any] = []
    heard = StreamEvents(told.append, cast("RunEvents", SimpleNamespace(say=print)), view, pipeline, check)
    heard(progress())
    key = dg.AssetCheckKey(dg.AssetKey(["my_flow", "to_delta_lake"]), "quarantine")
    [record] = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
    assert record.event is not None
    assert record.event.dagster_event is not None
    assert record.event.dagster_event.asset_check_evaluation_data.description == (
        "1 row is in quarantine, and none may be: look at it with: pipeline-platform quarantine list"
    )
    heard(progress())
    assert len(instance.event_log_storage.get_asset_check_execution_history(key, limit=9)) == 1
    # The run is the stream, and has no end that a check could come after.
    assert "my_flow__to_delta_lake_quarantine" not in definitions.resolve_job_def("my_flow").graph.node_dict


def progress() -> StreamProgress:
    """What a stream says of its first micro-batch."""
    numbers = {"rows": 1, "rows_per_second_in": 1.0, "rows_per_second": 1.0, "seconds": 1.0}
    said = {"query_id": "q", "query_run_id": "r", "name": None, "batch": 0, "worked": True, "at": datetime.now(UTC)}
    return StreamProgress.model_validate({**said, **numbers, "sources": []})


def aside(folder: Path, since: datetime) -> None:
    """Put a row into quarantine, as a run would have."""
    rows = {
        "value": [40],
        "_violations": [["validate_ranges: value <= 39"]],
        "_step": ["my-flow/validate_ranges"],
        "_quarantined_at": pa.array([since], pa.timestamp("us", "UTC")),
    }
    write_deltalake(folder / "t_quarantine", pa.table(rows))


def test_a_row_that_was_forgotten_fails_the_check_and_a_pipeline_without_limits_has_none(
    define: MakeDefinitions, instance: dg.DagsterInstance, tmp_path: Path
):
    aside(tmp_path, datetime.now(UTC) - timedelta(days=8))
    definitions = define(flow(tmp_path, maxAge="7 days"), rate_to_delta("other", tmp_path / "o", SMALL))
    key = dg.AssetCheckKey(dg.AssetKey(["my_flow", "to_delta_lake"]), "quarantine")
    job = dg.define_asset_job("look", dg.AssetSelection.checks(key))
    both = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    [found] = both.resolve_job_def("look").execute_in_process(instance=instance).get_asset_check_evaluations()
    assert (found.passed, found.description) == (
        False,
        "a row is in the quarantine of validate_ranges for 8.0 days, longer than 7 days",
    )
    assert found.metadata["rules"].value == {"validate_ranges: value <= 39": 1}
    assert [one.name for one in definitions.resolve_asset_graph().asset_check_keys if one.name == "quarantine"] == [
        "quarantine"
    ]
