"""A project whose assets are its tables: lineage from table to table, with the checks on the tables."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform_tests.orchestration.conftest import rate_to_delta, validation

NOT_NULL = validation("validateNulls", notNullColumns=["value"])


def enriched(**columns: str) -> dict[str, Any]:
    return {"type": "transform", "method": "enrichData", "config": {"columns": columns}}


@pytest.fixture
def tables(tmp_path: Path) -> dg.Definitions:
    """Raw rows, and a table that is made of them."""
    raw = rate_to_delta("raw", tmp_path / "raw", NOT_NULL)
    raw["steps"][-1]["name"] = "readings"
    report = rate_to_delta("report", tmp_path / "report", enriched(twice="value * 2"), NOT_NULL)
    report["steps"][0] = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(tmp_path / "raw")}}
    folder = tmp_path / "pipelines"
    folder.mkdir()
    for pipeline in (raw, report):
        (folder / f"{pipeline['name']}.json").write_text(json.dumps(pipeline))
    return project_definitions(folder, assets="tables")


RAW, REPORT = dg.AssetKey(["raw", "readings"]), dg.AssetKey(["report", "to_delta_lake"])


def test_each_table_is_an_asset_and_depends_on_those_it_is_made_of(tables: dg.Definitions):
    specs = {spec.key: [dep.asset_key for dep in spec.deps] for spec in tables.resolve_all_asset_specs()}
    assert specs == {RAW: [], REPORT: [RAW]}


def test_checks_are_those_of_the_table_that_they_guard(tables: dg.Definitions):
    graph = tables.resolve_asset_graph()
    assert set(graph.asset_check_keys) == {
        dg.AssetCheckKey(RAW, "validate_nulls"),
        dg.AssetCheckKey(REPORT, "validate_nulls"),
    }


def test_a_run_materializes_the_table_with_its_origin_in_other_tables(tables: dg.Definitions):
    assert tables.resolve_job_def("raw").execute_in_process().success
    done = tables.resolve_job_def("report").execute_in_process()
    (event,) = done.get_asset_materialization_events()
    assert event.asset_key == REPORT
    lineage = event.materialization.metadata["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    found = lineage.deps_by_column
    assert {column: [(dep.asset_key, dep.column_name) for dep in deps] for column, deps in found.items()} == {
        "timestamp": [(RAW, "timestamp")],
        "value": [(RAW, "value")],
        "twice": [(RAW, "value")],
    }
    (check,) = done.get_asset_check_evaluations()
    assert (check.asset_key, check.passed) == (REPORT, True)


def test_a_check_stands_on_the_frame_and_on_the_table_where_steps_are_assets(tmp_path: Path):
    (tmp_path / "raw.json").write_text(json.dumps(rate_to_delta("raw", tmp_path / "raw", NOT_NULL)))
    graph = project_definitions(tmp_path).resolve_asset_graph()
    assert {key.asset_key.path[-1] for key in graph.asset_check_keys} == {"from_rate", "to_delta_lake"}
