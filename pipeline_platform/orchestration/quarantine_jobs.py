"""Jobs that replay and delete rows in quarantine: a form in the Launchpad says which."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import dagster as dg
from pydantic import Field

from pipeline_platform.config.durations import duration_of
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.quarantine_rows import older_than
from pipeline_platform.engine.quarantine_tables import Quarantine, quarantine_of
from pipeline_platform.engine.replay_steps import quarantine_step, replay_steps
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.column_origins import Origins, column_origins
from pipeline_platform.orchestration.metadata import materialization_metadata
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.results import failing_as_dagster_does
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

_TAG = "pipeline_platform/"
# Of Dagster's tags.
_LONGEST_VALUE = 63
AssetEvent = dg.AssetMaterialization | dg.AssetObservation


class ReplayConfig(dg.Config):
    """Which rows are replayed."""

    pipeline: str = Field(description="Name of the pipeline.")
    step: str = Field(description="Name of the validation that put the rows into quarantine.")
    where: str | None = Field(default=None, description="Only rows for which this holds: Spark SQL.")
    set_columns: dict[str, str] = Field(
        default={}, description="Columns that are given another value first: Spark SQL by name."
    )


class DropConfig(dg.Config):
    """Which rows are deleted."""

    pipeline: str = Field(description="Name of the pipeline.")
    step: str = Field(description="Name of the step that put the rows into quarantine.")
    where: str | None = Field(default=None, description="Only rows for which this holds: Spark SQL.")
    older_than: str | None = Field(
        default=None, description="Only rows that have been there for longer, such as `90 days`."
    )


def quarantine_jobs(view: AssetView, names: OpNames, part: str) -> list[dg.JobDefinition]:
    """The jobs of a project; none where no step has a quarantine.

    Args:
        view: Which steps are assets.
        names: Of jobs and ops.
        part: What tells the jobs from those of another folder.
    """
    if not any(step.config.fills_quarantine() for pipeline in view.project.pipelines for step in pipeline.steps):
        return []
    return [_replay_job(view, names, part), _drop_job(view, names, part)]


def _replay_job(view: AssetView, names: OpNames, part: str) -> dg.JobDefinition:
    job = names.take(f"replay_quarantine{part}")

    @dg.op(
        name=names.take(f"run_{job}"),
        out={},
        description="The rule judges the rows again, and the steps after it load those that keep it now.",
    )
    def compute(
        context: dg.OpExecutionContext,
        config: ReplayConfig,
        spark: SparkResource,
        vault: VaultResource,
        metrics: MetricsResource,
    ) -> Iterator[AssetEvent]:
        with failing_as_dagster_does(context):
            quarantine = _chosen(view, config.pipeline, config.step)
            _tag(context, quarantine)
            yield from _replayed(context, config, spark, vault, metrics, view, quarantine)

    return _job(job, compute, "Replays rows in quarantine: of which step, and which, the config of its op says.")


def _replayed(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    spark: SparkResource,
    vault: VaultResource,
    metrics: MetricsResource,
    view: AssetView,
    quarantine: Quarantine,
) -> Iterator[AssetEvent]:
    from pipeline_platform.engine.replay import Replay, require_request

    pipeline = quarantine.pipeline
    way = replay_steps(pipeline, quarantine.step)
    require_request(quarantine.step, config.where, config.set_columns)
    pipeline.require_ready(way.steps)
    events = RunEvents(context, pipeline)
    events.say("starting Spark")
    done = Replay(
        quarantine,
        way,
        spark.session(pipeline.name, pipeline.spark_settings(), is_short=True),
        lambda: vault.run_credentials(context.run.run_id, pipeline.location),
        config.where,
        config.set_columns,
        run_id=context.run.run_id,
        listener=events.on_step,
        exporters=metrics.exporters(),
        say=events.say,
    ).run()
    if not done:
        events.say(f"no such row is in the quarantine of {quarantine.step.name}")
    for one in done:
        steps = {step.index: step for step in one.metrics.steps}
        for load in way.loads:
            # Above the rows that are replayed nothing was read that would tell where columns come from.
            is_told = view.assets == "steps"
            origins: Origins = column_origins(view, pipeline, load, steps) if is_told else {}
            yield dg.AssetMaterialization(
                asset_key=view.key(pipeline, load),
                description=f"rows that were replayed from the quarantine of {quarantine.step.name}: {one.rows:,}",
                metadata={
                    **materialization_metadata(steps[load.index], origins, {}),
                    "replay/id": one.id,
                    "replay/rows": one.rows,
                    "replay/still_in_quarantine": one.again,
                    "replay/rules": dg.MetadataValue.json(one.by_rule()),
                },
            )


def _drop_job(view: AssetView, names: OpNames, part: str) -> dg.JobDefinition:
    job = names.take(f"drop_quarantine{part}")

    @dg.op(name=names.take(f"run_{job}"), out={}, description="Deletes rows; those that a replay has begun with stay.")
    def compute(
        context: dg.OpExecutionContext, config: DropConfig, spark: SparkResource, vault: VaultResource
    ) -> Iterator[AssetEvent]:
        with failing_as_dagster_does(context):
            quarantine = _chosen(view, config.pipeline, config.step)
            _tag(context, quarantine)
            yield from _dropped(context, config, spark, vault, view, quarantine)

    return _job(job, compute, "Deletes rows in quarantine: of which step, and which, the config of its op says.")


def _dropped(
    context: dg.OpExecutionContext,
    config: DropConfig,
    spark: SparkResource,
    vault: VaultResource,
    view: AssetView,
    quarantine: Quarantine,
) -> Iterator[AssetEvent]:
    from pipeline_platform.engine.quarantine_changes import dropped
    from pipeline_platform.engine.spark.session import pipeline_settings

    pipeline = quarantine.pipeline
    try:
        age = older_than(duration_of(config.older_than)) if config.older_than is not None else None
    except ValueError as error:
        raise PipelineConfigurationException(f"older_than: {error}", location=pipeline.location) from error
    session = spark.session(pipeline.name, pipeline.spark_settings(), is_short=True)
    with (
        pipeline_settings(pipeline, session),
        closing(vault.run_credentials(context.run.run_id, pipeline.location)) as credentials,
    ):
        dropping = dropped(quarantine, session, credentials, config.where, age)
        dropping.delete()
    told = f"rows that were deleted from the quarantine of {quarantine.step.name}: {dropping.rows:,}"
    RunEvents(context, pipeline).say(told)
    shown = view.steps(pipeline)
    about = next((step for step in shown if step.type == "load"), shown[-1])
    yield dg.AssetObservation(
        asset_key=view.key(pipeline, about),
        description=told,
        metadata={"quarantine/deleted": dropping.rows, "quarantine/in_a_replay": dropping.pending},
    )


def _chosen(view: AssetView, name: str, step: str) -> Quarantine:
    pipelines: Sequence[PipelineConfig] = view.project.pipelines
    pipeline = next((one for one in pipelines if name in (one.name, one.asset_prefix)), None)
    if pipeline is None:
        those = [one.name for one in pipelines if any(each.config.fills_quarantine() for each in one.steps)]
        raise PipelineConfigurationException(
            f"there is no pipeline called '{name}'; those with a quarantine are {', '.join(those)}",
            hint="correct 'pipeline' in the config of the run",
        )
    return quarantine_of(pipeline, quarantine_step(pipeline, step), pipelines)


def _tag(context: dg.OpExecutionContext, quarantine: Quarantine) -> None:
    """Have the run found by its pipeline and its step."""
    named = {"pipeline": quarantine.pipeline.name, "step": quarantine.step.name}
    tags = {f"{_TAG}{name}": value[:_LONGEST_VALUE] for name, value in named.items()}
    context.instance.add_run_tags(context.run.run_id, tags)


def _job(name: str, op: dg.OpDefinition, description: str) -> dg.JobDefinition:
    graph = dg.GraphDefinition(name=name, node_defs=[op], description=description)
    return graph.to_job(executor_def=dg.in_process_executor)  # pyright: ignore[reportUnknownMemberType]
