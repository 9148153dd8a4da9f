"""What the compose file of the deployment starts, started here: the same commands, and they become healthy.

There is no container engine here: names of containers and their ports are replaced by those of this machine, and
nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.services.postgres import Postgres
from devtools.services.process import ServerProcess, free_port
from pipeline_platform_tests.orchestration.conftest import rate_to_delta

DOCKER = Path(__file__).parent.parent.parent / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "platform.compose.yaml").read_text())
DATABASE = "deployed"
BIN = Path(sys.executable).parent


class Here:
    """The deployment on this machine.

    Args:
        folder: An empty folder, in place of `/work`.
        postgres: In place of the container `database`.
    """

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in ("4000", "3000", "9464")}
        self.home = folder / "dagster"
        (folder / "pipelines").mkdir()
        self.home.mkdir()
        (folder / "pipelines" / "flow.json").write_text(json.dumps(rate_to_delta("flow", folder / "table")))
        shutil.copy(DOCKER / "dagster.yaml", self.home)
        workspace = (DOCKER / "workspace.yaml").read_text().replace("host: code", "host: 127.0.0.1")
        (self.home / "workspace.yaml").write_text(workspace.replace("4000", self.ports["4000"]))
        postgres.query(f"CREATE DATABASE {DATABASE}")
        written = COMPOSE["x-platform"]["environment"]
        here = (postgres.host, str(postgres.port), DATABASE, postgres.username, postgres.password)
        self.environment = {
            **os.environ,
            **dict(zip(written, here, strict=True)),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(self.home),
            "PIPELINES_DIR": str(folder / "pipelines"),
            "PIPELINE_PLATFORM_STREAMS": str(folder / "streams"),
            "SPARK_MASTER": "local[2]",
        }

    def command(self, words: list[str]) -> list[str]:
        """A command of the compose file, with this machine's ports and folders."""
        found: list[str] = []
        for word in words:
            for port, here in self.ports.items():
                word = word.replace(port, here)
            word = word.replace("/opt/dagster", str(self.home)).replace("/work/", f"{self.folder}/")
            found.append("127.0.0.1" if word == "0.0.0.0" else word)
        return found

    def server(self, name: str) -> ServerProcess:
        """A service of the compose file; it is up when its own health check says so."""
        service = COMPOSE["services"][name]
        check = self.command(service["healthcheck"]["test"][1:])

        def is_healthy() -> bool:
            done = subprocess.run(check, env=self.environment, capture_output=True, timeout=60, check=False)
            return done.returncode == 0

        return ServerProcess(
            name, self.command(service["command"]), self.folder, is_healthy, environment=self.environment
        )


@pytest.fixture
def here(tmp_path: Path, postgres: Postgres) -> Iterator[Here]:
    deployment = Here(tmp_path, postgres)
    started: list[ServerProcess] = []
    try:
        for name in ("code", "webserver", "daemon", "metrics"):
            server = deployment.server(name)
            started.append(server)
            server.start()
        yield deployment
    finally:
        for server in reversed(started):
            server.stop()


@pytest.mark.timeout(600)
def test_every_service_becomes_healthy_and_a_run_is_launched_by_the_daemon(here: Here, postgres: Postgres):
    launch = ["dagster", "job", "launch", "-w", str(here.home / "workspace.yaml"), "-j", "flow"]
    done = subprocess.run(
        [*launch, "-l", "pipelines"], env=here.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]

    def status() -> str:
        with postgres.connect(dbname=DATABASE) as connection:
            [(found,)] = connection.execute("SELECT status FROM runs").fetchall()
        return found

    deadline = time.monotonic() + 240
    while status() not in ("SUCCESS", "FAILURE", "CANCELED"):
        assert time.monotonic() < deadline, status()
        time.sleep(0.5)
    assert status() == "SUCCESS"
    assert (here.folder / "table" / "_delta_log").is_dir()


def test_every_service_has_a_health_check_and_comes_back_after_a_restart():
    for name, service in COMPOSE["services"].items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
    waited_for = {name for service in COMPOSE["services"].values() for name in service.get("depends_on", ())}
    assert waited_for <= COMPOSE["services"].keys()


def test_the_image_runs_as_nobody_in_particular_and_has_what_the_compose_file_runs():
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]
    copied = [line.split()[2:-1] for line in lines if line.startswith("COPY --chown")]
    assert all((DOCKER.parent / name).is_file() for names in copied for name in names)
    kept = {line[1:] for line in (DOCKER.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name for names in copied for name in names} <= kept
