"""An environment as users have it: the built wheel with what the pages use of it, and not this folder."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Installed:
    """The wheel, and an environment it is installed in.

    Args:
        wheel: The file.
        programs: Folder of the environment's programs.
    """

    wheel: Path
    programs: Path


@functools.cache
def uv_variables() -> dict[str, str]:
    """Variables with which uv takes the versions that are tested, and fetches none that `make install` has fetched.

    Of some indexes it does not keep what they serve, and so would fetch Spark twice and build it for each environment.
    """
    folder = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    variables = {"UV_CONSTRAINT": str(CONSTRAINTS), "UV_CACHE_DIR": folder}
    offline = {"UV_OFFLINE": "1"}
    looked = subprocess.run(
        [UV, "pip", "install", "--dry-run", "--reinstall", "--python", sys.executable, "--requirement", CONSTRAINTS],
        env={**os.environ, **variables, **offline},
        capture_output=True,
        check=False,
    )
    return variables if looked.returncode else {**variables, **offline}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "venv" / "bin" / "python"
    _uv("build", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    _uv("venv", "--python", sys.executable, folder / "venv")
    _uv("pip", "install", "--python", python, f"{wheel}[connect,postgres,vault]")
    return Installed(wheel, python.parent)


def _uv(*command: object) -> None:
    environment = {**os.environ, **uv_variables()}
    done = subprocess.run(
        [UV, *map(str, command), "--quiet"], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
