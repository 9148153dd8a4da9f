"""What PostgreSQL's catalog says of its tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline_platform.connectors.jdbc.catalog import CatalogColumn, CatalogTable, CheckConstraint, Kind
from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.discovery import DatabaseDiscovery
from pipeline_platform.connectors.jdbc.postgres.source import FromPostgres
from pipeline_platform.connectors.jdbc.source_columns import MOST_DIGITS
from pipeline_platform.steps.discovery import Care

_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind,
  CASE WHEN c.relkind IN ('r', 'm') THEN coalesce(nullif(c.reltuples, -1), pg_stat_get_live_tuples(c.oid))
    ELSE parts.tuples END::bigint,
  CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE parts.size END::bigint,
  has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid),
  c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = c.oid)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT sum(coalesce(nullif(leaf.reltuples, -1), pg_stat_get_live_tuples(leaf.oid))) AS tuples,
    sum(pg_table_size(leaf.oid)) AS size
  FROM pg_partition_tree(c.oid) part JOIN pg_class leaf ON leaf.oid = part.relid
  WHERE part.isleaf AND c.relkind = 'p'
) parts ON true
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE')
  AND NOT EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
"""
_COLUMNS = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod),
  CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
    ELSE format_type(a.atttypid, a.atttypmod) END,
  NOT (a.attnotnull OR t.typnotnull),
  EXISTS (
    SELECT 1 FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
      AND s.seqincrement > 0 AND NOT s.seqcycle
  ),
  coalesce(l.collisdeterministic, true),
  EXISTS (
    SELECT 1 FROM pg_stats s
    WHERE t.oid IN (1082, 1114, 1184) AND s.schemaname = n.nspname AND s.tablename = c.relname
      AND s.attname = a.attname
      AND (s.histogram_bounds::text LIKE '%infinity%' OR s.most_common_vals::text LIKE '%infinity%')
  )
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
ORDER BY a.attrelid, a.attnum
"""
_INDEXES = """
SELECT i.indrelid, i.indisprimary, i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL,
  ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = part.attnum
    WHERE part.place <= i.indnkeyatts ORDER BY part.place
  )
