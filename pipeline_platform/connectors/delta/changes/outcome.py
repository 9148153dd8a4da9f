"""What changes make of a table: which of its rows are added, changed or deleted, and what has to be remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.connectors.delta.changes.columns import ChangeColumns, wider
from pipeline_platform.connectors.delta.changes.config import CURRENT, VALID_FROM, VALID_TO
from pipeline_platform.connectors.delta.changes.timeline import (
    DELETED,
    KEY,
    LOADED,
    REMEMBERED,
    ROW,
    SEQUENCE,
    STORED,
    UNTIL,
    compared,
    in_order,
)
from pipeline_platform.connectors.delta.changes.truncation import TRUNCATED_AT
from pipeline_platform.frames.columns import HELPER_PREFIX

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

ACTION = f"{HELPER_PREFIX}action"
"""What is done to the row of the table: one of these, or null."""
INSERT, UPDATE, DELETE = "insert", "update", "delete"
IS_NEW = f"{HELPER_PREFIX}is_new"
"""Whether the change has to be remembered, and is not yet."""


def newest_rows(known: DataFrame, truncated: DataFrame | None) -> DataFrame:
    """What has to be done so that the table has the row of the newest change of each key.

    Args:
        known: What is known of each key, each change once.
        truncated: One row, that of `truncation`; None if there never was one.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    has_row = F.max(STORED).over(Window.partitionBy(KEY))
    is_last = F.lead(F.lit(True)).over(in_order()).isNull()
    last = known.withColumns({"_has_row": has_row, "_is_last": is_last}).filter("_is_last")
    gone = F.col(DELETED)
    if truncated is not None:
        last = last.crossJoin(F.broadcast(truncated))
        gone = gone | F.coalesce(F.col(SEQUENCE) < F.col(TRUNCATED_AT), F.lit(False))
    action = (
        F.when(F.col("_has_row") & gone, DELETE)
        .when(F.col("_has_row") & ~F.col(STORED), UPDATE)
        .when(~F.col("_has_row") & ~gone, INSERT)
    )
    return _that_matter(last, action, F.col(DELETED) & F.col(LOADED) & ~F.col(REMEMBERED))


def row_versions(known: DataFrame) -> DataFrame:
    """What has to be done so that the table has each version of each key, from when on it was valid and until when.

    Args:
        known: What is known of each key, each change once.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    before = F.lag(compared(known)).over(in_order())
    is_first = F.coalesce(F.lag(DELETED).over(in_order()), F.lit(True))
    is_version = ~F.col(DELETED) & (is_first | ~compared(known).eqNullSafe(before))
    marked = known.withColumn("_is_version", is_version)
    # From the last one on, as Spark would go through all that follow for each one otherwise.
    after = Window.partitionBy(KEY).orderBy(F.desc(SEQUENCE)).rowsBetween(Window.unboundedPreceding, -1)
    ends = F.when(F.col("_is_version") | F.col(DELETED), F.col(SEQUENCE))
    ended = marked.withColumn("_until", F.last(ends, ignorenulls=True).over(after))
    action = (
        F.when(F.col("_is_version") & ~F.col(STORED), INSERT)
        .when(F.col("_is_version") & ~F.col("_until").eqNullSafe(F.col(UNTIL)), UPDATE)
        .when(~F.col("_is_version") & F.col(STORED), DELETE)
    )
    is_new = ~F.col("_is_version") & ~F.col(REMEMBERED)
    return _that_matter(ended, action, is_new, F.col("_until"))


def to_remember(outcome: DataFrame) -> DataFrame:
    """The changes that have to be remembered, as they are.

    Args:
        outcome: What has to be done.
    """
    from pyspark.sql import functions as F

    return outcome.filter(IS_NEW).select(
        F.col(KEY).alias("key"), F.col(SEQUENCE).alias("sequence"), F.col(DELETED).alias("deleted")
    )


def rows_to_write(outcome: DataFrame, columns: ChangeColumns, frame: StructType, table: StructType | None) -> DataFrame:
    """The rows that are added, changed or deleted, with the columns of the table and what is done with each.

    Args:
        outcome: What has to be done.
        columns: The columns that changes are about.
        frame: The columns of the frame.
        table: Those of the table; None if there is none.
    """
    from pyspark.sql import functions as F

    there = {field.name.lower(): field.dataType for field in table or ()}

    def in_its_type(value: Column, name: str, data_type: DataType) -> Column:
        return value.cast(wider(data_type, there.get(name.lower()))).alias(name)

    places = {name: place for place, name in enumerate(columns.keys)}
    selected: list[Column] = []
    for name in columns.written:
        if name in places:
            selected.append(in_its_type(F.col(KEY).getField(f"_{places[name]}"), name, frame[name].dataType))
        else:
            selected.append(F.col(ROW).getField(name).alias(name))
    if columns.has_versions:
        sequence = frame[columns.sequence].dataType
        selected += [
            in_its_type(F.col(SEQUENCE), VALID_FROM, sequence),
            in_its_type(F.col(UNTIL), VALID_TO, sequence),
            F.col(UNTIL).isNull().alias(CURRENT),
        ]
    return outcome.filter(F.col(ACTION).isNotNull()).select(*selected, ACTION)


def _that_matter(known: DataFrame, action: Column, is_new: Column, until: Column | None = None) -> DataFrame:
    from pyspark.sql import functions as F

    until = F.col(UNTIL) if until is None else until
    outcome = known.select(KEY, SEQUENCE, DELETED, until.alias(UNTIL), ROW, action.alias(ACTION), is_new.alias(IS_NEW))
    return outcome.filter(F.col(ACTION).isNotNull() | F.col(IS_NEW))
