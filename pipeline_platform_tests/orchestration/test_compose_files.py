"""The compose files as Docker Compose reads them, with its own library."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devtools.services.built import compose_program
from devtools.services.names import names

DOCKER = Path(__file__).parent.parent.parent / "docker"
SET = {"DAGSTER_POSTGRES_PASSWORD": "hush", **names()}


def read(file: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(file.parent), **variables}
    return subprocess.run(
        [compose_program(), str(file)], capture_output=True, text=True, check=False, env=environment, cwd=file.parent
    )


@pytest.mark.parametrize("name", ["compose.yaml", "platform.compose.yaml"])
def test_compose_takes_the_file(name: str):
    done = read(DOCKER / name, SET)
    assert done.returncode == 0, done.stderr
    assert "services:" in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("healthcheck:", "healthchek:", "healthchek"),
        ("depends_on: {code:", "depends_on: {cod:", "cod"),
        ('"work:/work"', '"wrk:/work"', "wrk"),
        ("interval: 2s", "interval: soon", "soon"),
    ],
)
def test_compose_refuses_a_mistake_in_the_file(tmp_path: Path, right: str, wrong: str, told: str):
    text = (DOCKER / "platform.compose.yaml").read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong))
    done = read(tmp_path / "compose.yaml", SET)
    assert done.returncode != 0
    assert told in done.stderr + done.stdout


def test_compose_asks_for_the_password_that_has_no_default():
    done = read(DOCKER / "platform.compose.yaml", {})
    assert done.returncode != 0
    assert "set a password for Dagster's own database" in done.stderr + done.stdout
