"""Validates a frame in one pass, however many validations look at it.

Validations that follow each other on one frame form a block. They are carried out in their order: what one puts in
quarantine, the next does not see. Each rule becomes a flag on every row; one aggregation counts all flags, and
finds out what rules about the frame as a whole measure.

Picking samples in that pass costs about a third of it (docs/benchmarks.md). So they are picked there only where the
rows are going to be loaded in spite of a broken rule. Rows in quarantine are kept and give their samples afterwards,
and where the run stops, the frame is read again in place of the load.

Where a single row is enough to stop the run, and a load right behind leaves its sink as it was when it fails, there is
no pass at all: the load reads the frame, and fails at such a row. Then the rows are counted, as they would have been.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pipeline_platform.config.step import Step
from pipeline_platform.engine.failures import explained
from pipeline_platform.engine.rule_results import samples
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.steps.validate import Measure, Rule, RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

REASONS = "_violations"
"""Column of a quarantine table: the rules that the row broke."""
TAKEN_BY = f"{HELPER_PREFIX}taken_by"


@dataclass(frozen=True)
class PlannedRule:
    """A rule and the helper column that says which rows break it."""

    rule: Rule
    flag: str


@dataclass(frozen=True)
class PlannedMeasure:
    """A measure and the helper column with its values."""

    measure: Measure
    name: str


@dataclass(frozen=True)
class PlannedValidation:
    """A validation of a block."""

    step: Step
    config: Validate
    eligible: str
    rules: tuple[PlannedRule, ...]
    measures: tuple[PlannedMeasure, ...]
    schema_results: tuple[RuleResult, ...]

    @property
    def quarantines(self) -> bool:
        """Whether it takes rows out."""
        return self.config.on_failure == "quarantine"

    @property
    def goes_on_broken(self) -> bool:
        """Whether rows may be loaded that break its rules."""
        config = self.config
        return config.on_failure == "warn" or (config.on_failure == "fail" and config.tolerance > 0)

    def reason(self, planned: PlannedRule) -> str:
        """What a row in quarantine says of a rule that it broke."""
        return f"{self.step.name}: {planned.rule.name}"


@dataclass(frozen=True)
class ValidationBlock:
    """Validations that look at the same frame.

    Args:
        source: Index of the step whose frame is looked at.
        validations: They, in order.
        flagged: The frame with a flag for each rule.
        columns: The frame's own columns.
        rows: Those of the run's partition, where no others are looked at but those with NULL in the partition's column.
    """

    source: int
    validations: tuple[PlannedValidation, ...]
    flagged: DataFrame
    columns: tuple[str, ...]
    rows: PartitionRows | None = None

    @property
    def quarantines(self) -> bool:
        """Whether any of them takes rows out."""
        return any(validation.quarantines for validation in self.validations)

    def survivors(self) -> DataFrame:
        """The rows that no validation puts in quarantine, without the flags."""
        return self.flagged.filter(~any_flag(self._quarantine_flags())).select(*map(quoted, self.columns))

    def violators(self) -> DataFrame:
        """The rows in quarantine, with the rules they broke in `_violations`; see `taken_by`."""
        from pyspark.sql import functions as F

        quarantining = [validation for validation in self.validations if validation.quarantines]
        reasons = [
            F.when(F.col(planned.flag), F.lit(validation.reason(planned)))
            for validation in quarantining
            for planned in validation.rules
        ]
        # A row is in the hands of one validation: those after it do not see it.
        takers = [
            F.when(any_flag([F.col(planned.flag) for planned in validation.rules]), F.lit(validation.step.index))
            for validation in quarantining
        ]
        return self.flagged.filter(any_flag(self._quarantine_flags())).select(
            *map(quoted, self.columns),
            F.array_compact(F.array(*reasons)).alias(REASONS),
            F.coalesce(*takers).alias(TAKEN_BY),
        )

    def metrics(self, *, picks_all: bool = False) -> list[Column]:
        """The aggregates that count rows and violations, and pick the samples that can't be had afterwards, or all."""
        from pyspark.sql import functions as F

        aggregates: list[Column] = []
        for validation in self.validations:
            aggregates.append(F.count_if(F.col(validation.eligible)).alias(f"rows_{validation.eligible}"))
            for planned in validation.rules:
                broken = F.col(planned.flag)
                aggregates.append(F.count_if(broken).alias(planned.flag))
                if picks_all or validation.goes_on_broken:
                    aggregates += samples(planned.rule, validation.config, broken, planned.flag)
            for measured in validation.measures:
                aggregates.append(measured.measure.aggregate(F.col(measured.name)).alias(measured.name))
            if validation.quarantines:
                taken = any_flag([F.col(planned.flag) for planned in validation.rules])
                aggregates.append(F.count_if(taken).alias(f"taken_{validation.eligible}"))
        return aggregates

    def stops_at_a_row(self) -> bool:
        """Whether a row by itself tells that the run has to stop, and nothing else can stop it."""
        return all(
            validation.config.on_failure == "fail"
            and validation.config.tolerance == 0
            and validation.rules
            and not validation.measures
            and not validation.config.loads_compared()
            and validation.step.traits.looks_at_rows
            and type(validation.config).annotate is Validate.annotate
            and type(validation.config).count_results is Validate.count_results
            and not validation.schema_results
            for validation in self.validations
        )

    def stopping(self, text: str) -> DataFrame:
        """The frame, whose reading fails with this text at the first row that breaks a rule.

        Whoever reads it has to read all of it: a filter that follows could keep such a row from being looked at.
        """
        from pyspark.sql import functions as F

        broken = any_flag([F.col(planned.flag) for validation in self.validations for planned in validation.rules])
        # What depends on the partition stays where it is. Otherwise the optimizer looks at rows before a join, a filter
        # or an aggregation takes them out, or even at those of another table that are equal in a join's condition.
        told = F.concat(F.lit(text), F.lit(", in partition "), F.spark_partition_id().cast("string"))
        kept = F.when(broken, F.raise_error(told).cast("boolean")).otherwise(F.lit(True))
        return self.flagged.filter(kept).select(*map(quoted, self.columns))

    def needs_pass(self) -> bool:
        """Whether anything is asked that the schema does not tell."""
        return any(
            validation.rules
            or validation.measures
            or validation.config.loads_compared()
            or type(validation.config).count_results is not Validate.count_results
            for validation in self.validations
        )

    def _quarantine_flags(self) -> list[Column]:
        from pyspark.sql import functions as F

        return [
            F.col(planned.flag)
            for validation in self.validations
            if validation.quarantines
            for planned in validation.rules
        ]


