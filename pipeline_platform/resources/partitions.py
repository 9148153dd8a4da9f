"""A pipeline's partitions in Dagster, whose own definitions say which there are and when each begins and ends."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from pipeline_platform.config.partitions import Partition, Partitions
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException

_SHOWN_KEYS = 5


def partitions_definition(partitions: Partitions) -> dg.PartitionsDefinition:
    """What Dagster is to know of the partitions.

    Args:
        partitions: Of a pipeline.
    """
    if partitions.type == "static":
        return dg.StaticPartitionsDefinition(partitions.keys or [])
    if partitions.type == "dynamic":
        return dg.DynamicPartitionsDefinition(name=partitions.name)
    first, end, zone = partitions.first, partitions.last_end, partitions.timezone
    match partitions.type:
        case "hourly":
            return dg.HourlyPartitionsDefinition(first, end, timezone=zone)
        case "daily":
            return dg.DailyPartitionsDefinition(first, end, timezone=zone)
        case "weekly":
            # Dagster counts the days of the week from Sunday.
            return dg.WeeklyPartitionsDefinition(first, end, day_offset=first.isoweekday() % 7, timezone=zone)
        case _:
            return dg.MonthlyPartitionsDefinition(first, end, timezone=zone)


def partition_mapping(reader: Partitions | None, writer: Partitions | None) -> dg.PartitionMapping | None:
    """Which partitions of what is read a partition of the reader needs; None where Dagster's own default is right.

    By time these are the ones that overlap with it and with the partitions before it that it looks back on, counted in
    the reader's own.

    Args:
        reader: Partitions of the pipeline that reads.
        writer: Partitions of the one that writes.
    """
    if reader is None or writer is None:
        return None
    if reader.by_time and writer.by_time and reader.timezone == writer.timezone:
        are_all_there = (
            writer.type == reader.type
            and writer.first <= reader.first
            and (writer.last_end or reader.last_end) == reader.last_end
        )
        if not are_all_there:
            # What is not there can't be waited for.
            return dg.TimeWindowPartitionMapping(-reader.lookback, allow_nonexistent_upstream_partitions=True)
        # Dagster cuts off what lies before the writer's first partition.
        return dg.TimeWindowPartitionMapping(-reader.lookback) if reader.lookback else None
    if reader.type == writer.type and not reader.by_time and (reader.name, reader.keys) == (writer.name, writer.keys):
        return dg.IdentityPartitionMapping()
    return dg.AllPartitionMapping()


def partition_of(partitions: Partitions, keys: Sequence[str]) -> Partition:
    """What a run of these partitions loads.

    Args:
        partitions: Of the pipeline.
        keys: Those of the run; several follow each other.
    """
    definition = partitions_definition(partitions)
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return Partition(partitions.column, tuple(keys))
    first, last = (definition.time_window_for_partition_key(key) for key in (keys[0], keys[-1]))
    whole_days = partitions.type != "hourly"
    return Partition(partitions.column, tuple(keys), first.start, last.end, whole_days)


def chosen_partitions(pipeline: PipelineConfig, first: str, last: str) -> list[Partition]:
    """What is loaded for a range of partitions: by one run if the pipeline can, or by one after the other.

    Args:
        pipeline: A pipeline with partitions.
        first: Key of the first one.
        last: Key of the last one, inclusive.

    Raises:
        PipelineConfigurationException: There is no such partition, or the first one comes after the last one.
    """
    partitions = pipeline.partitions
    assert partitions is not None
    if partitions.type == "dynamic" and first == last:
        # Dagster's instance keeps the keys, and a run at the terminal has none.
        return [Partition(partitions.column, (first,))]
    if partitions.type == "dynamic":
        raise _refused(pipeline, "the keys of dynamic partitions have no order", "name one with --partition")
    keys = list(partitions_definition(partitions).get_partition_keys())
    for key in (first, last):
        if key not in keys:
            raise _refused(pipeline, f"there is no partition '{key}'", _told(partitions, keys))
    chosen = keys[keys.index(first) : keys.index(last) + 1]
    if not chosen:
        raise _refused(pipeline, f"the partition '{first}' comes after '{last}'", "give the earlier one first")
    if pipeline.loads_ranges:
        return [partition_of(partitions, chosen)]
    return [partition_of(partitions, [key]) for key in chosen]


def _told(partitions: Partitions, keys: Sequence[str]) -> str:
    if not keys:
        return "there is none yet: the first one has not ended"
    if partitions.by_time:
        return f"they are {partitions.type}, from '{keys[0]}' to '{keys[-1]}'"
    shown = ", ".join(keys[:_SHOWN_KEYS])
    return f"they are {shown}" + (f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else "")


def _refused(pipeline: PipelineConfig, message: str, hint: str) -> PipelineConfigurationException:
    return PipelineConfigurationException(message, location=pipeline.location, hint=hint)
