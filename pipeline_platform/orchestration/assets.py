"""A pipeline as one `multi_asset`: one op, so that Spark sees the whole plan."""

from collections.abc import Iterator

import dagster as dg
from dagster.components.resolved.core_models import OpSpec

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.exceptions import PipelineCancelledException, PipelineConfigurationException, PipelineException
from pipeline_platform.orchestration.apart import environment_tags
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.results import (
    Result,
    check_results,
    failing_as_dagster_does,
    materializations,
)
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.orchestration.specs import asset_specs, check_specs
from pipeline_platform.orchestration.streams import stream_results
from pipeline_platform.orchestration.translations import Translation
from pipeline_platform.orchestration.variables import variables_schema, with_run_config
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.partitions import partition_of
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

LOAD_ID_TAG = "pipeline_platform/load_id"
"""On every run of a batch, and by Dagster copied to those that re-execute it: the load id it loads under."""


def pipeline_assets(
    view: AssetView,
    pipeline: PipelineConfig,
    names: OpNames,
    translation: Translation | None = None,
    op: OpSpec | None = None,
) -> dg.AssetsDefinition:
    """The assets and checks of a pipeline.

    Args:
        view: Which steps are assets.
        pipeline: The pipeline.
        names: Of ops.
        translation: Given each spec, gives another one.
        op: What of the op is to be otherwise.

    Raises:
        dg.DagsterInvalidDefinitionError: A range of partitions is to be one run, and a step needs one for each.
    """
    given = op or OpSpec()
    stream_pool = f"stream_{pipeline.asset_prefix}" if pipeline.mode == "streaming" else None

    @dg.multi_asset(
        name=names.take(given.name or f"run_{pipeline.asset_prefix}"),
        specs=asset_specs(view, pipeline, translation),
        check_specs=check_specs(view, pipeline),
        # A stream is one query: a part of its assets, or a check alone, would be all of it.
        can_subset=pipeline.mode == "batch",
        # With a limit of 1 for each pool, the instance's database sees to it that no stream runs twice.
        pool=stream_pool or given.pool,
        op_tags=given.tags,
        description=given.description or pipeline.description,
        config_schema=variables_schema(pipeline.variables),
        backfill_policy=_backfill_policy(pipeline, given.backfill_policy),
    )
    def compute(
        context: dg.AssetExecutionContext, spark: SparkResource, vault: VaultResource, metrics: MetricsResource
    ) -> Iterator[Result]:
        work = stream_results if pipeline.mode == "streaming" else _batch_results
        with failing_as_dagster_does(context):
            if tags := environment_tags(pipeline.environment):
                # What is materialized without the pipeline's job has none yet.
                context.instance.add_run_tags(context.run.run_id, {**tags})
            configured = with_run_config(context, pipeline)
        yield from work(context, spark, vault, metrics, view, configured)

    return compute


def _batch_results(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    vault: VaultResource,
    metrics: MetricsResource,
    view: AssetView,
    pipeline: PipelineConfig,
) -> Iterator[Result]:
    from pipeline_platform.engine.batch import BatchRun
    from pipeline_platform.engine.plan import needed_steps
    from pipeline_platform.engine.spark.compilers import is_short
    from pipeline_platform.orchestration.submitted_runs import submitted_run
    from pipeline_platform.submission.protocol import RunRequest

    wanted = {step.name for step in view.steps(pipeline) if view.key(pipeline, step) in context.selected_asset_keys}
    events = RunEvents(context.op_execution_context, pipeline)
    loads_as = load_id(context.instance, context.run)
    # For runs that re-execute this one when those before it have been deleted.
    context.instance.add_run_tags(context.run.run_id, {LOAD_ID_TAG: loads_as})

    with failing_as_dagster_does(context):
        partition = _partition(context, pipeline)
        try:
            selection = frozenset(wanted | {key.name for key in context.selected_asset_check_keys})
            needed = needed_steps(pipeline, selection)
            pipeline.require_ready(needed, partition)
            events.say("starting Spark")
            if (mode := spark.deploys()) is not None:
                assert pipeline.file is not None
                asked = RunRequest(
                    file=pipeline.file.absolute(),
                    values=pipeline.values,
                    environment=pipeline.environment.name if pipeline.environment is not None else None,
                    run_id=context.run.run_id,
                    load_id=loads_as,
                    steps=[step.name for step in pipeline.steps],
                    selection=sorted(selection),
                    partition=partition,
                )
                done = submitted_run(context, spark, mode, pipeline, asked, events)
            else:
                is_brief = is_short(pipeline, partitions=len(partition.keys) if partition is not None else 1)
                session = spark.session(
                    pipeline.name, pipeline.spark_settings(), is_short=is_brief, server=_server_for(context, pipeline)
                )
                events.show_spark(session)
                done = BatchRun(
                    pipeline,
                    session,
                    run_id=context.run.run_id,
                    load_id=loads_as,
                    selection=selection,
                    listener=events.on_step,
                    credentials=vault.run_credentials(context.run.run_id, pipeline.location),
                    exporters=metrics.exporters(),
                    partition=partition,
                    say=events.say,
                ).run()
        except PipelineException as error:
            # What was loaded before it failed is there, and whoever reads it is to know.
            yield from materializations(context, view, pipeline, events.finished, has_failed=True)
            if not isinstance(error, PipelineCancelledException):
                yield from check_results(context, view, pipeline, events.finished)
            raise
    for hint in done.hints:
        events.say(f"hint: {hint}")
    yield from materializations(context, view, pipeline, events.finished)
    yield from check_results(context, view, pipeline, events.finished)


def _server_for(context: dg.AssetExecutionContext, pipeline: PipelineConfig) -> Use:
    """Where a code server starts runs on its machine, one follows another; a job that is run alone leaves no server."""
    if any(step.traits.needs_own_jvm for step in pipeline.steps):
        return Use.NEVER
    is_launched = context.run.remote_job_origin is not None
    on_machine = isinstance(context.instance.run_launcher, dg.DefaultRunLauncher)
    return Use.ON_DEMAND if is_launched and on_machine else Use.RUNNING


def _partition(context: dg.AssetExecutionContext, pipeline: PipelineConfig) -> Partition | None:
    if pipeline.partitions is None:
        return None
    if not (context.has_partition_key or context.has_partition_key_range):
        raise PipelineConfigurationException(
            "the pipeline has partitions, and the run has none of them: say which to load",
            location=pipeline.location,
            hint=f"in the UI choose them in 'Materialize'; or dg launch --job {context.job_name} --partition KEY",
        )
    return partition_of(pipeline.partitions, context.partition_keys)


def _backfill_policy(pipeline: PipelineConfig, given: dg.BackfillPolicy | None) -> dg.BackfillPolicy | None:
    if pipeline.partitions is None:
        return None
    if given is not None and given.max_partitions_per_run != 1 and not pipeline.loads_ranges:
        why = pipeline.single_partitions or "they are no intervals of time"
        raise dg.DagsterInvalidDefinitionError(
            f"'backfill_policy' lets a run load several partitions of '{pipeline.name}', but {why}; leave it out, and "
            "each partition is a run of its own"
        )
    return given or (dg.BackfillPolicy.single_run() if pipeline.loads_ranges else dg.BackfillPolicy.multi_run(1))


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
