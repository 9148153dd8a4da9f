"""PostgreSQL."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from devtools.services.names import names
from devtools.services.process import ServerProcess, free_port, new_folder, program, ran

_FOLDERS = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
_OWNER = "postgres"


@dataclass
class Postgres:
    """A running PostgreSQL with one empty database.

    Args:
        host: Where it listens.
        port: Its port.
        database: The database.
        username: Its owner.
        password: The owner's password; has characters that need escaping.
        server: The process.
    """

    host: str
    port: int
    database: str
    username: str
    password: str
    server: ServerProcess

    def connect(self, **options: Any) -> psycopg.Connection:
        """A connection of PostgreSQL's own client library, as the owner."""
        parameters: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.username,
            "password": self.password,
            **options,
        }
        return psycopg.connect(**parameters, autocommit=True)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a statement; none for one that has no result."""
        with self.connect() as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def credentials(self) -> dict[str, Any]:
        """The fields of its secret in Vault."""
        fields = ("host", "port", "database", "username", "password")
        return {name: getattr(self, name) for name in fields}

    def log(self) -> str:
        """What the server has logged: every statement it received."""
        return self.server.log.read_text(errors="replace")

    def stop(self) -> None:
        """End it and remove its data."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_postgres(outlives: bool = False, **settings: str) -> Postgres:
    """Start a server of its own, with an empty database.

    Args:
        outlives: Go on when this process ends.
        settings: More of the server's own.

    Raises:
        ServerUnavailableError: There is none on this machine.
    """
    known = names()
    initdb, postgres = program("initdb", *_FOLDERS), program("postgres", *_FOLDERS)
    folder, port = new_folder("postgres", _OWNER), free_port()
    secret = folder / "password"
    secret.write_text(known["POSTGRES_PASSWORD"])
    secret.chmod(0o644)
    data = str(folder / "data")
    user = known["POSTGRES_USER"]
    ran([initdb, "-D", data, "-U", user, "--pwfile", str(secret), "--auth", "scram-sha-256", "-E", "UTF8"], _OWNER)
    secret.unlink()
    settings = {
        **settings,
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder),
        "log_statement": "all",
        "fsync": "off",
        "max_prepared_transactions": "0",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    found = Postgres("127.0.0.1", port, known["POSTGRES_DB"], user, known["POSTGRES_PASSWORD"], None)  # pyright: ignore[reportArgumentType]

    def answers() -> bool:
        try:
            found.connect(dbname="postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    command = [postgres, "-D", data, *options]
    # On SIGTERM it would wait for its clients, and serve them.
    found.server = ServerProcess(
        "postgres", command, folder, answers, _OWNER, outlives=outlives, stop_signal=signal.SIGINT
    )
    found.server.start()
    with found.connect(dbname="postgres") as connection:
        connection.execute(f'CREATE DATABASE "{found.database}"'.encode())
    return found
