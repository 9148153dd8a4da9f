"""Mode `applyChanges`: the rows of a frame are changes, which make of a table what it was changed to.

What is known of a key are the rows of the table, the changes that are remembered beside it, and those that are loaded.
From these follows what the table has to have, in whatever order and however often they come. Both tables are written
only where something is new.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.connectors.delta.changes.columns import FrameChanges, frame_changes
from pipeline_platform.connectors.delta.changes.config import Changes
from pipeline_platform.connectors.delta.changes.fit import require_still_held
from pipeline_platform.connectors.delta.changes.loaded import loaded_changes
from pipeline_platform.connectors.delta.changes.memory import ChangeMemory, LoadMark
from pipeline_platform.connectors.delta.changes.merge import ChangeMerge
from pipeline_platform.connectors.delta.changes.outcome import (
    ACTION,
    IS_NEW,
    newest_rows,
    row_versions,
    rows_to_write,
    to_remember,
)
from pipeline_platform.connectors.delta.changes.timeline import change_events, timeline
from pipeline_platform.connectors.delta.changes.truncation import (
    is_newer_truncation,
    truncation,
    truncation_to_remember,
)
from pipeline_platform.connectors.delta.table import open_table, require_unchanged
from pipeline_platform.connectors.delta.type_widening import allow_widening
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.frames.made_once import rows_made_once

if TYPE_CHECKING:
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
    if changes.is_snapshot:
        return given
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
        merge_schema: Whether columns that the table does not have are added to it, and its types get wider.
        widens: Whether columns of the table that is there are to get wider types.
        make: Given rows, makes the empty table, where that has to be done before anything lies in its folder.
        create: Makes the table of its first rows, with that commit.
    """

    given: FrameChanges
    place: StorageLocation
    app: str
    version: int
    commit: Mapping[str, str]
    merge_schema: bool
    widens: bool
    make: Callable[[DataFrame], None]
    create: Callable[[DataFrame], None]

    def require_fit(self, table: StructType, policy: SchemaPolicy | None) -> None:
        """Require that the table that is there can be changed by them.

        Args:
            table: Its columns.
            policy: What happens where they are others.

        Raises:
            PipelineExecutionException: It can't.
        """
        self.given.require_fit(table, self.place.uri, policy)
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
        if table is not None and self.widens:
            # A version of its own, before the table is looked at, which is not to change from then on.
            allow_widening(spark, self.place, table.metadata().configuration)
            table = open_table(self.place)
        remembered = memory.confirmed(spark, table)
        loaded = kept.enter_context(loaded_changes(self.given))
        stored = self._stored() if table is not None else None
        if stored is not None:
            require_still_held(columns, stored.schema, self.place.uri)
        near = stored.filter(loaded.within_bounds()) if stored is not None else None
        known = timeline(loaded.events, loaded.are_few, near, remembered, columns, loaded.truncated_at)
        made = row_versions(known) if columns.has_versions else newest_rows(known, truncation(loaded, remembered))
        outcome = kept.enter_context(rows_made_once(made, at_once=False))
        counts = _counts(outcome)
        truncated_at = loaded.truncated_at if is_newer_truncation(loaded, remembered) else None
        has_rows = counts.rows > 0 or table is None or truncated_at is not None
        facts = to_remember(outcome)
        if truncated_at is not None:
            facts = facts.unionByName(truncation_to_remember(facts, truncated_at))
        if table is None:
            self.make(rows_to_write(outcome, columns, self.given.frame.schema, None).drop(ACTION))
        memory.begin(facts)
        if counts.remembered or truncated_at is not None:
            memory.add(facts, load, is_pending=has_rows)
        if not has_rows:
            return
        rows = rows_to_write(outcome, columns, self.given.frame.schema, stored.schema if stored is not None else None)
        if table is None:
            self.create(rows.drop(ACTION))
            return
        require_unchanged(table, self.place)
        merge = ChangeMerge(rows, self.place, columns, loaded.within_bounds("target"), truncated_at)
        merge.write(self.commit, merge_schema=self.merge_schema)
        if truncated_at is not None and not load.is_in(open_table(self.place)):
            # There was no row to delete, so that Delta has made no commit.
            memory.settle(spark, facts)

    @property
    def _memory(self) -> ChangeMemory:
        return ChangeMemory(self.place, self.given.columns)

    def _stored(self) -> DataFrame:
        # Not by its version, as Delta would list its files once more than those of the newest, which it merges with.
        reader = self.given.frame.sparkSession.read.format("delta").options(**self.place.spark_options())
        return reader.load(self.place.uri)


def _counts(outcome: DataFrame) -> Row:
    from pyspark.sql import functions as F

    return outcome.agg(
        F.count_if(F.col(ACTION).isNotNull()).alias("rows"), F.count_if(F.col(IS_NEW)).alias("remembered")
    ).collect()[0]
