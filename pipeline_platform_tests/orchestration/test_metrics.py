"""What Dagster shows of a run, what is exported of it and what is in the target are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from pipeline_platform.metrics.exporter import METRICS_VARIABLE
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, validation

RULE = validation("validateRanges", ranges={"id": {"min": 2}}, onFailure="quarantine")


@pytest.mark.parametrize("mode", ["batch", "streaming"])
def test_dagster_the_exported_record_and_the_target_agree(
    define: MakeDefinitions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spark: SparkSession, mode: str
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text("".join(f'{{"id": {number}}}\n' for number in range(10)))
    source = {"path": str(tmp_path / "in"), "format": "json", "schema": "id INT"}
    sink: dict[str, Any] = {"path": str(tmp_path / "t")}
    options: dict[str, Any] = {}
    if mode == "streaming":
        sink["trigger"] = "availableNow"
        options["streaming"] = {"checkpointRoot": str(tmp_path / "checkpoints")}
    steps = [
        {"type": "extract", "method": "fromFiles", "config": source},
        RULE,
        {"type": "load", "method": "toDeltaLake", "config": sink},
    ]
    monkeypatch.setenv(METRICS_VARIABLE, f"jsonl:{tmp_path}/runs.jsonl")
    definitions = define({"name": "flow", "mode": mode, **options, "steps": steps})
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("flow").execute_in_process(instance=instance)
        shown = {
            event.asset_key.path[-1]: event.materialization.metadata["dagster/row_count"].value
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None and "dagster/row_count" in event.materialization.metadata
        }
        check, of_the_table = result.get_asset_check_evaluations()
        assert (check.passed, check.metadata) == (of_the_table.passed, of_the_table.metadata)
    told = json.loads((tmp_path / "runs.jsonl").read_text().splitlines()[-1])
    steps_told = {step["name"]: step for step in told["steps"]}
    rows, aside = (DeltaTable(tmp_path / name).to_pyarrow_table().num_rows for name in ("t", "t_quarantine"))
    assert (rows, aside) == (8, 2)
    assert (told["status"], told["run_id"]) == ("COMPLETED", result.run_id)
    assert shown == {"from_files": rows + aside, "to_delta_lake": rows}
    assert {name: steps_told[name]["rows"] for name in shown} == shown
    assert (told["rows_read"], told["rows_written"]) == (rows + aside, rows)
    assert steps_told["validate_ranges"]["quarantined"] == aside
    assert check.metadata["quarantined"].value == aside
