"""Runs a batch: a plan, carried out, again after a transient failure."""

from __future__ import annotations

import uuid
from collections.abc import Set
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_fixed
from tenacity.wait import wait_base

from pipeline_platform.config.pipeline import PipelineConfig, Retry
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.cancellation import Stop, interruptible
from pipeline_platform.engine.execution import Execution, Listener, nobody
from pipeline_platform.engine.failures import is_transient
from pipeline_platform.engine.plan import plan
from pipeline_platform.engine.session import pipeline_settings
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
)
from pipeline_platform.metrics.run import RunMetrics, RunStatus, StepMetrics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
    listener: Listener = nobody
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
                "this is a streaming pipeline, and it was to be run as a batch",
                location=self.pipeline.location,
                hint="set mode to batch",
            )
        started = datetime.now(UTC)
        try:
            interruptible(self._work, self.spark)
        except PipelineCancelledException as error:
            raise PipelineCancelledException(
                error.message,
                location=self.pipeline.location,
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
        with (
            pipeline_settings(self.pipeline, self.spark),
            closing(
                self.credentials or RunCredentials.from_environment(self.run_id, self.pipeline.location)
            ) as credentials,
        ):
            for attempt in _attempts(self.pipeline.retry, stop):
                with attempt:
                    self.attempts += 1
                    self.steps.clear()
                    planned = plan(self.pipeline, self.spark, self.load_name, credentials, self.selection)
                    self.hints = planned.hints
                    Execution(self.pipeline, self.selection, self.listener, self.steps).of(planned, stop)

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
