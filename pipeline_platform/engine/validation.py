"""Validates a frame in one pass, however many validations look at it.

Validations that follow each other on one frame form a block. They are carried out in their order: what one puts in
quarantine, the next does not see. Each rule becomes a flag on every row; one aggregation counts all flags.

Picking samples in that pass costs about a third of it (docs/benchmarks.md). So they are picked there only where the
rows are going to be loaded in spite of a broken rule. Rows in quarantine are kept and give their samples afterwards,
and where the run stops, the frame is read again in place of the load.

Where a single row is enough to stop the run, and a load right behind leaves its sink as it was when it fails, there is
no pass at all: the load reads the frame, and fails at such a row. Then the rows are counted, as they would have been.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.step import Step
from pipeline_platform.engine.counting import observed
from pipeline_platform.engine.failures import explained
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.metrics.run import RuleMetrics
from pipeline_platform.redaction import MASK, looks_secret
from pipeline_platform.steps.validate import Rule, RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

REASONS = "_violations"
"""Column of a quarantine table: the rules that the row broke."""
TAKEN_BY = f"{HELPER_PREFIX}taken_by"
_SAMPLES = ("min", "max", "other")
# Spark leaves out NULL otherwise, and what a time has beyond its milliseconds.
_SAMPLE_FORMAT = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


@dataclass(frozen=True)
class PlannedRule:
    """A rule and the helper column that says which rows break it."""

    rule: Rule
    flag: str


@dataclass(frozen=True)
class PlannedValidation:
    """A validation of a block."""

    step: Step
    config: Validate
    eligible: str
    rules: tuple[PlannedRule, ...]
    schema_results: tuple[RuleResult, ...]


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
        return any(_quarantines(validation) for validation in self.validations)

    def survivors(self) -> DataFrame:
        """The rows that no validation puts in quarantine, without the flags."""
        return self.flagged.filter(~_any(self._quarantine_flags())).select(*map(quoted, self.columns))

    def violators(self) -> DataFrame:
        """The rows in quarantine, with the rules they broke in `_violations`; see `taken_by`."""
        from pyspark.sql import functions as F

        quarantining = [validation for validation in self.validations if _quarantines(validation)]
        reasons = [
            F.when(F.col(planned.flag), F.lit(_reason(validation, planned)))
            for validation in quarantining
            for planned in validation.rules
        ]
        # A row is in the hands of one validation: those after it do not see it.
        takers = [
            F.when(_any([F.col(planned.flag) for planned in validation.rules]), F.lit(validation.step.index))
            for validation in quarantining
        ]
        return self.flagged.filter(_any(self._quarantine_flags())).select(
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
                if picks_all or _goes_on_broken(validation):
                    aggregates += _samples(validation, planned, broken)
            if _quarantines(validation):
                taken = _any([F.col(planned.flag) for planned in validation.rules])
                aggregates.append(F.count_if(taken).alias(f"taken_{validation.eligible}"))
        return aggregates

    def stops_at_a_row(self) -> bool:
        """Whether a row by itself tells that the run has to stop, and nothing else can stop it."""
        return all(
            validation.config.on_failure == "fail"
            and validation.config.tolerance == 0
            and validation.rules
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

        broken = _any([F.col(planned.flag) for validation in self.validations for planned in validation.rules])
        # What depends on the partition stays where it is. Otherwise the optimizer looks at rows before a join, a filter
        # or an aggregation takes them out, or even at those of another table that are equal in a join's condition.
        told = F.concat(F.lit(text), F.lit(", in partition "), F.spark_partition_id().cast("string"))
        kept = F.when(broken, F.raise_error(told).cast("boolean")).otherwise(F.lit(True))
        return self.flagged.filter(kept).select(*map(quoted, self.columns))

    def needs_pass(self) -> bool:
        """Whether anything is asked that the schema does not tell."""
        return any(
            validation.rules or type(validation.config).count_results is not Validate.count_results
            for validation in self.validations
        )

    def _quarantine_flags(self) -> list[Column]:
        from pyspark.sql import functions as F

        return [
            F.col(planned.flag)
            for validation in self.validations
            if _quarantines(validation)
            for planned in validation.rules
        ]


@dataclass(frozen=True)
class BlockResult:
    """What came of a block.

    Args:
        rules: Results by step index.
        rows: Rows looked at, by step index; None where only the schema was.
        quarantined: Rows taken out, by step index; None for a validation that takes none out.
        violators: The rows in quarantine, persisted; None if no validation takes any out.
    """

    rules: Mapping[int, Sequence[RuleMetrics]]
    rows: Mapping[int, int | None]
    quarantined: Mapping[int, int | None]
    violators: DataFrame | None


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
            flagged = flagged.select(*map(quoted, kept))
            # Over Spark Connect a frame is analyzed only when something is asked of it.
            _ = flagged.columns
        except PySparkException as error:
            raise explained(error, step) from error
        except PipelineExecutionException as error:
            raise error.locate(step.location, config.as_config()) from error.__cause__
        planned.append(PlannedValidation(step, config, seen, tuple(rules), schema_results))
        if _quarantines(planned[-1]) and rules:
            eligible = F.col(seen) & ~_any([F.col(rule.flag) for rule in rules])
    return ValidationBlock(source, tuple(planned), flagged, own, rows)


def broken_block(block: ValidationBlock) -> BlockResult:
    """What came of a block of which it is known that a row breaks a rule, and that no row is taken out."""
    return _result(block, block.flagged.agg(*block.metrics(picks_all=True)).collect()[0].asDict(), None)


def run_block(block: ValidationBlock) -> BlockResult:
    """Count every rule's violations in one pass; with a quarantine, the same pass keeps the rows taken out."""
    if not block.needs_pass():
        results = {v.step.index: _judged(v, v.schema_results, None) for v in block.validations}
        return BlockResult(results, dict.fromkeys(results), dict.fromkeys(results), None)
    if not block.quarantines:
        row = block.flagged.agg(*block.metrics()).collect()[0].asDict()
        return _result(block, row | _later_samples(block, row, None), None)
    violators, row = _kept_violators(block)
    try:
        return _result(block, row | _later_samples(block, row, violators), violators)
    except BaseException:
        violators.unpersist()
        raise


