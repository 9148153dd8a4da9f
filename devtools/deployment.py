"""A code server and a daemon as processes of their own, which can be killed and started again."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import dagster as dg
import psutil

from devtools.services.process import ServerProcess, free_port
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamState

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 240.0
KILL_AT, TRACE = "KILL_AT", "STREAM_TRACE"
"""Environment variables of `killing_definitions`; to import that module changes every stream of the process."""
_MODULE = "devtools.killing_definitions"


@dataclass
class Deployment:
    """Dagster as it is deployed: a code server, a daemon, an instance.

    Args:
        home: Folder of the instance.
        streams: Folder of the state files.
        code_server: Serves the definitions, and has the runs as its children.
        daemon: Ticks the sensor.
        webserver: The UI.
        address: URL of the UI.
        instance: The same instance, for the test.
    """

    home: Path
    streams: Path
    code_server: ServerProcess
    daemon: ServerProcess
    webserver: ServerProcess
    address: str
    instance: dg.DagsterInstance

    def turn_sensor_on(self, name: str) -> None:
        """Turn a sensor on, as the command line does."""
        from click.testing import CliRunner
        from dagster._cli import create_dagster_cli

        arguments = ["sensor", "start", name, "-w", str(self.home / "workspace.yaml")]
        done = CliRunner().invoke(create_dagster_cli(), arguments, env={"DAGSTER_HOME": str(self.home)})
        assert done.exit_code == 0, done.output

    def state(self, pipeline: str) -> StreamState | None:
        """What a stream says of itself."""
        return StreamState.read(self.streams / f"{pipeline}.state.json")

    def runs(self) -> list[tuple[str, dg.DagsterRunStatus]]:
        """All runs with their statuses, the newest first."""
        return [(run.run_id, run.status) for run in self.instance.get_runs()]

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that happens by itself."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}\n{self.describe()}"
            time.sleep(0.2)

    def describe(self) -> str:
        """The ends of the logs, for a test that fails."""
        logs = "\n".join(server.log.read_text(errors="replace")[-4000:] for server in (self.code_server, self.daemon))
        errors = [
            entry.message[:800]
            for run_id, _ in self.runs()[:2]
            for entry in self.instance.all_logs(run_id)
            if int(entry.level) >= logging.ERROR
        ]
        return "\n".join([logs, str(self.runs()), *errors])

    def replace_code_server(self, kill_signal: signal.Signals) -> None:
        """End the code server alone, not the runs, which are its children; start it again on its port."""
        process = self.code_server.process
        assert process is not None
        process.send_signal(kill_signal)
        process.wait(90)
        self.code_server.process = None
        self.code_server.start()

    def end(self) -> None:
        """End everything, the runs as well."""
        for path in self.streams.glob("*.state.json"):
            state = StreamState.read(path)
            if state is not None and state.phase in ("starting", "running"):
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(state.pid).kill()
        self.webserver.stop()
        self.daemon.stop()
        self.code_server.stop()


def deploy(
    folder: Path, pipelines: Mapping[str, Any], environment: Mapping[str, str], module: str = _MODULE
) -> Deployment:
    """Start a code server and a daemon for some pipelines.

    Args:
        folder: An empty folder for all of it.
        pipelines: The pipelines, by name.
        environment: More environment variables for the runs.
        module: What the code server serves, by default definitions with a knife for the streams.
    """
    home, streams, files = folder / "home", folder / "streams", folder / "pipelines"
    for made in (home, streams, files):
        made.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    for name, pipeline in pipelines.items():
        (files / f"{name}.json").write_text(json.dumps(pipeline))
    port = free_port()
    workspace = home / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: streams}}\n")
    variables = {
        "DAGSTER_HOME": str(home),
        "PIPELINES_DIR": str(files),
        "PYTHONPATH": str(ROOT),
        "SPARK_MASTER": "local[2]",
        STREAMS_VARIABLE: str(streams),
        **environment,
    }

    def serves() -> bool:
        from dagster._grpc.client import DagsterGrpcClient

        try:
            return DagsterGrpcClient(port=port, host="127.0.0.1").ping("here")["echo"] == "here"
        except Exception:  # noqa: BLE001 - it raises one of its own, wherever it stands.
            return False

    python = [sys.executable, "-W", "ignore", "-m"]
    serve = [*python, "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), "-m", module]
    code_server = ServerProcess("code-server", serve, home, serves, environment=variables)
    daemon = ServerProcess(
        "daemon",
        [*python, "dagster._daemon", "run", "-w", str(workspace)],
        home,
        lambda: "SensorDaemon" in (home / "daemon.log").read_text(errors="replace"),
        environment=variables,
    )
    address = f"http://127.0.0.1:{free_port()}"
    webserver = ServerProcess(
        "webserver",
        [*python, "dagster_webserver", "-h", "127.0.0.1", "-p", address.rpartition(":")[2], "-w", str(workspace)],
        home,
        lambda: _answers(address),
        environment=variables,
    )
    deployment = Deployment(
        home, streams, code_server, daemon, webserver, address, dg.DagsterInstance.from_config(str(home))
    )
    try:
        code_server.start()
        daemon.start()
        webserver.start()
    except BaseException:
        deployment.end()
        raise
    return deployment


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=5):
            return True
    except (URLError, ConnectionError):
        return False


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
