"""Runs of the command line as processes of their own, which can be stopped at a known point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from devtools.pipelines import StepValue, json_rows, pipeline_text, transform
from pipeline_platform.config.permissions import ALLOW_VARIABLE

COMMAND = str(Path(sys.executable).with_name("pipeline-platform"))
# Far longer than it should take, since the machine may be busy.
PATIENCE_SECONDS = 480.0
WAITING = "id BIGINT, wait BIGINT"
WAITING_ALLOWED = {ALLOW_VARIABLE: "sql-code"}
"""What the environment of a process has to say that runs `waiting`."""


def write_rows(folder: Path, *, wait_milliseconds: int) -> StepValue:
    """Two rows; whoever reads the column that `waiting` adds waits so long at the second."""
    rows = [{"id": 1, "wait": 0}, {"id": 2, "wait": wait_milliseconds}]
    return {**json_rows(folder / "rows.json", rows, WAITING)}


def waiting(**config: Any) -> StepValue:
    """A transform at which the run waits, as the rows say."""
    return transform("enrichData", columns={"waited": "java_method('java.lang.Thread', 'sleep', wait)"}, **config)


def write_pipeline(folder: Path, steps: Sequence[StepValue], **keys: Any) -> Path:
    file = folder / "pipeline.json"
    file.write_text(pipeline_text(steps, **keys))
    return file


@contextmanager
def started(
    file: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[str]]:
    """A run of a pipeline; killed at the end if it still goes on."""
    own = {"SPARK_MASTER": "local[2]", "COLUMNS": "200", **(environment or {})}
    with running([COMMAND, "run", str(file), *options], {**os.environ, **WAITING_ALLOWED, **own}) as process:
        yield process


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Generator[subprocess.Popen[str]]:
    """A program of Python's, all of whose output is one; killed at the end if it still goes on."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONFAULTHANDLER": "1", **environment},
        # A shell's background process, as which these tests may run, ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def finished(process: subprocess.Popen[str]) -> str:
    """What a run said, once it has ended; one that does not end says where each of its threads is."""
    try:
        return process.communicate(timeout=PATIENCE_SECONDS)[0]
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the run did not end: {_where(process)}") from None


def _where(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGABRT)
    return process.communicate(timeout=30)[0]


def completed(file: Path, *options: str) -> Any:
    """The metrics of a run that has to go well; of several runs a list of them."""
    done = subprocess.run(
        [COMMAND, "run", str(file), "--json", *options],
        capture_output=True,
        text=True,
        env={**os.environ, **WAITING_ALLOWED, "SPARK_MASTER": "local[2]"},
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for noise in ("WARN", "log4j", "log level", "ERROR"):
        assert noise not in done.stderr
    return json.loads(done.stdout)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that the run does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, finished(process)
        assert time.monotonic() < deadline, f"the run never came to this point: {_where(process)}"
        time.sleep(0.05)


def java_of(process: subprocess.Popen[str]) -> int | None:
    """The process id of a run's JVM."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == process.pid and name.endswith("(java"):
            return int(status.parent.name)
    return None


def starting_spark(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A run's processes of Spark, the shell that becomes its JVM with them."""
    found: list[psutil.Process] = []
    for child in psutil.Process(process.pid).children(recursive=True):
        # The short-lived programs of Spark's start script end while they are looked at.
        with suppress(psutil.NoSuchProcess):
            if "org.apache.spark.deploy.SparkSubmit" in child.cmdline():
                found.append(child)
    return found


def runs_a_task(process: subprocess.Popen[str]) -> bool:
    """Whether Spark has begun a task."""
    java = java_of(process)
    return java is not None and has_a_task(java)


def has_a_task(pid: int) -> bool:
    """Whether a JVM has begun a task of Spark's."""
    try:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm")]
    except OSError:
        return False
    return any(thread.startswith("Executor task") for thread in threads)
