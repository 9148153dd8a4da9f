"""A server as a process of its own: started on a free port, waited for, ended by its id."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_SECONDS = 90.0
_FIRST_PORT = 10_000
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
STOP_SECONDS = 30.0
# The kernel ends a child at the end of the thread that started it, whatever becomes of the process.
_starting = ThreadPoolExecutor(1, "starts-servers")


REQUIRED_VARIABLE = "REQUIRE_SERVICES"
"""Set it to make a server that can't be had a failure, not a reason to skip its tests."""


class ServerUnavailableError(RuntimeError):
    """The server can't be had on this machine; says why."""


@dataclass
class ServerProcess:
    """A server that can be started, stopped, and started again on its port with its data.

    Args:
        name: For messages.
        command: Program and arguments.
        folder: Where its log goes; it is the working directory.
        answers: Whether a client is served.
        user: Runs as this user, if we are root.
        environment: Beside the process's own.
        outlives: Go on when the process that started it ends.
        stop_signal: What makes it end at once and in order, whoever is connected.
    """

    name: str
    command: Sequence[str]
    folder: Path
    answers: Callable[[], bool]
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    outlives: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ServerUnavailableError: It ended, or did not answer in time.
        """
        privileges = [] if self.outlives else ["--pdeathsig", "KILL"]
        if self.user is not None and os.geteuid() == 0:
            privileges += ["--reuid", self.user, "--regid", self.user, "--init-groups"]
        command = [*(["setpriv", *privileges, "--"] if privileges else []), *self.command]
        with self.log.open("ab") as log:
            self.process = _starting.submit(
                subprocess.Popen[bytes],
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,
            ).result()
        deadline = time.monotonic() + START_SECONDS
        try:
            while not self.answers():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    told = self.log.read_text(errors="replace")[-1500:]
                    raise ServerUnavailableError(f"{self.name} does not answer; it said: {told}")
                time.sleep(0.1)
        except BaseException:
            # Also when a person gives up waiting: nobody else knows of the process yet.
            self.stop()
            raise

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self.process is not None:
            end_group(self.process.pid, self.stop_signal)
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End it without giving it a chance to tidy up."""
        if self.process is not None:
            # Those of PostgreSQL lead groups of their own, and hold its shared memory until they are gone.
            children = psutil.Process(self.process.pid).children(recursive=True)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(children, timeout=STOP_SECONDS)
            self.process = None


def end_group(pid: int, stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """End a process that leads a session, and all that it started: politely, then not."""
    try:
        members = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        os.kill(pid, stop_signal)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
    _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on.

    It is below those that the system gives to outgoing connections: one of these would keep a stopped server from
    listening again.
    """
    end = int(_OUTGOING.read_text().split()[0]) if _OUTGOING.exists() else 32_768
    while True:
        port = random.randrange(_FIRST_PORT, end)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def new_folder(name: str, user: str | None = None) -> Path:
    """An empty folder that the server's user may enter, outside the checkout."""
    folder = Path(tempfile.mkdtemp(prefix=f"pipeline-platform-{name}-"))
    folder.chmod(0o755)
    if user is not None and os.geteuid() == 0:
        shutil.chown(folder, user, user)
    return folder


def program(name: str, *folders: str) -> str:
    """The path of a program, looked for on the PATH and then in these folders.

    Raises:
        ServerUnavailableError: There is none.
    """
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise ServerUnavailableError(f"there is no program '{name}'; docker/install-servers.sh installs it")
    return found


def ran(command: Sequence[str], user: str | None = None, **options: str) -> str:
    """Run a program to its end and give what it printed.

    Args:
        command: Program and arguments.
        user: Runs as this user, if we are root.
        options: More environment variables.

    Raises:
        ServerUnavailableError: It failed.
    """
    as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"] if user and os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_user, *command], capture_output=True, text=True, check=False, env={**os.environ, **options}, cwd="/"
    )
    if done.returncode != 0:
        raise ServerUnavailableError(f"{command[0]} failed: {done.stderr[-1500:] or done.stdout[-1500:]}")
    return done.stdout
