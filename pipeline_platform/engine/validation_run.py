"""Carries out a validation block, and says what came of its rules."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline_platform.engine.counting import observed
from pipeline_platform.engine.rule_results import SAMPLES, judged, samples
from pipeline_platform.engine.validation import REASONS, PlannedValidation, ValidationBlock, any_flag
from pipeline_platform.metrics.run import RuleMetrics
from pipeline_platform.steps.validate import Measure, RuleResult

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row


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


def broken_block(block: ValidationBlock) -> BlockResult:
    """What came of a block of which it is known that a row breaks a rule, and that no row is taken out."""
    return _result(block, block.flagged.agg(*block.metrics(picks_all=True)).collect()[0].asDict(), None)


PastRows = Callable[[PlannedValidation], Sequence[int]]
"""How many rows the loads had that a validation is compared with, the newest first."""


def no_past(_: PlannedValidation) -> Sequence[int]:
    """That of rows which are not loaded."""
    return ()


def run_block(block: ValidationBlock, past: PastRows = no_past) -> BlockResult:
    """Count every rule's violations in one pass; with a quarantine, the same pass keeps the rows taken out.

    Args:
        block: The block.
        past: What the rows are compared with, where a validation asks for it.
    """
    if not block.needs_pass():
        results = {v.step.index: judged(v.config, v.schema_results, None) for v in block.validations}
        return BlockResult(results, dict.fromkeys(results), dict.fromkeys(results), None)
    if not block.quarantines:
        row = block.flagged.agg(*block.metrics()).collect()[0].asDict()
        return _result(block, row | _later_samples(block, row, None), None, past)
    violators, row = _kept_violators(block)
    try:
        return _result(block, row | _later_samples(block, row, violators), violators, past)
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
            if validation.quarantines:
                broken = F.array_contains(REASONS, validation.reason(planned))
                from_quarantine += samples(planned.rule, validation.config, broken, planned.flag)
            elif not validation.goes_on_broken:
                stopping.append(F.col(planned.flag))
                from_frame += samples(planned.rule, validation.config, F.col(planned.flag), planned.flag)
    found: dict[str, Any] = {}
    if from_frame:
        found |= block.flagged.filter(any_flag(stopping)).agg(*from_frame).collect()[0].asDict()
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


def _result(
    block: ValidationBlock, row: Mapping[str, Any], violators: DataFrame | None, past: PastRows = no_past
) -> BlockResult:
    rules: dict[int, Sequence[RuleMetrics]] = {}
    rows: dict[int, int | None] = {}
    taken: dict[int, int | None] = {}
    for validation in block.validations:
        seen = int(row[f"rows_{validation.eligible}"])
        results = [*validation.schema_results, *validation.config.count_results(seen)]
        for planned in validation.rules:
            found = dict.fromkeys(row.get(f"{which}_{planned.flag}") for which in SAMPLES)
            shown = [json.loads(sample) for sample in found if sample is not None]
            results.append(RuleResult(planned.rule.name, int(row[planned.flag]), seen, samples=shown))
        if validation.config.loads_compared():
            results += validation.config.history_results(seen, past(validation))
        for measured in validation.measures:
            results += measured.measure.judge(row[measured.name], seen, _compared(measured.measure))
        rules[validation.step.index] = judged(validation.config, results, seen)
        rows[validation.step.index] = seen
        taken[validation.step.index] = row.get(f"taken_{validation.eligible}")
    return BlockResult(rules, rows, taken, violators)


def _compared(measure: Measure) -> Row | None:
    """The other frame's side of a comparison; None for a measure that is compared with no other frame."""
    return measure.compared.collect()[0] if measure.compared is not None else None
