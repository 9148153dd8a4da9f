"""A streaming pipeline under Dagster: the run is the driver, and tells where the stream stands while it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.metrics.run import SchemaChangeMetrics, StepMetrics
from pipeline_platform.metrics.stream import StreamProgress, StreamTotals
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.metadata import schema_observation, stream_metadata
from pipeline_platform.orchestration.quarantine_check import reported_quarantine
from pipeline_platform.orchestration.results import (
    Result,
    check_results,
    failing_as_dagster_does,
    materializations,
)
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.orchestration.specs import MATERIALIZATION_SECONDS
from pipeline_platform.orchestration.supervisor import RESTARTS_TAG
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

OBSERVATION_SECONDS = 300.0
"""Between two observations of a sink, at least: each is 3 kB of event log, which SQLite keeps twice."""
LOCK_SECONDS = 120.0
"""How long the process of a run that was taken for dead may take to notice and stop."""


def stream_results(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    vault: VaultResource,
    metrics: MetricsResource,
    view: AssetView,
    pipeline: PipelineConfig,
) -> Iterator[Result]:
    """Run a stream until it ends by itself, fails, or the run is terminated.

    While it runs, its sinks are observed, and materialized now and then: batch, offsets, lag, rates. What it did in
    all is materialized at the end.

    Args:
        context: Of the op.
        spark: Makes the session.
        vault: Where credentials come from.
        metrics: Where the record of the run goes.
        view: Which steps are assets.
        pipeline: A streaming pipeline.

    Raises:
        dg.Failure: The stream failed.
    """
    from pipeline_platform.engine.streaming.stream import StreamRun

    events = RunEvents(context.op_execution_context, pipeline)
    check = reported_quarantine(context.instance, view, pipeline, vault)
    progress = StreamEvents(context.log_event, events, view, pipeline, check)
    with failing_as_dagster_does(context):
        try:
            pipeline.require_ready()
            found = StreamRun(
                pipeline,
                spark.session(pipeline.name, pipeline.spark_settings()),
                run_id=context.run.run_id,
                listener=progress,
                on_step=progress.on_step,
                credentials=vault.run_credentials(context.run.run_id, pipeline.location),
                exporters=metrics.exporters(),
                restarts=int(context.run.tags.get(RESTARTS_TAG, "0")),
                lock_seconds=LOCK_SECONDS,
                is_wanted=lambda: is_live(context.instance, context.run.run_id),
            ).run()
        except PipelineCancelledException as error:
            if error.__cause__ is None:
                # Not Dagster has stopped it: `pipeline-platform stop` has, or its supervisor, which took it for dead.
                mark_canceling(context.instance, context.run.run_id)
                raise dg.DagsterExecutionInterruptedError from None
            raise
        except PipelineException:
            yield from check_results(context, view, pipeline, progress.latest)
            raise
    for hint in found.hints:
        events.say(f"hint: {hint}")
    done = {step.index: step for step in found.steps}
    yield from materializations(context, view, pipeline, done)
    yield from check_results(context, view, pipeline, done)


class StreamEvents:
    """Tells Dagster where the stream stands, in few events: one for each micro-batch would be 300 MB a day.

    Args:
        log: Told as an event of an asset, in the thread that the stream is watched in.
        events: Of the run.
        view: Which steps are assets.
        pipeline: The stream's.
        check: Called each time the sinks are materialized while it runs.
    """

    def __init__(
        self,
        log: Callable[[dg.AssetObservation | dg.AssetMaterialization], None],
        events: RunEvents,
        view: AssetView,
        pipeline: PipelineConfig,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._log = log
        self._check = check
        self._events = events
        self._sinks = {step.index: view.key(pipeline, step) for step in pipeline.steps if step.type == "load"}
        self.latest: dict[int, StepMetrics] = {}
        """What each step did in the last micro-batch, by its index."""
        self._ends_by_itself = pipeline.main_load.config.ends_by_itself()
        self._observed = self._materialized = float("-inf")
        self._batch: int | None = None
        self._totals = StreamTotals()
        self._left_out: str | None = None
        self._schema_changes: set[tuple[int, SchemaChangeMetrics]] = set()
        self._remarked: set[int] = set()

    def on_step(self, _: str, step: Step, metrics: StepMetrics | None) -> None:
        """Hear about a step of a micro-batch, as a listener of the run."""
        if metrics is None:
            return
        self.latest[step.index] = metrics
        for change in metrics.schema_changes:
            if (step.index, change) not in self._schema_changes:
                self._schema_changes.add((step.index, change))
                self._events.warn(f"{step.name}: {change.told()}")
                self._log(schema_observation(self._sinks[step.index], change))
        if metrics.remark is not None and step.index not in self._remarked:
            self._remarked.add(step.index)
            self._events.warn(f"{step.name}: {metrics.remark}")

    def __call__(self, progress: StreamProgress) -> None:
        now = time.monotonic()
        self._totals = self._totals.and_then(progress)
        left_out = self._totals.left_out()
        # The first row that is left out is told at once.
        is_news = left_out is not None and self._left_out is None
        if (is_news or now - self._observed >= OBSERVATION_SECONDS) and progress.batch != self._batch:
            if left_out != self._left_out:
                self._left_out = left_out
                self._events.warn(f"{left_out}, since the run began")
            self._observed, self._batch = now, progress.batch
            self._events.say(progress.told())
            for index, sink in self._sinks.items():
                metadata = stream_metadata(progress, self._totals, self.latest.get(index))
                self._log(dg.AssetObservation(asset_key=sink, metadata=metadata))
        if not self._ends_by_itself and now - self._materialized >= MATERIALIZATION_SECONDS:
            self._materialized = now
            for index, sink in self._sinks.items():
                metadata = {
                    **stream_metadata(progress, self._totals, self.latest.get(index)),
                    "stream/rows": self._totals.rows,
                }
                self._log(dg.AssetMaterialization(asset_key=sink, metadata=metadata))
            if self._check is not None:
                self._check()


def is_live(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run has not ended, as far as Dagster knows."""
    run = instance.get_run_by_id(run_id)
    return run is not None and not run.is_finished


def mark_canceling(instance: dg.DagsterInstance, run_id: str) -> None:
    """Have Dagster take the end of a run for a cancellation, as that of one that a person terminates."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_canceling(run)
