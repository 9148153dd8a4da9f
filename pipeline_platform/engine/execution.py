"""Carries out a plan: validations and loads in their order, then the counts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.counting import RowCountObservation, counting_note, reporting_loads
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.plan import Plan, PlannedBlock, PlannedLoad, selected_steps
from pipeline_platform.engine.validation import BlockResult, run_block, taken_by
from pipeline_platform.exceptions import ValidationException
from pipeline_platform.logs import log_context
from pipeline_platform.metrics.run import RuleMetrics, StepMetrics
from pipeline_platform.redaction import redact_strings
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOG = logging.getLogger(__name__)

Listener = Callable[[str, Step, StepMetrics | None], None]
"""Told `started` and `finished` for each step, with what it did once it has finished."""


def noop_listener(*_: object) -> None:
    """A listener that does not listen."""


@dataclass
class Execution:
    """Carries out one plan.

    Args:
        pipeline: The pipeline.
        selection: Names of the steps to run; None for all.
        listener: Told about each step.
        steps: What each step did, by its index.
    """

    pipeline: PipelineConfig
    selection: Set[str] | None = None
    listener: Listener = noop_listener
    steps: dict[int, StepMetrics] = field(default_factory=dict)

    def of(self, planned: Plan, stop: CancellationToken) -> None:
        """Carry out a plan.

        Args:
            planned: The plan.
            stop: Looked at between its actions.

        Raises:
            PipelineCancelledException: Somebody asked to stop.
            PipelineException: A step failed; it names the step. What its attempt left aside is removed.
        """
        held: list[DataFrame] = list(planned.cached)
        covered: set[int] = set()
        ran: set[int] = set()
        bad_records: dict[int, int | None] = {}
        try:
            for action in planned.actions:
                stop.check()
                match action:
                    case PlannedBlock():
                        self._validate(planned, action, held)
                        if action.block.needs_pass():
                            ran |= self.pipeline.upstream_of({v.step.index for v in action.block.validations})
                    case PlannedLoad():
                        self._keep_rejects(planned, bad_records)
                        above = self.pipeline.upstream_of({action.step.index})
                        covered |= above
                        if self._load(planned, action, bad_records):
                            ran |= above
            self._keep_rejects(planned, bad_records)
            ran |= self._run_uncovered(planned, covered | ran, stop)
            self._record_frames(planned, ran, bad_records)
        except BaseException:
            for action in planned.actions:
                if isinstance(action, PlannedLoad):
                    # What the run failed at is what has to be told.
                    with suppress(Exception):
                        action.prepared.clean()
            raise
        finally:
            for frame in held:
                frame.unpersist()

    def _validate(self, planned: Plan, action: PlannedBlock, held: list[DataFrame]) -> None:
        first = action.block.validations[0].step
        began, started = time.monotonic(), datetime.now(UTC)
        for validation in action.block.validations:
            self.listener("started", validation.step, None)
        with error_context(first, self.pipeline):
            result = run_block(action.block)
        if result.violators is not None:
            held.append(result.violators)
        seconds = time.monotonic() - began
        for validation in action.block.validations:
            quarantine = planned.quarantine_of(validation.step)
            self._record_validation(validation.step, validation.config, result, started, seconds, quarantine)
        for validation in action.block.validations:
            metrics = self.steps[validation.step.index]
            if not metrics.passed and validation.config.on_failure == "fail":
                raise _broken(validation.step, metrics)
        if result.violators is not None:
            for quarantine in action.quarantines:
                with error_context(quarantine.step):
                    rows = taken_by(result.violators, quarantine.takers)
                    quarantine.config.prepare(rows, quarantine.run).write()

    def _record_validation(
        self,
        step: Step,
        config: Validate,
        result: BlockResult,
        started: datetime,
        seconds: float,
        quarantine: str | None,
    ) -> None:
        rules = list(result.rules[step.index])
        passed = all(rule.passed for rule in rules)
        self._record(
            StepMetrics(
                index=step.index,
                name=step.name,
                type=step.type,
                method=step.config.method,
                status="COMPLETED" if passed or config.on_failure != "fail" else "FAILED",
                rows=result.rows[step.index],
                started=started,
                seconds=seconds,
                rules=rules,
                quarantined=result.quarantined[step.index] if quarantine is not None else None,
                quarantine=quarantine,
                blocking=config.on_failure == "fail",
            ),
            step,
        )

    def _load(self, planned: Plan, action: PlannedLoad, bad_records: Mapping[int, int | None]) -> bool:
        """Load, and say whether anything had to be done for it."""
        step = action.step
        self.listener("started", step, None)
        began, started = time.monotonic(), datetime.now(UTC)
        with error_context(step, self.pipeline):
            written = action.prepared.write()
        observation = action.observation if written.skipped is None else None
        rows = observation.rows() if written.rows is None and observation is not None else written.rows
        self._record(
            StepMetrics(
                index=step.index,
                name=step.name,
                type=step.type,
                method=step.config.method,
                status="SKIPPED" if written.skipped else "COMPLETED",
                rows=rows,
                started=started,
                seconds=time.monotonic() - began,
                uri=action.uri,
                bytes=written.bytes,
                files=written.files,
                version=written.version,
                skipped=written.skipped,
                quarantined=bad_records.get(step.index),
                quarantine=planned.quarantine_of(step),
                malformed=_malformed(step, bad_records, observation),
                columns=planned.columns[step.index],
                lineage=planned.lineage[step.index],
                detail=dict(written.detail),
            ),
            step,
        )
        return written.skipped is None

    def _keep_rejects(self, planned: Plan, bad_records: dict[int, int | None]) -> None:
        """Write the records that can't be used, once; how many they are, by step."""
        for reject in planned.rejects:
            if reject.step.index not in bad_records:
                with error_context(reject.step):
                    bad_records[reject.step.index] = reject.prepared.write().rows

    def _run_uncovered(self, planned: Plan, covered: set[int], stop: CancellationToken) -> set[int]:
        """Run for real what is selected but has no load or validation below it, so that its counts are true."""
        ran: set[int] = set()
        for step in reversed(selected_steps(self.pipeline, self.selection)):
            if step.type in ("extract", "transform") and step.index not in covered | ran:
                stop.check()
                self.listener("started", step, None)
                with error_context(step, self.pipeline):
                    planned.frames[step.index].write.format("noop").mode("overwrite").save()
                ran |= self.pipeline.upstream_of({step.index})
        return ran

    def _record_frames(self, planned: Plan, ran: Set[int], bad_records: Mapping[int, int | None]) -> None:
        for step in self.pipeline.steps:
            if step.type not in ("extract", "transform") or step.index not in planned.frames:
                continue
            source = planned.count_source(step)
            note = counting_note(self.pipeline, step) or counting_note(self.pipeline, source)
            if note is None and step.index not in ran:
                note = NOT_RUN
            observation = planned.observations.get(source.index)
            written = [self.steps[load.index].rows for load in reporting_loads(self.pipeline, source, planned.needed)]
            rows: int | None = None
            if note is None:
                rows = (
                    observation.rows() if observation is not None else next((n for n in written if n is not None), None)
                )
            dataset = step.config.dataset() if isinstance(step.config, Extract) else None
            self._record(
                StepMetrics(
                    index=step.index,
                    name=step.name,
                    type=step.type,
                    method=step.config.method,
                    status="COMPLETED",
                    rows=rows,
                    rows_note=(note or UNCERTAIN) if rows is None else None,
                    partitions=observation.partitions() if observation is not None and rows is not None else None,
                    quarantined=bad_records.get(step.index),
                    quarantine=planned.quarantine_of(step),
                    malformed=_malformed(step, bad_records, planned.observations.get(step.index)),
                    uri=dataset.uri if dataset else None,
                    columns=planned.columns[step.index],
                    lineage=planned.lineage.get(step.index, {}),
                ),
                step,
            )

    def _record(self, metrics: StepMetrics, step: Step) -> None:
        metrics = metrics.model_copy(update={"rows_in": self._rows_in(metrics, step)})
        # A rule, or what it is told of, may hold the value of an environment variable.
        metrics = StepMetrics.model_validate(redact_strings(metrics.model_dump()))
        self.steps[step.index] = metrics
        with log_context(step=step.name):
            _LOG.info("%s", _line(metrics))
        self.listener("finished", step, metrics)

    def _rows_in(self, metrics: StepMetrics, step: Step) -> int | None:
        """Rows of all inputs; a validation and a load have one, and say how many rows they took of it."""
        if step.type != "transform":
            return metrics.rows if step.type != "extract" else None
        inputs = [self.steps[edge.step].rows if edge.step in self.steps else None for edge in step.inputs]
        known = [rows for rows in inputs if rows is not None]
        return sum(known) if len(known) == len(inputs) else None


