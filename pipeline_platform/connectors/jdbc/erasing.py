"""Erases rows of a table of a database, in one transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.steps.erasing import Erased, Found, Order, Wanted

_STAGING = "pipeline_platform_staging_"
_INTEGERS = frozenset({"smallint", "integer", "bigint", "tinyint", "mediumint", "int"})
_TEXTS = frozenset({"text", "character varying", "character", "varchar", "char", "tinytext", "mediumtext", "longtext"})


@dataclass(frozen=True)
class DatabaseErasure:
    """A table of a database.

    Args:
        database: The database.
        parts: The table's name.
    """

    database: Database
    parts: Sequence[str]

    @property
    def breaks_streams(self) -> bool:
        """As `Erasable.breaks_streams`."""
        return False

    def columns(self) -> Sequence[str] | None:
        """As `Erasable.columns`."""
        with self.database.session() as session:
            return list(self._types(session, self._place(session))) or None

    def found(self, wanted: Wanted, mark: str) -> Found:
        """As `Erasable.found`."""
        with self.database.session() as session:
            place = self._place(session)
            condition, values = self._condition(wanted, self._types(session, place))
            rows = 0
            if condition is not None:
                [[rows]] = session.rows(f"SELECT count(*) FROM {self._sql(place)} WHERE {condition}", *values)
            staging = self.database.tables_named(session, place.schema, _STAGING)
            notes = ["backups, replicas and the write-ahead log are the server's own"]
            if staging:
                notes.append(f"staging tables of loads that run or were killed: {', '.join(sorted(staging))}")
            return Found(rows=int(rows), notes=tuple(notes))

    def erase(self, wanted: Wanted, order: Order) -> Erased:
        """As `Erasable.erase`."""
        with self.database.session() as session:
            place = self._place(session)
            condition, values = self._condition(wanted, self._types(session, place))
            if condition is None:
                return Erased()
            with session.transaction():
                rows = session.execute(f"DELETE FROM {self._sql(place)} WHERE {condition}", *values)
            return Erased(rows=rows)

    def _place(self, session: DatabaseConnection) -> TableName:
        return self.database.table_place(session, list(self.parts))

    def _sql(self, place: TableName) -> str:
        return self.database.quoted_path([place.schema, place.name])

    def _types(self, session: DatabaseConnection, place: TableName) -> Mapping[str, str]:
        found = session.rows(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            place.schema,
            place.name,
        )
        return {str(name): str(kind).lower() for name, kind in found}

    def _condition(self, wanted: Wanted, types: Mapping[str, str]) -> tuple[str | None, list[object]]:
        """SQL for the rows, with its parameters; None if no row can have any of the values.

        Equal is what has the same characters, whatever the column's collation, and a number what is the same number.
        """
        conditions: list[str] = []
        parameters: list[object] = []
        for name, texts in wanted.columns.items():
            if name not in types:
                continue
            column, kind = self.database.quoted(name), types[name]
            for text in sorted(texts):
                if kind in _INTEGERS:
                    if re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
                        conditions.append(f"{column} = %s")
                        parameters.append(int(text))
                elif kind == "uuid":
                    if (uuid := _uuid(text)) is not None:
                        conditions.append(f"{column} = %s")
                        parameters.append(uuid)
                elif kind in _TEXTS:
                    # The first lets an index find it.
                    conditions.append(f"({column} = %s AND {self.database.exact_text(column)} = %s)")
                    parameters += [text, text]
                else:
                    conditions.append(f"{self.database.exact_text(column)} = %s")
                    parameters.append(text)
        return (" OR ".join(conditions) or None), parameters


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
