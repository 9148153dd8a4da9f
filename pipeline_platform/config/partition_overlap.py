"""Whether the partitions of two pipelines may have rows, or keys, in common."""

from __future__ import annotations

from datetime import datetime, timedelta

from pipeline_platform.config.partitions import Partitions


def share_rows(one: Partitions, other: Partitions) -> bool:
    """Whether a row may be in a partition of both: unless the same column tells that it can't be.

    Args:
        one: Of one pipeline.
        other: Of another.
    """
    if one.column.lower() != other.column.lower():
        return True
    if one.by_time and other.by_time:
        return one.timezone != other.timezone or _share_times(one, other)
    if one.keys is not None and other.keys is not None:
        return not set(one.keys).isdisjoint(other.keys)
    return True


def share_keys(one: Partitions, other: Partitions) -> bool:
    """Whether a partition of both may have the same key.

    Args:
        one: Of one pipeline.
        other: Of another.
    """
    if one.keys is not None:
        return any(may_have_key(other, key) for key in one.keys)
    if other.keys is not None:
        return any(may_have_key(one, key) for key in other.keys)
    if not (one.by_time and other.by_time):
        return True
    return (one.type == "hourly") == (other.type == "hourly") and _share_times(one, other)


def may_have_key(partitions: Partitions, key: str) -> bool:
    """Whether a key is, or some day may be, one of these partitions'.

    Args:
        partitions: The partitions.
        key: The key; where places differ in upper and lower case alone, they may be the same.
    """
    if partitions.keys is not None:
        return key.casefold() in (one.casefold() for one in partitions.keys)
    if not partitions.by_time:
        return True
    try:
        start = datetime.strptime(key, "%Y-%m-%d-%H:%M" if partitions.type == "hourly" else "%Y-%m-%d")
    except ValueError:
        return False
    if partitions.type == "monthly" and start.day != 1:
        return False
    if partitions.type == "weekly" and (start - partitions.first) % timedelta(weeks=1):
        return False
    return partitions.first <= start < (partitions.last_end or datetime.max)


def _share_times(one: Partitions, other: Partitions) -> bool:
    return one.first < (other.last_end or datetime.max) and other.first < (one.last_end or datetime.max)
