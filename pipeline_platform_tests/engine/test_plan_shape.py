"""What a run costs: Spark jobs and reads of its input, whatever the number of rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from devtools.bench.scans import scanned_rows
from devtools.pipelines import extract, load, run_by_name, transform, validate
from pipeline_platform.engine.validation_run import run_block
from pipeline_platform.exceptions import ValidationException
from pipeline_platform_tests.validations.blocks import counting_jobs, planned, validation

ROWS = 1000
JOBS = {"fail": 3, "warn": 5}
"""Counted, by what a broken rule does: see docs/benchmarks.md."""


@pytest.fixture(scope="module")
def orders(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shape") / "orders"
    spark.range(ROWS, numPartitions=4).selectExpr("id", "id % 7 AS k", "id * 0.5 AS amount").write.parquet(str(path))
    return path


def shaped(orders: Path, out: Path, rules: int, **last: Any) -> list[dict[str, Any]]:
    """Extract, filter, enrich, three validations with so many rules each, one load."""
    return [
        extract("fromFiles", path=str(orders), format="parquet"),
        transform("filterRows", condition="k < 6"),
        transform("enrichData", columns={f"c{n}": f"amount + {n}" for n in range(rules)}),
        validate("validateNulls", notNullColumns=[f"c{n}" for n in range(rules)]),
        validate("validateRanges", ranges={f"c{n}": {"min": 0} for n in range(rules)}),
        validate("validateBusinessRules", rules=[f"c{n} >= amount" for n in range(rules)], **last),
        load("toDeltaLake", path=str(out)),
    ]


@pytest.mark.parametrize("rules", [1, 8])
@pytest.mark.parametrize(("on_failure", "scanned"), [("fail", [ROWS]), ("warn", [ROWS, ROWS])])
def test_a_run_has_a_fixed_number_of_jobs_and_reads_its_input_once_or_to_validate_and_to_load(
    spark: Any, orders: Path, tmp_path: Path, rules: int, on_failure: str, scanned: list[int]
):
    with counting_jobs(spark) as jobs, scanned_rows(spark, "orders") as scans:
        found = run_by_name(spark, *shaped(orders, tmp_path / "out", rules, onFailure=on_failure))
    assert {step.rows for name, step in found.items() if name != "from_files"} == {ROWS - ROWS // 7}
    assert jobs == [JOBS[on_failure]]
    assert scans == scanned


def test_a_cached_frame_is_read_once(spark: Any, orders: Path, tmp_path: Path):
    steps = shaped(orders, tmp_path / "out", 2)
    steps[2]["config"]["cache"] = True
    with scanned_rows(spark, "orders") as scans:
        run_by_name(spark, *steps)
    assert sum(scans) == ROWS


@pytest.mark.in_jvm
@pytest.mark.parametrize("on_failure", ["warn", "quarantine"])
def test_rules_about_the_whole_frame_are_judged_in_the_pass_of_those_about_rows(
    spark: Any, orders: Path, on_failure: str
):
    def passes(*validations: Any) -> tuple[int, list[int]]:
        with counting_jobs(spark) as jobs, scanned_rows(spark, "orders") as scans:
            result = run_block(planned(spark.read.parquet(str(orders)), *validations))
        assert all(rule.passed for rules in result.rules.values() for rule in rules)
        if result.violators is not None:
            result.violators.unpersist()
        return jobs[0], scans

    of_rows = [
        validation("validateNulls", notNullColumns=["id"], onFailure=on_failure),
        validation("validateRanges", ranges={"k": {"max": 6}}, onFailure=on_failure),
        validation("validateValues", values={"k": list(range(7))}, onFailure=on_failure),
    ]
    statistics = {"mean": {"min": 3 * 0.9}, "nullShare": {"max": 0}, "quantiles": {"0.9": {"max": 6}}}
    of_the_frame = [
        validation("validateRowCount", min=ROWS),
        validation("validateStatistics", columns={"k": statistics}),
        validation("validateStatistics", columns={"amount": {"sum": {"min": 1}, "stddev": {"min": 1}}}),
    ]
    jobs, scans = passes(*of_rows)
    assert passes(*of_rows, *of_the_frame) == (jobs, scans)
    assert scans == [ROWS]


BROKEN = [
    ("fail", 0, "c0 < 400"),
    ("fail", 0.9, "c0 < 400"),
    ("warn", 0, "c0 < 400"),
    ("quarantine", 0, "c0 < 400"),
]


@pytest.mark.parametrize(("on_failure", "tolerance", "rule"), BROKEN)
def test_however_a_broken_rule_is_met_the_input_is_read_twice_and_samples_are_shown(
    spark: Any, orders: Path, tmp_path: Path, on_failure: str, tolerance: float, rule: str
):
    steps = shaped(orders, tmp_path / "out", 1, onFailure=on_failure, tolerance=tolerance)
    steps[5]["config"]["rules"] = [rule]
    samples: Any
    with scanned_rows(spark, "orders") as scans:
        if on_failure == "fail" and tolerance == 0:
            with pytest.raises(ValidationException) as raised:
                run_by_name(spark, *steps)
            samples = raised.value.samples
        else:
            samples = run_by_name(spark, *steps)["validate_business_rules"].rules[0].samples
    # Spark tells as it likes of a read that fails, such as that of a load that a rule stops.
    assert len(scans) in ((1, 2) if (on_failure, tolerance) == ("fail", 0) else (2,))
    assert 1 <= len(samples) <= 3
    assert all(sample["c0"] >= 400 for sample in samples)
