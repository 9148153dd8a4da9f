"""All servers together, with example data: brought up, found again, taken down.

A server that runs already, say in a container, is used where its address is in the environment: `POSTGRES_ADDRESS`,
`MYSQL_ADDRESS`, `KAFKA_ADDRESS` (each `host:port`), `S3_ADDRESS`, `VAULT_ADDRESS` (each a URL). It has to have the
names and passwords of `docker/services.env`; it is filled with the example data, and not stopped.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
from filelock import FileLock

from devtools.services.kafka import start_kafka
from devtools.services.mariadb import start_mariadb
from devtools.services.names import names
from devtools.services.postgres import start_postgres
from devtools.services.process import ServerProcess, end_group
from devtools.services.s3 import REGION, start_s3
from devtools.services.seed import (
    Credentials,
    seed_kafka,
    seed_mysql,
    seed_postgres,
    seed_s3,
    seed_vault,
)
from devtools.services.vault import let_pipelines_in, start_vault

ENVIRONMENT_FILE = "services.env"
"""For a shell to `source`: how a pipeline gets into Vault, and where the servers are."""
_RECORD_FILE = "services.json"
Fields = Mapping[str, Any]
"""The fields of a server's secret in Vault."""


@dataclass(frozen=True)
class Running:
    """A server that was brought up.

    Args:
        name: Which.
        address: `host:port` or a URL.
        pid: Its process; None if it was not started here.
        started: When that process started, in the kernel's ticks: another process of the same id has another.
        folder: Its data and its log.
        stop_signal: Number of the signal that ends it.
    """

    name: str
    address: str
    pid: int | None = None
    started: int | None = None
    folder: str | None = None
    stop_signal: int = signal.SIGTERM

    def runs(self) -> bool:
        """Whether the process is still there, and the same."""
        return self.pid is None or started_at(self.pid) == self.started

    def answers(self) -> bool:
        """Whether something listens at the address."""
        place = urlsplit(self.address if "://" in self.address else f"//{self.address}")
        try:
            socket.create_connection((place.hostname or "", place.port or 0), timeout=2).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class BroughtUp:
    """What `up` found or did.

    Args:
        servers: All of them.
        contents: What each holds, by its name; empty if they ran already.
    """

    servers: list[Running]
    contents: Mapping[str, str]


