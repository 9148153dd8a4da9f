"""The maintenance of tables in Dagster: assets beside those of the loads, with a job and a schedule of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform_tests.engine.maintenance.test_upkeep import ids, table_of

SOURCE = {"type": "extract", "method": "fromFiles", "config": {"path": "in", "format": "json", "schema": "id BIGINT"}}


def written(folder: Path, name: str, *steps: dict[str, Any], **keys: Any) -> None:
    content = {"name": name, "mode": "batch", **keys, "steps": [SOURCE, *steps]}
    (folder / f"{name}.json").write_text(json.dumps(content))


def load(path: Path, mode: str = "append") -> dict[str, Any]:
    return {"type": "load", "method": "toDeltaLake", "config": {"path": str(path), "mode": mode}}


def job_named(definitions: dg.Definitions, name: str) -> dg.JobDefinition:
    return definitions.resolve_job_def(name)


def schedules_of(definitions: dg.Definitions) -> list[dg.ScheduleDefinition]:
    return [schedule for schedule in definitions.schedules or () if isinstance(schedule, dg.ScheduleDefinition)]


def test_a_table_is_maintained_by_an_asset_beside_that_of_its_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder, table = tmp_path / "pipelines", tmp_path / "orders"
    folder.mkdir()
    table_of(table, 12)
    config = {"ranges": {"id": {"min": 0}}, "onFailure": "quarantine"}
    rule = {"type": "validate", "method": "validateRanges", "config": config}
    written(folder, "others", load(table))
    written(folder, "day-orders", rule, load(table), maintenance={"schedule": "0 3 * * *", "timezone": "Europe/Berlin"})
    written(folder, "elsewhere", load(tmp_path / "elsewhere"))
    definitions = project_definitions(folder)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    asset = "day_orders/to_delta_lake/maintenance"
    quarantine = "day_orders/validate_ranges/quarantine_maintenance"
    assert {key for key, spec in specs.items() if spec.group_name == "maintenance"} == {quarantine, asset}
    # Two pipelines write the table: it is maintained once, and by itself alone at any time.
    assert [dep.asset_key.to_user_string() for dep in specs[asset].deps] == ["day_orders/to_delta_lake"]
    assert definitions.resolve_assets_def(specs[asset].key).op.pool == "maintain_day_orders_to_delta_lake"
    [schedule] = schedules_of(definitions)
    assert (schedule.name, schedule.execution_timezone) == ("day_orders_maintenance_schedule", "Europe/Berlin")
    done = job_named(definitions, "day_orders_maintenance").execute_in_process()
    metadata: dict[str, dict[str, Any]] = {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in done.get_asset_materialization_events()
        if event.asset_key is not None
    }
    assert metadata[quarantine]["skipped"] == "there is no table yet"
    kept = metadata[asset]
    assert (kept["files_before"], kept["files_after"], kept["small_share_before"]) == (12, 1, 1.0)
    assert kept["bytes_before"] > kept["bytes_after"]
    assert (kept["delta_version_before"], kept["delta_version"]) == (11, 12)
    assert ids(table) == list(range(24))


def test_defaults_of_a_folder_have_every_table_maintained_and_a_null_takes_one_out(tmp_path: Path):
    (tmp_path / "defaults.json").write_text(json.dumps({"maintenance": {"schedule": "@daily", "keepFiles": "14 days"}}))
    written(tmp_path, "a", load(tmp_path / "a"))
    written(tmp_path, "b", load(tmp_path / "b"), maintenance=None)
    written(tmp_path, "c", load(tmp_path / "c"), maintenance={"schedule": "@weekly"})
    definitions = project_definitions(tmp_path)
    schedules = {schedule.name: schedule.cron_schedule for schedule in schedules_of(definitions)}
    assert schedules == {"a_maintenance_schedule": "@daily", "c_maintenance_schedule": "@weekly"}
    [spec] = [
        spec for spec in definitions.resolve_all_asset_specs() if spec.key.path == ["c", "to_delta_lake", "maintenance"]
    ]
    assert spec.metadata["config"].value == {"schedule": "@weekly", "keepFiles": "14 days"}


def test_a_table_that_can_not_be_maintained_fails_its_asset_with_what_to_do(tmp_path: Path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.parquet").write_text("x")
    folder = tmp_path / "pipelines"
    folder.mkdir()
    written(folder, "a", load(tmp_path / "files"), maintenance={})
    job = job_named(project_definitions(folder), "a_maintenance")
    [failure] = job.execute_in_process(raise_on_error=False).get_step_failure_events()
    error = failure.step_failure_data.user_failure_data
    assert error is not None
    assert "is not a Delta table: it has files, and no log" in (error.description or "")
