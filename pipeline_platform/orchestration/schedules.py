"""The schedule of a pipeline: a run at each tick, or one for each partition that has ended since the one before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._utils.schedules import reverse_cron_string_iterator

from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.resources.partitions import partitions_definition


def pipeline_schedule(pipeline: PipelineConfig, cron: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The schedule of a pipeline that has one.

    Args:
        pipeline: The pipeline.
        cron: When it ticks, in the time zone of the schedule.
        job: What is run.
    """
    partitions = pipeline.partitions
    about = f"{pipeline.description}\n\n" if pipeline.description else ""
    what = "" if partitions is None else " Each run loads a partition."
    name, zone = f"{pipeline.asset_prefix}_schedule", pipeline.cron_timezone
    description = f"{about}`{cron}`, in the time zone {zone}.{what}"
    if partitions is None:
        return dg.ScheduleDefinition(
            name=name, job=job, cron_schedule=cron, execution_timezone=zone, description=description
        )

    @dg.schedule(  # pyright: ignore[reportUnknownMemberType]
        name=name, job=job, cron_schedule=cron, execution_timezone=zone, description=description
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        keys = due_partitions(partitions, cron, zone, context.scheduled_execution_time, context.instance)
        if not keys:
            return dg.SkipReason("no partition has ended since the tick before")
        # Dagster starts one run for a key, and the next tick may load the same partition again.
        tick = context.scheduled_execution_time.isoformat()
        return [dg.RunRequest(run_key=f"{tick}/{key}", partition_key=key) for key in keys]

    return tick


def due_partitions(
    partitions: Partitions, cron: str, timezone: str, now: datetime, instance: dg.DagsterInstance
) -> Sequence[str]:
    """Keys of the partitions to load at a tick: by time those that have ended since the tick before, otherwise all.

    Args:
        partitions: Of the pipeline.
        cron: The schedule.
        timezone: In which it ticks.
        now: The tick, with its time zone.
        instance: Has the keys of dynamic partitions.
    """
    definition = partitions_definition(partitions)
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return definition.get_partition_keys(dynamic_partitions_store=instance)
    # Dagster's own ticks: where clocks are put back, a time of the day comes twice and a tick once.
    ticks = reverse_cron_string_iterator(now.timestamp() - 1, cron, timezone)
    before = next(tick for tick in ticks if tick < now)
    keys = definition.get_partition_keys(current_time=now)
    due: list[str] = []
    for key in reversed(keys):
        if definition.time_window_for_partition_key(key).end <= before:
            break
        due.insert(0, key)
    return due
