"""Erases rows of a table of a database, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pipeline_platform.connectors.files.erasing.key_values import day, float_of, moment, none_of_type, number
from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.steps.erasing import Erased, Found, Order, Wanted

_UNSEARCHED = frozenset(
    {"boolean", "array", "json", "jsonb", "xml", "bit", "bit varying", "bytea", "binary", "varbinary", "blob"}
    | {"tinyblob", "mediumblob", "longblob"}
)
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
            types = self._types(session, place)
            condition, values = self._condition(wanted, types)
            rows = 0
            if condition is not None:
                [[rows]] = session.rows(f"SELECT count(*) FROM {self._sql(place)} WHERE {condition}", *values)
            staging = self.database.tables_named(session, place.schema, _STAGING)
            notes = ["backups, replicas and the write-ahead log are the server's own"]
            if staging:
                notes.append(f"staging tables of loads that run or were killed: {', '.join(sorted(staging))}")
            return Found(rows=int(rows), notes=tuple(notes), unsearched=_unsearched(wanted, types))

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
            if name not in types or types[name] in _UNSEARCHED:
                continue
            column, kind = self.database.quoted(name), types[name]
            for text in sorted(texts):
                if kind in _TEXTS:
                    # The first lets an index find it.
                    conditions.append(f"({column} = %s AND {self.database.exact_text(column)} = %s)")
                    parameters += [text, text]
                elif not _is_typed(kind):
                    conditions.append(f"{self.database.exact_text(column)} = %s")
                    parameters.append(text)
                elif (value := _value(kind, text)) is not None:
                    conditions.append(f"{column} = %s")
                    parameters.append(value)
        return (" OR ".join(conditions) or None), parameters


def _unsearched(wanted: Wanted, types: Mapping[str, str]) -> tuple[str, ...]:
    """Why there may be rows that are not found."""
    told: list[str] = []
    for name, texts in wanted.columns.items():
        kind = types.get(name, "")
        if kind in _UNSEARCHED:
            told.append(f"rows can't be found by '{name}', whose type is {kind}")
        elif _is_typed(kind):
            count = sum(_value(kind, text) is None for text in texts)
            if (reason := none_of_type(name, kind, count, len(texts))) is not None:
                told.append(reason)
    return tuple(told)


def _is_typed(kind: str) -> bool:
    return kind in _INTEGERS or kind in _OTHERS


def _value(kind: str, text: str) -> object:
    """What a text is in a column; None if it can't be a value of its type."""
    if kind in _INTEGERS:
        found = number(text)
        is_one = found is not None and found == found.to_integral_value() and abs(found) < 2**64
        return int(found) if found is not None and is_one else None
    return _OTHERS[kind](text)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _float(text: str) -> float | None:
    return float_of(text, 32)


def _without_zone(text: str) -> datetime | None:
    found = moment(text)
    return found.replace(tzinfo=None) if found is not None else None


_OTHERS: Mapping[str, Callable[[str], object]] = {
    "uuid": _uuid,
    "numeric": number,
    "decimal": number,
    "double precision": float_of,
    "double": float_of,
    "real": _float,
    "float": _float,
    "date": day,
    "timestamp with time zone": moment,
    "timestamp without time zone": _without_zone,
    "timestamp": _without_zone,
    "datetime": _without_zone,
}
