"""The changes of one load, read once: whatever is written is made of the same rows."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.sql import sql_text
from pipeline_platform.connectors.delta.changes.columns import FrameChanges, common_type
from pipeline_platform.connectors.delta.changes.timeline import KEY, SEQUENCE, TRUNCATED, change_events
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.made_once import rows_made_once

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

# Their keys are sent to every executor, so that rows of the table with other keys are left out where they are read.
_FEW = 100_000


@dataclass(frozen=True)
class LoadedChanges:
    """Changes that were read.

    Args:
        events: The changes.
        are_few: Whether their keys can be sent to every executor.
        bounds: The smallest and the largest value of keys, as SQL, by name.
        truncated_at: The sequence of the newest truncation, as SQL; None if there is none.
    """

    events: DataFrame
    are_few: bool
    bounds: Mapping[str, tuple[str, str]]
    truncated_at: str | None

    def within_bounds(self, alias: str | None = None) -> str:
        """A condition of Spark SQL for rows of the table, with which Delta leaves out files that have none of the keys.

        Args:
            alias: What the table is called.
        """
        prefix = f"{alias}." if alias is not None else ""
        tests = [f"{prefix}{quoted(name)} BETWEEN {low} AND {high}" for name, (low, high) in self.bounds.items()]
        return " AND ".join(tests) or "true"


@contextmanager
def loaded_changes(given: FrameChanges) -> Generator[LoadedChanges]:
    """Read the changes of a frame, and keep them while the block lasts.

    Args:
        given: The frame.
    """
    from pyspark.sql import functions as F

    # At once, so that what counts the rows of the frame hears of it.
    with rows_made_once(change_events(given), at_once=True) as events:
        truncation = F.max(F.when(F.col(TRUNCATED), F.col(SEQUENCE)))
        types = {name: common_type(given.frame.schema[name].dataType) for name in given.columns.keys}
        bounded = [name for name, kind in types.items() if _has_bounds(kind)]
        values = {name: F.col(KEY).getField(f"_{given.columns.keys.index(name)}") for name in bounded}
        texts = [_text(best(values[name]), types[name]) for name in bounded for best in (F.min, F.max)]
        sequence = common_type(given.frame.schema[given.columns.sequence].dataType)
        row = events.agg(F.count(F.lit(1)), _text(truncation, sequence), *texts).collect()[0]
        bounds = {
            name: (_literal(low, types[name]), _literal(high, types[name]))
            for name, low, high in zip(bounded, row[2::2], row[3::2], strict=True)
            if low is not None
        }
        truncated_at = _literal(row[1], sequence) if row[1] is not None else None
        yield LoadedChanges(events, row[0] <= _FEW, bounds, truncated_at)


def _has_bounds(data_type: DataType) -> bool:
    from pyspark.sql.types import DateType, DecimalType, LongType, StringType

    return isinstance(data_type, LongType | DecimalType | DateType | StringType)


def _text(value: Column, data_type: DataType) -> Column:
    """A value as text of which `_literal` makes the same value in any session."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import TimestampType

    # The text of an instant would be another one in another zone.
    return (F.unix_micros(value) if isinstance(data_type, TimestampType) else value).cast("string")


def _literal(text: str, data_type: DataType) -> str:
    from pyspark.sql.types import TimestampType

    if isinstance(data_type, TimestampType):
        return f"timestamp_micros({text})"
    return f"CAST({sql_text(text)} AS {data_type.simpleString()})"
