"""What the information schema of MySQL and MariaDB says of the tables of a database."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline_platform.connectors.jdbc.catalog import CatalogColumn, CatalogTable, CheckConstraint, Kind
from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.discovery import DatabaseDiscovery
from pipeline_platform.connectors.jdbc.mysql.source import FromMySQL
from pipeline_platform.connectors.jdbc.source_columns import MOST_DIGITS
from pipeline_platform.steps.discovery import Care

_TABLES = """
SELECT table_name, table_type, table_rows, data_length FROM information_schema.tables WHERE table_schema = %s
"""
_COLUMNS = """
SELECT table_name, column_name, column_type, data_type, is_nullable = 'YES', lower(extra), numeric_precision,
  coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position
"""
# A part of a text, or an expression, is no column.
_INDEXES = """
SELECT table_name, index_name, non_unique = 0, CASE WHEN sub_part IS NULL THEN column_name END
FROM information_schema.statistics WHERE table_schema = %s
ORDER BY table_name, index_name <> 'PRIMARY', index_name, seq_in_index
"""
# MariaDB says of which table a CHECK is, and its names need not differ between tables; MySQL says whether it holds.
_CHECKS_OF_MARIADB = """
SELECT table_name, constraint_name, check_clause, 1 FROM information_schema.check_constraints
WHERE constraint_schema = %s ORDER BY table_name, constraint_name
"""
_CHECKS_OF_MYSQL = """
SELECT t.table_name, c.constraint_name, c.check_clause, t.enforced = 'YES'
FROM information_schema.check_constraints c
JOIN information_schema.table_constraints t
  ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name AND t.constraint_type = 'CHECK'
