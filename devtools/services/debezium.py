"""Debezium, in a Kafka Connect of its own: it writes what changes in tables of PostgreSQL or MariaDB into topics."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtools.services.kafka import Kafka
from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres
from devtools.services.process import ServerProcess, ServerUnavailableError, free_port, new_folder, program
from pipeline_platform.engine.spark.jars import connector_jars
from pipeline_platform.exceptions import PipelineExecutionException

VERSION = "3.6.1.Final"
PREFIX = "dbz"
"""What the names of all topics begin with."""
_JSON = "org.apache.kafka.connect.json.JsonConverter"


@dataclass
class Debezium:
    """A running connector: `dbz.<schema>.<table>` is the topic of a table; MariaDB's schemas are its databases.

    Args:
        server: The process of the Kafka Connect, which has no other connector.
        settings: Those of the connector.
        port: Of Kafka Connect's REST interface.
    """

    server: ServerProcess
    settings: Mapping[str, str] = field(repr=False)
    port: int

    def stop(self) -> None:
        """End it and forget where it was."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_debezium(
    kafka: Kafka,
    source: Postgres | MariaDB,
    tables: Sequence[str],
    *,
    schemas: bool = True,
    more: Sequence[str] = (),
    **settings: str,
) -> Debezium:
    """Have the changes of tables written into topics, which it makes with one partition each.

    Args:
        kafka: The broker.
        source: The database: PostgreSQL started with `wal_level="logical"`, or MariaDB with `binlog=True`.
        tables: `<schema>.<table>`.
        schemas: Whether each message has its schema with it.
        more: Coordinates of what it needs besides.
        settings: More of the connector's, with `_` for each dot of their names.

    Raises:
        ServerUnavailableError: There is no Java, its jars can't be had, or the connector failed.
    """
    folder, port = new_folder("debezium"), free_port()
    part, of_source = _of_mariadb(source, folder) if isinstance(source, MariaDB) else _of_postgres(source)
    coordinates = [f"io.debezium:debezium-{name}:{VERSION}" for name in ("api", "embedded", part)]
    try:
        jars = connector_jars([*coordinates, *more], beside_spark=False)
    except PipelineExecutionException as error:
        raise ServerUnavailableError(f"Debezium's jars can't be had: {error}") from error
    worker = {
        "bootstrap.servers": kafka.address,
        "listeners": f"http://127.0.0.1:{port}",
        "offset.storage.file.filename": str(folder / "offsets"),
        "offset.flush.interval.ms": "500",
        # Without it, all classes are looked through for plugins.
        "plugin.discovery": "service_load",
        **{f"{part}.converter": _JSON for part in ("key", "value")},
        **{f"{part}.converter.schemas.enable": str(schemas).lower() for part in ("key", "value")},
    }
    connector = {
        "name": "changes",
        "database.hostname": source.host,
        "database.port": str(source.port),
        "database.user": source.username,
        "database.password": source.password,
        **of_source,
        "topic.prefix": PREFIX,
        "table.include.list": ",".join(tables),
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
        **{name.replace("_", "."): value for name, value in settings.items()},
    }
    files = [folder / "worker.properties", folder / "connector.properties"]
    for file, properties in zip(files, (worker, connector), strict=True):
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in properties.items()))
    command = [program("java"), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, jars))]
    command += ["org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)]
    server = ServerProcess("debezium", command, folder, lambda: _runs(port))
    server.start()
    return Debezium(server, connector, port)


def _of_postgres(source: Postgres) -> tuple[str, dict[str, str]]:
    """The artifact of the connector, and settings of its own."""
    return "connector-postgres", {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "database.dbname": source.database,
    }


def _of_mariadb(source: MariaDB, folder: Path) -> tuple[str, dict[str, str]]:
    """As `_of_postgres`, with a folder for the history of the schema."""
    return "connector-mysql", {
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        # Of a replica, as which it reads the binlog: another than the server's.
        "database.server.id": "1001",
        "database.include.list": source.database,
        # Otherwise a date of the year 1 becomes one of 2001.
        "enable.time.adjuster": "false",
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(folder / "history"),
    }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")


def _runs(port: int) -> bool:
    """Whether the connector's task runs.

    Raises:
        ServerUnavailableError: It failed.
    """
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/connectors/changes/status", timeout=5) as answer:
            status: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, OSError):
        return False
    parts: list[dict[str, Any]] = [status["connector"], *status["tasks"]]
    failed = [part["trace"][:1500] for part in parts if part["state"] == "FAILED"]
    if failed:
        raise ServerUnavailableError(f"Debezium failed: {failed[0]}")
    return len(parts) > 1 and all(part["state"] == "RUNNING" for part in parts)
