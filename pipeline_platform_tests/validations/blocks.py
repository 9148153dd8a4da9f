"""Runs validations on a frame as the engine does."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipeline_platform.config.step import Step
from pipeline_platform.engine.validation import REASONS, ValidationBlock, plan_block, taken_by
from pipeline_platform.engine.validation_run import BlockResult, run_block
from pipeline_platform.exceptions import StepLocation
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.metrics.run import RuleMetrics
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.validate import Validate
from pipeline_platform_tests.duckdb_rows import Rows, rows_of


def validation(method: str, **config: Any) -> Validate:
    """A validation from its JSON config."""
    made = method_registry()["validate"][method].model_validate(config)
    assert isinstance(made, Validate)
    return made


def planned(frame: DataFrame, *validations: Validate, named: Mapping[str, DataFrame] | None = None) -> ValidationBlock:
    """The block of these validations; step i + 1 is validation i, written on line i + 10 of checks.json."""
    steps = [
        Step(
            index,
            f"check_{index}",
            config,
            (),
            StepLocation("checks", Path("checks.json"), 9 + index, index, "validate", config.method, f"check_{index}"),
        )
        for index, config in enumerate(validations, 1)
    ]
    return plan_block(frame, 0, [(*both, named or {}) for both in zip(steps, validations, strict=True)])


@dataclass(frozen=True)
class Outcome:
    """What came of a block.

    Args:
        result: As the engine has it.
        passed: Rows let through.
        quarantined: Rows taken out, without their reasons.
        reasons: Rows taken out, each with its reasons as its last value.
    """

    result: BlockResult
    passed: Rows
    quarantined: Rows
    reasons: Rows

    def rules(self, check: int = 1) -> Sequence[RuleMetrics]:
        """Results of one validation."""
        return self.result.rules[check]

    @property
    def rule(self) -> RuleMetrics:
        """The only rule there is."""
        [found] = [rule for rules in self.result.rules.values() for rule in rules]
        return found


def outcome(frame: DataFrame, *validations: Validate, named: Mapping[str, DataFrame] | None = None) -> Outcome:
    """Run a block and fetch its rows."""
    block = planned(frame, *validations, named=named)
    result = run_block(block)
    try:
        taken, reasons = [], []
        if result.violators is not None:
            written = taken_by(result.violators, list(result.rules))
            reasons = rows_of(written)
            taken = rows_of(written.drop(REASONS))
        return Outcome(result, rows_of(block.survivors()), taken, reasons)
    finally:
        if result.violators is not None:
            result.violators.unpersist()


@contextmanager
def counting_jobs(spark: SparkSession) -> Generator[list[int]]:
    """How many Spark jobs were started within, by any thread; filled in at the end."""
    in_java: Any = spark.sparkContext._jsc
    scheduler = in_java.sc().dagScheduler()
    before = int(scheduler.numTotalJobs())
    jobs: list[int] = []
    yield jobs
    jobs.append(int(scheduler.numTotalJobs()) - before)


@contextmanager
def interpreted(spark: SparkSession) -> Generator[None]:
    """Spark without compiling a class for each plan: quicker for many plans on a few rows each."""
    settings = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    with spark_settings(spark, settings):
        yield
