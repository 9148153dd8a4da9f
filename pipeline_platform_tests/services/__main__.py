"""Brings the services up for a developer, and down again: `python -m pipeline_platform_tests.services`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import hvac
import psutil
import typer
from rich.console import Console
from rich.table import Table

from pipeline_platform_tests.services import seed
from pipeline_platform_tests.services.kafka import start_kafka
from pipeline_platform_tests.services.mariadb import start_mariadb
from pipeline_platform_tests.services.names import names
from pipeline_platform_tests.services.postgres import start_postgres
from pipeline_platform_tests.services.process import ServerProcess, ServerUnavailableError, end_group
from pipeline_platform_tests.services.s3 import start_s3
from pipeline_platform_tests.services.vault import start_vault

app = typer.Typer(
    help="The services for development.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
Folder = Annotated[Path, typer.Option(help="Where the addresses and the record of what was started are kept.")]
RECORD = "services.json"
ENVIRONMENT = "services.env"


@app.command()
def up(folder: Folder = Path(".services")) -> None:
    """Start all services on free ports, seed them and write their addresses to services.env."""
    running = _running(folder)
    if running:
        typer.echo(f"running already: {', '.join(running)}; `down` ends them, {folder / ENVIRONMENT} has the addresses")
        return
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    table = Table("service", "address", "seconds", "what is in it")
    started: list[ServerProcess] = []

    def note(name: str, address: str, server: ServerProcess, fill: Callable[[], str]) -> None:
        started.append(server)
        _record(folder, started)
        what = fill()
        table.add_row(name, address, f"{time.monotonic() - began:.0f}", what)
        typer.echo(f"{name} is up at {address}")

    try:
        postgres = start_postgres(outlives=True)
        entry = postgres.credentials()
        note("postgres", f"127.0.0.1:{postgres.port}", postgres.server, lambda: seed.seed_postgres(entry))
        mysql = start_mariadb(outlives=True)
        note("mysql", f"127.0.0.1:{mysql.port}", mysql.server, lambda: seed.seed_mysql(mysql.credentials()))
        kafka = start_kafka(outlives=True)
        note("kafka", kafka.address, kafka.server, lambda: seed.seed_kafka(kafka.credentials()))
        s3 = start_s3(outlives=True)
        note("s3", s3.endpoint, s3.server, lambda: seed.seed_s3(s3.credentials()))
        vault = start_vault(outlives=True)
        secrets = seed.Credentials(entry, mysql.credentials(), kafka.credentials(), s3.credentials())
        note("vault", vault.address, vault.server, lambda: seed.seed_vault(vault.client(), secrets))
    except BaseException as error:
        _end(folder)
        if not isinstance(error, ServerUnavailableError):
            raise
        typer.echo(f"not started: {error}", err=True)
        raise typer.Exit(1) from None
    _write_environment(folder, vault.environment())
    Console().print(table)
    typer.echo(
        f"set -a; . {folder / ENVIRONMENT}; set +a    # then: pipeline-platform run examples/orders_to_lake.json"
    )


@app.command()
def down(folder: Folder = Path(".services")) -> None:
    """End what `up` has started, and nothing else; its data is removed."""
    ended = _end(folder)
    typer.echo(f"ended: {', '.join(ended)}" if ended else "nothing is running")


@app.command()
def status(folder: Folder = Path(".services")) -> None:
    """Say which services run; exit code 1 if none does."""
    running = _running(folder)
    typer.echo(f"running: {', '.join(running)}" if running else "nothing is running")
    if not running:
        raise typer.Exit(1)


@app.command(name="seed")
def seed_compose(folder: Folder = Path(".services")) -> None:
    """Seed the services of docker/compose.yaml, which listen on their standard ports, and write services.env."""
    known = names()
    postgres = {"host": "127.0.0.1", "port": 5432, "database": known["POSTGRES_DB"]}
    postgres |= {"username": known["POSTGRES_USER"], "password": known["POSTGRES_PASSWORD"]}
    mysql = {"host": "127.0.0.1", "port": 3306, "database": known["MYSQL_DATABASE"]}
    mysql |= {"username": known["MYSQL_USER"], "password": known["MYSQL_PASSWORD"]}
    s3: dict[str, Any] = {"accessKeyId": known["S3_ACCESS_KEY_ID"], "secretAccessKey": known["S3_SECRET_ACCESS_KEY"]}
    s3 |= {"region": "us-east-1", "endpoint": "http://127.0.0.1:7070", "pathStyleAccess": True}
    kafka = {"bootstrap.servers": "127.0.0.1:9092"}
    typer.echo(seed.seed_postgres(postgres))
    typer.echo(seed.seed_mysql(mysql))
    typer.echo(seed.seed_kafka(kafka))
    typer.echo(seed.seed_s3(s3))
    vault = hvac.Client("http://127.0.0.1:8200", token=known["VAULT_DEV_ROOT_TOKEN_ID"])
    typer.echo(seed.seed_vault(vault, seed.Credentials(postgres, mysql, kafka, s3)))
    folder.mkdir(parents=True, exist_ok=True)
    _write_environment(folder, {"VAULT_ADDR": "http://127.0.0.1:8200", "VAULT_TOKEN": str(vault.token)})


def _record(folder: Path, servers: list[ServerProcess]) -> None:
    record = [
        {
            "name": server.name,
            "pid": server.process.pid,
            "started": psutil.Process(server.process.pid).create_time(),
            "folder": str(server.folder),
        }
        for server in servers
        if server.process is not None
    ]
    (folder / RECORD).write_text(json.dumps(record, indent=2))


def _recorded(folder: Path) -> list[dict[str, Any]]:
    path = folder / RECORD
    return json.loads(path.read_text()) if path.exists() else []


def _is_running(server: Mapping[str, Any]) -> bool:
    """Whether the process is still the one that was started: ids are given out again."""
    try:
        process = psutil.Process(server["pid"])
        return process.create_time() == server["started"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _running(folder: Path) -> list[str]:
    return [server["name"] for server in _recorded(folder) if _is_running(server)]


def _end(folder: Path) -> list[str]:
    ended: list[str] = []
    for server in reversed(_recorded(folder)):
        if _is_running(server):
            end_group(server["pid"])
            ended.append(server["name"])
        shutil.rmtree(server["folder"], ignore_errors=True)
    for name in (RECORD, ENVIRONMENT):
        (folder / name).unlink(missing_ok=True)
    return ended


def _write_environment(folder: Path, variables: Mapping[str, str]) -> None:
    path = folder / ENVIRONMENT
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))


if __name__ == "__main__":
    os.umask(0o022)
    app()
