"""A pipeline as one `multi_asset`: one op, so that Spark sees the whole plan."""

from collections.abc import Iterator

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.orchestration.failures import failure
from pipeline_platform.orchestration.metadata import check_result, materialization_metadata
from pipeline_platform.orchestration.project import Project
from pipeline_platform.orchestration.specs import asset_key, asset_specs, asset_steps, check_specs, source_keys
from pipeline_platform.orchestration.streams import Result, stream_results
from pipeline_platform.redaction import redact
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource


def pipeline_assets(project: Project, pipeline: PipelineConfig) -> dg.AssetsDefinition:
    """The assets and checks of a pipeline.

    Args:
        project: The project, for the lineage between pipelines.
        pipeline: The pipeline.
    """

    @dg.multi_asset(
        # Not the name of the job: Dagster wants the names of ops and of jobs to differ.
        name=f"run_{pipeline.asset_prefix}",
        specs=asset_specs(project, pipeline),
        check_specs=check_specs(pipeline),
        can_subset=True,
        description=pipeline.description,
    )
    def compute(context: dg.AssetExecutionContext, spark: SparkResource, vault: VaultResource) -> Iterator[Result]:
        work = stream_results if pipeline.mode == "streaming" else _batch_results
        yield from work(context, spark, vault, project, pipeline)

    return compute


def _batch_results(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    vault: VaultResource,
    project: Project,
    pipeline: PipelineConfig,
) -> Iterator[Result]:
    from pipeline_platform.engine.batch import BatchRun

    checks = {spec.name: spec for spec in check_specs(pipeline)}
    wanted_checks = {key.name for key in context.selected_asset_check_keys}
    wanted_assets = [step for step in asset_steps(pipeline) if asset_key(pipeline, step) in context.selected_asset_keys]
    finished: dict[int, StepMetrics] = {}

    def listen(event: str, step: Step, metrics: StepMetrics | None) -> None:
        if metrics is None:
            context.log.info(f"step {step.index}, {step.name} ({step.config.method}) {event}")
        else:
            finished[step.index] = metrics

    def check_results() -> Iterator[dg.AssetCheckResult]:
        for step in pipeline.steps:
            if step.name in wanted_checks and step.index in finished and step.type == "validate":
                yield check_result(finished[step.index], step.name, checks[step.name].asset_key)

    try:
        metrics = BatchRun(
            pipeline,
            spark.session(pipeline.name, pipeline.spark_settings()),
            run_id=context.run.run_id,
            load_id=load_id(context.instance, context.run),
            selection=frozenset({step.name for step in wanted_assets} | wanted_checks),
            listener=listen,
            credentials=vault.run_credentials(context.run.run_id),
        ).run()
    except PipelineCancelledException as error:
        # Dagster ends a run as CANCELED when it sees its own interruption again.
        raise (error.__cause__ or error) from None
    except PipelineException as error:
        yield from check_results()
        if error.__cause__ is not None:
            context.log.debug(redact(str(error.__cause__)))
        # What Spark says in a hundred lines of Java stands in the log; the run shows what to do.
        raise failure(error) from None
    for hint in metrics.hints:
        context.log.info(f"hint: {hint}")
    for step in wanted_assets:
        sources = source_keys(project, pipeline, step)
        metadata = materialization_metadata(
            finished[step.index], sources, lambda i: asset_key(pipeline, pipeline.steps[i])
        )
        yield dg.MaterializeResult(asset_key=asset_key(pipeline, step), metadata=metadata)
    yield from check_results()


def load_id(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What makes a retry leave what one clean run would have left.

    A re-execution of a run that failed is a retry and has its load id; one of a run that succeeded is a new load.
    """
    while run.parent_run_id is not None:
        parent = instance.get_run_by_id(run.parent_run_id)
        if parent is None or parent.status == dg.DagsterRunStatus.SUCCESS:
            break
        run = parent
    return run.run_id