def taken_by(violators: DataFrame, steps: Collection[int]) -> DataFrame:
    """The rows that these validations put in quarantine, as they are written.

    Args:
        violators: The rows that any validation of the block took out.
        steps: Indices of the validations.
    """
    from pyspark.sql import functions as F

    return violators.filter(F.col(TAKEN_BY).isin(*steps)).drop(TAKEN_BY)


def plan_block(
    frame: DataFrame,
    source: int,
    validations: Sequence[tuple[Step, Validate, Mapping[str, DataFrame]]],
    rows: PartitionRows | None = None,
) -> ValidationBlock:
    """Build the flags of a block; nothing is run.

    Args:
        frame: The frame looked at.
        source: Index of the step it comes from.
        validations: Step, config and the registered frames it names, in order.
        rows: Those to look at, beside rows with NULL in that column; None for all.

    Raises:
        PipelineException: A rule names a column that is not there, or is not a condition.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    own = tuple(frame.columns)
    kept: list[str] = list(own)
    flagged, eligible = frame, F.lit(True) if rows is None else F.expr(rows.not_elsewhere_sql())
    planned: list[PlannedValidation] = []
    for number, (step, config, named) in enumerate(validations):
        try:
            schema_results = tuple(config.schema_results(frame))
            seen = f"{HELPER_PREFIX}eligible_{number}"
            flagged = flagged.withColumn(seen, eligible)
            flagged = config.annotate(flagged, F.col(seen), named)
            kept.append(seen)
            rules: list[PlannedRule] = []
            for place, rule in enumerate(config.rules(flagged)):
                flag = f"{HELPER_PREFIX}broken_{number}_{place}"
                flagged = flagged.withColumn(flag, F.col(seen) & F.coalesce(rule.violated, F.lit(False)))
                kept.append(flag)
                rules.append(PlannedRule(rule, flag))
            measures: list[PlannedMeasure] = []
            for place, measure in enumerate(config.measures(flagged, named)):
                measured = f"{HELPER_PREFIX}measured_{number}_{place}"
                flagged = flagged.withColumn(measured, F.when(F.col(seen), measure.values))
                kept.append(measured)
                measures.append(PlannedMeasure(measure, measured))
            flagged = flagged.select(*map(quoted, kept))
            # Over Spark Connect a frame is analyzed only when something is asked of it.
            _ = flagged.columns
        except PySparkException as error:
            raise explained(error, step) from error
        except PipelineExecutionException as error:
            raise error.locate(step.location, config.as_config()) from error.__cause__
        planned.append(PlannedValidation(step, config, seen, tuple(rules), tuple(measures), schema_results))
        if planned[-1].quarantines and rules:
            eligible = F.col(seen) & ~any_flag([F.col(rule.flag) for rule in rules])
    return ValidationBlock(source, tuple(planned), flagged, own, rows)


def any_flag(flags: Sequence[Column]) -> Column:
    """Whether one of the flags is set."""
    from pyspark.sql import functions as F

    return reduce(lambda found, flag: found | flag, flags, F.lit(False))
