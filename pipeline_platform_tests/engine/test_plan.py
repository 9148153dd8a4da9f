"""A plan is whole or nothing: what was kept for it is released, and what was done until a failure is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame

from devtools.pipelines import extract, load, pipeline_of, transform, validate, wrote_nothing
from pipeline_platform.connectors.rate.source import FromRate
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.execution import execute
from pipeline_platform.engine.plan import plan
from pipeline_platform.engine.planned import Plan
from pipeline_platform.exceptions import PipelineExecutionException, ValidationException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.extract import BadRecords

pytestmark = pytest.mark.in_jvm

RATE = extract("fromRate", rowsPerSecond=1, cache=True, registerAs="rate")


class FromFaultyRate(FromRate):
    """Can't use its first ten records."""

    method: ClassVar[str] = "fromFaultyRate"
    asked: ClassVar[list[DataFrame]] = []

    def bad_records(self, frame: DataFrame) -> BadRecords | None:
        FromFaultyRate.asked.append(frame)
        return BadRecords(frame.filter("value < 10"), None)

    def accepted(self, frame: DataFrame) -> DataFrame:
        return frame.filter("value >= 10")


@pytest.fixture(autouse=True)
def _released(spark: Any) -> Iterator[None]:
    """Whatever a test does, nothing is kept afterwards."""
    spark.catalog.clearCache()
    yield
    assert spark._jsparkSession.sharedState().cacheManager().isEmpty()


def planned(spark: Any, *steps: Any) -> Plan:
    known = method_registry()
    methods: Any = {**known, "extract": {**known["extract"], "fromFaultyRate": FromFaultyRate}}
    return plan(pipeline_of(steps, methods).resolve(), spark, "load", RunCredentials("test"))


def test_what_was_kept_for_a_plan_that_fails_is_released(spark: Any, tmp_path: Path):
    with pytest.raises(PipelineExecutionException, match="nowhere"):
        planned(spark, RATE, load("toDeltaLake", path=str(tmp_path / "t"), partitionBy="nowhere"))
    assert wrote_nothing(tmp_path / "t")


def test_what_is_kept_for_a_plan_is_released_by_who_has_it(spark: Any, tmp_path: Path):
    found = planned(spark, RATE, load("toDeltaLake", path=str(tmp_path / "t")))
    assert not spark._jsparkSession.sharedState().cacheManager().isEmpty()
    found.persisted.close()


def test_what_steps_did_before_one_fails_is_told_as_it_happens(spark: Any, tmp_path: Path):
    steps = [
        RATE,
        load("toDeltaLake", path=str(tmp_path / "first")),
        validate("validateRowCount", max=5, onFailure="warn"),
        transform("filterRows", condition="value < 3"),
        validate("validateRowCount", min=5),
        load("toDeltaLake", path=str(tmp_path / "second")),
    ]
    told: list[StepMetrics] = []
    found = planned(spark, *steps)
    with pytest.raises(ValidationException):
        told.extend(execute(found, CancellationToken()))
    assert [(step.name, step.status) for step in told] == [
        ("to_delta_lake", "COMPLETED"),
        ("validate_row_count", "COMPLETED"),
        ("validate_row_count_2", "FAILED"),
    ]
    assert wrote_nothing(tmp_path / "second")


def test_an_extract_is_asked_once_for_the_records_it_can_t_use(spark: Any, tmp_path: Path):
    FromFaultyRate.asked.clear()
    faulty = extract("fromFaultyRate", rowsPerSecond=1)
    done = {step.name: step for step in execute(planned(spark, faulty, to(tmp_path / "t")), CancellationToken())}
    assert len(FromFaultyRate.asked) == 1
    assert done["from_faulty_rate"].quarantined == 10
    assert sorted(values(tmp_path / "t")) == list(range(10, 60))
    assert sorted(values(tmp_path / "t_quarantine")) == list(range(10))


def to(path: Path) -> Mapping[str, Any]:
    return load("toDeltaLake", path=str(path))


def values(table: Path) -> list[int]:
    return DeltaTable(str(table)).to_pyarrow_table().column("value").to_pylist()