def kept_block(block: ValidationBlock, rows: int) -> BlockResult:
    """What came of a block of which it is known that so many rows were looked at, and none breaks a rule."""
    counts: dict[str, Any] = {}
    for validation in block.validations:
        counts[f"rows_{validation.eligible}"] = rows
        counts |= dict.fromkeys((planned.flag for planned in validation.rules), 0)
    return _result(block, counts, None)


def _later_samples(block: ValidationBlock, row: Mapping[str, Any], violators: DataFrame | None) -> dict[str, Any]:
    from pyspark.sql import functions as F

    stopping: list[Column] = []
    from_frame: list[Column] = []
    from_quarantine: list[Column] = []
    for validation in block.validations:
        for planned in validation.rules:
            if row[planned.flag] == 0:
                continue
            if _quarantines(validation):
                broken = F.array_contains(REASONS, _reason(validation, planned))
                from_quarantine += _samples(validation, planned, broken)
            elif not _goes_on_broken(validation):
                stopping.append(F.col(planned.flag))
                from_frame += _samples(validation, planned, F.col(planned.flag))
    found: dict[str, Any] = {}
    if from_frame:
        found |= block.flagged.filter(_any(stopping)).agg(*from_frame).collect()[0].asDict()
    if from_quarantine and violators is not None:
        found |= violators.agg(*from_quarantine).collect()[0].asDict()
    return found


def _kept_violators(block: ValidationBlock) -> tuple[DataFrame, dict[str, Any]]:
    from pyspark.sql import Observation

    observation = Observation(f"validation-{uuid.uuid4().hex}")
    watched = replace(block, flagged=block.flagged.observe(observation, *block.metrics()))
    violators = watched.violators().persist()
    try:
        violators.write.format("noop").mode("overwrite").save()
        metrics = observed(observation)
        if metrics is None:
            # The optimizer found out that there can be no row to take out; then the counts cost a pass.
            metrics = block.flagged.agg(*block.metrics()).collect()[0].asDict()
    except BaseException:
        violators.unpersist()
        raise
    return violators, metrics


def _result(block: ValidationBlock, row: Mapping[str, Any], violators: DataFrame | None) -> BlockResult:
    rules: dict[int, Sequence[RuleMetrics]] = {}
    rows: dict[int, int | None] = {}
    taken: dict[int, int | None] = {}
    for validation in block.validations:
        seen = int(row[f"rows_{validation.eligible}"])
        results = [*validation.schema_results, *validation.config.count_results(seen)]
        for planned in validation.rules:
            found = dict.fromkeys(row.get(f"{which}_{planned.flag}") for which in _SAMPLES)
            samples = [json.loads(sample) for sample in found if sample is not None]
            results.append(RuleResult(planned.rule.name, int(row[planned.flag]), seen, samples=samples))
        rules[validation.step.index] = _judged(validation, results, seen)
        rows[validation.step.index] = seen
        taken[validation.step.index] = row.get(f"taken_{validation.eligible}")
    return BlockResult(rules, rows, taken, violators)


def _judged(validation: PlannedValidation, results: Sequence[RuleResult], rows: int | None) -> list[RuleMetrics]:
    # As it was written: 0.29 of 100 rows are 29, which a product of floats is not.
    tolerance = Fraction(str(validation.config.tolerance))
    allowed = tolerance * (rows or 0) if tolerance < 1 else tolerance
    return [
        RuleMetrics(
            rule=result.rule,
            violations=result.violations,
            rows=result.rows,
            # The tolerance is about rows: a frame that has the wrong schema or size is never nearly right.
            passed=result.violations <= (allowed if validation.step.traits.looks_at_rows else 0),
            detail=result.detail,
            samples=[dict(sample) for sample in result.samples],
        )
        for result in results
    ]


def _samples(validation: PlannedValidation, planned: PlannedRule, broken: Column) -> list[Column]:
    from pyspark.sql import functions as F

    sample = F.when(broken, _sample(planned.rule, validation.config))
    picked = (F.min(sample), F.max(sample), F.max_by(sample, F.when(broken, F.xxhash64(sample))))
    return [column.alias(f"{which}_{planned.flag}") for which, column in zip(_SAMPLES, picked, strict=True)]


def _sample(rule: Rule, config: Validate) -> Column:
    from pyspark.sql import functions as F

    hidden = {name.lower() for name in config.sensitive_columns}
    shown = [
        F.lit(MASK).alias(name) if name.lower() in hidden or looks_secret(name) else F.col(quoted(name)).alias(name)
        for name in rule.columns
    ]
    return F.to_json(F.struct(*shown), _SAMPLE_FORMAT) if shown else F.lit("{}")


def _quarantines(validation: PlannedValidation) -> bool:
    return validation.config.on_failure == "quarantine"


def _goes_on_broken(validation: PlannedValidation) -> bool:
    config = validation.config
    return config.on_failure == "warn" or (config.on_failure == "fail" and config.tolerance > 0)


def _reason(validation: PlannedValidation, planned: PlannedRule) -> str:
    return f"{validation.step.name}: {planned.rule.name}"


def _any(flags: Sequence[Column]) -> Column:
    from pyspark.sql import functions as F

    return reduce(lambda found, flag: found | flag, flags, F.lit(False))
