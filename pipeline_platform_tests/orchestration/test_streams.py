"""Streaming pipelines under Dagster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState, request_file, state_file
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, validation


def stream_of_files(tmp_path: Path, *between: dict[str, Any]) -> dict[str, Any]:
    """A pipeline that loads what has come into a folder since its last run."""
    source = {"path": str(tmp_path / "in"), "format": "json", "schema": "id INT"}
    sink = {"path": str(tmp_path / "t"), "trigger": "availableNow"}
    return {
        "name": "flow",
        "mode": "streaming",
        "streaming": {"checkpointRoot": str(tmp_path / "checkpoints")},
        "steps": [
            {"type": "extract", "method": "fromFiles", "config": source},
            *between,
            {"type": "load", "method": "toDeltaLake", "config": sink},
        ],
    }


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def("flow").execute_in_process(instance=instance, raise_on_error=False)


def observed(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, dg.MetadataValue[Any]]:
    """The metadata of an asset's last observation."""
    [record] = instance.fetch_observations(key, limit=1).records
    assert record.asset_observation is not None
    return record.asset_observation.metadata


def arrive(tmp_path: Path, name: str, *ids: int) -> None:
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in" / f"{name}.json").write_text("".join(f'{{"id": {number}}}\n' for number in ids))


def test_each_run_goes_on_from_the_checkpoint_and_shows_where_the_stream_stands(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession
):
    definitions = define(stream_of_files(tmp_path))
    sink = dg.AssetKey(["flow", "to_delta_lake"])
    with dg.DagsterInstance.ephemeral() as instance:
        for batch, ids in enumerate([(1, 2, 3), (4, 5)]):
            arrive(tmp_path, f"{batch}", *ids)
            assert run(definitions, instance).success
            seen = observed(instance, sink)
            assert seen["stream/batch"].value == batch
            assert seen["stream/batch_rows"].value == len(ids)
            loaded = instance.get_latest_materialization_event(sink)
            assert loaded is not None
            assert loaded.asset_materialization is not None
            assert loaded.asset_materialization.metadata["dagster/row_count"].value == len(ids)
        assert instance.get_latest_materialization_event(dg.AssetKey(["flow", "from_files"]))
    assert sorted(DeltaTable(tmp_path / "t").to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3, 4, 5]


def test_a_broken_rule_fails_the_run_and_the_check_says_which(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession
):
    definitions = define(stream_of_files(tmp_path, validation("validateRanges", ranges={"id": {"max": 2}})))
    arrive(tmp_path, "a", 1, 2, 3)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(definitions, instance)
        assert not result.success
        check, of_the_table = result.get_asset_check_evaluations()
        assert (check.passed, check.metadata) == (of_the_table.passed, of_the_table.metadata)
        assert not check.passed
        assert check.metadata["violations"].value == 1
    assert not (tmp_path / "t").exists()


def test_a_sink_shows_the_version_of_its_table_while_the_stream_runs(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession
):
    definitions = define(stream_of_files(tmp_path, validation("validateRanges", ranges={"id": {"max": 9}})))
    arrive(tmp_path, "a", 1, 2, 3)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(definitions, instance).success
        assert observed(instance, dg.AssetKey(["flow", "to_delta_lake"]))["delta_version"].value == 0


def test_a_stream_that_a_person_stops_ends_as_canceled_and_materializes_what_it_is_fed(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession
):
    source = {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 10}}
    flow = stream_of_files(tmp_path)
    flow["steps"][0] = source
    flow["steps"][-1]["config"]["trigger"] = "1 second"
    definitions = define(flow)
    sink = dg.AssetKey(["flow", "to_delta_lake"])
    with dg.DagsterInstance.ephemeral() as instance, ThreadPoolExecutor() as pool:

        def stop_once_it_works() -> None:
            while instance.get_latest_materialization_event(sink) is None:
                time.sleep(0.1)
            StreamRequest(action="stop").write(request_file("flow"))

        stopping = pool.submit(stop_once_it_works)
        result = run(definitions, instance)
        stopping.result(60)
        [record] = instance.get_run_records()
        assert record.dagster_run.status == dg.DagsterRunStatus.CANCELED
        assert not result.success
    state = StreamState.read(state_file("flow"))
    assert state is not None
    assert state.phase == "stopped"


def test_rows_that_came_too_late_are_on_the_sink_and_in_the_log_of_the_run(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession
):
    timed = {"type": "transform", "method": "enrichData", "config": {"columns": {"at": "timestamp_seconds(id)"}}}
    watermark = {"column": "at", "delay": "1 second"}
    distinct = {"type": "transform", "method": "deduplicate", "config": {"columns": ["id"], "watermark": watermark}}
    definitions = define(stream_of_files(tmp_path, timed, distinct))
    with dg.DagsterInstance.ephemeral() as instance:
        for batch, ids in enumerate([(1, 500), (2, 3, 600)]):
            arrive(tmp_path, f"{batch}", *ids)
            assert run(definitions, instance).success
        assert observed(instance, dg.AssetKey(["flow", "to_delta_lake"]))["stream/late_rows"].value == 2
        newest = instance.get_run_records(limit=1)[0].dagster_run.run_id
        said = [entry.user_message for entry in instance.all_logs(newest)]
    assert [line for line in said if "2 rows came too late for the watermark, since the run began" in line]
    assert sorted(DeltaTable(tmp_path / "t").to_pyarrow_table()["id"].to_pylist()) == [1, 500, 600]