def up(root: Path, say: Callable[[str], None]) -> BroughtUp:
    """Bring up every server with the example data, or find that they run; all of them or none.

    Args:
        root: Folder for the environment file and the record of what was started.
        say: Told in a line each what is done.

    Raises:
        ServerUnavailableError: One of them can't be had.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "lock"):
        before = recorded(root)
        if before and all(server.runs() for server in before):
            return BroughtUp(before, {})
        if before:
            gone = ", ".join(server.name for server in before if not server.runs())
            say(f"{gone} ended: starting all of them anew")
            _take_down(root, before)
        try:
            return _bring_up(root, say)
        except BaseException:
            _take_down(root, recorded(root))
            raise


def down(root: Path) -> list[Running]:
    """Stop what `up` started there, and remove its data.

    Args:
        root: As for `up`.
    """
    if not root.is_dir():
        return []
    with FileLock(root / "lock"):
        return _take_down(root, recorded(root))


def recorded(root: Path) -> list[Running]:
    """What `up` brought up there and `down` has not taken down, whether it still runs or not."""
    state = root / _RECORD_FILE
    return [Running(**server) for server in json.loads(state.read_text())] if state.exists() else []


def started_at(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since boot; None if there is none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name of the program, in brackets, may hold spaces and brackets itself.
    state, *fields = told.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _bring_up(root: Path, say: Callable[[str], None]) -> BroughtUp:
    known = names()
    servers: list[Running] = []
    contents: dict[str, str] = {}

    def note(server: Running) -> None:
        servers.append(server)
        _write_private(root / _RECORD_FILE, json.dumps([asdict(one) for one in servers], indent=2))
        say(f"{server.name} answers at {server.address}")

    secrets: dict[str, Fields] = {}
    for name, begin, seed in (
        ("postgres", _postgres, seed_postgres),
        ("mysql", _mysql, seed_mysql),
        ("kafka", _kafka, seed_kafka),
        ("s3", _s3, seed_s3),
    ):
        server, secrets[name] = begin(known)
        note(server)
        contents[name] = seed(secrets[name])
    server, client, login = _vault(known)
    note(server)
    contents["vault"] = seed_vault(client, Credentials(**secrets))
    variables = {**login, **_places(secrets)}
    lines = [f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items()]
    _write_private(root / ENVIRONMENT_FILE, "".join(lines))
    return BroughtUp(servers, contents)


def _take_down(root: Path, servers: list[Running]) -> list[Running]:
    for server in reversed(servers):
        if server.pid is not None and server.runs():
            end_group(server.pid, signal.Signals(server.stop_signal))
        if server.folder is not None:
            shutil.rmtree(server.folder, ignore_errors=True)
    for name in (ENVIRONMENT_FILE, _RECORD_FILE):
        (root / name).unlink(missing_ok=True)
    return servers


def _postgres(known: Mapping[str, str]) -> tuple[Running, Fields]:
    if address := os.environ.get("POSTGRES_ADDRESS"):
        return Running("postgres", address), _database(address, known, "POSTGRES_DB", "POSTGRES")
    server = start_postgres(outlives=True)
    return _started("postgres", f"{server.host}:{server.port}", server.server), server.credentials()


def _mysql(known: Mapping[str, str]) -> tuple[Running, Fields]:
    if address := os.environ.get("MYSQL_ADDRESS"):
        return Running("mysql", address), _database(address, known, "MYSQL_DATABASE", "MYSQL")
    server = start_mariadb(outlives=True)
    return _started("mysql", f"{server.host}:{server.port}", server.server), server.credentials()


def _kafka(known: Mapping[str, str]) -> tuple[Running, Fields]:
    if address := os.environ.get("KAFKA_ADDRESS"):
        return Running("kafka", address), {"bootstrap.servers": address}
    server = start_kafka(outlives=True)
    return _started("kafka", server.address, server.server), server.credentials()


def _s3(known: Mapping[str, str]) -> tuple[Running, Fields]:
    if address := os.environ.get("S3_ADDRESS"):
        return Running("s3", address), {
            "accessKeyId": known["S3_ACCESS_KEY_ID"],
            "secretAccessKey": known["S3_SECRET_ACCESS_KEY"],
            "region": REGION,
            "endpoint": address,
            "pathStyleAccess": True,
        }
    server = start_s3(outlives=True)
    return _started("s3", server.endpoint, server.server), server.credentials()


def _vault(known: Mapping[str, str]) -> tuple[Running, hvac.Client, Mapping[str, str]]:
    if address := os.environ.get("VAULT_ADDRESS"):
        client = hvac.Client(address, token=known["VAULT_DEV_ROOT_TOKEN_ID"])
        role_id, secret_id = let_pipelines_in(client)
        login = {"VAULT_ADDR": address, "VAULT_ROLE_ID": role_id, "VAULT_SECRET_ID": secret_id}
        return Running("vault", address), client, login
    server = start_vault(outlives=True)
    return _started("vault", server.address, server.server), server.client(), server.environment()


def _started(name: str, address: str, server: ServerProcess) -> Running:
    assert server.process is not None
    pid = server.process.pid
    return Running(name, address, pid, started_at(pid), str(server.folder), server.stop_signal)


def _database(address: str, known: Mapping[str, str], database: str, prefix: str) -> Fields:
    host, _, port = address.rpartition(":")
    user, password = known[f"{prefix}_USER"], known[f"{prefix}_PASSWORD"]
    return {"host": host, "port": int(port), "database": known[database], "username": user, "password": password}


def _places(secrets: Mapping[str, Fields]) -> dict[str, Any]:
    """Where the servers are, in the variables of their own clients; passwords stay in Vault."""
    postgres, mysql, s3 = secrets["postgres"], secrets["mysql"], secrets["s3"]
    return {
        "PGHOST": postgres["host"],
        "PGPORT": postgres["port"],
        "PGDATABASE": postgres["database"],
        "PGUSER": postgres["username"],
        "MYSQL_HOST": mysql["host"],
        "MYSQL_TCP_PORT": mysql["port"],
        "MYSQL_DATABASE": mysql["database"],
        "MYSQL_USER": mysql["username"],
        "KAFKA_BOOTSTRAP_SERVERS": secrets["kafka"]["bootstrap.servers"],
        "AWS_ENDPOINT_URL_S3": s3["endpoint"],
        "AWS_REGION": s3["region"],
    }


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    # The mode above is for a file that is new.
    path.chmod(0o600)
    path.write_text(text)
