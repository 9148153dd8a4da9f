"""The maintenance of tables as assets: beside the asset of each table one that keeps it, with a job and a schedule."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from pipeline_platform.config.maintenance import Maintenance
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.maintenance.sinks import Sink, sinks
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.automation import MODE_TAG
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.results import failing_as_dagster_does
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline_platform.engine.maintenance.upkeep import Kept

GROUP = "maintenance"
"""The group of the assets, the last part of their keys, and how the names of their jobs end."""


@dataclass(frozen=True)
class TableMaintenance:
    """What Dagster is given of the maintenance of a project.

    Args:
        assets: One for each table.
        jobs: One for each pipeline that has such tables.
        schedules: Those of these jobs.
    """

    assets: Sequence[dg.AssetsDefinition]
    jobs: Sequence[UnresolvedAssetJobDefinition]
    schedules: Sequence[dg.ScheduleDefinition]


def table_maintenance(view: AssetView, names: OpNames, taken: frozenset[dg.AssetKey]) -> TableMaintenance:
    """The assets that maintain the tables of those pipelines that say how.

    Args:
        view: The project.
        names: Of jobs and ops.
        taken: The keys of other assets; what would have one of these is left out.
    """
    by_pipeline: dict[str, list[Sink]] = {}
    pipelines = {pipeline.name: pipeline for pipeline in view.project.pipelines}
    keyed = [sink for sink in sinks(pipelines.values()) if sink.maintenance is not None]
    for sink in keyed:
        if maintenance_key(view, sink) not in taken:
            by_pipeline.setdefault(sink.pipeline.name, []).append(sink)
    assets: list[dg.AssetsDefinition] = []
    jobs: list[UnresolvedAssetJobDefinition] = []
    schedules: list[dg.ScheduleDefinition] = []
    for name, kept in by_pipeline.items():
        pipeline = pipelines[name]
        assert pipeline.maintenance is not None
        job = _job(view, pipeline, kept, names)
        assets += [_asset(view, sink, pipeline.maintenance, names) for sink in kept]
        jobs.append(job)
        if pipeline.maintenance.schedule is not None:
            schedules.append(_schedule(pipeline.maintenance, pipeline.maintenance.schedule, job))
    return TableMaintenance(assets, jobs, schedules)


def maintenance_key(view: AssetView, sink: Sink) -> dg.AssetKey:
    """The key of the asset that maintains a table: that of the load, or of the step with the quarantine, and a word.

    Args:
        view: The project.
        sink: The table.
    """
    word = f"quarantine_{GROUP}" if sink.writer.is_quarantine else GROUP
    return dg.AssetKey([*view.key(sink.pipeline, sink.step).path, word])


def _asset(view: AssetView, sink: Sink, how: Maintenance, names: OpNames) -> dg.AssetsDefinition:
    key = maintenance_key(view, sink)
    op = names.take(f"maintain_{'_'.join(key.path[:-1])}{'_quarantine' if sink.writer.is_quarantine else ''}")

    @dg.multi_asset(
        name=op,
        specs=[
            dg.AssetSpec(
                key,
                deps=_written_by(view, sink),
                group_name=GROUP,
                kinds={"deltalake"},
                description=f"Keeps the table at {sink.writer.place}: small files become large ones, and what nobody "
                "needs any more is removed.",
                metadata={"dagster/uri": sink.writer.place, "config": dg.MetadataValue.json(_config(how))},
                owners=sink.pipeline.metadata.owners(),
            )
        ],
        # With a limit of 1 for each pool, no table is maintained twice at a time.
        pool=op,
    )
    def compute(
        context: dg.AssetExecutionContext, spark: SparkResource, vault: VaultResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        from pipeline_platform.engine.maintenance.upkeep import Upkeep

        pipeline = sink.pipeline
        events = RunEvents(context.op_execution_context, pipeline)

        def session() -> "SparkSession":
            events.say("starting Spark, since delta-rs can't rewrite this table")
            return spark.session(pipeline.name, pipeline.spark_settings(), is_short=True)

        with (
            failing_as_dagster_does(context),
            closing(vault.run_credentials(context.run.run_id, pipeline.location)) as credentials,
        ):
            kept = Upkeep(sink, view.project.pipelines, credentials, session, events.say, how).run()
        for remark in kept.remarks:
            events.warn(f"{sink.step.name}: {remark}")
        yield dg.MaterializeResult(asset_key=key, metadata=_metadata(kept))

    return compute


def _written_by(view: AssetView, sink: Sink) -> list[dg.AssetKey]:
    """The assets of the loads that write the table, or whose rows it holds that were taken out."""
    shown = view.steps(sink.pipeline)
    if not sink.writer.is_quarantine:
        return [view.key(sink.pipeline, sink.step)]
    return [view.key(sink.pipeline, step) for step in shown if step.type == "load"]


def _config(how: Maintenance) -> Mapping[str, Any]:
    return how.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _job(
    view: AssetView, pipeline: PipelineConfig, kept: Sequence[Sink], names: OpNames
) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        name=names.take(f"{pipeline.asset_prefix}_{GROUP}"),
        selection=dg.AssetSelection.assets(*(maintenance_key(view, sink) for sink in kept)),
        description=f"Maintains the Delta tables of {pipeline.name}.",
        # As those of batches, so that a limit holds for both: all tables may be due at the same time of the night.
        tags={MODE_TAG: "batch"},
        # One process for all: they need no JVM, or the same one.
        executor_def=dg.in_process_executor,
    )


def _schedule(how: Maintenance, cron: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=how.timezone,
        description=f"`{cron}`, in the time zone {how.timezone}.",
    )


def _metadata(kept: "Kept") -> dict[str, Any]:
    """What the asset shows, with a plot of each number."""
    found: dict[str, Any] = {"dagster/uri": kept.uri, "skipped": kept.skipped, "seconds": kept.seconds}
    if kept.skipped is None:
        before, after = kept.before, kept.after
        found |= {
            "files_before": before.files,
            "files_after": after.files,
            "bytes_before": before.bytes,
            "bytes_after": after.bytes,
            "small_share_before": round(before.small_share, 3),
            "small_share_after": round(after.small_share, 3),
            "old_files_removed": kept.removed_files,
            "old_bytes_removed": kept.removed_bytes,
            "commits_before": kept.commits_before,
            "commits_removed": kept.removed_commits,
            "checkpoint_written": kept.checkpointed,
            "delta_version_before": kept.version_before,
            "delta_version": kept.version,
            "by_spark": kept.by_spark,
        }
    return {name: value for name, value in found.items() if value is not None}
