"""Mode `applyChanges`: the rows of a frame are changes, which make of a table what it was changed to.

What is known of a key are the rows of the table, the changes that are remembered beside it, and those that are loaded.
From these follows what the table has to have, in whatever order and however often they come. Both tables are written
only where something is new.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from pipeline_platform.connectors.delta.change_columns import FrameChanges, frame_changes
from pipeline_platform.connectors.delta.change_memory import ChangeMemory, LoadMark
from pipeline_platform.connectors.delta.change_merge import merge_changes
from pipeline_platform.connectors.delta.change_outcome import (
    ACTION,
    IS_NEW,
    LOADED_TRUNCATION,
    REMEMBERED_TRUNCATION,
    newest_rows,
    row_versions,
    rows_to_write,
    to_remember,
    truncations,
)
from pipeline_platform.connectors.delta.change_timeline import SEQUENCE, TRUNCATED, change_events, timeline
from pipeline_platform.connectors.delta.changes import Changes
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, Row
    from pyspark.sql.types import StructType

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def given_changes(frame: DataFrame, changes: Changes) -> FrameChanges:
    """The rows of a frame as changes.

    Args:
        frame: The rows.
        changes: How they are read.

    Raises:
        PipelineException: The frame does not have what `changes` names.
    """
    given = frame_changes(frame, changes)
    # Of a condition, this tells what Spark can't make of it.
    change_events(given)
    return given


@dataclass(frozen=True)
class ChangeLoad:
    """Changes that are loaded into a table.

    Args:
        given: The changes.
        place: Where the table is.
        app: The id under which Delta knows the load.
        version: The number of the load under this id.
        commit: Settings of a session with which Delta makes the commit of the load.
        merge_schema: Whether columns that the table does not have are added to it.
        create: Makes the table of its first rows, with that commit.
    """

    given: FrameChanges
    place: StorageLocation
    app: str
    version: int
    commit: Mapping[str, str]
    merge_schema: bool
    create: Callable[[DataFrame], None]

    def require_fit(self, table: StructType) -> None:
        """Require that the table that is there can be changed by them.

        Args:
            table: Its columns.

        Raises:
            PipelineExecutionException: It can't.
        """
        self.given.require_fit(table, self.place.uri)
        self._memory.require_same_meaning()

    def write(self) -> None:
        """Apply the changes, in one commit of the table.

        Raises:
            PipelineExecutionException: Another load has changed the table meanwhile.
        """
        # What one load takes back as another one's, which is not there yet, is what that one has just remembered.
        with _locks[self.place.uri], ExitStack() as kept:
            self._apply(kept)

    def _apply(self, kept: ExitStack) -> None:
        columns, spark = self.given.columns, self.given.frame.sparkSession
        memory, load = self._memory, LoadMark(self.app, self.version)
        table = open_table(self.place)
        remembered = memory.confirmed(spark, table)
        events = kept.enter_context(_kept(change_events(self.given)))
        # The first pass over the rows: they are looked at once, and what is written is what was looked at.
        newest = kept.enter_context(_kept(truncations(events, remembered)))
        truncation = _truncation(newest)
        stored = self._stored(table) if table is not None else None
        known = timeline(events, stored, remembered, columns)
        if columns.has_versions:
            outcome = row_versions(known)
        else:
            outcome = newest_rows(known, newest if truncation.is_known else None)
        outcome = kept.enter_context(_kept(outcome))
        counts = _counts(outcome)
        has_rows = counts.rows > 0 or table is None or truncation.loaded is not None
        facts = to_remember(outcome)
        if truncation.loaded is not None:
            facts = facts.unionByName(_newest_truncation(events, facts))
        if counts.remembered or truncation.loaded is not None:
            memory.add(facts, load, is_pending=has_rows)
        if not has_rows:
            return
        rows = rows_to_write(outcome, columns, self.given.frame.schema, stored.schema if stored is not None else None)
        if table is None:
            self.create(rows.drop(ACTION))
            return
        self._require_unchanged(table)
        merge_changes(
            rows,
            self.place,
            columns,
            self.commit,
            merge_schema=self.merge_schema,
            truncated_before=truncation.loaded,
        )
        if truncation.loaded is not None and not load.is_in(open_table(self.place)):
            # There was no row to delete, so that Delta has made no commit.
            memory.settle(spark, facts)

    @property
    def _memory(self) -> ChangeMemory:
        return ChangeMemory(self.place, self.given.columns)

    def _stored(self, table: DeltaTable) -> DataFrame:
        reader = self.given.frame.sparkSession.read.format("delta").options(**self.place.spark_options())
        return reader.option("versionAsOf", table.version()).load(self.place.uri)

    def _require_unchanged(self, table: DeltaTable) -> None:
        """What is written was made of the table as it was found."""
        now = open_table(self.place)
        if now is None or now.version() != table.version():
            raise PipelineExecutionException(
                f"another writer changed the table at {self.place.uri} while changes were applied to it",
                hint="run again; let one pipeline at a time write to a table that changes are applied to",
                retryable=True,
            )


@dataclass(frozen=True)
class _Truncation:
    """What is known of truncations.

    Args:
        loaded: Sequence of the newest one, as SQL, if it is loaded and no later one was before.
        is_known: Whether there is any.
    """

    loaded: str | None
    is_known: bool


def _truncation(newest: DataFrame) -> _Truncation:
    from pyspark.sql import functions as F
    from pyspark.sql.types import TimestampType

    kind = newest.schema[LOADED_TRUNCATION].dataType
    loaded = F.col(LOADED_TRUNCATION)
    is_newer = F.coalesce(loaded > F.col(REMEMBERED_TRUNCATION), loaded.isNotNull())
    is_instant = isinstance(kind, TimestampType)
    row = newest.select(
        F.when(is_newer, (F.unix_micros(loaded) if is_instant else loaded).cast("string")),
        F.coalesce(loaded, REMEMBERED_TRUNCATION).isNotNull(),
    ).collect()[0]
    if row[0] is None:
        return _Truncation(None, row[1])
    text = exp.Literal.string(row[0]).sql(dialect="spark")
    # The text of an instant would be another one in another zone.
    return _Truncation(f"timestamp_micros({row[0]})" if is_instant else f"CAST({text} AS {kind.simpleString()})", True)


def _counts(outcome: DataFrame) -> Row:
    from pyspark.sql import functions as F

    return outcome.agg(
        F.count_if(F.col(ACTION).isNotNull()).alias("rows"), F.count_if(F.col(IS_NEW)).alias("remembered")
    ).collect()[0]


def _newest_truncation(events: DataFrame, facts: DataFrame) -> DataFrame:
    """The newest truncation that is loaded, as it is remembered."""
    from pyspark.sql import functions as F

    newest = events.filter(TRUNCATED).agg(F.max(SEQUENCE).alias("sequence"))
    return newest.select(
        F.lit(None).cast(facts.schema["key"].dataType).alias("key"), "sequence", F.lit(True).alias("deleted")
    )


@contextmanager
def _kept(frame: DataFrame) -> Generator[DataFrame]:
    """The frame, whose rows are made once while the block lasts."""
    kept = frame.persist()
    try:
        yield kept
    finally:
        kept.unpersist()