WHERE c.constraint_schema = %s ORDER BY t.table_name, c.constraint_name
"""
_KNOWN = """
SELECT lower(column_name) FROM information_schema.columns
WHERE lower(table_schema) = 'information_schema' AND upper(table_name) = 'CHECK_CONSTRAINTS'
"""
_KINDS = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
_KIND_OF_TYPE: dict[str, Kind] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), "integer"),
    "decimal": "decimal",
    **dict.fromkeys(("float", "double"), "float"),
    **dict.fromkeys(("varchar", "text", "tinytext", "mediumtext", "longtext"), "text"),
    "date": "date",
    "timestamp": "timestamp",
    "datetime": "local_timestamp",
}
_BOOLEAN = re.compile(r"tinyint\(1\)|bit\(1\)")
_AS_JSON = "read as text: take it apart with from_json or parse_json"
_DATED = ("date", "datetime", "timestamp", "time", "year")
_CARE = {
    "year": "read as the first of January of the year; 0000 fails the run, unless invalidDates is null",
    "time": "read as a timestamp of the day 1970-01-01 in UTC; a time below 0 or beyond a day fails the run, unless "
    "invalidDates is null, or it is read as text with query: CAST(... AS char)",
    "json": _AS_JSON,
    "bit": "read as binary",
    "set": "read as text, with a comma between the members",
    **dict.fromkeys(("tinyblob", "blob", "mediumblob", "longblob", "binary", "varbinary"), "read as binary"),
    **dict.fromkeys(
        ("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
        "read as binary, as MySQL stores it: the number of its reference system, then WKB",
    ),
}
_UNSIGNED = "read as decimal(20,0), as a bigint of Spark's can't hold the largest"
_TINY = "read as a boolean: any number other than 0 is true; with tinyInt1isBit false in 'properties' it is a number"
_ZERO = (
    "a zero date is its default, and fails the run; set invalidDates to null to have NULL in its place, which is why "
    "validateNulls leaves it out"
)
_IS_JSON = re.compile(r"json_valid\(`((?:[^`]|``)+)`\)")
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class MySQLDiscovery(DatabaseDiscovery):
    """The tables of one database of MySQL or MariaDB."""

    method = FromMySQL
    dialect = "mysql"

    def home_schema(self, database: Database) -> str:
        return database.credentials.database

    def table_name(self, database: Database, table: CatalogTable) -> str:
        return table.name if _SIMPLE.fullmatch(table.name) else database.quoted(table.name)

    def tables(self, session: DatabaseConnection, database: Database) -> Iterable[CatalogTable]:
        schema = database.credentials.database
        checks: dict[str, list[CheckConstraint]] = defaultdict(list)
        for table, name, condition, holds in _checks(session, schema):
            checks[table].append(CheckConstraint(name, condition, bool(holds)))
        # MariaDB has JSON as text with such a CHECK.
        json = {(of, found[1]) for of, ones in checks.items() for one in ones if (found := _json(one.condition))}
        columns: dict[str, list[CatalogColumn]] = defaultdict(list)
        invisible: dict[str, list[Care]] = defaultdict(list)
        for table, name, type_, plain, nullable, extra, digits, default in session.rows(_COLUMNS, schema):
            if "invisible" in extra:
                invisible[table].append(Care(name, "invisible", "not read: SELECT * leaves it out; use 'query' for it"))
                continue
            type_, plain = ("json", "json") if (table, name) in json else (type_, plain)
            columns[table].append(_column(database, name, type_, plain, bool(nullable), extra, digits, default))
        indexes: dict[tuple[str, str], list[str | None]] = defaultdict(list)
        unique: set[tuple[str, str]] = set()
        for table, index, is_unique, name in session.rows(_INDEXES, schema):
            indexes[table, index].append(name)
            unique |= {(table, index)} if is_unique else set()
        for name, kind, rows, size in session.rows(_TABLES, schema):
            if kind not in _KINDS:
                continue
            of_table = {index: names for (table, index), names in indexes.items() if table == name}
            candidates = [names for index, names in of_table.items() if (name, index) in unique]
            yield CatalogTable(
                schema,
                name,
                _KINDS[kind],
                columns[name],
                _key(columns[name], candidates),
                frozenset(names[0] for names in of_table.values() if names[0] is not None),
                [check for check in checks[name] if not _json(check.condition)],
                rows,
                size,
                care=invisible[name],
            )


def _checks(session: DatabaseConnection, schema: str) -> Iterator[Sequence[Any]]:
    known = {row[0] for row in session.rows(_KNOWN)}
    # Before 8.0.16 MySQL has none.
    if known:
        yield from session.rows(_CHECKS_OF_MARIADB if "table_name" in known else _CHECKS_OF_MYSQL, schema)


def _json(condition: str) -> re.Match[str] | None:
    return _IS_JSON.fullmatch(condition)


def _column(
    database: Database, name: str, type_: str, plain: str, nullable: bool, extra: str, digits: int | None, default: str
) -> CatalogColumn:
    kind: Kind = "boolean" if _BOOLEAN.match(type_) else _KIND_OF_TYPE.get(plain, "other")
    care, read_as = None if kind == "boolean" else _CARE.get(plain), None
    if type_.startswith("tinyint(1)"):
        care = _TINY
    elif plain == "bigint" and "unsigned" in type_:
        care = _UNSIGNED
    elif "0000-00-00" in default:
        care = _ZERO
    elif plain == "decimal" and digits is not None and digits > MOST_DIGITS:
        read_as = f"CAST({database.quoted(name)} AS CHAR)"
        care = f"read as text, as a frame can't hold more than {MOST_DIGITS} digits"
    unheld = "no" if plain not in _DATED else "yes" if "0000-00-00" in default else "maybe"
    sets_time = "on update current_timestamp" in extra
    return CatalogColumn(name, type_, kind, nullable, "auto_increment" in extra, sets_time, care, read_as, unheld)


def _key(columns: Sequence[CatalogColumn], candidates: Iterable[Sequence[str | None]]) -> tuple[str, ...]:
    never_null = {column.name for column in columns if not column.nullable}
    for names in candidates:
        whole = [name for name in names if name is not None]
        if len(whole) == len(names) and never_null.issuperset(whole):
            return tuple(whole)
    return ()
