"""A schema of a test's own in a real database, and the steps that read and write there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devtools.pipelines import StepValue, extract, load
from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres

LEDGER = "pipeline_platform_loads"
_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Schema:
    """A schema that is empty when the test begins.

    Args:
        server: The server.
        name: The schema; in MySQL a database.
    """

    server: Postgres | MariaDB
    name: str

    @property
    def is_postgres(self) -> bool:
        return isinstance(self.server, Postgres)

    def make(self) -> None:
        self.query(f"CREATE SCHEMA {self.name}")

    def drop(self) -> None:
        self.query(f"DROP SCHEMA {self.name}{' CASCADE' if self.is_postgres else ''}")

    def connect(self, **options: Any) -> Any:
        """A connection of the system's own client."""
        return self.server.connect(**options)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a statement, by the system's own client."""
        return self.server.query(sql)

    def at_utc(self, sql: str) -> list[tuple[Any, ...]]:
        """As `query`, in a session at UTC."""
        options: dict[str, Any] = {"init_command": "SET time_zone = '+00:00'"}
        if self.is_postgres:
            options = {"options": "-c TimeZone=UTC"}
        with self.connect(**options) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def rows(self, table: str = "t", columns: str = "*") -> list[tuple[Any, ...]]:
        """What a table holds, in the order of its first column."""
        return self.query(f"SELECT {columns} FROM {self.name}.{table} ORDER BY 1")

    def tables(self) -> list[str]:
        """Every table but the ledger."""
        found = self.query(
            "SELECT table_name FROM information_schema.tables "
            f"WHERE table_schema = '{self.name}' AND table_type = 'BASE TABLE'"
        )
        return sorted(row[0] for row in found if row[0] != LEDGER)

    def loads(self) -> int:
        """How many loads the ledger has."""
        has_ledger = self.query(
            f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{self.name}' AND table_name = '{LEDGER}'"
        )
        return self.query(f"SELECT count(*) FROM {self.name}.{LEDGER}")[0][0] if has_ledger else 0

    def credentials(self, **others: Any) -> dict[str, Any]:
        """The keys of a step that enters the server."""
        return {**self.server.credentials(), **others}

    def load(self, table: str = "t", *, entering: dict[str, Any] | None = None, **config: Any) -> StepValue:
        """A load into a table of the schema."""
        method = "toPostgres" if self.is_postgres else "toMySQL"
        return load(method, table=f"{self.name}.{table}", **(entering or self.credentials()), **config)

    def extract(self, *, entering: dict[str, Any] | None = None, **config: Any) -> StepValue:
        """An extract of a table of the schema, or of a query."""
        if "query" not in config:
            config["table"] = f"{self.name}.{config.get('table', 't')}"
        return extract(
            "fromPostgres" if self.is_postgres else "fromMySQL", **(entering or self.credentials()), **config
        )

    def make_user(self, name: str, *grants: str) -> dict[str, Any]:
        """The keys of a step that enters as a user with these rights alone."""
        password = "sesame-open-1"
        if self.is_postgres:
            self.query(f"DROP ROLE IF EXISTS {name}")
            self.query(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            self.query(f"GRANT USAGE, CREATE ON SCHEMA {self.name} TO {name}")
        else:
            self.query(f"CREATE OR REPLACE USER {name} IDENTIFIED BY '{password}'")
        for grant in grants:
            self.query(f"GRANT {grant} TO {name}")
        return self.credentials(username=name, password=password)


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another thread or process is about to do.

    Raises:
        TimeoutError: It does not.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen")
        # InnoDB shows what it knew before to anyone who asks again within a tenth of a second.
        time.sleep(0.2)
