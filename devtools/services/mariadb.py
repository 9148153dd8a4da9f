"""MariaDB, which stands in for MySQL: it speaks the same protocol."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.connections import Connection

from devtools.services.names import names
from devtools.services.process import ServerProcess, free_port, new_folder, program, ran

_OWNER = "mysql"
_BINLOG = {
    "server_id": "1",
    "log_bin": "binlog",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    # Debezium's connector for MariaDB is not to be had everywhere, and that for MySQL takes it for a newer MySQL.
    "version": "5.7.19-MariaDB",
}


@dataclass
class MariaDB:
    """A running MariaDB with one empty database.

    Args:
        host: Where it listens.
        port: Its port.
        database: The database.
        username: The user, who may do everything.
        password: The user's password; has characters that need escaping.
        server: The process.
    """

    host: str
    port: int
    database: str
    username: str
    password: str
    server: ServerProcess

    def connect(self, **options: Any) -> Connection:
        """A connection of PyMySQL."""
        parameters: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.username,
            "password": self.password,
            "autocommit": True,
            **options,
        }
        return Connection(**parameters)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a statement; none for one that has no result."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def credentials(self) -> dict[str, Any]:
        """The fields of its secret in Vault."""
        fields = ("host", "port", "database", "username", "password")
        return {name: getattr(self, name) for name in fields}

    def log(self) -> str:
        """Every statement that the server received."""
        return (self.server.folder / "statements.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it and remove its data."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_mariadb(outlives: bool = False, *, binlog: bool = False, **settings: str) -> MariaDB:
    """Start a server of its own, with an empty database.

    Args:
        outlives: Go on when this process ends.
        binlog: Write a log that Debezium's connector for MySQL follows, and say that it is a MySQL 5.7.
        settings: More of the server's own.

    Raises:
        ServerUnavailableError: There is none on this machine.
    """
    known = names()
    install, mariadbd = program("mariadb-install-db"), program("mariadbd", "/usr/sbin")
    folder, port = new_folder("mariadb", _OWNER), free_port()
    data = str(folder / "data")
    ran([install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"], _OWNER)
    socket = str(folder / "server.sock")
    command = [
        mariadbd,
        "--no-defaults",
        f"--datadir={data}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={socket}",
        f"--pid-file={folder}/server.pid",
        "--general-log",
        f"--general-log-file={folder}/statements.log",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=256M",
        *(f"--{name}={value}" for name, value in {**(_BINLOG if binlog else {}), **settings}.items()),
    ]
    user, password, database = known["MYSQL_USER"], known["MYSQL_PASSWORD"], known["MYSQL_DATABASE"]

    def answers() -> bool:
        try:
            Connection(unix_socket=socket, user="root", connect_timeout=2).close()
        except pymysql.err.MySQLError:
            return False
        return True

    server = ServerProcess("mariadb", command, folder, answers, _OWNER, outlives=outlives)
    server.start()
    with Connection(unix_socket=socket, user="root") as root, root.cursor() as cursor:
        # The password stays out of the log.
        cursor.execute("SET SESSION sql_log_off = 1")
        # A new installation lets anyone in from this machine, which goes before users from anywhere.
        cursor.execute("DELETE FROM mysql.global_priv WHERE User = ''")
        cursor.execute("FLUSH PRIVILEGES")
        cursor.execute(f"CREATE DATABASE `{database}`")
        cursor.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", (user, password))
        cursor.execute("GRANT ALL ON *.* TO %s@'%%' WITH GRANT OPTION", (user,))
    return MariaDB("127.0.0.1", port, database, user, password, server)
