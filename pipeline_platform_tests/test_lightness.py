"""What needs no JVM starts none, such as the definitions and `check`; and no command imports pyspark for it."""

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
    "streams": "from pipeline_platform.cli import app; app(['streams'], standalone_mode=False)",
    "100 supervised streams": "sys.argv = ['supervision']; from devtools.bench.supervision import main; main()",
    "init, list and methods": (
        "import tempfile; from pipeline_platform.cli import app; "
        "commands = ['init', tempfile.mkdtemp()], ['list'], ['methods'], ['methods', 'fromKafka']; "
        "[app(command, standalone_mode=False) for command in commands]"
    ),
    "discover": (
        "from pipeline_platform.cli import app; systems = 'postgres', 'mysql', 'kafka', 's3'; "
        "[app(['discover', system, '--help'], standalone_mode=False) for system in systems]"
    ),
    "schema": "from pipeline_platform.cli import app; app(['schema'], standalone_mode=False)",
}


# Dagster's resource for Spark is a class of dagster-pyspark, which imports pyspark.
WITH_RESOURCES = {"definitions", "100 supervised streams"}


@pytest.mark.parametrize("what", CODE)
def test_no_jvm_is_started_and_no_pyspark_imported_by_a_command_for(what: str):
    code = f"""
import os, subprocess, sys
start = subprocess.Popen.__init__
def start_no_jvm(process, command, *args, **kwargs):
    program = os.path.basename(command if isinstance(command, str) else command[0])
    # croniter asks `file` whether Python has 32 bits.
    if program != "file":
        process.args, process.returncode = command, None
        raise AssertionError(f"started {{command}}")
    start(process, command, *args, **kwargs)
subprocess.Popen.__init__ = start_no_jvm
FILES = {[str(path) for path in sorted((ROOT / "pipelines").glob("*.json"))]!r}
{CODE[what]}
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("pyspark", "py4j", "delta"))
assert not loaded or {what in WITH_RESOURCES}, loaded
"""
    environment = {**os.environ, "PIPELINES_DIR": str(ROOT / "pipelines")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_check_imports_no_dagster():
    code = "import sys, pipeline_platform.cli; assert 'dagster' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
