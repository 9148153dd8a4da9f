"""Where loads have come in their sources, remembered by the schema of the table that they write.

`pipeline_platform_cursors` has a row for each cursor, which a load changes in the transaction that makes its rows the
table's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.ledger import ledger_key
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.cursor import CursorMove, StoredCursor, cursor_moved

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CURSORS = "pipeline_platform_cursors"


@dataclass(frozen=True)
class DatabaseCursor:
    """A cursor that the schema of a table remembers.

    Args:
        database: Where the table is.
        table: Its name, perhaps with what it is in before it.
        name: Of the cursor.
    """

    database: Database
    table: Sequence[str]
    name: str

    remembers_rows = False

    def stored(self) -> StoredCursor:
        """Where it is now.

        Raises:
            PipelineExecutionException: The table that it is of is gone.
        """
        with self.database.session(self._about) as session:
            place = self._place(session)
            stored = self._stored(session, place)
            if stored.version > 0 and stored.position is not None and not self._has_table(session, place):
                raise PipelineExecutionException(
                    f"the {self._about} in {self.database.address} is gone, of which the cursor '{self.name}' says "
                    f"that it is loaded up to {stored.position}",
                    hint="load it again from the beginning with: pipeline-platform cursor FILE --reset",
                )
        return stored

    def seen(self, spark: SparkSession) -> DataFrame:
        """Not remembered: rows that are looked at again are merged again."""
        raise NotImplementedError(CURSORS)

    def others(self) -> list[str]:
        """The names of all other cursors that the schema remembers for the table."""
        with self.database.session(self._about) as session:
            place = self._place(session)
            found = self._rows(session, place, "SELECT name FROM {} WHERE target = %s", str(place))
        return sorted(row[0] for row in found if row[0] != self.name)

    def put(self, position: str | None) -> None:
        """Have the next load begin at a value, itself included, or with None as if nothing had been loaded."""
        with self.database.session(self._about) as session:
            place = self._place(session)
            self.make(session, place)
            version = self._stored(session, place).version
            with session.transaction():
                self._write(session, place, StoredCursor(version, position, is_start=position is not None))

    def make(self, session: DatabaseConnection, place: TableName) -> None:
        """Make the table of cursors unless it is there.

        Args:
            session: A session.
            place: The table that is written.
        """
        if not self.database.tables_named(session, place.schema, CURSORS):
            session.execute(
                f"CREATE TABLE IF NOT EXISTS {self._sql(place)} (id varchar(190) PRIMARY KEY, name text NOT NULL, "
                f"target text NOT NULL, state {self.database.long_text} NOT NULL) {self.database.table_options}"
            )

    def make_room(self, session: DatabaseConnection, place: TableName) -> None:
        """Have the table of cursors take those of many files, if it was made when there were none.

        Args:
            session: A session.
            place: The table that is written.
        """
        wanted = self.database.long_text
        found = session.rows(
            "SELECT data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s AND column_name = 'state'",
            place.schema,
            CURSORS,
        )
        if any(row[0].lower() != wanted for row in found):
            session.execute(f"ALTER TABLE {self._sql(place)} MODIFY state {wanted} NOT NULL")

    def move(self, session: DatabaseConnection, place: TableName, move: CursorMove) -> None:
        """Move it, in the transaction of the load.

        Args:
            session: The session, in a transaction.
            place: The table that is written.
            move: Where to.

        Raises:
            PipelineExecutionException: Another load has moved it in the meantime.
        """
        if self._stored(session, place, " FOR UPDATE") != move.before:
            raise cursor_moved(self.name)
        self._write(session, place, move.after)

    def _stored(self, session: DatabaseConnection, place: TableName, lock: str = "") -> StoredCursor:
        found = self._rows(session, place, f"SELECT state FROM {{}} WHERE id = %s{lock}", self._key(place))
        return StoredCursor(**json.loads(found[0][0])) if found else StoredCursor()

    def _write(self, session: DatabaseConnection, place: TableName, stored: StoredCursor) -> None:
        key, state = self._key(place), json.dumps(asdict(stored))
        if not session.execute(f"UPDATE {self._sql(place)} SET state = %s WHERE id = %s", state, key):
            values = (key, self.name, str(place), state)
            session.execute(
                f"INSERT INTO {self._sql(place)} (id, name, target, state) VALUES (%s, %s, %s, %s)", *values
            )

    def _rows(self, session: DatabaseConnection, place: TableName, query: str, *values: str) -> Sequence[Sequence[str]]:
        """The rows of a query of the table of cursors; none if there is no such table."""
        if not self.database.tables_named(session, place.schema, CURSORS):
            return ()
        return session.rows(query.format(self._sql(place)), *values)

    def _has_table(self, session: DatabaseConnection, place: TableName) -> bool:
        try:
            session.rows(f"SELECT 1 FROM {self.database.quoted_path([place.schema, place.name])} WHERE 1 = 0")
        except Exception as error:
            found = self.database.failure_of(error)
            if found is None or found[0] != "table":
                raise
            return False
        return True

    def _place(self, session: DatabaseConnection) -> TableName:
        return self.database.table_place(session, self.table)

    def _key(self, place: TableName) -> str:
        return ledger_key(f"{place} {self.name}")

    def _sql(self, place: TableName) -> str:
        return self.database.quoted_path([place.schema, CURSORS])

    @property
    def _about(self) -> str:
        return f"table {'.'.join(self.table)}"
