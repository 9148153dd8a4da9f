"""What writing to a table of a database takes of the system, whichever it is."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_platform.connectors.jdbc.cursor import DatabaseCursor
from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.ledger import LEDGER, ledger_key
from pipeline_platform.connectors.jdbc.merge_keys import MergeKeys
from pipeline_platform.connectors.jdbc.sink_options import WritesDatabase
from pipeline_platform.connectors.jdbc.staging import FillsStaging
from pipeline_platform.connectors.jdbc.table_drift import TableChanges, room_of, with_room
from pipeline_platform.connectors.jdbc.target_table import Pair, TableName, TargetColumn
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import find_column, own_column
from pipeline_platform.steps.load import LoadResult, LoadRun

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.steps.cursor import CursorMove

_MOST_CHARACTERS = 400


@dataclass(frozen=True)
class TableWrite(ABC):
    """One load of a table.

    Args:
        config: The step.
        frame: What is written.
        run: The load it belongs to.
        database: Where the table is.
        attempt: Differs for every attempt, those of one run included.
        changes: What the table gets, so that it takes the frame; that fits it then.
        wanted: The columns that it gets, with their types.
    """

    config: WritesDatabase
    frame: DataFrame
    run: LoadRun
    database: Database
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    changes: TableChanges = field(default_factory=TableChanges)
    wanted: tuple[TargetColumn, ...] = ()

    def place(self, session: DatabaseConnection) -> TableName:
        """Where the table is or will be.

        Raises:
            PipelineExecutionException: There is no such schema.
        """
        return self.database.table_place(session, self.config.table_parts(self.config.table))

    @abstractmethod
    def columns(self, session: DatabaseConnection, place: TableName) -> list[TargetColumn] | None:
        """A table's columns; None if there is no table.

        Raises:
            PipelineExecutionException: There is something that can't be written to.
        """

    @abstractmethod
    def require_rights(self, session: DatabaseConnection, place: TableName, columns: Sequence[str]) -> None:
        """Raise if the user may not write these columns of the table.

        Raises:
            PipelineExecutionException: A right is missing.
        """

    @abstractmethod
    def require_alterable(self, session: DatabaseConnection, place: TableName) -> None:
        """Raise if its columns can't be changed, or the user may not, where the system tells without doing it.

        Raises:
            PipelineException: The right is missing, or there is a view.
        """

    @abstractmethod
    def require_mergeable(self, session: DatabaseConnection, place: TableName, columns: Sequence[str]) -> None:
        """Raise unless the table has a unique key over the merge keys.

        Raises:
            PipelineExecutionException: It has none, or is none.
        """

    def keys(self, place: TableName, columns: Sequence[str]) -> MergeKeys:
        """The merge keys, as the table spells them.

        Args:
            place: The table.
            columns: Its columns that the frame has.
        """
        return MergeKeys(self.database, place, [own_column(columns, key) for key in self.config.merge_keys])

    @abstractmethod
    def make_ledger(self, session: DatabaseConnection, place: TableName) -> None:
        """Make the ledger of the table's schema unless it is there."""

    def is_begun(self, session: DatabaseConnection, place: TableName) -> bool:
        """Whether the ledger knows the load."""
        if not self.database.tables_named(session, place.schema, LEDGER):
            return False
        ledger = self.sql(place.beside(LEDGER))
        return bool(session.rows(f"SELECT 1 FROM {ledger} WHERE load_id = %s", self.load_key))

    @abstractmethod
    def finished(self, session: DatabaseConnection, place: TableName) -> LoadResult | None:
        """What an earlier attempt wrote, its publication brought to an end; None if the load is still to be done."""

    @abstractmethod
    def make_staging(self, session: DatabaseConnection, staging: TableName, pairs: Sequence[Pair]) -> None:
        """Make an empty table of the columns that the frame has, in the types of the target."""

    @abstractmethod
    def make_partitions(self, session: DatabaseConnection, partitions: TableName) -> None:
        """Make the empty table of the partitions that are staged."""

    @abstractmethod
    def lines(self, pairs: Sequence[Pair]) -> DataFrame:
        """The rows as lines of text."""

    @abstractmethod
    def fills(self, staging: TableName, partitions: TableName, pairs: Sequence[Pair]) -> FillsStaging:
        """What Spark's tasks do with the lines."""

    @abstractmethod
    def publish(
        self, session: DatabaseConnection, place: TableName, staging: TableName, columns: Sequence[str], rows: int
    ) -> LoadResult:
        """Make the staged rows the table's, and note the load in the ledger, both or neither.

        Args:
            session: A session.
            place: The table.
            staging: Its staging table.
            columns: The columns of both.
            rows: How many rows Spark's tasks say they staged.

        Raises:
            PipelineExecutionException: That many are not there; the table is as it was.
        """

    def alter(self, session: DatabaseConnection, place: TableName, staging: TableName) -> None:
        """Give a table the columns that it lacks, and those that are too narrow for the staged rows a wider type.

        It is one statement, so that all of it is done or nothing, and a table that is written anew is so once.

        Raises:
            PipelineExecutionException: Another load has changed a column meanwhile, or something of the table's, such
                as a view, keeps one from being changed.
        """
        if not self.wanted and not self.changes.limited:
            return
        if not self._changes_of(session, place, staging):
            return
        # Two loads at once would both find that a column is missing.
        self.hold_table(session, place)
        parts = self._changes_of(session, place, staging)
        if not parts:
            return
        statement = f"ALTER TABLE {self.sql(place)} {', '.join(parts)}"
        try:
            self.change(session, statement)
        except Exception as error:
            found = self.database.failure_of(error)
            if found is None or found[0] not in ("value", "other"):
                raise
            raise PipelineExecutionException(
                f"{self._about}: its columns can't be changed as 'schemaPolicy' says: {' '.join(found[1].split())}",
                hint="change the table yourself, or what is in the way, such as a view of the column or an index of "
                f"it; the load would run {statement[:_MOST_CHARACTERS]}",
            ) from error

    def change(self, session: DatabaseConnection, statement: str) -> None:
        """Run the statement that changes the columns of a table; it waits for those who use it, but not for long."""
        session.execute(statement)

    @abstractmethod
    def hold_table(self, session: DatabaseConnection, place: TableName) -> None:
        """Keep other loads from changing the table, until the transaction or the session ends."""

    def _changes_of(self, session: DatabaseConnection, place: TableName, staging: TableName) -> list[str]:
        columns = self.columns(session, place) or ()
        return [*self._wanted_of(session, place, columns), *self._room_of(session, place, staging, columns)]

    def _wanted_of(
        self, session: DatabaseConnection, place: TableName, columns: Sequence[TargetColumn]
    ) -> Iterator[str]:
        there = {column.name: column for column in columns}
        widened = self.changes.widened or {}
        for column in self.wanted:
            known = there.get(find_column(list(there), column.name) or "")
            if known is None and column.name not in widened:
                yield f"ADD COLUMN {self.database.quoted(column.name)} {column.type} NULL"
            elif known is not None and known.type == widened.get(known.name):
                yield self.retyped(session, place, known, column.type)
            elif known is None or known.type != column.type:
                # A value of another type would be brought to that of the column, and perhaps be rounded.
                fate = "is gone" if known is None else f"has become {known.type}"
                said = f"the column '{column.name}' {fate} since this load was planned, which needs it as {column.type}"
                raise self.database.failure("clash", said, f"table {self.config.table}")

    def _room_of(
        self, session: DatabaseConnection, place: TableName, staging: TableName, columns: Sequence[TargetColumn]
    ) -> Iterator[str]:
        # Another load may have given one more room since.
        limited = {column: room_of(column) for column in columns if column.name in self.changes.limited}
        rooms = {column: room for column, room in limited.items() if room is not None}
        if rooms:
            lengths = ", ".join(f"max(char_length({self.database.quoted(column.name)}))" for column in rooms)
            [longest] = session.rows(f"SELECT {lengths} FROM {self.sql(staging)}")
            for (column, room), length in zip(rooms.items(), longest, strict=True):
                if length is not None and length > room:
                    yield self.retyped(session, place, column, with_room(column, length))

    @abstractmethod
    def retyped(self, session: DatabaseConnection, place: TableName, column: TargetColumn, wider: str) -> str:
        """The part of an ALTER TABLE that gives a column another type, and leaves all else of it as it is."""

    def move_cursor(self, session: DatabaseConnection, place: TableName) -> None:
        """Note where the load gets to in a source of which only what is new was read; within the transaction."""
        if self.run.cursor is not None:
            self._cursor(self.run.cursor).move(session, place, self.run.cursor)

    def _cursor(self, move: CursorMove) -> DatabaseCursor:
        return DatabaseCursor(self.database, self.config.table_parts(self.config.table), move.name)

    @property
    def load_key(self) -> str:
        """The load id, as the ledger has it."""
        return ledger_key(self.run.key)

    @property
    def _about(self) -> str:
        return f"{self.database.address}, table {self.config.table}"

    def sql(self, place: TableName) -> str:
        """A table as the system's SQL."""
        return self.database.quoted_path([place.schema, place.name])

    def names(self, columns: Sequence[str]) -> str:
        """Columns as the system's SQL."""
        return ", ".join(map(self.database.quoted, columns))
