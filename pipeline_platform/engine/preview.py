"""A look at the rows of one step, planned as a run would plan them, of which nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.execution import broken_rules
from pipeline_platform.engine.failed_values import values_hidden
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.hidden_columns import hidden_columns, sensitive_sources
from pipeline_platform.engine.in_environment import reading_what_is_there
from pipeline_platform.engine.plan import needed_steps, plan
from pipeline_platform.engine.planned import Plan, PlannedBlock
from pipeline_platform.engine.scope import MicroBatch
from pipeline_platform.engine.validation import taken_by
from pipeline_platform.engine.validation_run import BlockResult, run_block
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


class Previews:
    """Looks at steps of one plan; validations are carried out when a step is looked at that they are on the way to."""

    def __init__(
        self, pipeline: PipelineConfig, planned: Plan, violators: ExitStack, hidden: Mapping[int, Set[str]]
    ) -> None:
        self._pipeline = pipeline
        self._hidden = hidden
        self._planned = planned
        self._violators = violators
        self._blocks = [action.block for action in planned.actions if isinstance(action, PlannedBlock)]
        self._results: dict[int, BlockResult] = {}

    def of(self, step: Step, *, judges: bool = True, may_break: bool = True) -> StepPreview:
        """The rows of a step.

        Args:
            step: One of the steps that it was planned for.
            judges: Whether the validations on the way are carried out, so that a rule stops what it would stop in a
                run.
            may_break: Whether rules of the step itself may be broken that would stop a run.

        Raises:
            ValidationException: Rows broke a rule that stops the run before it comes to the step.
            PipelineException: A validation can't be carried out.
        """
        needed = preview_steps(self._pipeline, step)
        rules: dict[int, Sequence[RuleMetrics]] = {}
        quarantined: DataFrame | None = None
        for number, block in enumerate(self._blocks if judges else ()):
            own = [validation for validation in block.validations if validation.step.index in needed]
            if not own:
                continue
            result = self._result(number)
            for validation in own:
                judged = rules[validation.step.index] = result.rules[validation.step.index]
                if validation.step.index == step.index and may_break:
                    if result.violators is not None and result.quarantined[step.index] is not None:
                        quarantined = taken_by(result.violators, [step.index])
                elif validation.config.on_failure == "fail" and not all(rule.passed for rule in judged):
                    raise broken_rules(validation.step, validation.config, judged)
        made_by = step if step.type in ("extract", "transform") else self._pipeline.steps[step.inputs[0].step]
        hidden = hidden_columns(self._pipeline, self._planned.frames, made_by, self._hidden)
        return StepPreview(step, self._frame(step, made_by), rules, quarantined, hidden)

    def values_hidden(self) -> AbstractContextManager[None]:
        """As `engine.failed_values.values_hidden`; where rows are given by whoever looks, none is a secret."""
        return values_hidden(self._pipeline, self._planned.frames)

    def sensitive_sources(self) -> Mapping[int, frozenset[str]]:
        """As `engine.hidden_columns.sensitive_sources`."""
        return sensitive_sources(self._pipeline, self._planned.frames)

    def _result(self, number: int) -> BlockResult:
        if number not in self._results:
            block = self._blocks[number]
            with error_context(block.validations[0].step, self._pipeline):
                result = self._results[number] = run_block(block)
            if result.violators is not None:
                self._violators.callback(result.violators.unpersist)
        return self._results[number]

    def _frame(self, step: Step, made_by: Step) -> DataFrame:
        in_turn = [one.index for one in self._pipeline.in_turn]
        frame = self._planned.frames[made_by.index].frame_before(in_turn.index(step.index))
        rows = self._planned.scope.partition_rows(step, frame) if isinstance(step.config, Load) else None
        return frame.filter(rows.spark_sql()) if rows is not None else frame


@contextmanager
def previewed(
    pipeline: PipelineConfig,
    steps: Collection[Step],
    spark: SparkSession,
    credentials: RunCredentials,
    partition: Partition | None = None,
    micro_batch: MicroBatch | None = None,
    hidden: Mapping[int, Set[str]] | None = None,
) -> Generator[Previews]:
    """Plan steps as a run would plan them, so that they can be looked at for as long as the block lasts.

    Args:
        pipeline: The pipeline.
        steps: The steps.
        spark: The session.
        credentials: Where each step gets those of its system.
        partition: What is loaded; only of a pipeline with partitions, which can't do without.
        micro_batch: Of a stream: what is loaded.
        hidden: Names, in lower case, of columns that other pipelines hide, by the index of the extract that reads them.

    Raises:
        PipelineException: A step can't be planned or read; it names the step.
    """
    needed = {index for step in steps for index in preview_steps(pipeline, step)}
    names = {pipeline.steps[index].name for index in needed}
    resolved = reading_what_is_there(pipeline.resolve(needed, partition), spark, credentials, needed)
    planned = plan(resolved, spark, "preview", credentials, names, micro_batch, partition, writes=False)
    with planned.persisted, ExitStack() as violators:
        yield Previews(resolved, planned, violators, hidden or {})
