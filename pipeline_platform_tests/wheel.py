"""An environment as users have it: the built wheel with what the pages use of it, and not this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from contextlib import suppress
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


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "venv" / "bin" / "python"
    _uv("build", "--wheel", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    _uv("venv", "--python", sys.executable, folder / "venv")
    _uv("pip", "install", "--python", python, "--constraint", CONSTRAINTS, f"{wheel}[postgres,vault]")
    link_bytecode(folder / "venv")
    return Installed(wheel, python.parent)


def link_bytecode(environment: Path) -> None:
    """Give another environment the bytecode that this one has of the same files.

    Otherwise the first programs of each compile all that they import, which takes them half a minute of processor.
    uv links both to the same files, with the same times, by which Python tells whether bytecode fits.

    Args:
        environment: Its folder.
    """
    ours = Path(sysconfig.get_path("purelib"))
    (theirs,) = environment.glob("lib/python*/site-packages")
    for compiled in ours.rglob("__pycache__/*.pyc"):
        source = compiled.parent.with_name(f"{compiled.name.split('.')[0]}.py").relative_to(ours)
        with suppress(FileNotFoundError, FileExistsError):
            if (ours / source).stat().st_ino == (theirs / source).stat().st_ino:
                target = theirs / compiled.relative_to(ours)
                target.parent.mkdir(exist_ok=True)
                os.link(compiled, target)


def _uv(*command: object) -> None:
    done = subprocess.run([UV, *map(str, command), "--quiet"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stderr}"
