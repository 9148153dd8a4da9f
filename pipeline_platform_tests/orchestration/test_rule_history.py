"""The history of each rule: numbers of check evaluations, which Dagster's page of a check plots over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.metrics.run import RuleMetrics, StepMetrics
from pipeline_platform.orchestration.metadata import check_result
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta, validation


def numbers(metadata: Any) -> dict[str, Any]:
    """What Dagster plots: the entries that hold an integer or a float."""
    plotted = (dg.IntMetadataValue, dg.FloatMetadataValue)
    return {key: value.value for key, value in metadata.items() if isinstance(value, plotted)}


@pytest.mark.usefixtures("spark")
def test_two_runs_give_two_points_for_each_rule_under_keys_that_stay_when_bounds_change(
    define: MakeDefinitions, tmp_path: Path
):
    def after_a_run(largest: int, rows: int) -> Any:
        ranges = validation("validateRanges", ranges={"value": {"max": 49}}, onFailure="warn")
        mean = validation("validateStatistics", columns={"value": {"mean": {"max": largest}}}, onFailure="warn")
        flow = rate_to_delta("flow", tmp_path / "t", ranges, mean, mode="overwrite")
        flow["steps"][0]["config"]["rowsPerSecond"] = rows
        job = define(flow).resolve_job_def("flow")
        assert job.execute_in_process(instance=instance).success

    with dg.DagsterInstance.ephemeral() as instance:
        after_a_run(40, rows=1)
        after_a_run(20, rows=2)
        history: dict[str, list[dict[str, Any]]] = {}
        for name in ("validate_ranges", "validate_statistics"):
            key = dg.AssetCheckKey(dg.AssetKey(["flow", "to_delta_lake"]), name)
            records: Any = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
            evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records]
            history[name] = [numbers(one.metadata) for one in reversed(evaluations)]
    assert [one["rule/value <= 49"] for one in history["validate_ranges"]] == [10, 70]
    assert [one["rule/value: mean"] for one in history["validate_statistics"]] == [29.5, 59.5]


def test_many_rules_of_long_names_give_a_bounded_number_of_short_keys():
    names = [f"{'a' * 70} {number}" for number in range(60)]
    rules = [RuleMetrics(rule=name, violations=place, rows=9, passed=True) for place, name in enumerate(names)]
    step = StepMetrics(index=1, name="a", type="validate", method="b", status="COMPLETED", rows=9, rules=rules)
    found = numbers(check_result(step, "a", dg.AssetKey("t")).metadata)
    plotted = {key: value for key, value in found.items() if key.startswith("rule/")}
    assert list(plotted.values()) == list(range(50))
    assert max(map(len, plotted)) < 80


def test_a_measure_without_a_value_has_no_point():
    rule = RuleMetrics(rule="a: mean <= 1", violations=0, rows=0, passed=True, measure="a: mean")
    step = StepMetrics(index=1, name="a", type="validate", method="b", status="COMPLETED", rows=0, rules=[rule])
    assert numbers(check_result(step, "a", dg.AssetKey("t")).metadata) == {"rows": 0, "violations": 0}
