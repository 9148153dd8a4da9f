"""Runs a batch: a plan, carried out, again after a transient failure."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_fixed
from tenacity.wait import wait_base

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.pipeline_keys import Retry
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.cancellation import CancellationToken, interruptible
from pipeline_platform.engine.execution import Listener, execute, noop_listener
from pipeline_platform.engine.failed_values import values_hidden
from pipeline_platform.engine.failures import (
    MAINTENANCE_ATTEMPTS,
    is_transient,
    lost_to_maintenance,
    naming_dead_jvm,
)
from pipeline_platform.engine.in_environment import begin_as_production, reading_what_is_there
from pipeline_platform.engine.plan import needed_steps, plan
from pipeline_platform.engine.record import RunRecord
from pipeline_platform.engine.scope import Replayed
from pipeline_platform.engine.settled import settled
from pipeline_platform.engine.spark.compilers import remember
from pipeline_platform.engine.spark.session import pipeline_settings
from pipeline_platform.engine.spark_progress import SparkProgress, watched
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
)
from pipeline_platform.metrics.exporter import Exporter
from pipeline_platform.metrics.run import RunMetrics, StepMetrics
from pipeline_platform.redaction import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_LOG = logging.getLogger(__name__)


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
        exporters: Told when the run begins and how it ends.
        say: Told in words what is being done now, and how far it is.
        say_seconds: Between two words on how far it is.
        partition: What is loaded; only of a pipeline with partitions, which can't do without.
        replayed: Rows of a quarantine, which are loaded in place of what the steps before read; of a stream, too.
    """

    pipeline: PipelineConfig
    spark: SparkSession
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    load_id: str | None = None
    selection: Set[str] | None = None
    listener: Listener = noop_listener
    credentials: RunCredentials | None = None
    exporters: Sequence[Exporter] = ()
    say: Callable[[str], None] = noop_listener
    say_seconds: float = 10.0
    partition: Partition | None = None
    replayed: Replayed | None = None

    def __post_init__(self) -> None:
        keys = self.partition.keys if self.partition is not None else ()
        self.record = RunRecord(self.pipeline, self.run_id, self.exporters, keys)
        self._step = "planning"
        self._cloned: list[str] = []

    def run(self) -> RunMetrics:
        """Run it, again after a transient failure.

        Raises:
            PipelineCancelledException: It was stopped: Spark's jobs are interrupted, staging is removed.
            ValidationException: Rows broke a rule that stops the run.
            PipelineException: A step failed; it names the step.
        """
        if self.pipeline.mode != "batch" and self.replayed is None:
            raise PipelineConfigurationException(
                "a streaming pipeline can't be run as a batch",
                location=self.pipeline.location,
                hint="set mode to batch",
            )
        if (self.pipeline.partitions is None) != (self.partition is None):
            raise PipelineConfigurationException(
                "a run of a pipeline with partitions loads one of them, and any other none",
                location=self.pipeline.location,
                hint="name a partition of the pipeline's",
            )
        began = time.monotonic()
        try:
            with self.record.exported(), naming_dead_jvm(self.pipeline.location):
                interruptible(self._work, self.spark)
        except PipelineCancelledException as error:
            raise PipelineCancelledException(
                error.message,
                location=self.pipeline.location,
                hint=self._how_to_continue(),
            ) from error.__cause__
        finally:
            is_whole = self.record.status == "COMPLETED" and self.selection is None
            remember(self.pipeline, time.monotonic() - began, len(self.record.partitions), is_whole=is_whole)
        return self.record.metrics()

    @property
    def load_name(self) -> str:
        """The load id that a run has to be given to be a repetition of this one."""
        return self.load_id or self.run_id

    def _how_to_continue(self) -> str:
        if self.replayed is not None:
            return "to continue, replay again; what was loaded already is not loaded twice"
        return (
            f"to continue, run it again with the load id {self.load_name} (in Dagster: re-execute the run); what was "
            "loaded already is not loaded twice"
        )

    def has_loaded(self) -> bool:
        """Whether any load is done, in this attempt or an earlier one."""
        return any(step.type == "load" and step.status != "FAILED" for step in self.record.steps.values())

    def _listen(self, event: str, step: Step, metrics: StepMetrics | None) -> None:
        if event == "started":
            self._step = self.pipeline.step_title(step)
        self.listener(event, step, metrics)

    def _tell(self, progress: SparkProgress) -> None:
        self.say(f"{self._step}: {progress}")

    def _work(self, stop: CancellationToken) -> None:
        with (
            watched(self.spark, self._tell, self.say_seconds),
            pipeline_settings(self.pipeline, self.spark),
            closing(
                self.credentials or RunCredentials.from_environment(self.run_id, self.pipeline.location)
            ) as credentials,
        ):
            needed = self._needed()
            pipeline = self.pipeline.resolve(needed, self.partition)
            for attempt in attempts(pipeline.retry, stop, self._try_again):
                with attempt:
                    self.record.attempts += 1
                    self._cloned += begin_as_production(pipeline, self.spark, credentials, needed)
                    there = reading_what_is_there(pipeline, self.spark, credentials, needed)
                    read = settled(there, self.spark, credentials, needed)
                    while (more := self._attempt(read, needed, credentials, stop)) is not None:
                        read = more

    def _needed(self) -> set[int]:
        if self.replayed is None:
            return needed_steps(self.pipeline, self.selection)
        # The quarantine may be beside a load that is not repeated.
        loads = {step.index for step in self.pipeline.steps if step.type == "load"}
        return (set(self.replayed.steps) | loads) - {self.replayed.head}

    def _attempt(
        self, pipeline: PipelineConfig, needed: Set[int], credentials: RunCredentials, stop: CancellationToken
    ) -> PipelineConfig | None:
        """Plan and carry it out; where an extract can be read after what that failed at, the pipeline that does."""
        self._forget_attempt()
        self._step = "planning"
        self.say(self._step)
        try:
            planned = plan(
                pipeline,
                self.spark,
                self.load_name,
                credentials,
                self.selection,
                partition=self.partition,
                replayed=self.replayed,
            )
            self.record.hints = [*self._cloned, *planned.hints]
            with values_hidden(pipeline, planned.frames):
                for metrics in execute(planned, stop, self._listen):
                    self.record.steps[metrics.index] = metrics
        except PipelineException as error:
            more = settled(pipeline, self.spark, credentials, needed, error)
            if more is pipeline:
                raise
            return more
        return None

    def _forget_attempt(self) -> None:
        # What an earlier attempt has loaded is in its sink, whatever becomes of this one.
        for index in [index for index, step in self.record.steps.items() if step.type != "load"]:
            del self.record.steps[index]

    def _try_again(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome is not None else None
        self.record.retried.append(redact(str(error)))
        seconds = attempt.next_action.sleep if attempt.next_action is not None else 0
        _LOG.warning(
            "attempt %d failed, the next one starts in %.1f s: %s", self.record.attempts, seconds, redact(str(error))
        )


def attempts(retry: Retry, stop: CancellationToken, told: Callable[[RetryCallState], None]) -> Retrying:
    """The attempts at what may fail for a transient reason.

    Args:
        retry: How many there are, and when.
        stop: Looked at while the next one is waited for.
        told: Told before that.
    """
    wait: wait_base = (
        wait_fixed(retry.delay_seconds)
        if retry.backoff == "constant"
        else wait_exponential(multiplier=retry.delay_seconds, min=retry.delay_seconds)
    )
    maintained = 0

    def is_last(attempt: RetryCallState) -> bool:
        nonlocal maintained
        if _lost_to_maintenance(attempt) and maintained < MAINTENANCE_ATTEMPTS:
            maintained += 1
            return False
        return attempt.attempt_number - maintained >= retry.max_attempts

    def seconds(attempt: RetryCallState) -> float:
        return 0.0 if _lost_to_maintenance(attempt) else wait(attempt)

    return Retrying(
        stop=is_last,
        wait=seconds,
        retry=retry_if_exception(is_transient),
        sleep=stop.sleep,
        before_sleep=told,
        reraise=True,
    )


def _lost_to_maintenance(attempt: RetryCallState) -> bool:
    return attempt.outcome is not None and lost_to_maintenance(attempt.outcome.exception())
