"""A streaming pipeline under Dagster: the run is the driver, and tells where the stream stands while it lasts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform.orchestration.failures import failure
from pipeline_platform.orchestration.metadata import check_result, materialization_metadata, stream_metadata
from pipeline_platform.orchestration.project import Project
from pipeline_platform.orchestration.specs import asset_key, asset_steps, check_specs, source_keys
from pipeline_platform.redaction import redact
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

Result = dg.MaterializeResult[Any] | dg.AssetCheckResult

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

    def check_results(steps: dict[int, StepMetrics]) -> Iterator[dg.AssetCheckResult]:
        checks = {spec.name: spec for spec in check_specs(pipeline)}
        wanted = {key.name for key in context.selected_asset_check_keys}
        for step in pipeline.steps:
            if step.type == "validate" and step.name in wanted and step.index in steps:
                yield check_result(steps[step.index], step.name, checks[step.name].asset_key)

    run = StreamRun(
        pipeline,
        spark.session(pipeline.name, pipeline.spark_settings()),
        run_id=context.run.run_id,
        listener=observe,
        on_step=on_step,
        credentials=vault.run_credentials(context.run.run_id),
    )
    try:
        metrics = run.run()
    except PipelineCancelledException as error:
        # Dagster ends a run as CANCELED when it sees its own interruption again.
        raise (error.__cause__ or error) from None
    except PipelineException as error:
        yield from check_results(latest)
        if error.__cause__ is not None:
            context.log.debug(redact(str(error.__cause__)))
        raise failure(error) from None
    for hint in metrics.hints:
        context.log.info(f"hint: {hint}")
    done = {step.index: step for step in metrics.steps}
    for step in asset_steps(pipeline):
        if asset_key(pipeline, step) in context.selected_asset_keys and step.index in done:
            sources = source_keys(project, pipeline, step)
            metadata = materialization_metadata(
                done[step.index], sources, lambda i: asset_key(pipeline, pipeline.steps[i])
            )
            yield dg.MaterializeResult(asset_key=asset_key(pipeline, step), metadata=metadata)
    yield from check_results(done)
