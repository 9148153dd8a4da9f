"""What a run of a pipeline hands to Dagster: materializations, check results, and why it failed."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException, ValidationException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.column_origins import column_origins, described_columns
from pipeline_platform.orchestration.contracts import with_descriptions
from pipeline_platform.orchestration.metadata import check_result, materialization_metadata, schema_observation

_LOADED = ("COMPLETED", "SKIPPED")
Result = dg.MaterializeResult[Any] | dg.AssetCheckResult


def materializations(
    context: dg.AssetExecutionContext,
    view: AssetView,
    pipeline: PipelineConfig,
    steps: Mapping[int, StepMetrics],
    *,
    has_failed: bool = False,
) -> Iterator[Result]:
    """One for each selected asset whose step ran.

    Args:
        context: Of the op.
        view: Which steps are assets.
        pipeline: The pipeline.
        steps: What each step did, by its index.
        has_failed: The run ends without success: of it only what was loaded is there.
    """
    for step in view.steps(pipeline):
        key = view.key(pipeline, step)
        if key in context.selected_asset_keys and step.index in steps:
            if has_failed and (step.type != "load" or steps[step.index].status not in _LOADED):
                continue
            origins = column_origins(view, pipeline, step, steps)
            metadata = materialization_metadata(
                steps[step.index],
                origins,
                with_descriptions(pipeline, step, described_columns(view, pipeline, step, steps, origins)),
                partitions=context.partition_keys if pipeline.partitions is not None else (),
            )
            for change in steps[step.index].schema_changes:
                context.log_event(schema_observation(key, change))
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)


def check_results(
    context: dg.AssetExecutionContext, view: AssetView, pipeline: PipelineConfig, steps: Mapping[int, StepMetrics]
) -> Iterator[Result]:
    """One for each selected check whose validation ran.

    Args:
        context: Of the op.
        view: Which steps are assets.
        pipeline: The pipeline.
        steps: What each step did, by its index.
    """
    for step in pipeline.steps:
        for guarded in view.guarded(pipeline, step) if step.type == "validate" and step.index in steps else ():
            key = view.key(pipeline, guarded)
            if dg.AssetCheckKey(key, step.name) in context.selected_asset_check_keys:
                yield check_result(steps[step.index], step.name, key)


@contextmanager
def failing_as_dagster_does(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Generator[None]:
    """Make of the engine's exceptions in the block what Dagster shows, and what it ends the run by.

    Args:
        context: Of the op.

    Raises:
        dg.Failure: The run failed: says where it happened, why, and what to do next.
        BaseException: The run was stopped: Dagster ends it as CANCELED when it sees its own interruption again.
    """
    try:
        yield
    except PipelineCancelledException as error:
        raise (error.__cause__ or error) from None
    except PipelineException as error:
        if (cause := error.cause_text()) is not None:
            # What Spark says in a hundred lines of Java stands in the log; the run shows what to do.
            context.log.debug(cause)
        raise _failure(error) from None


def _failure(error: PipelineException) -> dg.Failure:
    metadata: dict[str, Any] = {}
    if error.location is not None:
        place = f"{error.location.file}:{error.location.line}" if error.location.file else None
        facts = {"step": error.location.step, "method": error.location.method, "place": place, "next": error.hint}
        metadata = {name: value for name, value in facts.items() if value is not None}
    if isinstance(error, ValidationException) and error.samples:
        metadata["samples"] = dg.MetadataValue.json([dict(sample) for sample in error.samples])
    # The engine has tried again already what can be tried again.
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=False)
