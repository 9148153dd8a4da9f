"""`toPostgres`: a table of a PostgreSQL database, written all or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.connectors.jdbc import target_table as holds
from pipeline_platform.connectors.jdbc.config import PostgresOptions
from pipeline_platform.connectors.jdbc.database import DatabaseConnection, escaped
from pipeline_platform.connectors.jdbc.ledger import ALREADY_LOADED, LEDGER
from pipeline_platform.connectors.jdbc.merge_keys import MergeKeys
from pipeline_platform.connectors.jdbc.postgres.database import SESSION_SETTINGS
from pipeline_platform.connectors.jdbc.row_text import csv_lines
from pipeline_platform.connectors.jdbc.sink import DatabaseWrite
from pipeline_platform.connectors.jdbc.sink_options import WritesDatabase
from pipeline_platform.connectors.jdbc.staging import FillsStaging, Staging, copies_lines
from pipeline_platform.connectors.jdbc.target_table import Pair, TableName, TargetColumn, unalterable
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.load import LoadResult, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_HOLDS = {
    **dict.fromkeys(("int2", "int4", "int8"), holds.INTEGERS),
    **dict.fromkeys(("numeric", "float4", "float8"), holds.NUMBERS),
    **dict.fromkeys(("text", "varchar", "bpchar", "citext", "name"), holds.TEXTS),
    "bool": holds.BOOLEANS,
    "bytea": holds.BYTES,
    "date": holds.DATES,
    "timestamp": holds.TIMES,
    "timestamptz": holds.TIMES,
}
# Tables, partitioned ones, views and foreign tables.
_WRITABLE = ("r", "p", "v", "f")
_WITHOUT_INDEXES = {"v": "a view", "f": "a foreign table"}
# How long a change of columns waits for those who use the table.
_LOCK_SECONDS = 60
# Any number, as long as all that make or fill tables take the same.
_LOCKS = 0x70706C


class ToPostgres(WritesDatabase, PostgresOptions):
    """Writes to a table in a PostgreSQL database, all rows or none.

    The rows go by COPY into a staging table, and from there in one transaction into the table, which is created if it
    does not exist. With mode `overwrite` the table keeps its columns, indexes and grants, and its rows are replaced.
    With `"mode": "merge", "mergeKeys": "id"` rows with a known `id` are updated in the columns that the frame has, the
    keys excepted, and the others are added. A view or a foreign table, which has no index, can't be merged into.
    A value that a column of the table would round, such as a time with more digits of a second or a decimal with more
    digits after the point than it keeps, ends the load.
    """

    method: ClassVar[str] = "toPostgres"
    example = {"table": "public.orders", "mode": "overwrite", "credentialPath": "secret/data/postgres"}
    product: ClassVar[str] = "PostgreSQL"

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        return PostgresWrite(self, frame, run, self.entered(run.credentials)).checked()


@dataclass(frozen=True)
class PostgresWrite(DatabaseWrite):
    """One load of a table of PostgreSQL, where even making a table is part of the transaction."""

    def columns(self, session: DatabaseConnection, place: TableName) -> list[TargetColumn] | None:
        kinds = session.rows("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", self.sql(place))
        if not kinds:
            return None
        if _text(kinds[0][0]) not in _WRITABLE:
            raise PipelineExecutionException(
                f"{place} in {self.database.address} is neither a table nor a view that can be written to",
                hint="name another table",
            )
        found = session.rows(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(b.typname, t.typname), "
            "CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, "
            "t.typcategory, a.attnotnull, a.atthasdef OR a.attidentity <> '', "
            "a.attgenerated <> '' OR a.attidentity = 'a', "
            "CASE WHEN a.attcollation <> t.typcollation "
            "THEN ' COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname) ELSE '' END "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype "
            "LEFT JOIN pg_collation c ON c.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = c.collnamespace "
            "WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            self.sql(place),
        )
        return [
            TargetColumn(
                name=name,
                type=f"{type_}{collation}",
                holds=holds.ARRAYS if _text(category) == "A" else _HOLDS.get(base, holds.WRITTEN_AS_TEXT),
                nullable=not not_null,
                is_filled=filled,
                is_computed=computed,
                is_instant="with time zone" in (beneath or type_),
                beneath=beneath,
            )
            for name, type_, base, beneath, category, not_null, filled, computed, collation in found
        ]

    def require_rights(self, session: DatabaseConnection, place: TableName, columns: Sequence[str]) -> None:
        keys = self.keys(place, columns).columns
        changed = [column for column in columns if column not in keys] if self.config.mode == "merge" else []
        for right, needing in (("INSERT into", columns), ("UPDATE", changed), ("SELECT from", keys)):
            may = f"SELECT has_column_privilege(to_regclass(%s), %s, '{right.split()[0]}')"
            for column in needing:
                [[allowed]] = session.rows(may, self.sql(place), column)
                if not allowed:
                    self._deny(f"the user has no right to {right} {place}, column {column}")
        if self.config.mode in ("overwrite", "deleteInsert"):
            needed = "DELETE, TRUNCATE" if self.config.mode == "overwrite" else "DELETE"
            [[allowed]] = session.rows("SELECT has_table_privilege(to_regclass(%s), %s)", self.sql(place), needed)
            if not allowed:
                self._deny(f"the user has no right to DELETE from {place}")

    def require_alterable(self, session: DatabaseConnection, place: TableName) -> None:
        owned = "SELECT pg_has_role(relowner, 'USAGE'), relkind FROM pg_class WHERE oid = to_regclass(%s)"
        [[allowed, kind]] = session.rows(owned, self.sql(place))
        if _text(kind) in _WITHOUT_INDEXES:
            raise unalterable(place, _WITHOUT_INDEXES[_text(kind)])
        if not allowed:
            self._deny(f"the user does not own {place}, and so can't change its columns as 'schemaPolicy' says")

    def require_mergeable(self, session: DatabaseConnection, place: TableName, columns: Sequence[str]) -> None:
        keys = self.keys(place, columns)
        [[kind]] = session.rows("SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", self.sql(place))
        if _text(kind) in _WITHOUT_INDEXES:
            raise keys.refuse(_WITHOUT_INDEXES[_text(kind)])
        # What ON CONFLICT can't infer is none: partial ones, those of expressions, deferrable and broken ones. Nor is
        # one whose collation is not its column's, by which the rows of a load are compared.
        found = session.rows(
            "SELECT i.indexrelid::regclass::text, array_agg(a.attname::text ORDER BY k.place) "
            "FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indcollation::oid[]) "
            "WITH ORDINALITY k(number, collated, place) "
            "LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indimmediate AND i.indisvalid "
            "AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts "
            "GROUP BY i.indexrelid HAVING bool_and(k.collated = a.attcollation) ORDER BY 1",
            self.sql(place),
        )
        keys.require_unique_in_table({str(name): columns for name, columns in found})
        nulls = ", ".join("NULL" for _ in columns)
        # Where it can't be planned, as with rules of the table's, it is not to fail after all rows were staged.
        session.rows(f"EXPLAIN {self._upsert(keys, columns, f'SELECT {nulls} WHERE false')}")

    def _deny(self, said: str) -> None:
        raise self.database.failure("permission", said, f"table {self.config.table}")

    def make_ledger(self, session: DatabaseConnection, place: TableName) -> None:
        if self.database.tables_named(session, place.schema, LEDGER):
            return
        ledger = place.beside(LEDGER)
        with session.transaction():
            self._lock(session, ledger)
            session.execute(
                f"CREATE TABLE IF NOT EXISTS {self.sql(ledger)} (load_id text PRIMARY KEY, target text NOT NULL, "
                "row_count bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now())"
            )

    def finished(self, session: DatabaseConnection, place: TableName) -> LoadResult | None:
        return LoadResult(skipped=ALREADY_LOADED) if self.is_begun(session, place) else None

    def make_staging(self, session: DatabaseConnection, staging: TableName, pairs: Sequence[Pair]) -> None:
        columns = ", ".join(f"{self.database.quoted(pair.column.name)} {pair.column.type}" for pair in pairs)
        session.execute(f"CREATE UNLOGGED TABLE {self.sql(staging)} ({columns})")

    def make_partitions(self, session: DatabaseConnection, partitions: TableName) -> None:
        columns = "number integer PRIMARY KEY, row_count bigint NOT NULL"
        session.execute(f"CREATE UNLOGGED TABLE {self.sql(partitions)} ({columns})")

    def lines(self, pairs: Sequence[Pair]) -> DataFrame:
        return csv_lines(self.frame, pairs)

    def fills(self, staging: TableName, partitions: TableName, pairs: Sequence[Pair]) -> FillsStaging:
        names = self.names([pair.column.name for pair in pairs])
        statements = Staging(
            into=f"COPY {self.sql(staging)} ({names}) FROM STDIN (FORMAT csv)",
            done=escaped(f"INSERT INTO {self.sql(partitions)} VALUES (%s, %s) ON CONFLICT DO NOTHING"),
            noted=escaped(f"SELECT row_count FROM {self.sql(partitions)} WHERE number = %s"),
        )
        return copies_lines(self.database.entry(), SESSION_SETTINGS, statements, self.database.silence_seconds)

    def retyped(self, session: DatabaseConnection, place: TableName, column: TargetColumn, wider: str) -> str:
        return f"ALTER COLUMN {self.database.quoted(column.name)} TYPE {wider}"

    def change(self, session: DatabaseConnection, statement: str) -> None:
        # While it waits for a query that takes long, every other one waits behind it.
        session.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        super().change(session, statement)
        session.execute("SET LOCAL lock_timeout = DEFAULT")

    def hold_table(self, session: DatabaseConnection, place: TableName) -> None:
        """Nothing more: it is held for the whole of the transaction."""

    def publish(
        self, session: DatabaseConnection, place: TableName, staging: TableName, columns: Sequence[str], rows: int
    ) -> LoadResult:
        ledger, target = self.sql(place.beside(LEDGER)), self.sql(place)
        with session.transaction():
            noted = session.execute(
                f"INSERT INTO {ledger} (load_id, target, row_count) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                self.load_key,
                str(place),
                rows,
            )
            if noted == 0:
                return LoadResult(skipped=ALREADY_LOADED)
            self.require_staged(session, staging, rows)
            self.move_cursor(session, place)
            self._lock(session, place)
            keys = self.keys(place, columns)
            keys.require_staged(session, staging, rows, unique=self.config.mode == "merge")
            if not session.rows("SELECT 1 WHERE to_regclass(%s) IS NOT NULL", target):
                session.execute(f"ALTER TABLE {self.sql(staging)} SET LOGGED")
                session.execute(f"ALTER TABLE {self.sql(staging)} RENAME TO {self.database.quoted(place.name)}")
                if self.config.mode == "merge":
                    session.execute(f"ALTER TABLE {target} ADD PRIMARY KEY ({keys.names()})")
                return LoadResult(rows=rows)
            self.alter(session, place, staging)
            if self.config.mode == "merge":
                return self._merge(session, staging, keys, columns, rows)
            removed = self._remove(session, staging, keys)
            names = self.names(columns)
            taken = session.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM {self.sql(staging)}")
            self.require_taken(session, staging, taken, rows)
            return LoadResult(rows=taken, detail=removed)

    def _merge(
        self, session: DatabaseConnection, staging: TableName, keys: MergeKeys, columns: Sequence[str], rows: int
    ) -> LoadResult:
        # Another load may have made the table since it was looked at.
        self.require_mergeable(session, keys.place, columns)
        taken = session.execute(self._upsert(keys, columns, f"SELECT {self.names(columns)} FROM {self.sql(staging)}"))
        has_others = len(columns) > len(keys.columns)
        # A trigger of the table's may have left out some; rows that consist of keys alone change none that is there.
        return LoadResult(rows=taken if has_others else rows)

    def _upsert(self, keys: MergeKeys, columns: Sequence[str], source: str) -> str:
        """The statement that merges the rows of a query."""
        others = [self.database.quoted(column) for column in columns if column not in keys.columns]
        update = ", ".join(f"{name} = EXCLUDED.{name}" for name in others)
        return (
            f"INSERT INTO {self.sql(keys.place)} ({self.names(columns)}) {source} "
            f"ON CONFLICT ({keys.names()}) DO {f'UPDATE SET {update}' if update else 'NOTHING'}"
        )

    def _remove(self, session: DatabaseConnection, staging: TableName, keys: MergeKeys) -> dict[str, int]:
        """Remove the rows that are replaced."""
        if self.config.mode == "overwrite":
            self._empty(session, keys.place)
        if self.config.mode != "deleteInsert":
            return {}
        deleted = session.execute(
            f"DELETE FROM {self.sql(keys.place)} AS t "
            f"WHERE EXISTS (SELECT FROM {self.sql(staging)} AS s WHERE {keys.same('s', 't')})"
        )
        return {"deleted": deleted}

    def _empty(self, session: DatabaseConnection, place: TableName) -> None:
        """Remove the rows that are replaced: all at once, if the table, the rights and foreign keys allow it."""
        if self.run.rows is not None:
            self.remove_replaced(session, place)
            return
        may_truncate = session.rows(
            "SELECT c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'TRUNCATE') "
            "AND NOT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = c.oid) "
            "FROM pg_class c WHERE c.oid = to_regclass(%s)",
            self.sql(place),
        )[0][0]
        session.execute(f"TRUNCATE {self.sql(place)}" if may_truncate else f"DELETE FROM {self.sql(place)}")

    def _lock(self, session: DatabaseConnection, place: TableName) -> None:
        """Until the transaction ends, keep other loads from making the same table."""
        session.rows("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", _LOCKS, str(place))


def _text(value: str | bytes) -> str:
    """A value of PostgreSQL's type "char", which psycopg hands over as bytes."""
    return value.decode() if isinstance(value, bytes) else value
