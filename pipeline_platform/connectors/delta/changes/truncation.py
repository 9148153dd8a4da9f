"""Truncations: changes that delete all rows whose last change is before them, also those that are loaded later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.connectors.delta.changes.loaded import LoadedChanges
from pipeline_platform.connectors.delta.changes.memory import truncations_in
from pipeline_platform.frames.columns import HELPER_PREFIX

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TRUNCATED_AT = f"{HELPER_PREFIX}truncated_at"


def truncation(loaded: LoadedChanges, memory: DataFrame | None) -> DataFrame | None:
    """One row: the sequence of the newest truncation that is loaded or remembered, or null; None if there is none.

    Args:
        loaded: The changes that are loaded.
        memory: What is remembered; None if nothing is.
    """
    from pyspark.sql import functions as F

    now = F.expr(loaded.truncated_at) if loaded.truncated_at is not None else None
    if memory is not None:
        before = F.max("sequence")
        newest = F.greatest(before, now) if now is not None else before
        return truncations_in(memory).agg(newest.alias(TRUNCATED_AT))
    return loaded.events.sparkSession.range(1).select(now.alias(TRUNCATED_AT)) if now is not None else None


def is_newer_truncation(loaded: LoadedChanges, memory: DataFrame | None) -> bool:
    """Whether a truncation is loaded, and no later one was before.

    Args:
        loaded: The changes that are loaded.
        memory: What is remembered; None if nothing is.
    """
    if loaded.truncated_at is None or memory is None:
        return loaded.truncated_at is not None
    return truncations_in(memory).filter(f"sequence >= {loaded.truncated_at}").isEmpty()


def truncation_to_remember(facts: DataFrame, truncated_at: str) -> DataFrame:
    """A truncation as it is remembered.

    Args:
        facts: Other changes that are remembered.
        truncated_at: Its sequence, as SQL.
    """
    from pyspark.sql import functions as F

    no_key = F.lit(None).cast(facts.schema["key"].dataType)
    row = facts.sparkSession.range(1)
    return row.select(no_key.alias("key"), F.expr(truncated_at).alias("sequence"), F.lit(True).alias("deleted"))
