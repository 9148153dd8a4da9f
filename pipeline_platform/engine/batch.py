"""Runs a batch: plan, then validations and loads in their order, then the counts."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_fixed
from tenacity.wait import wait_base

from pipeline_platform.config.pipeline import PipelineConfig, Retry
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.cancellation import Stop, interruptible
from pipeline_platform.engine.counting import count_source, counting_note, reporting_loads
from pipeline_platform.engine.failures import explained, is_transient
from pipeline_platform.engine.plan import Plan, PlannedBlock, PlannedLoad, plan, selected_steps
from pipeline_platform.engine.session import clashing_settings, is_modifiable
from pipeline_platform.engine.validation import BlockResult, run_block, taken_by
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    StepLocation,
    ValidationException,
)
from pipeline_platform.methods.extract.base import Extract
from pipeline_platform.methods.settings import spark_settings
from pipeline_platform.methods.validate.base import Validate
from pipeline_platform.metrics.run import RuleMetrics, RunMetrics, RunStatus, StepMetrics
from pipeline_platform.redaction import redact_strings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Listener = Callable[[str, Step, StepMetrics | None], None]
"""Told `started` and `finished` for each step, with what it did once it has finished."""


def _nobody(*_: object) -> None:
    return None


@dataclass
class BatchRun:
    """One run of a batch pipeline.

    Args:
        pipeline: The pipeline.
        spark: The session.
        run_id: Names this run.
        load_id: The same for a run and its retries, so that they load once between them; the run id by default.
        selection: Names of the steps to run; None for all.
        listener: Told about each step.
        credentials: Where each step gets those of its system; by default what the environment says.
    """

    pipeline: PipelineConfig
    spark: SparkSession
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    load_id: str | None = None
    selection: Set[str] | None = None
    listener: Listener = _nobody
    credentials: RunCredentials | None = None
    attempts: int = 0
    steps: dict[int, StepMetrics] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)

    def run(self) -> RunMetrics:
        """Run it, again after a transient failure.

        Raises:
            PipelineCancelledException: It was stopped: Spark's jobs are interrupted, staging is removed.
            ValidationException: Rows broke a rule that stops the run.
            PipelineException: A step failed; it names the step.
        """
        if self.pipeline.mode != "batch":
            raise PipelineConfigurationException(
                "this is a streaming pipeline, and streams are not run yet",
                location=StepLocation(self.pipeline.name, self.pipeline.file),
                hint="set mode to batch",
            )
        started = datetime.now(UTC)
        try:
            interruptible(self._work, self.spark)
        except PipelineCancelledException as error:
            location = StepLocation(self.pipeline.name, self.pipeline.file)
            raise PipelineCancelledException(
                error.message,
                location=location,
                hint=f"to go on, run it again with the load id {self.load_name} (in Dagster: re-execute the run); "
                "what was loaded already is not loaded twice",
            ) from error.__cause__
        return self.metrics("COMPLETED", started)

    @property
    def load_name(self) -> str:
        """The load id that a run has to be given to be a repetition of this one."""
        return self.load_id or self.run_id

    def has_loaded(self) -> bool:
        """Whether any load is done, in this attempt or an earlier one."""
        return any(step.type == "load" for step in self.steps.values())

    def _work(self, stop: Stop) -> None:
        with self._settings(), closing(self._run_credentials()) as credentials:
            for attempt in _attempts(self.pipeline.retry, stop):
                with attempt:
                    self.attempts += 1
                    self.steps.clear()
                    self._attempt(stop, credentials)

    def _run_credentials(self) -> RunCredentials:
        try:
            return self.credentials or RunCredentials.from_environment(self.run_id)
        except PipelineException as error:
            raise error.at(StepLocation(self.pipeline.name, self.pipeline.file)) from None

    def metrics(self, status: RunStatus, started: datetime, error: str | None = None) -> RunMetrics:
        """The record of the run, as far as it went."""
        return RunMetrics(
            pipeline=self.pipeline.name,
            mode=self.pipeline.mode,
            run_id=self.run_id,
            status=status,
            started=started,
            ended=datetime.now(UTC),
            attempts=self.attempts,
            steps=[self.steps[index] for index in sorted(self.steps)],
            hints=self.hints,
            error=error,
        )

    @contextmanager
    def _settings(self) -> Generator[None]:
        wanted = self.pipeline.spark_settings()
        wrong = clashing_settings(self.spark, wanted)
        if wrong:
            raise PipelineConfigurationException(
                f"the running Spark session has other values for {', '.join(wrong)}, which are fixed when it starts",
                location=StepLocation(self.pipeline.name, self.pipeline.file),
                hint="run the pipeline in a process of its own",
            )
        settings = {key: value for key, value in wanted.items() if is_modifiable(self.spark, key)}
        with spark_settings(self.spark, settings):
            yield

    def _attempt(self, stop: Stop, credentials: RunCredentials) -> None:
        planned = plan(self.pipeline, self.spark, self.load_name, credentials, self.selection)
        self.hints = planned.hints
        held: list[DataFrame] = list(planned.cached)
        covered: set[int] = set()
        ran: set[int] = set()
        rejected: dict[int, int | None] = {}
        try:
            for action in planned.actions:
                stop.check()
                match action:
                    case PlannedBlock():
                        self._validate(planned, action, held)
                        if action.block.needs_pass():
                            ran |= self.pipeline.upstream_of({v.step.index for v in action.block.validations})
                    case PlannedLoad():
                        self._keep_rejects(planned, rejected)
                        above = self.pipeline.upstream_of({action.step.index})
                        covered |= above
                        if self._load(planned, action):
                            ran |= above
            self._keep_rejects(planned, rejected)
            ran |= self._run_uncovered(planned, covered | ran, stop)
            self._record_frames(planned, ran, rejected)
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
        began = time.monotonic()
        for validation in action.block.validations:
            self.listener("started", validation.step, None)
        with _explaining(first):
            result = run_block(action.block)
        if result.violators is not None:
            held.append(result.violators)
        seconds = time.monotonic() - began
        for validation in action.block.validations:
            self._record_validation(validation.step, validation.config, result, seconds)
        for validation in action.block.validations:
            metrics = self.steps[validation.step.index]
            if not metrics.passed and validation.config.on_failure == "fail":
                raise _broken(validation.step, metrics)
        if result.violators is not None:
            for quarantine in action.quarantines:
                with _explaining(quarantine.step):
                    rows = taken_by(result.violators, quarantine.takers)
                    quarantine.config.prepare(rows, quarantine.run).write()

    def _record_validation(self, step: Step, config: Validate, result: BlockResult, seconds: float) -> None:
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
                seconds=seconds,
                rules=rules,
                quarantined=result.quarantined[step.index],
                blocking=config.on_failure == "fail",
            ),
            step,
        )

    def _load(self, planned: Plan, action: PlannedLoad) -> bool:
        """Load, and say whether anything had to be done for it."""
        step = action.step
        self.listener("started", step, None)
        began = time.monotonic()
        with _explaining(step):
            written = action.prepared.write()
        rows = written.rows
        if rows is None and action.tally is not None and written.skipped is None:
            rows = action.tally.rows()
        self._record(
            StepMetrics(
                index=step.index,
                name=step.name,
                type=step.type,
                method=step.config.method,
                status="SKIPPED" if written.skipped else "COMPLETED",
                rows=rows,
                seconds=time.monotonic() - began,
                uri=action.uri,
                bytes=written.bytes,
                files=written.files,
                version=written.version,
                skipped=written.skipped,
                columns=planned.columns[step.index],
                lineage=planned.lineage[step.index],
                detail=dict(written.detail),
            ),
            step,
        )
        return written.skipped is None

    def _keep_rejects(self, planned: Plan, rejected: dict[int, int | None]) -> None:
        """Write the records that can't be used, once; how many they are, by step."""
        for reject in planned.rejects:
            if reject.step.index not in rejected:
                with _explaining(reject.step):
                    rejected[reject.step.index] = reject.prepared.write().rows

    def _run_uncovered(self, planned: Plan, covered: set[int], stop: Stop) -> set[int]:
        """Run for real what is selected but has no load or validation below it, so that its counts are true."""
        ran: set[int] = set()
        for step in reversed(selected_steps(self.pipeline, self.selection)):
            if step.type in ("extract", "transform") and step.index not in covered | ran:
                stop.check()
                self.listener("started", step, None)
                with _explaining(step):
                    planned.frames[step.index].write.format("noop").mode("overwrite").save()
                ran |= self.pipeline.upstream_of({step.index})
        return ran

    def _record_frames(self, planned: Plan, ran: Set[int], rejected: Mapping[int, int | None]) -> None:
        for step in self.pipeline.steps:
            if step.type not in ("extract", "transform") or step.index not in planned.frames:
                continue
            source = count_source(self.pipeline, step)
            note = counting_note(self.pipeline, step) or counting_note(self.pipeline, source)
            if note is None and step.index not in ran:
                note = NOT_RUN
            tally = planned.tallies.get(source.index)
            written = [self.steps[load.index].rows for load in reporting_loads(self.pipeline, source, planned.needed)]
            rows: int | None = None
            if note is None:
                rows = tally.rows() if tally is not None else next((n for n in written if n is not None), None)
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
                    quarantined=rejected.get(step.index),
                    uri=dataset.uri if dataset else None,
                    columns=planned.columns[step.index],
                    lineage=planned.lineage.get(step.index, {}),
                ),
                step,
            )

    def _record(self, metrics: StepMetrics, step: Step) -> None:
        # A rule, or what it is told of, may hold the value of an environment variable.
        metrics = StepMetrics.model_validate(redact_strings(metrics.model_dump()))
        self.steps[step.index] = metrics
        self.listener("finished", step, metrics)


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
        hint="mend the data, or set 'tolerance', or 'onFailure' to quarantine or warn; nothing after it was written",
    )


def _told(rule: RuleMetrics) -> str:
    samples = ", ".join(json.dumps(sample) for sample in rule.samples)
    share = f" ({rule.fraction:.2%})" if rule.fraction is not None else ""
    shown = f", such as {samples}" if samples else ""
    return f"{rule.violations} of {rule.rows} rows{share} break '{rule.rule}'{shown}"


@contextmanager
def _explaining(step: Step) -> Generator[None]:
    try:
        yield
    except PipelineException as error:
        raise error.at(step.location, step.config.as_config()) from error.__cause__
    except Exception as error:
        raise explained(error, step) from error


def _attempts(retry: Retry, stop: Stop) -> Retrying:
    wait: wait_base = (
        wait_fixed(retry.delay_seconds)
        if retry.backoff == "constant"
        else wait_exponential(multiplier=retry.delay_seconds, min=retry.delay_seconds)
    )
    return Retrying(
        stop=stop_after_attempt(retry.max_attempts),
        wait=wait,
        retry=retry_if_exception(is_transient),
        sleep=stop.sleep,
        reraise=True,
    )
