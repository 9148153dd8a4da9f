"""MySQL and MariaDB as this process enters them, by PyMySQL and by their JDBC driver."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from pipeline_platform.connectors.jdbc.database import CONNECT_SECONDS, Cursor, Database, DatabaseConnection, ErrorKind
from pipeline_platform.connectors.jdbc.driver_options import driver_options
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.extras import Extra
from pipeline_platform.frames.storable import StorableTypes

# Spark hands rows to Python, and so to the driver, with pandas and numpy.
MYSQL_EXTRA = Extra("mysql", "MySQL", ("pymysql", "pandas", "numpy"))

# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html; those of both systems.
_TROUBLES: dict[str, ErrorKind] = {
    **dict.fromkeys(("1045", "1698", "1130", "1862", "3118"), "login"),
    "1049": "database",
    "1044": "permission",
    "1142": "permission",
    "1143": "permission",
    "1227": "permission",
    "1146": "table",
    "1051": "table",
    "1054": "column",
    **dict.fromkeys(("1040", "1053", "1077", "1152", "1159", "1161", "1203", "1927"), "transient"),
    **dict.fromkeys(("2002", "2003", "2006", "2013", "2055"), "transient"),
    **dict.fromkeys(("1020", "1205", "1213", "1050", "1317"), "clash"),
    **dict.fromkeys(("1048", "1062", "1264", "1265", "1292", "1366", "1406", "1452", "4025", "3819", "1153"), "value"),
}
_STATEMENT_SECONDS = 60
_MONTH_SECONDS = 2_592_000
# Connector/J reads a whole partition into memory, whatever the fetch size, unless it is this one, which makes it
# stream, or there is a cursor, which took 1.4 times as long. https://dev.mysql.com/doc/connector-j/en/
_ROW_BY_ROW = -(2**31)
# `serverTimezone` is an older name of `connectionTimeZone`; a collation has an encoding.
_OURS = frozenset({"servertimezone", "characterencoding", "connectioncollation"})
SESSION_SETTINGS = (
    # A value that does not fit is an error and not a warning, and text is read in one way on every server.
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE', time_zone = '+00:00', "
    f"lock_wait_timeout = {_STATEMENT_SECONDS}"
)
"""How every connection that writes begins."""


@dataclass(frozen=True)
class MySQL(Database):
    """A MySQL database and the user that enters it."""

    product: ClassVar[str] = "MySQL"
    text_type: ClassVar[str] = "char"
    longest_name: ClassVar[tuple[int, str]] = (64, "characters")
    long_text: ClassVar[str] = "longtext"
    table_options: ClassVar[str] = "ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"
    storable: ClassVar[StorableTypes] = StorableTypes(
        "MySQL",
        frozenset({"array", "map", "struct", "variant", "interval", "interval_ym", "interval_dt", "time"}),
        is_flat=True,
    )

    def quoted(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def exact_text(self, column: str) -> str:
        # A CAST of a text that is longer than max_allowed_packet is NULL.
        return f"CONVERT(CONVERT({column} USING utf8mb4) USING binary)"

    def spark_options(self) -> dict[str, str]:
        properties = {
            "connectTimeout": str(CONNECT_SECONDS * 1000),
            "socketTimeout": str(self.silence_seconds * 1000),
            "tcpKeepAlive": "true",
            **{key: value for key, value in self.properties.items() if key.lower() not in _OURS},
            # A TIMESTAMP comes and goes in the zone of the session, which would be the server's.
            "connectionTimeZone": "UTC",
            "forceConnectionTimeZoneToSession": "true",
            # Texts are read, and compared, as the bytes that they are in it.
            "characterEncoding": "UTF-8",
        }
        return driver_options("mysql", "com.mysql.cj.jdbc.Driver", self.credentials, properties)

    def fetch_options(self, rows: int) -> dict[str, str]:
        with_cursor = self.properties.get("useCursorFetch", "").lower() == "true"
        return {"fetchsize": str(_ROW_BY_ROW if rows and not with_cursor else rows)}

    def entry(self) -> dict[str, Any]:
        properties = {key.lower(): value for key, value in self.properties.items()}
        return {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": self.silence_seconds,
            "write_timeout": self.silence_seconds,
            "program_name": "pipeline_platform",
            **_encryption(properties.get("sslmode", "PREFERRED").upper()),
            "host": self.credentials.host,
            "port": self.credentials.port,
            "database": self.credentials.database,
            "user": self.credentials.username,
            "password": self.password,
            "charset": "utf8mb4",
        }

    @contextmanager
    def _connection(self) -> Generator[DatabaseConnection]:
        MYSQL_EXTRA.require()
        import pymysql

        with (
            closing(pymysql.connect(**self.entry(), autocommit=True, init_command=SESSION_SETTINGS)) as connection,
            connection.cursor() as cursor,
        ):
            yield DatabaseConnection(cast(Cursor, cast(object, cursor)))

    def table_place(self, session: DatabaseConnection, parts: Sequence[str]) -> TableName:
        *before, name = parts
        schema = before[-1] if before else self.credentials.database
        if not session.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", schema):
            raise self.failure("schema", f"unknown database '{schema}'", f"table {'.'.join(parts)}")
        return TableName(schema, name)

    def tables_named(self, session: DatabaseConnection, schema: str, prefix: str) -> list[str]:
        found = session.rows(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = %s AND left(table_name, char_length(%s)) = %s",
            schema,
            prefix,
            prefix,
        )
        return [row[0] for row in found]

    def hold(self, session: DatabaseConnection, name: str) -> None:
        session.execute(f"SET SESSION wait_timeout = {_MONTH_SECONDS}")
        session.rows("SELECT get_lock(%s, 0)", name)

    def is_held(self, session: DatabaseConnection, name: str) -> bool:
        return not session.rows("SELECT is_free_lock(%s)", name)[0][0]

    def failure_of(self, error: Exception) -> tuple[ErrorKind, str] | None:
        import pymysql

        if not isinstance(error, pymysql.err.Error):
            return None
        code, said = (*error.args, "", "")[:2]
        return self.trouble(str(code), str(said)), str(said or error)

    def trouble(self, code: str | None, said: str) -> ErrorKind:
        return _TROUBLES.get(code or "", "other")


def _encryption(mode: str) -> dict[str, Any]:
    """What Connector/J's `sslMode` is in PyMySQL, whose default is the same: encrypt if the server can."""
    match mode:
        case "DISABLED":
            return {"ssl_disabled": True}
        case "REQUIRED":
            return {"ssl": {"check_hostname": False, "verify_mode": False}}
        case "VERIFY_CA":
            return {"ssl_verify_cert": True}
        case "VERIFY_IDENTITY":
            return {"ssl_verify_cert": True, "ssl_verify_identity": True}
        case _:
            return {}
