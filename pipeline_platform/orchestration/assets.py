"""A pipeline as one `multi_asset`: one op, so that Spark sees the whole plan."""

from collections.abc import Iterator

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.project import Project
from pipeline_platform.orchestration.results import (
    Result,
    check_results,
    failing_as_dagster_does,
    materializations,
)
from pipeline_platform.orchestration.specs import asset_key, asset_specs, asset_steps, check_specs
from pipeline_platform.orchestration.streams import stream_results
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

LOAD_ID_TAG = "pipeline_platform/load_id"
"""On every run of a batch, and by Dagster copied to those that re-execute it: the load id it loads under."""


def pipeline_assets(project: Project, pipeline: PipelineConfig, names: OpNames) -> dg.AssetsDefinition:
    """The assets and checks of a pipeline.

    Args:
        project: The project, for the lineage between pipelines.
        pipeline: The pipeline.
        names: Of ops.
    """

    @dg.multi_asset(
        name=names.take(f"run_{pipeline.asset_prefix}"),
        specs=asset_specs(project, pipeline),
        check_specs=check_specs(pipeline),
        # A stream is one query: a part of its assets, or a check alone, would be all of it.
        can_subset=pipeline.mode == "batch",
        # With a limit of 1 for each pool, the instance's database sees to it that no stream runs twice.
        pool=f"stream_{pipeline.asset_prefix}" if pipeline.mode == "streaming" else None,
        description=pipeline.description,
    )
    def compute(
        context: dg.AssetExecutionContext, spark: SparkResource, vault: VaultResource, metrics: MetricsResource
    ) -> Iterator[Result]:
        work = stream_results if pipeline.mode == "streaming" else _batch_results
        yield from work(context, spark, vault, metrics, project, pipeline)

    return compute


def _batch_results(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    vault: VaultResource,
    metrics: MetricsResource,
    project: Project,
    pipeline: PipelineConfig,
) -> Iterator[Result]:
    from pipeline_platform.engine.batch import BatchRun
    from pipeline_platform.engine.plan import needed_steps

    wanted = {step.name for step in asset_steps(pipeline) if asset_key(pipeline, step) in context.selected_asset_keys}
    finished: dict[int, StepMetrics] = {}
    loads_as = load_id(context.instance, context.run)
    # For runs that re-execute this one when those before it have been deleted.
    context.instance.add_run_tags(context.run.run_id, {LOAD_ID_TAG: loads_as})

    def listen(event: str, step: Step, metrics: StepMetrics | None) -> None:
        if metrics is None:
            context.log.info(f"step {step.number}, {step.name} ({step.config.method}) {event}")
        else:
            finished[step.index] = metrics

    with failing_as_dagster_does(context):
        try:
            selection = frozenset(wanted | {key.name for key in context.selected_asset_check_keys})
            needed = needed_steps(pipeline, selection)
            pipeline.require_variables(needed)
            pipeline.require_extras(needed)
            done = BatchRun(
                pipeline,
                spark.session(pipeline.name, pipeline.spark_settings()),
                run_id=context.run.run_id,
                load_id=loads_as,
                selection=selection,
                listener=listen,
                credentials=vault.run_credentials(context.run.run_id, pipeline.location),
                exporters=metrics.exporters(),
            ).run()
        except PipelineCancelledException:
            raise
        except PipelineException:
            yield from check_results(context, pipeline, finished)
            raise
    for hint in done.hints:
        context.log.info(f"hint: {hint}")
    yield from materializations(context, project, pipeline, finished)
    yield from check_results(context, pipeline, finished)


def load_id(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What makes a retry leave what one clean run would have left.

    A re-execution of a run that failed is a retry and has its load id; one of a run that succeeded is a new load. A run
    that was deleted is taken for one that failed: those that re-execute it have noted its load id, or came before such
    notes were made, and then the first run of all gives it.
    """
    while run.parent_run_id is not None:
        parent = instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            return run.tags.get(LOAD_ID_TAG) or run.root_run_id or run.run_id
        if parent.status == dg.DagsterRunStatus.SUCCESS:
            break
        run = parent
    return run.run_id
