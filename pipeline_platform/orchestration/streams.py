"""A streaming pipeline under Dagster: the run is the driver, and tells where the stream stands while it lasts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform.orchestration.metadata import stream_metadata
from pipeline_platform.orchestration.project import Project
from pipeline_platform.orchestration.results import (
    Result,
    check_results,
    failing_as_dagster_does,
    materializations,
)
from pipeline_platform.orchestration.specs import asset_key
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

OBSERVATION_SECONDS = 60.0
"""Between two observations of a sink: an event for each micro-batch would be some 300 MB of event log a day."""


def stream_results(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    vault: VaultResource,
    project: Project,
    pipeline: PipelineConfig,
) -> Iterator[Result]:
    """Run a stream until it ends by itself, fails, or the run is terminated.

    While it runs, its sinks are observed: batch, offsets, lag, rates. What it did in all is materialized at the end.

    Args:
        context: Of the op.
        spark: Makes the session.
        vault: Where credentials come from.
        project: The project, for the lineage between pipelines.
        pipeline: A streaming pipeline.

    Raises:
        dg.Failure: The stream failed.
    """
    from pipeline_platform.engine.stream import StreamRun

    latest: dict[int, StepMetrics] = {}
    sinks = [asset_key(pipeline, step) for step in pipeline.steps if step.type == "load"]
    observed_at = float("-inf")

    def on_step(_: str, step: Step, metrics: StepMetrics | None) -> None:
        if metrics is not None:
            latest[step.index] = metrics

    def observe(progress: StreamProgress) -> None:
        nonlocal observed_at
        if time.monotonic() - observed_at < OBSERVATION_SECONDS:
            return
        observed_at = time.monotonic()
        for sink in sinks:
            context.log_event(dg.AssetObservation(asset_key=sink, metadata=stream_metadata(progress)))

    with failing_as_dagster_does(context):
        try:
            metrics = StreamRun(
                pipeline,
                spark.session(pipeline.name, pipeline.spark_settings()),
                run_id=context.run.run_id,
                listener=observe,
                on_step=on_step,
                credentials=vault.run_credentials(context.run.run_id, pipeline.location),
            ).run()
        except PipelineCancelledException:
            raise
        except PipelineException:
            yield from check_results(context, pipeline, latest)
            raise
    for hint in metrics.hints:
        context.log.info(f"hint: {hint}")
    done = {step.index: step for step in metrics.steps}
    yield from materializations(context, project, pipeline, done)
    yield from check_results(context, pipeline, done)
