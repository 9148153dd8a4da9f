"""PostgreSQL as this process enters it, by psycopg and by its JDBC driver."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from pipeline_platform.connectors.jdbc.database import CONNECT_SECONDS, Cursor, Database, DatabaseConnection, ErrorKind
from pipeline_platform.connectors.jdbc.driver_options import driver_options
from pipeline_platform.connectors.jdbc.silence import silence_limited
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.extras import Extra
from pipeline_platform.frames.storable import StorableTypes

# Spark hands rows to Python, and so to the driver, with pandas and numpy.
POSTGRES_EXTRA = Extra("postgres", "PostgreSQL", ("psycopg", "pandas", "numpy"))

# https://www.postgresql.org/docs/current/errcodes-appendix.html; the two-letter ones are whole classes.
_TROUBLES: dict[str, ErrorKind] = {
    "28": "login",
    "3D": "database",
    "3F": "schema",
    "42P01": "table",
    "42703": "column",
    "42501": "permission",
    "08": "transient",
    "53": "transient",
    "57P01": "transient",
    "57P02": "transient",
    "57P03": "transient",
    "57P05": "transient",
    "58": "transient",
    "40": "clash",
    "55P03": "clash",
    "42P07": "clash",
    "22": "value",
    "23": "value",
}
# A connection that was not made has no code.
_REFUSAL = re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* (does not|is not)")
_NO_DATABASE = re.compile(r'database ".*" does not exist')
_DENIED = re.compile(r"permission denied for")
# Otherwise a query goes on to its end in the server though the run that asked was stopped. Before 14 there is no such
# setting, and the condition keeps it from being looked for.
_ENDS_WITH_ITS_CLIENT = (
    "SELECT set_config('client_connection_check_interval', '5s', false) "
    "WHERE current_setting('server_version_num')::int >= 140000"
)
SESSION_SETTINGS = "SET TimeZone = 'UTC'; SET default_transaction_isolation = 'read committed'"
"""How every connection of psycopg begins, whatever the server's or the user's defaults are: what has no zone is read at
UTC, and a load that waited for another one of its table sees what that one wrote."""
# What of the JDBC driver's properties libpq has too, under its own name.
_LIBPQ = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "connecttimeout": "connect_timeout",
    "applicationname": "application_name",
}


@dataclass(frozen=True)
class Postgres(Database):
    """A PostgreSQL database and the user that enters it."""

    product: ClassVar[str] = "PostgreSQL"
    text_type: ClassVar[str] = "text"
    longest_name: ClassVar[tuple[int, str]] = (63, "bytes")
    storable: ClassVar[StorableTypes] = StorableTypes(
        "PostgreSQL",
        frozenset({"map", "struct", "variant", "interval", "interval_ym", "interval_dt", "time"}),
        is_flat=True,
    )

    def quoted(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def exact_text(self, column: str) -> str:
        return f'{column}::text COLLATE "C"'

    def spark_options(self) -> dict[str, str]:
        properties = {
            "connectTimeout": str(CONNECT_SECONDS),
            "socketTimeout": str(self.silence_seconds),
            "tcpKeepAlive": "true",
            **self.properties,
        }
        return driver_options("postgresql", "org.postgresql.Driver", self.credentials, properties)

    def fetch_options(self, rows: int) -> dict[str, str]:
        return {"fetchsize": str(rows), "sessionInitStatement": _ENDS_WITH_ITS_CLIENT}

    def entry(self) -> dict[str, Any]:
        properties = {key.lower(): value for key, value in self.properties.items()}
        schema = properties.get("currentschema")
        return {
            "connect_timeout": CONNECT_SECONDS,
            # A machine that is gone is noticed after two minutes, not after two hours.
            "keepalives_idle": 60,
            "keepalives_interval": 15,
            "keepalives_count": 4,
            "application_name": "pipeline_platform",
            **{libpq: properties[jdbc] for jdbc, libpq in _LIBPQ.items() if jdbc in properties},
            **({"options": f"-c search_path={schema}"} if schema else {}),
            "host": self.credentials.host,
            "port": self.credentials.port,
            "dbname": self.credentials.database,
            "user": self.credentials.username,
            "password": self.password,
            "client_encoding": "UTF8",
        }

    @contextmanager
    def _connection(self) -> Generator[DatabaseConnection]:
        POSTGRES_EXTRA.require()
        import psycopg

        with psycopg.connect(**self.entry(), autocommit=True) as connection, connection.cursor() as cursor:
            session = DatabaseConnection(
                cast(Cursor, cast(object, cursor)), lambda: silence_limited(connection.fileno(), self.silence_seconds)
            )
            session.execute(SESSION_SETTINGS)
            yield session

    def table_place(self, session: DatabaseConnection, parts: Sequence[str]) -> TableName:
        *before, name = parts
        if before:
            schemas = session.rows("SELECT nspname FROM pg_namespace WHERE nspname = %s", before[-1])
        else:
            schemas = session.rows(
                "SELECT coalesce((SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE c.oid = to_regclass(%s)), current_schema())",
                self.quoted(name),
            )
        if not schemas or schemas[0][0] is None:
            said = f'schema "{before[-1]}" does not exist' if before else "no schema is in the user's search path"
            raise self.failure("schema", said, f"table {'.'.join(parts)}")
        return TableName(schemas[0][0], name)

    def tables_named(self, session: DatabaseConnection, schema: str, prefix: str) -> list[str]:
        found = session.rows(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE nspname = %s AND starts_with(relname, %s) AND relkind IN ('r', 'p')",
            schema,
            prefix,
        )
        return [row[0] for row in found]

    def hold(self, session: DatabaseConnection, name: str) -> None:
        session.rows(
            "SELECT set_config('idle_session_timeout', '0', false) "
            "WHERE current_setting('server_version_num')::int >= 140000"
        )
        session.rows("SELECT pg_advisory_lock(hashtextextended(%s, 0))", name)

    def is_held(self, session: DatabaseConnection, name: str) -> bool:
        # It ends with the statement, which is a transaction.
        return not session.rows("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", name)[0][0]

    def failure_of(self, error: Exception) -> tuple[ErrorKind, str] | None:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        said = error.diag.message_primary or str(error)
        return self.trouble(error.sqlstate, said), said

    def trouble(self, code: str | None, said: str) -> ErrorKind:
        if code is not None:
            return _TROUBLES.get(code) or _TROUBLES.get(code[:2], "other")
        if _REFUSAL.search(said):
            return "login"
        if _DENIED.search(said):
            return "permission"
        return "database" if _NO_DATABASE.search(said) else "transient"
