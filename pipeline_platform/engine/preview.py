"""A look at the rows of one step, planned as a run would plan them, of which nothing is written."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.execution import broken_rules
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.hidden_columns import hidden_columns
from pipeline_platform.engine.in_environment import reading_what_is_there
from pipeline_platform.engine.plan import needed_steps, plan
from pipeline_platform.engine.planned import Plan, PlannedBlock
from pipeline_platform.engine.scope import MicroBatch
from pipeline_platform.engine.validation import run_block, taken_by
from pipeline_platform.metrics.run import RuleMetrics
from pipeline_platform.steps.load import Load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class StepPreview:
    """What there is to see of a step.

    Args:
        step: The step.
        frame: Of an extract or a transform the rows that it makes, of a load those that it is given, of a validation
            those that it looks at.
        rules: What came of the rules of each validation that was carried out, by its step index.
        quarantined: Of a validation the rows that it takes out; None for any other, and where it takes none out.
        hidden: Names of the columns of `frame` whose values are not shown to everyone.
    """

    step: Step
    frame: DataFrame
    rules: Mapping[int, Sequence[RuleMetrics]]
    quarantined: DataFrame | None
    hidden: frozenset[str]


def preview_steps(pipeline: PipelineConfig, step: Step) -> set[int]:
    """Indices of the steps that a look at one needs: what its rows come from, and the validations on the way.

    Args:
        pipeline: The pipeline.
        step: The step.
    """
    needed = needed_steps(pipeline, {step.name})
    return {index for index in needed if pipeline.steps[index].type != "load"}


@contextmanager
def previewed(
    pipeline: PipelineConfig,
    step: Step,
    spark: SparkSession,
    credentials: RunCredentials,
    partition: Partition | None = None,
    *,
    judges: bool = True,
    may_break: bool = True,
    micro_batch: MicroBatch | None = None,
) -> Generator[StepPreview]:
    """The rows of a step, for as long as the block lasts.

    Args:
        pipeline: The pipeline.
        step: The step.
        spark: The session.
        credentials: Where each step gets those of its system.
        partition: What is loaded; only of a pipeline with partitions, which can't do without.
        judges: Whether the validations on the way are carried out, so that a rule stops what it would stop in a run.
        may_break: Whether rules of the step itself may be broken that would stop a run.
        micro_batch: Of a stream: what is loaded.

    Raises:
        ValidationException: Rows broke a rule that stops the run before it comes to the step.
        PipelineException: A step can't be planned or read; it names the step.
    """
    needed = preview_steps(pipeline, step)
    names = {pipeline.steps[index].name for index in needed}
    resolved = reading_what_is_there(pipeline.resolve(needed, partition), spark, credentials, needed)
    planned = plan(resolved, spark, "preview", credentials, names, micro_batch, partition, writes=False)
    with planned.persisted, ExitStack() as violators:
        rules: dict[int, Sequence[RuleMetrics]] = {}
        quarantined: DataFrame | None = None
        blocks = [action for action in planned.actions if isinstance(action, PlannedBlock)]
        for block in blocks if judges else ():
            taken = _judge(resolved, step if may_break else None, block, rules, violators)
            quarantined = taken if taken is not None else quarantined
        made_by = step if step.type in ("extract", "transform") else pipeline.steps[step.inputs[0].step]
        hidden = hidden_columns(resolved, planned.frames, made_by)
        yield StepPreview(step, _frame(planned, step), rules, quarantined, hidden)


def _judge(
    pipeline: PipelineConfig,
    looked_at: Step | None,
    planned: PlannedBlock,
    rules: dict[int, Sequence[RuleMetrics]],
    violators: ExitStack,
) -> DataFrame | None:
    """Carry out a block, and say which rows the validation that is looked at takes out, if it is in it.

    Raises:
        ValidationException: A rule stops the run before it comes to the step.
    """
    block = planned.block
    with error_context(block.validations[0].step, pipeline):
        result = run_block(block)
    if result.violators is not None:
        violators.callback(result.violators.unpersist)
    rules.update(result.rules)
    for validation in block.validations:
        if looked_at is not None and validation.step.index == looked_at.index:
            if result.violators is None or result.quarantined[looked_at.index] is None:
                return None
            return taken_by(result.violators, [looked_at.index])
        judged = result.rules[validation.step.index]
        if validation.config.on_failure == "fail" and not all(rule.passed for rule in judged):
            raise broken_rules(validation.step, validation.config, judged)
    return None


def _frame(planned: Plan, step: Step) -> DataFrame:
    if step.type in ("extract", "transform"):
        return planned.frames[step.index].frame
    frame = planned.frames[step.inputs[0].step].frame
    rows = planned.scope.partition_rows(step, frame) if isinstance(step.config, Load) else None
    return frame.filter(rows.spark_sql()) if rows is not None else frame
