"""The steps of the image, carried out without a container engine: what it would have can be started."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parent.parent.parent
_SOURCES = ("PIP_", "UV_", "SSL_", "REQUESTS_")


class Image:
    """What the Dockerfile makes, below a folder in place of `/`.

    Args:
        root: That folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Making an archive of classes takes a minute of processor, and other tests make one.
        without = {"PIPELINE_PLATFORM_NO_CLASS_ARCHIVE": "off"}
        self.environment = {"PATH": f"{root}/python/bin:{os.environ['PATH']}", "HOME": str(root), **without}
        # Stands for the base image.
        subprocess.run([sys.executable, "-m", "venv", str(root / "python")], check=True)

    def make(self) -> None:
        """Carry out what stands in the Dockerfile, but for what Debian installs."""
        written: Any = io.BytesIO((ROOT / "docker" / "Dockerfile").read_bytes())
        parser = DockerfileParser(fileobj=written)
        folder = self.root
        for step in parser.structure:
            value = step["value"]
            match step["instruction"]:
                case "WORKDIR":
                    folder = self.here(value)
                    folder.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self.copy(value.split(), folder)
                case "ENV" | "ARG":
                    for name, text in (part.split("=", 1) for part in shlex.split(value)):
                        self.environment[name] = self.placed(text.replace("$PATH", self.environment["PATH"]))
                case "RUN" if "apt-get" not in value:
                    self.run(["sh", "-ec", self.placed(value)], folder)
                case _:
                    pass

    def copy(self, words: list[str], folder: Path) -> None:
        *sources, target = [word for word in words if not word.startswith("--")]
        # What comes from the first stage is here already.
        for source in sources if "--from=build" not in words else []:
            to = folder / target if not target.startswith("/") else self.here(target)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, to)

    def here(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def placed(self, text: str) -> str:
        for top in ("/opt/", "/work"):
            text = text.replace(top, f"{self.root}{top}")
        return text

    def run(self, command: list[str], folder: Path | None = None) -> str:
        # Where packages come from is this machine's matter.
        sources = {name: value for name, value in os.environ.items() if name.startswith(_SOURCES)}
        # Compiling all packages takes half a minute of processor, and is uv's matter.
        environment = {**sources, **self.environment, "UV_COMPILE_BYTECODE": "0"}
        done = subprocess.run(
            command, cwd=folder or self.root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    made = Image(tmp_path_factory.mktemp("image"))
    made.make()
    yield made
    shutil.rmtree(made.root)


@pytest.mark.timeout(900)
def test_the_image_has_the_platform_and_not_what_only_tests_need(image: Image):
    assert "check" in image.run(["pipeline-platform", "--help"])
    installed = image.run(
        [f"{image.root}/python/bin/uv", "pip", "list", "--python", f"{image.root}/opt/pipeline_platform/venv"]
    )
    assert image.environment["UV_COMPILE_BYTECODE"] == "1"
    for package in ("dagster-postgres", "dagster-k8s", "psycopg", "pymysql", "s3fs", "hvac", "openlineage-python"):
        assert package in installed
    assert "pytest" not in installed


def test_the_image_has_the_connectors_and_loads_the_pipelines_without_asking_the_net(image: Image):
    assert [*(image.root / "opt/pipeline_platform/cache/jars").glob("*/io.delta_delta-spark*.jar")]
    shutil.copytree(ROOT / "pipelines", image.root / "work" / "pipelines")
    loaded = "from pipeline_platform.definitions import defs; print(*(job.name for job in defs.jobs))"
    assert "flights" in image.run(["python", "-c", loaded], image.root / "work").split()