def _malformed(
    step: Step, bad_records: Mapping[int, int | None], observation: RowCountObservation | None
) -> int | None:
    """Records that a step took out or made null."""
    if step.index in bad_records:
        return bad_records[step.index]
    return observation.malformed() if observation is not None else None


def _line(metrics: StepMetrics) -> str:
    rows = f"{metrics.rows:,} rows" if metrics.rows is not None else metrics.rows_note or "rows not counted"
    seconds = f" in {metrics.seconds:.1f} s" if metrics.seconds is not None else ""
    broken = f", {metrics.violations:,} violations" if metrics.type == "validate" else ""
    malformed = f", {metrics.malformed:,} malformed records" if metrics.malformed else ""
    return f"{metrics.name} ({metrics.method}) {metrics.status.lower()}: {rows}{broken}{malformed}{seconds}"


NOT_RUN = "not counted: nothing had to be done for it"
UNCERTAIN = "not counted: the plan was not run in full, or a part of it twice"


def _broken(step: Step, metrics: StepMetrics) -> ValidationException:
    broken = [rule for rule in metrics.rules if not rule.passed]
    first = broken[0]
    told = [rule.detail or _told(rule) for rule in broken]
    return ValidationException(
        "; ".join(told),
        rule=first.rule,
        violations=first.violations,
        rows=first.rows or 0,
        samples=first.samples,
        location=step.location,
        config=step.config.as_config(),
        hint="fix the data, or set 'tolerance', or 'onFailure' to quarantine or warn; nothing after it was written",
    )


def _told(rule: RuleMetrics) -> str:
    samples = ", ".join(json.dumps(sample) for sample in rule.samples)
    share = f" ({rule.fraction:.2%})" if rule.fraction is not None else ""
    shown = f", such as {samples}" if samples else ""
    return f"{rule.violations} of {rule.rows} rows{share} break '{rule.rule}'{shown}"
