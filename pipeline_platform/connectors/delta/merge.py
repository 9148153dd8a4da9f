"""Mode `merge`: rows of a frame update those of a table that have the same keys, and are added if there are none."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline_platform.connectors.delta.errors import REPEATED_KEYS
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.session import escape_braces, run_sql
from pipeline_platform.frames.settings import spark_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.window import WindowSpec

_OCCURRENCES = f"{HELPER_PREFIX}occurrences"
_ONE_MERGE = threading.Lock()


def with_unique_keys(frame: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The frame, made to fail while it is read if two rows have the same keys.

    Args:
        frame: The frame.
        keys: Its columns that say which row is which.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    same: WindowSpec = Window.partitionBy(*(F.col(quoted(key)) for key in keys))
    shown = F.concat_ws(", ", *(F.col(quoted(key)).cast("string") for key in keys))
    message = F.concat(F.lit(f"{REPEATED_KEYS} {', '.join(keys)}: "), shown)
    once = F.when(F.col(_OCCURRENCES) > 1, F.raise_error(message).cast("boolean")).otherwise(F.lit(True))
    return frame.withColumn(_OCCURRENCES, F.count(F.lit(1)).over(same)).filter(once).drop(_OCCURRENCES)


def merge(
    source: DataFrame, place: StorageLocation, keys: Sequence[str], commit: Mapping[str, str], *, merge_schema: bool
) -> None:
    """Merge a frame into a table that is there, in one commit.

    Args:
        source: What is written, with unique keys.
        place: Where the table is.
        keys: The columns that say which row is which.
        commit: Settings of the session with which Delta makes the commit.
        merge_schema: Whether columns that the table does not have are added to it.
    """
    spark = source.sparkSession
    condition = " AND ".join(f"target.{quoted(key)} <=> source.{quoted(key)}" for key in keys)
    with one_merge(spark, commit):
        if is_remote(spark):
            _merge_by_sql(source, place, condition, merge_schema=merge_schema)
        else:
            _merge_by_table(source, place, condition, merge_schema=merge_schema)


@contextmanager
def one_merge(spark: SparkSession, commit: Mapping[str, str]) -> Generator[None]:
    """While the block lasts, no other merge is made, and Delta makes the commit of this one with these settings.

    Args:
        spark: The session.
        commit: The settings.
    """
    # They are the whole session's: two merges at once would take each other's for their own.
    with _ONE_MERGE, spark_settings(spark, commit):
        yield


def _merge_by_table(source: DataFrame, place: StorageLocation, condition: str, *, merge_schema: bool) -> None:
    from delta.tables import DeltaTable

    table = DeltaTable.forPath(source.sparkSession, place.uri, place.spark_options())
    merging = table.alias("target").merge(source.alias("source"), condition)
    if merge_schema:
        merging = merging.withSchemaEvolution()
    if _has_backticks(source):
        columns = {quoted(name): f"source.{quoted(name)}" for name in source.columns}
        merging.whenMatchedUpdate(set=columns).whenNotMatchedInsert(values=columns).execute()  # pyright: ignore[reportArgumentType]
    else:
        merging.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


def _merge_by_sql(source: DataFrame, place: StorageLocation, condition: str, *, merge_schema: bool) -> None:
    """Merge without `DeltaTable`: what a server needs for that is not published for Spark 4.1."""
    evolution = "WITH SCHEMA EVOLUTION " if merge_schema else ""
    columns = [quoted(name) for name in source.columns]
    update, insert = "*", "*"
    if _has_backticks(source):
        update = ", ".join(f"{name} = source.{name}" for name in columns)
        insert = f"({', '.join(columns)}) VALUES ({', '.join(f'source.{name}' for name in columns)})"
    run_sql(
        source.sparkSession,
        f"MERGE {evolution}INTO delta.{escape_braces(quoted(place.uri))} AS target USING {{source}} AS source "
        f"ON {escape_braces(condition)} WHEN MATCHED THEN UPDATE SET {escape_braces(update)} "
        f"WHEN NOT MATCHED THEN INSERT {escape_braces(insert)}",
        source=source,
    )


def _has_backticks(frame: DataFrame) -> bool:
    """Whether Delta's own list of all columns, `*`, would fail: it does not quote a backtick in a name."""
    return any("`" in name for name in frame.columns)
