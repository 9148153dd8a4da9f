"""Pipelines as assets: keys, lineage, versions and what a run leaves in Dagster."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from pipeline_platform.orchestration.assets import LOAD_ID_TAG, load_id
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, filtered, rate_to_delta, validation


def specs_of(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def deps_of(definitions: dg.Definitions, key: str) -> set[str]:
    return {dep.asset_key.to_user_string() for dep in specs_of(definitions)[key].deps}


def run(
    definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, **options: Any
) -> dg.ExecuteInProcessResult:
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def test_each_extract_transform_and_load_is_an_asset_of_the_pipelines_group(define: MakeDefinitions, tmp_path: Path):
    definitions = define(rate_to_delta("my-flow", tmp_path / "t", filtered("value > 3")))
    specs = specs_of(definitions)
    assert set(specs) == {"my_flow/from_rate", "my_flow/filter_rows", "my_flow/to_delta_lake"}
    assert {spec.group_name for spec in specs.values()} == {"my_flow"}
    assert specs["my_flow/to_delta_lake"].kinds == {"deltalake"}
    assert deps_of(definitions, "my_flow/to_delta_lake") == {"my_flow/filter_rows"}


@pytest.mark.parametrize("spelling", ["{path}", "{path}/", "file://{path}", "{path}/../t"])
def test_an_extract_depends_on_the_load_that_writes_its_dataset_however_it_is_spelled(
    define: MakeDefinitions, tmp_path: Path, spelling: str
):
    reader = {
        "name": "reader",
        "mode": "batch",
        "steps": [
            {"type": "extract", "method": "fromDeltaLake", "config": {"path": spelling.format(path=tmp_path / "t")}}
        ],
    }
    definitions = define(rate_to_delta("writer", tmp_path / "t"), reader)
    assert deps_of(definitions, "reader/from_delta_lake") == {"writer/to_delta_lake"}


def test_what_no_pipeline_writes_is_one_external_asset_for_all_that_read_it(define: MakeDefinitions, tmp_path: Path):
    def reader(name: str, path: str):
        extract = {"type": "extract", "method": "fromFiles", "config": {"path": path, "format": "json"}}
        return {"name": name, "mode": "batch", "steps": [extract]}

    definitions = define(reader("a", "/somewhere/in"), reader("b", "file:///somewhere/in/"))
    assert deps_of(definitions, "a/from_files") == deps_of(definitions, "b/from_files") == {"files/somewhere/in"}
    assert specs_of(definitions)["files/somewhere/in"].group_name == "sources"


def test_an_edit_changes_the_code_version_of_the_step_and_of_all_below_it(define: MakeDefinitions, tmp_path: Path):
    before = specs_of(define(rate_to_delta("flow", tmp_path / "t", filtered("value > 3"))))
    after = specs_of(define(rate_to_delta("flow", tmp_path / "t", filtered("value > 4"))))
    changed = {key for key in before if before[key].code_version != after[key].code_version}
    assert changed == {"flow/filter_rows", "flow/to_delta_lake"}


def test_a_run_leaves_rows_schema_lineage_uri_and_delta_version(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, instance: dg.DagsterInstance
):
    definitions = define(rate_to_delta("flow", tmp_path / "t", filtered("value < 10")))
    result = run(definitions, "flow", instance)
    assert result.success
    found: dict[str, Mapping[str, Any]] = {
        event.materialization.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    table = DeltaTable(tmp_path / "t")
    assert table.to_pyarrow_table().num_rows == 10
    load = found["flow/to_delta_lake"]
    assert load["dagster/row_count"].value == 10
    assert load["delta_version"].value == table.version()
    assert load["dagster/uri"].value == (tmp_path / "t").as_uri()
    assert load["bytes"].value == sum(table.get_add_actions(flatten=True).column("size_bytes").to_pylist())
    assert [column.name for column in load["dagster/column_schema"].value.columns] == ["timestamp", "value"]
    lineage = load["dagster/column_lineage"].value.deps_by_column
    assert lineage["value"] == [dg.TableColumnDep(dg.AssetKey(["flow", "filter_rows"]), "value")]
    assert found["flow/from_rate"]["dagster/row_count"].value == 60


def test_a_step_selected_without_a_load_is_run_for_real(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, instance: dg.DagsterInstance
):
    definitions = define(rate_to_delta("flow", tmp_path / "t", filtered("value < 10")))
    result = run(definitions, "flow", instance, asset_selection=[dg.AssetKey(["flow", "filter_rows"])])
    [event] = result.get_asset_materialization_events()
    assert event.materialization.metadata["dagster/row_count"].value == 10
    assert not (tmp_path / "t").exists()


def test_a_failing_validation_shows_its_result_fails_the_run_and_loads_nothing(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, instance: dg.DagsterInstance
):
    definitions = define(
        rate_to_delta("flow", tmp_path / "t", validation("validateRanges", ranges={"value": {"max": 50}}))
    )
    result = run(definitions, "flow", instance)
    assert not result.success
    evaluation, of_the_table = result.get_asset_check_evaluations()
    assert (of_the_table.asset_key.path[-1], of_the_table.passed) == ("to_delta_lake", evaluation.passed)
    assert not evaluation.passed
    assert evaluation.metadata["violations"].value == 9
    assert not DeltaTable.is_deltatable(str(tmp_path / "t"))
    assert not result.get_asset_materialization_events()
    failure = result.failure_data_for_node("run_flow")
    assert failure is not None
    told = failure.user_failure_data
    assert told is not None
    assert "9 of 60 rows" in str(told.description)
    assert str(told.metadata["place"].value).endswith("flow.json:12")


def test_a_check_can_be_run_alone(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, instance: dg.DagsterInstance
):
    definitions = define(rate_to_delta("flow", tmp_path / "t", validation("validateRowCount", min=60)))
    key = dg.AssetCheckKey(dg.AssetKey(["flow", "from_rate"]), "validate_row_count")
    job = dg.define_asset_job("only_check", selection=dg.AssetSelection.checks(key))
    merged = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    result = run(merged, "only_check", instance)
    [evaluation] = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert not (tmp_path / "t").exists()


def test_a_check_or_an_extract_alone_writes_no_quarantine_and_a_load_writes_it_once(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, instance: dg.DagsterInstance
):
    quarantine = tmp_path / "quarantine"
    ranges = validation(
        "validateRanges", ranges={"value": {"max": 50}}, onFailure="quarantine", quarantinePath=str(quarantine)
    )
    definitions = define(rate_to_delta("flow", tmp_path / "t", ranges))
    extract = dg.AssetKey(["flow", "from_rate"])
    check = dg.AssetCheckKey(extract, "validate_ranges")
    only_check = dg.define_asset_job("only_check", selection=dg.AssetSelection.checks(check))
    merged = dg.Definitions.merge(definitions, dg.Definitions(jobs=[only_check]))
    alone = run(merged, "only_check", instance)
    with_extract = run(merged, "flow", instance, asset_selection=[extract])
    for result in (alone, with_extract):
        assert result.success
        [evaluation] = result.get_asset_check_evaluations()
        assert evaluation.metadata["violations"].value == 9
        assert "quarantined" not in evaluation.metadata
    assert not quarantine.exists()
    # The load alone takes nothing that breaks the rule, so that the rest has to go somewhere.
    loaded = run(merged, "flow", instance, asset_selection=[dg.AssetKey(["flow", "to_delta_lake"])])
    assert loaded.success
    assert DeltaTable(tmp_path / "t").to_pyarrow_table().num_rows == 51
    assert DeltaTable(quarantine).to_pyarrow_table().num_rows == 9


def test_an_extract_alone_writes_no_malformed_records_to_quarantine(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, instance: dg.DagsterInstance
):
    quarantine = tmp_path / "malformed"
    (tmp_path / "in.csv").write_text("id\n1\nNA\n3\n")
    config = {
        "path": str(tmp_path / "in.csv"),
        "format": "csv",
        "schema": "id INT",
        "onMalformed": "quarantine",
        "quarantinePath": str(quarantine),
    }
    pipeline = rate_to_delta("raw", tmp_path / "t")
    pipeline["steps"][0] = {"type": "extract", "method": "fromFiles", "config": config}
    definitions = define(pipeline)
    assert run(definitions, "raw", instance, asset_selection=[dg.AssetKey(["raw", "from_files"])]).success
    assert not quarantine.exists()
    assert run(definitions, "raw", instance, asset_selection=[dg.AssetKey(["raw", "to_delta_lake"])]).success
    assert sorted(DeltaTable(tmp_path / "t").to_pyarrow_table()["id"].to_pylist()) == [1, 3]
    assert DeltaTable(quarantine).to_pyarrow_table().num_rows == 1


def flow_job() -> dg.JobDefinition:
    """The job `flow` of the folder in the environment, for runs that have to be found again by their name."""
    return project_definitions(Path(os.environ["PIPELINES_DIR"])).resolve_job_def("flow")


def test_a_retry_has_the_load_id_of_the_first_that_failed_though_runs_between_them_are_deleted(
    instance: dg.DagsterInstance,
):
    failed, good = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS

    def executed(run_id: str, status: dg.DagsterRunStatus, *parents: str, tags: bool = True) -> dg.DagsterRun:
        """A run as Dagster makes one that re-executes others, which has ended."""
        parent = instance.get_run_by_id(parents[-1]) if parents else None
        run = dg.DagsterRun(
            "flow",
            run_id=run_id,
            parent_run_id=parents[-1] if parents else None,
            root_run_id=parents[0] if parents else None,
            tags=parent.tags if parent is not None else {},
            status=status,
        )
        instance.add_run(run)
        if tags:
            instance.add_run_tags(run_id, {LOAD_ID_TAG: load_id(instance, run)})
        return run

    def id_of(*parents: str, gone: str) -> str:
        last = executed("last", dg.DagsterRunStatus.STARTED, *parents, tags=False)
        for run_id in gone:
            instance.delete_run(run_id)
        found = load_id(instance, last)
        instance.wipe()
        return found

    executed("a", failed)
    executed("b", failed, "a")
    assert id_of("a", "b", gone="a") == "a"
    # Runs of an earlier version have no tag.
    executed("a", failed, tags=False)
    executed("b", failed, "a", tags=False)
    assert id_of("a", "b", gone="a") == "a"
    # What comes after a run that succeeded is a new load, whatever the first run was.
    executed("a", good)
    executed("b", failed, "a")
    executed("c", failed, "a", "b")
    assert id_of("a", "b", "c", gone="ab") == "b"
    executed("a", good)
    executed("b", failed, "a")
    assert id_of("a", "b", gone="a") == "b"
    executed("a", failed)
    executed("b", good, "a")
    assert id_of("a", "b", gone="a") == "last"


def test_a_retry_of_a_failed_run_loads_once_and_a_rerun_of_a_good_one_loads_again(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
):
    two_loads = rate_to_delta("flow", tmp_path / "t")
    two_loads["steps"] += [
        # The second load is planned well and fails when it is run.
        filtered("IF(value = ${env:BAD_ROW:-60}, raise_error('the last row') IS NULL, true)"),
        {"type": "load", "method": "toDeltaLake", "config": {"path": str(tmp_path / "u")}},
    ]
    define(two_loads)
    monkeypatch.setenv("PIPELINES_DIR", str(tmp_path / "pipelines"))

    def rows() -> int:
        return DeltaTable(tmp_path / "t").to_pyarrow_table().num_rows

    def execute(instance: dg.DagsterInstance, parent: str | None) -> dg.JobExecutionResult:
        options = dg.ReexecutionOptions(parent_run_id=parent) if parent else None
        return dg.execute_job(
            dg.reconstructable(flow_job), instance=instance, reexecution_options=options, raise_on_error=False
        )

    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        monkeypatch.setenv("BAD_ROW", "59")
        failed = execute(instance, parent=None)
        assert not failed.success
        assert rows() == 60
        # Whoever reads the first table is told of it.
        told = {event.asset_key for event in failed.get_asset_materialization_events()}
        assert told == {dg.AssetKey(["flow", "to_delta_lake"])}
        again = execute(instance, parent=failed.run_id)
        assert not again.success
        instance.delete_run(failed.run_id)
        monkeypatch.delenv("BAD_ROW")
        retried = execute(instance, parent=again.run_id)
        assert retried.success
        assert rows() == 60
        assert execute(instance, parent=retried.run_id).success
        assert rows() == 120


def test_a_run_says_what_it_does_on_its_page_and_at_the_terminal(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
):
    done = run(define(rate_to_delta("flow", tmp_path / "t")), "flow", instance)
    records = instance.get_records_for_run(done.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    events = [event for record in records if (event := record.event_log_entry.dagster_event) is not None]
    shown = [event.message or "" for event in events]
    started, told = (
        next(place for place, text in enumerate(shown) if text.startswith(beginning))
        for beginning in ("step 2 of 2", "to_delta_lake (toDeltaLake) completed: 60 rows")
    )
    assert shown.index("starting Spark") < started < told
    bars = [(event.engine_event_data.marker_start, event.engine_event_data.marker_end) for event in events]
    assert (bars[started], bars[told]) == (("to_delta_lake", None), (None, "to_delta_lake"))
    said = capsys.readouterr().err
    assert f"flow: {shown[started]}\n" in said
    assert f"flow: {shown[told]}\n" in said


def test_a_broken_file_shows_with_its_errors_and_the_others_load(define: MakeDefinitions, tmp_path: Path):
    definitions = define(rate_to_delta("good", tmp_path / "t"), texts={"bad.json": '{"name": "bad", "mode": "btach"}'})
    specs = specs_of(definitions)
    assert "good/from_rate" in specs
    assert "bad.json:1:25" in str(specs["broken/bad"].description)


def test_two_files_of_one_name_do_not_both_load(define: MakeDefinitions, tmp_path: Path):
    twin = json.dumps(rate_to_delta("same-name", tmp_path / "u"))
    definitions = define(rate_to_delta("same_name", tmp_path / "t"), texts={"twin.json": twin})
    assert "is taken by" in str(specs_of(definitions)["broken/twin"].description)


def test_a_schedule_starts_the_pipelines_job(define: MakeDefinitions, tmp_path: Path):
    definitions = define({**rate_to_delta("nightly", tmp_path / "t"), "schedule": "0 2 * * *"})
    [schedule] = definitions.schedules or []
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.job_name) == ("0 2 * * *", "nightly")


def test_a_code_server_can_load_the_definitions(define: MakeDefinitions, tmp_path: Path):
    definitions = define(
        {**rate_to_delta("a", tmp_path / "t", filtered("value > 3")), "schedule": "0 2 * * *"},
        rate_to_delta("b", tmp_path / "u"),
        texts={"bad.json": "{"},
    )
    dg.Definitions.validate_loadable(definitions)


def test_each_column_that_is_not_as_in_the_table_is_an_event_with_the_difference(
    define: MakeDefinitions, spark: SparkSession, tmp_path: Path, instance: dg.DagsterInstance
):
    for columns in ({"value": "value"}, {"more": "value"}):
        enriched = {"type": "transform", "method": "enrichData", "config": {"columns": columns}}
        pipeline = rate_to_delta("grows", tmp_path / "t", enriched, schemaPolicy={"newColumns": "ignore"})
        result = run(define(pipeline), "grows", instance)
        assert result.success
    key = dg.AssetKey(["grows", "to_delta_lake"])
    observations: Any = [record.asset_observation for record in instance.fetch_observations(key, limit=5).records]
    assert [observation.description for observation in observations] == ["the new column 'more' (bigint) was ignored"]
    assert observations[0].metadata["schema/after"].value == "bigint"
    materialization: Any = instance.get_latest_materialization_event(key)
    metadata = materialization.asset_materialization.metadata
    [record] = metadata["schema_changes"].records
    assert dict(record.data) == {"column": "more", "change": "ignored", "before": "", "after": "bigint"}
    assert [column.name for column in metadata["dagster/column_schema"].value.columns] == ["timestamp", "value"]
