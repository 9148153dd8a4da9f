"""Carries out a plan: validations and loads in their order, then the counts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime

from pipeline_platform.config.history_errors import remembering_load
from pipeline_platform.config.step import Step
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.counting import RowCountObservation
from pipeline_platform.engine.failures import error_context, says
from pipeline_platform.engine.planned import Lineage, Plan, PlannedBlock, PlannedFrame, PlannedLoad
from pipeline_platform.engine.quarantine import (
    PlannedBadRecords,
    PlannedQuarantine,
    finish_quarantines,
    write_bad_records,
)
from pipeline_platform.engine.validation import PlannedValidation, ValidationBlock
from pipeline_platform.engine.validation_run import BlockResult, broken_block, kept_block, run_block
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException, ValidationException
from pipeline_platform.logs import log_context
from pipeline_platform.metrics.run import RuleMetrics, SchemaChangeMetrics, StepMetrics
from pipeline_platform.redaction import redact_strings
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import RemembersRows
from pipeline_platform.steps.transform import Transform
from pipeline_platform.steps.validate import Validate

_LOG = logging.getLogger(__name__)

Listener = Callable[[str, Step, StepMetrics | None], None]
"""Told `started` and `finished` for each step, with what it did once it has finished."""


def noop_listener(*_: object) -> None:
    """A listener that does not listen."""


def execute(planned: Plan, stop: CancellationToken, listener: Listener = noop_listener) -> Generator[StepMetrics]:
    """Carry out a plan.

    Args:
        planned: The plan, whose frames are released at the end.
        stop: Looked at between its actions.
        listener: Told about each step.

    Yields:
        What each step did, as soon as that is known: of a run that fails, what was done until then.

    Raises:
        PipelineCancelledException: Somebody asked to stop.
        PipelineException: A step failed; it names the step. What its attempt left aside is removed.
    """
    with planned.persisted, ExitStack() as violators:
        try:
            yield from _Execution(planned, listener).run(stop, violators)
        except BaseException:
            for load in planned.loads:
                # What the run failed at is what has to be told.
                with suppress(Exception):
                    load.prepared.clean()
            raise


class _Execution:
    """One plan while it is carried out.

    Args:
        planned: The plan.
        listener: Told about each step.
    """

    def __init__(self, planned: Plan, listener: Listener) -> None:
        self._planned = planned
        self._pipeline = planned.scope.pipeline
        self._listener = listener
        self._rows: dict[int, int | None] = {}
        """Rows of the steps that are done."""
        self._quarantined: list[PlannedQuarantine | PlannedBadRecords] = []
        """What has put rows into quarantine, in this attempt or an earlier one."""

    def run(self, stop: CancellationToken, violators: ExitStack) -> Iterator[StepMetrics]:
        """Carry it out; the rows that validations take out are kept until `violators` is closed."""
        covered: set[int] = set()
        ran: set[int] = set()
        bad_records: Mapping[int, int | None] | None = None
        for action in self._planned.actions:
            stop.check()
            match action:
                case PlannedBlock():
                    yield from self._validate(action, violators)
                    if action.block.needs_pass():
                        ran |= self._pipeline.upstream_of({v.step.index for v in action.block.validations})
                case PlannedLoad():
                    if bad_records is None:
                        bad_records = self._write_bad_records()
                    above = self._pipeline.upstream_of({action.step.index})
                    covered |= above
                    metrics = yield from self._load(action, bad_records)
                    if metrics.skipped is None:
                        ran |= above
        if bad_records is None:
            bad_records = self._write_bad_records()
        ran |= self._run_uncovered(covered | ran, stop)
        finish_quarantines(self._quarantined)
        for frame in self._planned.frames.values():
            yield self._frame_metrics(frame, ran, bad_records)

    def _write_bad_records(self) -> Mapping[int, int | None]:
        written = write_bad_records(self._planned.bad_records)
        self._quarantined += [one for one in self._planned.bad_records if written[one.step.index] != 0]
        return written

    def _validate(self, action: PlannedBlock, violators: ExitStack) -> Iterator[StepMetrics]:
        first = action.block.validations[0].step
        began, started = time.monotonic(), datetime.now(UTC)
        for validation in action.block.validations:
            self._listener("started", validation.step, None)
        with error_context(first, self._pipeline):
            result = run_block(action.block, self._past_rows)
        if result.violators is not None:
            violators.callback(result.violators.unpersist)
        yield from self._judged(action.block, result, started, time.monotonic() - began)
        if result.violators is not None:
            for quarantine in action.quarantines:
                quarantine.write(result.violators)
                if any(result.quarantined[taker] for taker in quarantine.takers):
                    self._quarantined.append(quarantine)

    def _past_rows(self, validation: PlannedValidation) -> Sequence[int]:
        """How many rows the loads before had of the frame that a validation looks at."""
        remembering = remembering_load(self._pipeline.steps, validation.step)
        for load in self._planned.loads:
            if remembering is not None and load.step.index == remembering.index:
                assert isinstance(load.prepared, RemembersRows)
                return load.prepared.past_rows(validation.config.loads_compared())
        return ()

    def _judged(
        self, block: ValidationBlock, result: BlockResult, started: datetime, seconds: float
    ) -> Iterator[StepMetrics]:
        """What came of a block.

        Raises:
            ValidationException: A rule is broken that has to be kept.
        """
        done = [self._validation_metrics(validation, result, started, seconds) for validation in block.validations]
        yield from done
        for validation, metrics in zip(block.validations, done, strict=True):
            if not metrics.passed and validation.config.on_failure == "fail":
                raise broken_rules(validation.step, validation.config, metrics.rules)

    def _validation_metrics(
        self, validation: PlannedValidation, result: BlockResult, started: datetime, seconds: float
    ) -> StepMetrics:
        step, on_failure = validation.step, validation.config.on_failure
        rules = list(result.rules[step.index])
        passed = all(rule.passed for rule in rules)
        quarantine = self._planned.quarantine_of(step)
        return self._finished(
            StepMetrics(
                index=step.index,
                name=step.name,
                type=step.type,
                method=step.config.method,
                status="COMPLETED" if passed or on_failure != "fail" else "FAILED",
                rows=result.rows[step.index],
                started=started,
                seconds=seconds,
                rules=rules,
                quarantined=result.quarantined[step.index] if quarantine is not None else None,
                quarantine=quarantine,
                blocking=on_failure == "fail",
            ),
            step,
        )

    def _load(
        self, action: PlannedLoad, bad_records: Mapping[int, int | None]
    ) -> Generator[StepMetrics, None, StepMetrics]:
        """Carry out a load, and the validations that it carries out; what the load did is yielded and returned."""
        step, validated = action.step, action.validated
        for validation in validated.block.validations if validated is not None else ():
            self._listener("started", validation.step, None)
        self._listener("started", step, None)
        began, started = time.monotonic(), datetime.now(UTC)
        try:
            with error_context(step, self._pipeline):
                written = action.prepared.write()
        except PipelineException as error:
            if validated is not None and says(error, validated.text):
                with error_context(validated.block.validations[0].step, self._pipeline):
                    result = broken_block(validated.block)
                yield from self._judged(validated.block, result, started, time.monotonic() - began)
                raise PipelineExecutionException(
                    "a row broke a rule while it was loaded, and none did when the rows were read once more to count "
                    "those that do; nothing was loaded",
                    location=validated.block.validations[0].step.location,
                    hint="if the rows or the rule are others each time, as with rand() or a source that changes, set "
                    "'cache' on the step before the validation",
                ) from error
            raise
        observation = action.observation if written.skipped is None else None
        rows = observation.rows() if written.rows is None and observation is not None else written.rows
        seconds = time.monotonic() - began
        if validated is not None:
            with error_context(validated.block.validations[0].step, self._pipeline):
                # Where nothing was read, or it is not known how often, the rows are counted for their own sake.
                seen = rows if written.skipped is None else None
                result = kept_block(validated.block, seen) if seen is not None else run_block(validated.block)
            yield from self._judged(validated.block, result, started, seconds)
        metrics = self._finished(
            StepMetrics(
                index=step.index,
                name=step.name,
                type=step.type,
                method=step.config.method,
                status="SKIPPED" if written.skipped else "COMPLETED",
                rows=rows,
                started=started,
                seconds=seconds,
                uri=action.uri,
                bytes=written.bytes,
                files=written.files,
                version=written.version,
                skipped=written.skipped,
                cursor=action.cursor.after.position if action.cursor is not None else None,
                quarantined=bad_records.get(step.index),
                quarantine=self._planned.quarantine_of(step),
                malformed=_malformed(step, bad_records, observation),
                columns=list(action.columns),
                lineage=_by_column(action.lineage),
                detail=dict(written.detail),
                schema_changes=[SchemaChangeMetrics(**asdict(change)) for change in written.schema_changes],
                remark=written.remark,
            ),
            step,
        )
        yield metrics
        return metrics

    def _run_uncovered(self, covered: Set[int], stop: CancellationToken) -> set[int]:
        """Run for real what is selected but has no load or validation below it, so that its counts are true."""
        ran: set[int] = set()
        selection = self._planned.scope.selection
        for step in reversed(self._pipeline.steps):
            is_selected = selection is None or step.name in selection
            if is_selected and step.type in ("extract", "transform") and step.index not in covered | ran:
                stop.check()
                self._listener("started", step, None)
                with error_context(step, self._pipeline):
                    self._planned.frames[step.index].frame.write.format("noop").mode("overwrite").save()
                ran |= self._pipeline.upstream_of({step.index})
        return ran

    def _frame_metrics(
        self, planned: PlannedFrame, ran: Set[int], bad_records: Mapping[int, int | None]
    ) -> StepMetrics:
        step, scope = planned.step, self._planned.scope
        source = scope.count_source(step)
        note = scope.counting_note(step) or scope.counting_note(source)
        if note is None and step.index not in ran:
            note = NOT_RUN
        counting = self._planned.frames.get(source.index)
        observation = counting.observation if counting is not None else None
        written = [self._rows[load.index] for load in scope.reporting_loads(source)]
        rows: int | None = None
        if note is None:
            rows = observation.rows() if observation is not None else next((n for n in written if n is not None), None)
        # As the definitions name it, before the environment is known.
        config = step.config.as_written
        dataset = config.dataset() if isinstance(config, Extract) else None
        return self._finished(
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
                quarantine=self._planned.quarantine_of(step),
                # An observation of a frame that no action has read would be waited for.
                malformed=_malformed(step, bad_records, planned.observation if step.index in ran else None),
                uri=dataset.uri if dataset else None,
                columns=list(planned.columns),
                lineage=_by_column(planned.lineage),
                expressions=_expressions(planned),
            ),
            step,
        )

    def _finished(self, metrics: StepMetrics, step: Step) -> StepMetrics:
        """What a step did, as it is told to everybody."""
        metrics = metrics.model_copy(update={"rows_in": self._rows_in(metrics, step)})
        # A rule, or what it is told of, may hold the value of an environment variable.
        metrics = StepMetrics.model_validate(redact_strings(metrics.model_dump()))
        self._rows[step.index] = metrics.rows
        with log_context(step=step.name):
            _LOG.info("%s", metrics.told())
        self._listener("finished", step, metrics)
        return metrics

    def _rows_in(self, metrics: StepMetrics, step: Step) -> int | None:
        """Rows of all inputs; a validation and a load have one, and say how many rows they took of it."""
        if step.type != "transform":
            return metrics.rows if step.type != "extract" else None
        inputs = [self._rows.get(edge.step) for edge in step.inputs]
        known = [rows for rows in inputs if rows is not None]
        return sum(known) if len(known) == len(inputs) else None


def _expressions(planned: PlannedFrame) -> dict[str, str]:
    # As they are written: they are shown.
    config = planned.step.config.as_written
    found = {name.lower(): text for name, text in config.expressions().items()} if isinstance(config, Transform) else {}
    return {column.name: found[column.name.lower()] for column in planned.columns if column.name.lower() in found}


def _by_column(lineage: Lineage) -> dict[str, list[tuple[int, str]]]:
    return {column: list(sources) for column, sources in lineage.items()}


def _malformed(
    step: Step, bad_records: Mapping[int, int | None], observation: RowCountObservation | None
) -> int | None:
    """Records that a step took out or made null."""
    if step.index in bad_records:
        return bad_records[step.index]
    return observation.malformed() if observation is not None else None


NOT_RUN = "not counted: nothing had to be done for it"
UNCERTAIN = "not counted: the plan was not run in full, or a part of it twice"


def broken_rules(step: Step, config: Validate, rules: Iterable[RuleMetrics]) -> ValidationException:
    """What a run ends with that a validation stops.

    Args:
        step: The validation.
        config: Its config, with its placeholders replaced.
        rules: What came of its rules, of which at least one is broken by more rows than it tolerates.
    """
    broken = [rule for rule in rules if not rule.passed]
    first = broken[0]
    told = [rule.detail or _told(rule) for rule in broken]
    return ValidationException(
        "; ".join(told),
        rule=first.rule,
        violations=first.violations,
        rows=first.rows or 0,
        samples=first.samples,
        location=step.location,
        config=config.as_config(),
        hint=config.what_next([rule.rule for rule in broken]),
    )


def _told(rule: RuleMetrics) -> str:
    samples = ", ".join(json.dumps(sample) for sample in rule.samples)
    share = f" ({rule.fraction:.2%})" if rule.fraction is not None else ""
    shown = f", such as {samples}" if samples else ""
    return f"{rule.violations} of {rule.rows} rows{share} break '{rule.rule}'{shown}"
