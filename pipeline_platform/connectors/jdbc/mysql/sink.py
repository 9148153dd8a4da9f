"""`toMySQL`: a table of a MySQL database, written all or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.connectors.jdbc import target_table as holds
from pipeline_platform.connectors.jdbc.config import MySQLOptions
from pipeline_platform.connectors.jdbc.database import DatabaseConnection, escaped
from pipeline_platform.connectors.jdbc.mysql.database import SESSION_SETTINGS
from pipeline_platform.connectors.jdbc.row_text import sql_lines
from pipeline_platform.connectors.jdbc.sink import ALREADY_LOADED, LEDGER, DatabaseWrite
from pipeline_platform.connectors.jdbc.sink_options import WritesDatabase
from pipeline_platform.connectors.jdbc.staging import FillsStaging, Staging, inserts_lines
from pipeline_platform.connectors.jdbc.target_table import Pair, TableName, TargetColumn
from pipeline_platform.exceptions import PipelineExecutionException
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
_PUBLISHED_NOW = "an earlier attempt of this run wrote it; committed now"


class ToMySQL(WritesDatabase, MySQLOptions):
    """Writes to a table in a MySQL or MariaDB database, all rows or none.

    The rows go into a staging table, and from there in one transaction into the table, which is created if it does not
    exist. With mode `overwrite` the table keeps its columns, indexes and grants, and its rows are replaced.
    """

    method: ClassVar[str] = "toMySQL"
    example = {"table": "orders", "mode": "overwrite", "credentialPath": "secret/data/mysql"}
    product: ClassVar[str] = "MySQL"

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        write = MySQLWrite(self, frame, run, self.entered(run.credentials))
        write.check()
        return write


@dataclass(frozen=True)
class MySQLWrite(DatabaseWrite):
    """One load of a table of MySQL, which commits by itself whenever a table is made or renamed.

    A new table is therefore published in steps: the ledger notes which staging table is to become it, that one is
    renamed, the note is closed. An attempt that finds an open note goes on from there.
    """

    new_table: ClassVar[str] = "ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"

    def place(self, session: DatabaseConnection) -> TableName:
        *before, name = self.config.table_parts(self.config.table)
        schema = before[-1] if before else self.database.credentials.database
        if not session.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", schema):
            raise self.database.failure("schema", f"unknown database '{schema}'", f"table {self.config.table}")
        return TableName(schema, name)

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
                is_filled=default is not None or "auto_increment" in extra.lower(),
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

    def tables_named(self, session: DatabaseConnection, schema: str, prefix: str) -> list[str]:
        found = session.rows(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = %s AND left(table_name, char_length(%s)) = %s",
            schema,
            prefix,
            prefix,
        )
        return [row[0] for row in found]

    def make_ledger(self, session: DatabaseConnection, place: TableName) -> None:
        if self.tables_named(session, place.schema, LEDGER):
            return
        session.execute(
            f"CREATE TABLE IF NOT EXISTS {self.sql(place.beside(LEDGER))} ("
            "load_id varchar(190) COLLATE utf8mb4_bin PRIMARY KEY, "
            "target varchar(190) NOT NULL, row_count bigint NOT NULL, staging varchar(64), "
            f"loaded_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP) {self.new_table}"
        )

    def finished(self, session: DatabaseConnection, place: TableName) -> LoadResult | None:
        ledger = self.sql(place.beside(LEDGER))
        noted = session.rows(f"SELECT row_count, staging FROM {ledger} WHERE load_id = %s", self.load_key)
        if not noted:
            return None
        rows, staging = noted[0]
        if staging is None:
            return LoadResult(skipped=ALREADY_LOADED)
        self._finish(session, place, place.beside(staging))
        return LoadResult(rows=rows, skipped=_PUBLISHED_NOW)

    def is_needed(self, session: DatabaseConnection, staging: TableName) -> bool:
        if not self.tables_named(session, staging.schema, LEDGER):
            return False
        ledger = self.sql(staging.beside(LEDGER))
        return bool(session.rows(f"SELECT 1 FROM {ledger} WHERE staging = %s", staging.name))

    def make_staging(self, session: DatabaseConnection, staging: TableName, pairs: Sequence[Pair]) -> None:
        # A timestamp would get a default of its own, which a server may refuse for the second one.
        columns = ", ".join(f"{self.database.quoted(pair.column.name)} {pair.column.type} NULL" for pair in pairs)
        session.execute(f"CREATE TABLE {self.sql(staging)} ({columns}) {self.new_table}")

    def make_as_spark_does(self, session: DatabaseConnection, staging: TableName) -> None:
        super().make_as_spark_does(session, staging)
        for column in self.columns(session, staging) or ():
            # Spark leaves out the six digits of a second that its timestamps have.
            if column.type in ("timestamp", "datetime"):
                name = self.database.quoted(column.name)
                session.execute(f"ALTER TABLE {self.sql(staging)} MODIFY {name} {column.type}(6) NULL")

    def make_partitions(self, session: DatabaseConnection, partitions: TableName) -> None:
        columns = "number integer PRIMARY KEY, row_count bigint NOT NULL"
        session.execute(f"CREATE TABLE {self.sql(partitions)} ({columns}) {self.new_table}")

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

    def publish(
        self, session: DatabaseConnection, place: TableName, staging: TableName, columns: Sequence[str], rows: int
    ) -> LoadResult:
        is_new = self.columns(session, place) is None
        ledger = self.sql(place.beside(LEDGER))
        with session.transaction():
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
            if not is_new:
                taken = self._insert(session, place, staging, columns)
                self.require_taken(session, staging, taken, rows)
                rows = taken
        if is_new:
            self._finish(session, place, staging)
        return LoadResult(rows=rows)

    def _finish(self, session: DatabaseConnection, place: TableName, staging: TableName) -> None:
        """Bring the publication of a new table to its end, from wherever it stands."""
        is_staged = self.columns(session, staging)
        close = f"UPDATE {self.sql(place.beside(LEDGER))} SET staging = NULL WHERE load_id = %s"
        if is_staged is not None and self.columns(session, place) is None:
            session.execute(f"RENAME TABLE {self.sql(staging)} TO {self.sql(place)}")
        elif is_staged is not None:
            # Another load made the table in the meantime.
            with session.transaction():
                self._insert(session, place, staging, [column.name for column in is_staged])
                session.execute(close, self.load_key)
            return
        session.execute(close, self.load_key)

    def _insert(self, session: DatabaseConnection, place: TableName, staging: TableName, columns: Sequence[str]) -> int:
        if self.config.mode == "overwrite":
            self.remove_replaced(session, place)
        names = self.names(columns)
        return session.execute(f"INSERT INTO {self.sql(place)} ({names}) SELECT {names} FROM {self.sql(staging)}")
