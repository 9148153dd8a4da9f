"""Reads what is new in a source: what lies between where the last load ended and the largest value there is now.

The range is fixed before anything is read, so that the load can commit where it ends together with its rows. Rows near
the place where the last load ended are looked at again, as some may have appeared late; the sink knows which of them it
has.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.incremental import Incremental, lag_of
from pipeline_platform.config.step import Step
from pipeline_platform.engine.cursors import remembered_cursor
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import own_column, own_columns, quoted
from pipeline_platform.frames.cursor_values import CursorColumn, CursorValue, cursor_column
from pipeline_platform.frames.made_once import rows_made_once
from pipeline_platform.frames.row_identity import IDENTITY, identity_columns, with_identity
from pipeline_platform.steps.cursor import CursorMove, StoredCursor
from pipeline_platform.steps.incremental import ReadsIncrements

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Increment:
    """What is new in a source.

    Args:
        frame: Its rows.
        load: Index of the load that they go to.
        move: Where the load gets to with them.
        hint: What someone should know of it.
    """

    frame: DataFrame
    load: int
    move: CursorMove
    hint: str | None


@dataclass(frozen=True)
class _Range:
    """What is looked at of a source.

    Args:
        column: The column that says so.
        start: Where it begins; None for the first row.
        includes_start: Whether rows with that very value are part of it.
        end: Where it ends, itself included; None for no row at all.
        before: No row in it is as large as this; None if any may be.
        known: Rows up to here may have been loaded before; None if none was.
        leaves_end: Whether rows with the very value of `end` are not loaded with it, nor were before.
    """

    column: CursorColumn
    start: CursorValue | None
    includes_start: bool
    end: CursorValue | None
    before: CursorValue | None
    known: CursorValue | None
    leaves_end: bool = False

    def rows(self, frame: DataFrame) -> DataFrame:
        """What a frame has of it."""
        from pyspark.sql import functions as F

        if self.end is None:
            return frame.filter(F.expr("false"))
        value = F.col(quoted(self.column.name))
        rows = frame.filter(value <= self.column.literal(self.end))
        if self.before is not None:
            rows = rows.filter(value < self.column.literal(self.before))
        if self.start is None:
            return rows
        start = self.column.literal(self.start)
        return rows.filter(value >= start if self.includes_start else value > start)


def read_increment(scope: RunScope, step: Step, frame: DataFrame, persisted: ExitStack) -> Increment | None:
    """What is new of what an extract reads; None where all of it is wanted, or none of it is loaded.

    Args:
        scope: What of the pipeline is run.
        step: The extract.
        frame: All that it reads.
        persisted: Releases what is kept of it.

    Raises:
        PipelineException: The source has no such column, or NULL in it, or the sink can't tell where it has come.
    """
    config = step.config
    if not isinstance(config, ReadsIncrements) or config.incremental is None:
        return None
    cursor = remembered_cursor(scope, step, config)
    if cursor is None:
        return None
    incremental = config.incremental
    column = cursor_column(frame.schema, incremental.cursor_column)
    name, place, load, source = cursor.name, cursor.place, cursor.load, cursor.source
    credentials = credentials_for(scope.credentials, config, step)
    database = config.entered_database(credentials)
    stored = cursor.require_same(column.name, database)
    if config.has_null(frame, column, credentials):
        raise PipelineExecutionException(
            f"the column '{column.name}' of the source has NULL in some rows, or a value that a frame can't hold, of "
            "which nobody could say whether they are new",
            hint="leave them out, or give them a value, in 'query', or name another column in 'cursorColumn'",
        )
    newest = config.newest(frame, column, credentials)
    looked_at = _range(incremental, column, stored, newest, is_merged=not place.remembers_rows)
    rows, hint = looked_at.rows(frame), _hint(step, column, stored, newest)
    after = StoredCursor(
        stored.version + 1,
        _text(looked_at.end),
        is_start=looked_at.leaves_end and looked_at.end is not None,
        column=column.name,
        source=source,
        database=database,
    )
    if incremental.boundary == "exclusive" or not place.remembers_rows:
        is_idle = stored.version > 0 and not looked_at.includes_start and looked_at.end == looked_at.start
        return Increment(rows, load.index, CursorMove(name, stored, after, is_idle=is_idle), hint)
    names = [own_column(frame.columns, one) for one in incremental.key] if incremental.key else own_columns(frame)
    columns = identity_columns(frame, list(dict.fromkeys([*names, column.name])))
    is_key, seen_from = incremental.key is not None, _seen_from(incremental, looked_at)
    near = _near(rows, looked_at, seen_from, persisted)
    told = with_identity(near, columns, is_key=is_key).select(*IDENTITY) if near is not None else None
    is_known = looked_at.known is not None and stored.seen_from is not None
    seen = place.seen(frame.sparkSession) if is_known else None
    new = _unseen(_with(rows, near, looked_at, seen_from), looked_at, stored, seen)
    is_idle = looked_at.known is not None and looked_at.end == looked_at.known and new.isEmpty()
    after = replace(after, seen_from=_text(seen_from), columns=columns, is_key=is_key)
    return Increment(new, load.index, CursorMove(name, stored, after, told, is_idle), hint)


def _text(value: CursorValue | None) -> str | None:
    return str(value) if value is not None else None


def _range(
    incremental: Incremental,
    column: CursorColumn,
    stored: StoredCursor,
    newest: CursorValue | None,
    *,
    is_merged: bool,
) -> _Range:
    """What is looked at; a database that keeps no rows merges again those that it has."""
    before = column.value(incremental.end_value, "'endValue'") if incremental.end_value is not None else None
    if before is not None and newest is not None and newest.value >= before.value:
        newest = before
    found = newest if newest != before else None
    initial = incremental.initial_value
    first = column.value(initial, "'initialValue'") if initial is not None else None
    if stored.position is None:
        end = _larger(newest, first)
        return _Range(column, first, True, end, before, None, leaves_end=end != found)
    position = column.value(stored.position, "the cursor")
    end = _larger(newest, position)
    leaves_end = end != found and (end != position or stored.is_start)
    back = position.before(lag_of(incremental.lag)) if incremental.lag is not None else position
    is_put = stored.column is None
    if is_merged and not is_put and incremental.boundary == "inclusive":
        return _Range(column, _larger(back, first), True, end, before, None, leaves_end)
    if stored.seen_from is None:
        known = None if stored.is_start or incremental.boundary == "exclusive" else position
        return _Range(column, position, stored.is_start or known is not None, end, before, known, leaves_end)
    if incremental.boundary == "exclusive":
        return _Range(column, position, stored.is_start, end, before, position, leaves_end)
    start = _larger(back, column.value(stored.seen_from, "the cursor"))
    return _Range(column, start, True, end, before, position, leaves_end)


def _larger(one: CursorValue | None, other: CursorValue | None) -> CursorValue | None:
    """The larger of two values; None stands for no value."""
    if one is None or other is None:
        return one or other
    return one if one.value >= other.value else other


def _seen_from(incremental: Incremental, looked_at: _Range) -> CursorValue | None:
    """From where on the sink is to know which rows it has: as far back as the next load may look."""
    if looked_at.end is None:
        return None
    back = looked_at.end.before(lag_of(incremental.lag)) if incremental.lag is not None else looked_at.end
    return _larger(back, looked_at.start)


def _near(rows: DataFrame, looked_at: _Range, seen_from: CursorValue | None, persisted: ExitStack) -> DataFrame | None:
    """The rows that the next load may look at again; None if there are none.

    What is loaded of them, and what the sink is told of them, have to be one reading.
    """
    from pyspark.sql import functions as F

    if seen_from is None:
        return None
    column = looked_at.column
    near = rows.filter(F.col(quoted(column.name)) >= column.literal(seen_from))
    return persisted.enter_context(rows_made_once(near, at_once=False))


def _with(rows: DataFrame, near: DataFrame | None, looked_at: _Range, seen_from: CursorValue | None) -> DataFrame:
    """All rows, of which some have been read apart; the others are read only once, and need not be kept."""
    from pyspark.sql import functions as F

    if near is None or seen_from is None:
        return rows
    if looked_at.start is not None and looked_at.start.value >= seen_from.value:
        return near
    column = looked_at.column
    return rows.filter(F.col(quoted(column.name)) < column.literal(seen_from)).unionByName(near)


def _unseen(rows: DataFrame, looked_at: _Range, stored: StoredCursor, seen: DataFrame | None) -> DataFrame:
    """The rows without those that were loaded before: all up to a value, where it is not known which."""
    from pyspark.sql import functions as F

    if looked_at.known is None:
        return rows
    value, known = F.col(quoted(looked_at.column.name)), looked_at.column.literal(looked_at.known)
    if seen is None:
        return rows.filter(value > known)
    again = with_identity(rows.filter(value <= known), stored.columns, is_key=stored.is_key)
    late = again.join(seen, list(IDENTITY), "left_anti").drop(*IDENTITY)
    return rows.filter(value > known).unionByName(late)


def _hint(step: Step, column: CursorColumn, stored: StoredCursor, newest: CursorValue | None) -> str | None:
    """What to say of a source that is not where it was."""
    if stored.position is None or stored.is_start:
        return None
    position = column.value(stored.position, "the cursor")
    if newest is not None and newest.value >= position.value:
        return None
    found = f"the largest '{column.name}' is {newest}" if newest is not None else "there are no rows"
    return (
        f"'{step.name}': {found}, and rows up to {position} were loaded: if the source was restored or made anew, say "
        "where to begin with: pipeline-platform cursor FILE --set VALUE"
    )
