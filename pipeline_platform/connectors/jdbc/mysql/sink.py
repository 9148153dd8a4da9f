"""`toMySQL`: a table of a MySQL database, written all or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.connectors.jdbc import target_table as holds
from pipeline_platform.connectors.jdbc.config import MySQLOptions
from pipeline_platform.connectors.jdbc.database import DatabaseConnection, escaped
from pipeline_platform.connectors.jdbc.ledger import ALREADY_LOADED, LEDGER
from pipeline_platform.connectors.jdbc.merge_keys import MergeKeys
from pipeline_platform.connectors.jdbc.mysql.database import SESSION_SETTINGS
from pipeline_platform.connectors.jdbc.row_text import sql_lines
from pipeline_platform.connectors.jdbc.sink import DatabaseWrite
from pipeline_platform.connectors.jdbc.sink_options import WritesDatabase
from pipeline_platform.connectors.jdbc.staging import FillsStaging, Staging, inserts_lines
from pipeline_platform.connectors.jdbc.target_table import Pair, TableName, TargetColumn, kind_of, unalterable
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import own_column
from pipeline_platform.steps.load import LoadResult, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_HOLDS = {
    **dict.fromkeys(
        ("tinyint", "smallint", "mediumint", "int", "bigint", "bit", "year"), holds.INTEGERS | holds.BOOLEANS
    ),
    **dict.fromkeys(("decimal", "float", "double"), holds.NUMBERS),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), holds.TEXTS),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), holds.BYTES),
    "date": holds.DATES,
    "datetime": holds.TIMES,
    "timestamp": holds.TIMES,
}
# A key has to have a length, and may not be longer than the longest. What is compared by character is what the frame
# tells apart, too.
_KEY_TYPES = {"string": "varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "binary": "varbinary(255)"}
_KEY_BYTES = {"string": 1020, "binary": 255, "decimal": 17, "integer": 17}
_OTHER_KEY_BYTES = 8
_LONGEST_KEY = 3072
_PUBLISHED_NOW = "an earlier attempt of this run wrote it; committed now"


class ToMySQL(WritesDatabase, MySQLOptions):
    """Writes to a table in a MySQL or MariaDB database, all rows or none.

    The rows go into a staging table, and from there in one transaction into the table, which is created if it does not
    exist. With mode `overwrite` the table keeps its columns, indexes and grants, and its rows are replaced. With
    `"mode": "merge", "mergeKeys": "id"` rows with a known `id` are updated in the columns that the frame has, the keys
    excepted, and the others are added. In a table that a merge makes, a key that is text is a `varchar(255)` that is
    compared by character, and one that is bytes a `varbinary(255)`, as MySQL has no keys of unlimited length.
    A value that a column of the table would round, such as a time with a fraction of a second in a plain `datetime`, or
    a decimal with more digits after the point than it keeps, ends the load.
    """

    method: ClassVar[str] = "toMySQL"
    example = {"table": "orders", "mode": "overwrite", "credentialPath": "secret/data/mysql"}
    product: ClassVar[str] = "MySQL"

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        return MySQLWrite(self, frame, run, self.entered(run.credentials)).checked()


@dataclass(frozen=True)
class MySQLWrite(DatabaseWrite):
    """One load of a table of MySQL, which commits by itself whenever a table is made or renamed.

    A new table is therefore published in steps: the ledger notes which staging table is to become it, that one is
    renamed, the note is closed. An attempt that finds an open note goes on from there.
    """

    def columns(self, session: DatabaseConnection, place: TableName) -> list[TargetColumn] | None:
        tables = session.rows(
            "SELECT t.table_type, e.transactions FROM information_schema.tables t "
            "LEFT JOIN information_schema.engines e ON e.engine = t.engine "
            "WHERE t.table_schema = %s AND t.table_name = %s",
            place.schema,
            place.name,
        )
        if not tables:
            return None
        table_type, transactions = tables[0]
        if table_type == "BASE TABLE" and transactions != "YES":
            raise PipelineExecutionException(
                f"the table {place} in {self.database.address} has an engine without transactions, so a load could "
                "not be all or nothing",
                hint=f"ALTER TABLE {self.sql(place)} ENGINE = InnoDB",
            )
        found = session.rows(
            "SELECT column_name, column_type, data_type, character_set_name, collation_name, is_nullable, "
            "column_default, extra FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "ORDER BY ordinal_position",
            place.schema,
            place.name,
        )
        return [
            TargetColumn(
                name=name,
                type=f"{type_} CHARACTER SET {characters} COLLATE {collation}" if characters else type_,
                holds=_HOLDS.get(data_type.lower(), holds.WRITTEN_AS_TEXT),
                nullable=nullable == "YES",
                # MariaDB says NULL of a column that has no default.
                is_filled=default not in (None, "NULL" if nullable == "YES" else None)
                or "auto_increment" in extra.lower(),
                is_computed="generated" in extra.lower() and "default_generated" not in extra.lower(),
                is_instant=data_type.lower() == "timestamp",
            )
            for name, type_, data_type, characters, collation, nullable, default, extra in found
        ]

    def require_rights(self, session: DatabaseConnection, place: TableName, columns: Sequence[str]) -> None:
        # To explain a statement takes the rights that it takes to run it.
        nulls = ", ".join("NULL" for _ in columns)
        session.rows(
            f"EXPLAIN INSERT INTO {self.sql(place)} ({self.names(columns)}) SELECT {nulls} FROM DUAL WHERE 1 = 0"
        )
        if self.config.mode == "overwrite":
            session.rows(f"EXPLAIN DELETE FROM {self.sql(place)}")
        if not self.config.merge_keys:
            return
        keys = self.keys(place, columns)
        # The keys are read as well, which takes a right of its own.
        none = " AND ".join(f"{self.database.quoted(key)} IS NULL" for key in keys.columns) + " AND 1 = 0"
        session.rows(f"EXPLAIN SELECT {keys.names()} FROM {self.sql(place)} WHERE {none}")
        if self.config.mode == "deleteInsert":
            session.rows(f"EXPLAIN DELETE FROM {self.sql(place)} WHERE {none}")
        elif others := self._others(keys, columns):
            nulls = ", ".join(f"{self.database.quoted(column)} = NULL" for column in others)
            session.rows(f"EXPLAIN UPDATE {self.sql(place)} SET {nulls} WHERE {none}")

    def require_alterable(self, session: DatabaseConnection, place: TableName) -> None:
        # Of rights it can't tell: MySQL explains no ALTER, and what it is granted by, only an administrator may read.
        if self._is_view(session, place):
            raise unalterable(place, "a view")

    def _is_view(self, session: DatabaseConnection, place: TableName) -> bool:
        kind = "SELECT table_type FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        return session.rows(kind, place.schema, place.name)[0][0] == "VIEW"

    def require_mergeable(self, session: DatabaseConnection, place: TableName, columns: Sequence[str]) -> None:
        keys = self.keys(place, columns)
        if self._is_view(session, place):
            raise keys.refuse("a view")
        found = session.rows(
            "SELECT index_name, column_name, sub_part FROM information_schema.statistics "
            "WHERE table_schema = %s AND table_name = %s AND non_unique = 0 ORDER BY index_name, seq_in_index",
            place.schema,
            place.name,
        )
        unique: dict[str, list[str]] = {}
        for index, column, _ in found:
            unique.setdefault(index, []).append(column)
        for index, column, first_characters in found:
            # One of an expression, or of the beginning of a text.
            if column is None or first_characters is not None:
                unique.pop(index, None)
        keys.require_unique_in_table(unique)

    def require_makeable(self) -> None:
        super().require_makeable()
        size = sum(_KEY_BYTES.get(kind, _OTHER_KEY_BYTES) for kind in self._primary_key().values())
        if size > _LONGEST_KEY:
            raise PipelineExecutionException(
                f"there is no table {self.config.table} yet, and 'mergeKeys' can't be the primary key of a new one: as "
                f"varchar(255) and varbinary(255) they may take {size} bytes, and MySQL allows {_LONGEST_KEY}",
                hint="create the table first, with shorter columns and a unique index over 'mergeKeys'",
            )

    def _primary_key(self) -> dict[str, str]:
        """Of a new table: its columns, and what kind of values each has."""
        if self.config.mode != "merge":
            return {}
        kinds = {field.name: kind_of(field.dataType) for field in self.frame.schema}
        return {name: kinds[name] for name in (own_column(list(kinds), key) for key in self.config.merge_keys)}

    def make_ledger(self, session: DatabaseConnection, place: TableName) -> None:
        if self.database.tables_named(session, place.schema, LEDGER):
            return
        session.execute(
            f"CREATE TABLE IF NOT EXISTS {self.sql(place.beside(LEDGER))} ("
            "load_id varchar(190) COLLATE utf8mb4_bin PRIMARY KEY, "
            "target varchar(190) NOT NULL, row_count bigint NOT NULL, staging varchar(64), "
            f"loaded_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP) {self.database.table_options}"
        )

    def finished(self, session: DatabaseConnection, place: TableName) -> LoadResult | None:
        ledger = self.sql(place.beside(LEDGER))
        noted = session.rows(f"SELECT row_count, staging FROM {ledger} WHERE load_id = %s", self.load_key)
        if not noted:
            return None
        rows, staging = noted[0]
        if staging is None:
            return LoadResult(skipped=ALREADY_LOADED)
        self._finish(session, place, place.beside(staging), rows)
        return LoadResult(rows=rows, skipped=_PUBLISHED_NOW)

    def is_needed(self, session: DatabaseConnection, staging: TableName) -> bool:
        if not self.database.tables_named(session, staging.schema, LEDGER):
            return False
        ledger = self.sql(staging.beside(LEDGER))
        return bool(session.rows(f"SELECT 1 FROM {ledger} WHERE staging = %s", staging.name))

    def make_staging(self, session: DatabaseConnection, staging: TableName, pairs: Sequence[Pair]) -> None:
        # A timestamp would get a default of its own, which a server may refuse for the second one.
        columns = ", ".join(f"{self.database.quoted(pair.column.name)} {pair.column.type} NULL" for pair in pairs)
        session.execute(f"CREATE TABLE {self.sql(staging)} ({columns}) {self.database.table_options}")

    def make_as_spark_does(self, session: DatabaseConnection, staging: TableName) -> None:
        super().make_as_spark_does(session, staging)
        for column in self.columns(session, staging) or ():
            # Spark leaves out the six digits of a second that its timestamps have.
            if column.type in ("timestamp", "datetime"):
                name = self.database.quoted(column.name)
                session.execute(f"ALTER TABLE {self.sql(staging)} MODIFY {name} {column.type}(6) NULL")
        for key, kind in self._primary_key().items():
            if kind in _KEY_TYPES:
                name = self.database.quoted(key)
                session.execute(f"ALTER TABLE {self.sql(staging)} MODIFY {name} {_KEY_TYPES[kind]} NULL")

    def make_partitions(self, session: DatabaseConnection, partitions: TableName) -> None:
        columns = "number integer PRIMARY KEY, row_count bigint NOT NULL"
        session.execute(f"CREATE TABLE {self.sql(partitions)} ({columns}) {self.database.table_options}")

    def lines(self, pairs: Sequence[Pair]) -> DataFrame:
        return sql_lines(self.frame, pairs)

    def fills(self, staging: TableName, partitions: TableName, pairs: Sequence[Pair]) -> FillsStaging:
        names = self.names([pair.column.name for pair in pairs])
        statements = Staging(
            into=f"INSERT INTO {self.sql(staging)} ({names})",
            done=escaped(f"INSERT IGNORE INTO {self.sql(partitions)} VALUES (%s, %s)"),
            noted=escaped(f"SELECT row_count FROM {self.sql(partitions)} WHERE number = %s"),
        )
        return inserts_lines(self.database.entry(), SESSION_SETTINGS, statements, self.config.batch_size)

    def retyped(self, session: DatabaseConnection, place: TableName, column: TargetColumn, wider: str) -> str:
        # What is not said again of a column, such as its default or its comment, MODIFY takes away.
        made = session.rows(f"SHOW CREATE TABLE {self.sql(place)}")[0][1]
        # Of text, it names a character set only where that is not the table's.
        kind, wider = column.type.partition(" CHARACTER SET ")[0], wider.partition(" CHARACTER SET ")[0]
        begins = f"{self.database.quoted(column.name)} {kind}"
        lines = (line.strip().rstrip(",") for line in str(made).splitlines())
        line = next((line for line in lines if line.startswith(begins)), None)
        if line is None:
            raise PipelineExecutionException(
                f"the type of the column '{column.name}' of the table {place} can't be changed by the load",
                hint=f"give it the type {wider} yourself",
            )
        return f"MODIFY COLUMN {self.database.quoted(column.name)} {wider}{line.removeprefix(begins)}"

    def publish(
        self, session: DatabaseConnection, place: TableName, staging: TableName, columns: Sequence[str], rows: int
    ) -> LoadResult:
        is_new = self.columns(session, place) is None
        ledger = self.sql(place.beside(LEDGER))
        keys = self.keys(place, columns)
        if is_new and not self.is_begun(session, place):
            keys.require_staged(session, staging, rows, unique=self.config.mode == "merge")
            if self.config.mode == "merge":
                session.execute(f"ALTER TABLE {self.sql(staging)} ADD PRIMARY KEY ({keys.names()})")
            if self.run.cursor is not None:
                # A note that is open would have to be closed by this run, and the next one goes on from here.
                session.execute(f"CREATE TABLE {self.sql(place)} LIKE {self.sql(staging)}")
                is_new = False
        if not is_new:
            # It commits by itself: a load that is killed now leaves a column that is NULL, or a wider one.
            self.alter(session, place, staging)
        with self._transaction(session, place):
            noted = session.execute(
                f"INSERT IGNORE INTO {ledger} (load_id, target, row_count, staging) VALUES (%s, %s, %s, %s)",
                self.load_key,
                str(place)[:190],
                rows,
                staging.name if is_new else None,
            )
            if noted == 0:
                return LoadResult(skipped=ALREADY_LOADED)
            self.require_staged(session, staging, rows)
            self.move_cursor(session, place)
            if not is_new:
                keys.require_staged(session, staging, rows, unique=self.config.mode == "merge")
                return self._insert(session, staging, keys, columns, rows)
        self._finish(session, place, staging, rows)
        return LoadResult(rows=rows)

    @contextmanager
    def _transaction(self, session: DatabaseConnection, place: TableName) -> Generator[None]:
        """A transaction, within which nobody else writes rows with the keys that are looked for."""
        if self.config.merge_keys:
            # One load at a time, so that they don't end each other by deadlocks.
            self.hold_table(session, place)
            # It locks the gaps where a key was not found, too; others may have another default.
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with session.transaction():
            yield

    def hold_table(self, session: DatabaseConnection, place: TableName) -> None:
        name = f"pipeline_platform_{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
        [[held]] = session.rows("SELECT get_lock(%s, %s)", name, self.database.silence_seconds)
        if held != 1:
            raise self.database.failure("clash", "another load holds the table", f"table {self.config.table}")

    def _finish(self, session: DatabaseConnection, place: TableName, staging: TableName, rows: int) -> None:
        """Bring the publication of a new table to its end, from wherever it stands."""
        is_staged = self.columns(session, staging)
        close = f"UPDATE {self.sql(place.beside(LEDGER))} SET staging = NULL WHERE load_id = %s"
        if is_staged is not None and self.columns(session, place) is None:
            session.execute(f"RENAME TABLE {self.sql(staging)} TO {self.sql(place)}")
        elif is_staged is not None:
            # Another load made the table in the meantime.
            columns = [column.name for column in is_staged]
            with self._transaction(session, place):
                self._insert(session, staging, self.keys(place, columns), columns, rows)
                session.execute(close, self.load_key)
            return
        session.execute(close, self.load_key)

    def _insert(
        self, session: DatabaseConnection, staging: TableName, keys: MergeKeys, columns: Sequence[str], rows: int
    ) -> LoadResult:
        if self.config.mode == "merge":
            return self._merge(session, staging, keys, columns, rows)
        target, source, names = self.sql(keys.place), self.sql(staging), self.names(columns)
        detail: dict[str, int] = {}
        if self.config.mode == "overwrite":
            self.remove_replaced(session, keys.place)
        elif self.config.mode == "deleteInsert":
            # Unlike the staging table, a derived one is given an index.
            groups = f"(SELECT DISTINCT {keys.names()} FROM {source}) AS s"
            detail["deleted"] = session.execute(f"DELETE t FROM {target} AS t JOIN {groups} ON {keys.same('t', 's')}")
        taken = session.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM {source}")
        self.require_taken(session, staging, taken, rows)
        return LoadResult(rows=taken, detail=detail)

    def _merge(
        self, session: DatabaseConnection, staging: TableName, keys: MergeKeys, columns: Sequence[str], rows: int
    ) -> LoadResult:
        """Update and add rows; not by ON DUPLICATE KEY, which would update any row that is in the way of another key.

        A row that is there is one of the table's or one that somebody else is about to commit, which is waited for.
        """
        # Another load may have made the table since it was looked at.
        self.require_mergeable(session, keys.place, columns)
        target, source, same = self.sql(keys.place), self.sql(staging), keys.same("t", "s")
        others = [self.database.quoted(column) for column in self._others(keys, columns)]
        if others:
            update = ", ".join(f"t.{name} = s.{name}" for name in others)
            session.execute(f"UPDATE {target} AS t JOIN {source} AS s ON {same} SET {update}")
        new = ", ".join(f"s.{self.database.quoted(column)}" for column in columns)
        inserted = session.execute(
            f"INSERT INTO {target} ({self.names(columns)}) SELECT {new} FROM {source} AS s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE {same})"
        )
        # The server itself counts a row as updated only if that changed it.
        updated = {"updated": rows - inserted} if others else {}
        return LoadResult(rows=rows, detail={"inserted": inserted, **updated})

    @staticmethod
    def _others(keys: MergeKeys, columns: Sequence[str]) -> list[str]:
        return [column for column in columns if column not in keys.columns]