FROM pg_index i
WHERE i.indisvalid
ORDER BY i.indrelid, NOT i.indisprimary, i.indnkeyatts, i.indexrelid
"""
_CHECKS = """
SELECT conrelid, conname, pg_get_expr(conbin, conrelid), convalidated AND NOT connoinherit
FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 ORDER BY conrelid, conname
"""
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
_KIND_OF_TYPE: dict[str, Kind] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), "integer"),
    "numeric": "decimal",
    **dict.fromkeys(("real", "double precision"), "float"),
    **dict.fromkeys(("text", "character varying"), "text"),
    "boolean": "boolean",
    "date": "date",
    "timestamp with time zone": "timestamp",
    "timestamp without time zone": "local_timestamp",
}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_AS_TEXT = "read as text"
_CARE = {
    "numeric": "numeric without precision, read as decimal(38,18): a value that this can't hold fails the run",
    "money": "read as text, with the currency sign and the separators of the server",
    "json": f"{_AS_TEXT}: take it apart with from_json or parse_json",
    "jsonb": f"{_AS_TEXT}: take it apart with from_json or parse_json",
    "bytea": "read as binary",
    "interval": f"{_AS_TEXT}, such as '1 day'",
    "oid": "read as decimal(20,0)",
    **dict.fromkeys(
        ("time without time zone", "time with time zone"),
        "read as a timestamp of the day 1970-01-01 in UTC; 24:00, or a time with an offset that is on another day in "
        "UTC, fails the run, unless invalidDates is null, or it is read as text with query: CAST(... AS text)",
    ),
}
_PLAIN_TYPES = frozenset({*_KIND_OF_TYPE, "character", "uuid", "bit", "bit varying", "name", '"char"', "xml"})
_INFINITE = (
    "it holds infinity, which fails the run; set invalidDates to null to have NULL in its place, which is why "
    "validateNulls leaves it out"
)
_DATED = re.compile(r"date|time(stamp)? with(out)? time zone")
_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*")


class PostgresDiscovery(DatabaseDiscovery):
    """The tables of a PostgreSQL database, in all schemas that the user may look into."""

    method = FromPostgres
    dialect = "postgres"

    def home_schema(self, database: Database) -> str:
        return "public"

    def table_name(self, database: Database, table: CatalogTable) -> str:
        parts = (table.schema, table.name)
        return ".".join(part if _SIMPLE.fullmatch(part) else database.quoted(part) for part in parts)

    def tables(self, session: DatabaseConnection, database: Database) -> Iterable[CatalogTable]:
        columns: dict[int, list[CatalogColumn]] = defaultdict(list)
        for oid, *column in session.rows(_COLUMNS):
            columns[oid].append(_column(database, *column))
        indexes: dict[int, list[Sequence[Any]]] = defaultdict(list)
        for oid, *index in session.rows(_INDEXES):
            indexes[oid].append(index)
        checks: dict[int, list[CheckConstraint]] = defaultdict(list)
        for oid, name, condition, holds in session.rows(_CHECKS):
            checks[oid].append(CheckConstraint(name, condition, holds))
        for oid, schema, name, kind, rows, size, readable, has_policies, has_children in session.rows(_TABLES):
            yield CatalogTable(
                schema,
                name,
                _KINDS[kind],
                columns[oid],
                _key(columns[oid], indexes[oid]),
                frozenset(names[0] for _, _, names in indexes[oid] if names and names[0] is not None),
                checks[oid],
                rows,
                size,
                readable,
                _of_table(has_policies, has_children),
            )


def _column(
    database: Database,
    name: str,
    type_: str,
    base: str,
    nullable: bool,
    grows: bool,
    is_deterministic: bool,
    is_infinite: bool,
) -> CatalogColumn:
    plain = re.sub(r"\(.*?\)", "", base)
    care, read_as = _care(base, plain), None
    digits = _NUMERIC.fullmatch(base)
    if digits is not None and int(digits[1]) - min(int(digits[2]), 0) > MOST_DIGITS:
        read_as = f"CAST({database.quoted(name)} AS text)"
        care = f"read as text, as a frame can't hold more than {MOST_DIGITS} digits"
    elif digits is not None and int(digits[2]) < 0:
        read_as = f"CAST({database.quoted(name)} AS numeric({int(digits[1]) - int(digits[2])},0))"
        care = "read as whole numbers"
    if is_infinite:
        care = _INFINITE
    # Otherwise texts that differ are equal.
    kind = _KIND_OF_TYPE.get(plain, "other") if is_deterministic else "other"
    unheld = "yes" if is_infinite else "maybe" if _DATED.fullmatch(plain) else "no"
    return CatalogColumn(name, type_, kind, nullable, grows, False, care, read_as, unheld)


def _care(base: str, plain: str) -> str | None:
    if base in _CARE:
        return _CARE[base]
    if plain in _CARE and plain != "numeric":
        return _CARE[plain]
    if base.endswith("[]"):
        return "read as an array; CSV files and other databases can't hold one"
    return None if plain in _PLAIN_TYPES else f"{_AS_TEXT}, as PostgreSQL writes it"


def _key(columns: Sequence[CatalogColumn], indexes: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    never_null = {column.name for column in columns if not column.nullable}
    for is_primary, is_unique, names in indexes:
        if names and (is_primary or (is_unique and never_null.issuperset(names))):
            return tuple(names)
    return ()


def _of_table(has_policies: bool, has_children: bool) -> list[Care]:
    found: list[Care] = []
    if has_policies:
        found.append(Care("", "row security", "only the rows that the policies show to this user are copied"))
    if has_children:
        found.append(Care("", "has child tables", "the rows of tables that inherit from it are copied with it"))
    return found
