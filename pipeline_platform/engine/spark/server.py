"""One Spark Connect server for the runs of a user on a machine, which then wait for no JVM of their own.

A process of its own, `server_process`, starts it, notes in a file where it is, and ends it when nobody has been
connected for a while.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Self

import psutil
from filelock import FileLock
from platformdirs import user_state_path
from pydantic import Field

from pipeline_platform.engine.spark.connect import CONNECT_EXTRA
from pipeline_platform.engine.spark.home import spark_contents
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.state_file import StateFile

SERVER_VARIABLE = "PIPELINE_PLATFORM_SPARK_SERVER"
IDLE_MINUTES = 10.0
FREE_MEMORY = 6 * 2**30
"""Bytes that have to be free for a server to be started on demand: what it takes, and as much again for the rest."""
_START_SECONDS = 240.0
_END_SECONDS = 30.0
_KEPT_LINES = 20


class Use(StrEnum):
    """Whether a run uses the server: not at all, if one runs, or after starting one."""

    NEVER = "never"
    RUNNING = "running"
    ON_DEMAND = "on_demand"


@dataclass(frozen=True)
class Process:
    """A process, told from a later one that has its number.

    Args:
        pid: Its number.
        began: When it began, in seconds since 1970.
    """

    pid: int
    began: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """The one that has this number now.

        Raises:
            psutil.NoSuchProcess: There is none.
        """
        return cls(pid, psutil.Process(pid).create_time())

    def is_alive(self) -> bool:
        """Whether it still runs."""
        try:
            found = psutil.Process(self.pid)
            return found.create_time() == self.began and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class SparkServer(StateFile):
    """A server that answers, or has answered.

    Args:
        keeper: The process that looks after it.
        jvm: Its own process.
        port: It listens on this one, of 127.0.0.1 alone.
        token: Whoever has it may use the server; the file that holds it can be read by its owner alone.
        build: What it was made of: another version of the platform or of a jar has another.
        memory: Of its JVM, as Java writes it.
        idle_minutes: How long it stays when nobody is connected.
        exit_code: Of its JVM, if that has ended without having been asked to.
    """

    keeper: Process
    jvm: Process
    port: int
    token: str = Field(repr=False)
    build: str
    memory: str
    idle_minutes: float
    exit_code: int | None = None

    @property
    def remote(self) -> str:
        """Its address for a client, which holds the token."""
        # Spark's client sends a token without TLS to this name alone.
        return f"sc://localhost:{self.port}/;token={self.token}"

    def is_alive(self) -> bool:
        """Whether its JVM still runs."""
        return self.exit_code is None and self.jvm.is_alive()

    def clients(self) -> int:
        """How many connections it serves."""
        with suppress(psutil.NoSuchProcess):
            return sum(
                found.status == psutil.CONN_ESTABLISHED and bool(found.laddr) and found.laddr.port == self.port
                for found in psutil.Process(self.jvm.pid).net_connections("tcp")
            )
        return 0

    def memory_used(self) -> int:
        """Bytes of memory that its JVM holds."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.jvm.pid).memory_info().rss
        return 0


def server_file() -> Path:
    """Where the server of this user on this machine is noted; a home folder may belong to several machines."""
    return user_state_path("pipeline-platform") / f"spark-server-{socket.gethostname()}.json"


def log_file() -> Path:
    """What the server writes."""
    return server_file().with_suffix(".log")


def build_of(jars: Sequence[Path]) -> str:
    """What a server is made of with these jars."""
    parts = [version("pipeline-platform"), spark_contents(), *map(str, jars)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def running_server() -> SparkServer | None:
    """The server that runs, whatever it is made of."""
    found = SparkServer.read(server_file())
    return found if found is not None and found.is_alive() else None


def start_server(memory: str | None = None, idle_minutes: float = IDLE_MINUTES) -> SparkServer:
    """The server that runs, or one that is started and answers.

    Args:
        memory: Of its JVM, such as `4g`; a quarter of the machine's by default, and at least 2 GB.
        idle_minutes: How long it stays when nobody is connected.

    Raises:
        PipelineConfigurationException: Packages are missing, or a server of another build runs.
        PipelineExecutionException: Java or a jar is missing, or it did not start; the message has what it said.
    """
    CONNECT_EXTRA.require()
    from pipeline_platform.engine.spark.jars import connector_jars
    from pipeline_platform.engine.spark.java import require_java

    require_java()
    jars = connector_jars()
    file = server_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if (server := running_server()) is not None:
            if server.build != build_of(jars):
                raise PipelineConfigurationException(
                    "the Spark server that runs belongs to another version of the platform",
                    hint="end it with `pipeline-platform spark stop`",
                )
            return server
        file.unlink(missing_ok=True)
        return _started(memory or _default_memory(), idle_minutes)


def _default_memory() -> str:
    return f"{max(2, psutil.virtual_memory().total // 2**32)}g"


def _started(memory: str, idle_minutes: float) -> SparkServer:
    command = [sys.executable, "-m", "pipeline_platform.engine.spark.server_process", memory, str(idle_minutes)]
    with log_file().open("wb") as log:
        log_file().chmod(0o600)
        keeper = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=log_file().parent
        )
    deadline = time.monotonic() + _START_SECONDS
    try:
        while keeper.poll() is None and time.monotonic() < deadline:
            if (server := running_server()) is not None:
                return server
            time.sleep(0.1)
    except BaseException:
        keeper.terminate()
        raise
    what = "ended" if keeper.poll() is not None else f"does not answer after {_START_SECONDS:.0f} s"
    keeper.terminate()
    raise PipelineExecutionException(
        f"the Spark server {what}: {last_lines() or 'it said nothing'}",
        hint=f"all it said is in {log_file()}",
        retryable=True,
    )


def last_lines() -> str:
    """The last lines that the server wrote which are not of a stack."""
    try:
        lines = log_file().read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return " ".join([line.strip() for line in lines if not line.lstrip().startswith("at ")][-_KEPT_LINES:]).strip()


def stop_server(server: SparkServer) -> None:
    """End a server, and wait until it has ended; what runs on it fails."""
    with suppress(ProcessLookupError):
        if server.keeper.is_alive():
            os.kill(server.keeper.pid, signal.SIGTERM)
        elif server.jvm.is_alive():
            os.kill(server.jvm.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while server.jvm.is_alive() or server.keeper.is_alive():
        if time.monotonic() > deadline:
            raise PipelineExecutionException(
                f"the Spark server, process {server.jvm.pid}, does not end", hint=f"all it said is in {log_file()}"
            )
        time.sleep(0.1)
