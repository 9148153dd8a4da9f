"""The environment in which the other tools are installed, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from pipeline_platform.engine.spark.home import cache_folder

PROGRAMS = Path(__file__).with_name("programs")
"""What that Python runs."""
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_UV = Path(sys.executable).with_name("uv")


def peers_python() -> str:
    """The Python of that environment."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "peers" / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    with FileLock(f"{folder}.lock"):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            subprocess.run([_UV, "venv", "--quiet", "--python", version, folder], check=True)
            subprocess.run([_UV, "pip", "install", "--quiet", "--python", python, "-r", _REQUIREMENTS], check=True)
            (folder / "ready").touch()
    return str(python)
