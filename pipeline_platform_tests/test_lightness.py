"""What needs no JVM starts none: definitions, `check` and `schema` import no pyspark."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CODE = {
    "definitions": "import pipeline_platform.definitions as d; assert d.defs.resolve_all_asset_specs()",
    "check": "from pipeline_platform.cli import app; app(['check', *FILES], standalone_mode=False)",
    "schema": "from pipeline_platform.cli import app; app(['schema'], standalone_mode=False)",
}


@pytest.mark.parametrize("what", CODE)
def test_no_pyspark_is_imported_and_no_process_started_for(what: str):
    code = f"""
import subprocess, sys
def refuse(*args, **kwargs): raise AssertionError(f"started {{args}}")
subprocess.Popen.__init__ = refuse
FILES = {[str(path) for path in sorted((ROOT / "pipelines").glob("*.json"))]!r}
{CODE[what]}
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("pyspark", "py4j", "delta"))
assert not loaded, loaded
"""
    environment = {**os.environ, "PIPELINES_DIR": str(ROOT / "pipelines")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_check_imports_no_dagster():
    code = "import sys, pipeline_platform.cli; assert 'dagster' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
