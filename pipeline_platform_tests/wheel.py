"""An environment as users have it: the built wheel with what the pages use of it, and not this folder."""

from __future__ import annotations

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


AS_INSTALLED = {"UV_CONSTRAINT": str(CONSTRAINTS), "UV_OFFLINE": "1"}
"""Variables with which uv takes the versions that are tested, as `installed` has fetched them.

Of some indexes it does not keep what they serve, and would fetch Spark twice and build it for each environment.
"""


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
    for environment in (AS_INSTALLED, {**AS_INSTALLED, "UV_OFFLINE": "0"}):
        done = subprocess.run(
            [UV, *map(str, command), "--quiet"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode == 0:
            return
    pytest.fail(f"{command}: {done.stderr}")
