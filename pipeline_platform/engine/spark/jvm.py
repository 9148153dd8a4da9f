"""Starts the JVM: without the lines it greets with, which no one can act on, and from an archive of its classes."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout

from pipeline_platform.engine.spark.home import (
    CONFIGURATION_VARIABLE,
    HOME_VARIABLE,
    cache_folder,
    home_variables,
    lasting_home,
)
from pipeline_platform.engine.spark.java import version_text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.logs import is_json, jvm_line

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

DRIVER_OPTIONS = "spark.driver.extraJavaOptions"
EXECUTOR_OPTIONS = "spark.executor.defaultJavaOptions"
"""Those that Spark puts before `spark.executor.extraJavaOptions`, which stay the user's."""
IN_UTC = "-Duser.timezone=UTC"
"""JDBC makes timestamps in the zone of the JVM, which would be that of its machine."""
STACK = "-Xss16m"
"""Spark goes through a plan by recursion, for which Java's 1 MB is too little from some 200 steps on.

What a thread does not use of it takes no memory.
"""
COMPILES_ALL = "-XX:-DontCompileHugeMethods"
"""Spark makes one method of a stage, and HotSpot interprets one of more than 8,000 bytes, at a third of its speed."""
_LOGGING = Path(__file__).with_name("log4j2.properties")
# Spark asks for this module itself, and no option of the JVM keeps it from saying so.
_NOISE = b"WARNING: Using incubator modules"
_DUMP_SECONDS = 300
# As many as a JVM writes that crashes.
_KEPT_LINES = 20
_END_SECONDS = 10
_SUBMIT_ARGUMENTS = "PYSPARK_SUBMIT_ARGS"
# A signal comes to the main thread. pyspark, interrupted while it waits for the JVM, would leave it behind.
_launches = ThreadPoolExecutor(1, "jvm-launch")
_latest: list[JvmOutput] = []


def driver_options(own: str | None, archive: Path | None, compilers: str = "") -> str:
    """The JVM's options.

    Args:
        own: Those that were asked for; they win.
        archive: The class archive to start from.
        compilers: Those that choose the compilers; none for Java's own choice.
    """
    options = [IN_UTC, STACK, COMPILES_ALL, *compilers.split(), *log_options()]
    if archive is not None:
        # An archive that does not fit, after an upgrade of Java, is passed over in silence.
        options += [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds*=off", "-Xlog:class+path=off"]
    return " ".join([*options, *([own] if own else [])])


def log_options() -> list[str]:
    """The JVM's options that have it log as the platform does."""
    layout = "json" if is_json() else "text"
    return [f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}", f"-Dpipeline_platform.log={layout}"]


def launch(settings: Mapping[str, str]) -> JavaGateway:
    """Start a JVM that speaks on our standard error, without the noise.

    Args:
        settings: What Spark is to be started with.

    Raises:
        PipelineExecutionException: It did not start; the message has what it said.
    """
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway  # pyright: ignore[reportUnknownVariableType]

    reading, writing = os.pipe()
    said = JvmOutput(reading)
    _latest[:] = [said]

    def launched() -> JavaGateway:
        try:
            with _given_by_file(settings):
                # What it says on its standard output belongs to no one who reads ours.
                return launch_gateway(None, {"stdout": writing, "stderr": writing})
        finally:
            os.close(writing)

    _quiet_py4j()
    launching = _launches.submit(launched)
    try:
        return launching.result()
    except PySparkRuntimeError as error:
        raise PipelineExecutionException(
            f"Java did not start: {said.last_words() or error}",
            hint=f"check the values in sparkConf, such as {DRIVER_OPTIONS}, JAVA_HOME and the memory of the machine",
        ) from error
    except BaseException:
        launching.add_done_callback(_end)
        raise


def _quiet_py4j() -> None:
    """Keep py4j from writing the stack of a lost connection, which is raised as well, to the root logger."""
    root = logging.getLogger()
    if _is_for_people not in root.filters:
        root.addFilter(_is_for_people)


def _is_for_people(record: logging.LogRecord) -> bool:
    return Path(record.pathname).parent.name != "py4j"


def last_words() -> str:
    """The last lines that the JVM wrote which was launched last."""
    return _latest[-1].last_words() if _latest else ""


def end_jvm(gateway: JavaGateway) -> None:
    """End a JVM, and wait until it has ended."""
    with suppress(Exception):
        gateway.shutdown()
    process = cast("subprocess.Popen[bytes] | None", gateway.proc)
    # Who was started by `spark-submit` has no process of its own to end.
    if process is not None:
        end_process(process, _END_SECONDS)


def listens(address: str, port: int, seconds: float) -> bool:
    """Whether somebody takes a connection there within so many seconds."""
    try:
        socket.create_connection((address, port), seconds).close()
    except OSError:
        return False
    return True


def end_process(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a process to end, wait, and kill it if it has not ended after so many seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def properties_file(settings: Mapping[str, str]) -> Generator[Path]:
    """A file of Java's properties for our user alone, which is gone after the block.

    Every user of the machine can read a command line.

    Args:
        settings: What Spark is to be started with.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-platform-") as folder:
        file = Path(folder) / "spark.properties"
        file.touch(mode=0o600)
        file.write_text(properties(settings))
        yield file


@contextmanager
def _given_by_file(settings: Mapping[str, str]) -> Generator[None]:
    """Let a JVM that is started in the block read the settings from a file."""
    before = {name: os.environ.get(name) for name in (_SUBMIT_ARGUMENTS, HOME_VARIABLE, CONFIGURATION_VARIABLE)}
    with properties_file(settings) as file:
        options = shlex.join(["--properties-file", str(file), "--load-spark-defaults"])
        # The one way that pyspark has to give more arguments.
        os.environ[_SUBMIT_ARGUMENTS] = f"{options} {before[_SUBMIT_ARGUMENTS] or 'pyspark-shell'}"
        os.environ.update(home_variables())
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def properties(settings: Mapping[str, str]) -> str:
    """Settings as a file of Java's properties."""
    return "".join(f"{_escaped(key)}={_escaped(value)}\n" for key, value in settings.items())


def _escaped(text: str) -> str:
    """A key or a value as Java's property files have it."""
    return "".join(
        character if re.fullmatch(r"[\w./-]", character, re.ASCII) else _code_units(character) for character in text
    )


def _code_units(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place] << 8 | units[place + 1]:04x}" for place in range(0, len(units), 2))


def _end(launching: Future[JavaGateway]) -> None:
    if launching.exception() is None:
        cast("subprocess.Popen[bytes]", launching.result().proc).terminate()


class JvmOutput:
    """Hands on what the JVM writes, line by line, but the noise, and keeps the last lines that are no stack.

    Args:
        reading: End of a pipe, which is closed when the other end is.
    """

    def __init__(self, reading: int) -> None:
        self._kept: list[bytes] = []
        self._thread = threading.Thread(target=self._hand_on, args=(reading,), name="jvm-stderr", daemon=True)
        self._thread.start()

    def last_words(self) -> str:
        """The last lines, as one."""
        # Longer, if a process that the JVM started holds on to the pipe.
        self._thread.join(1)
        return b" ".join(self._kept).decode(errors="replace").strip()

    def _hand_on(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not line.startswith(_NOISE):
                    if not line.lstrip().startswith(b"at "):
                        self._kept = [*self._kept[1 - _KEPT_LINES :], line.strip()]
                    sys.stderr.write(jvm_line(line.decode(errors="replace")))
                    sys.stderr.flush()


def class_archive(
    java: str,
    jars: Sequence[Path],
    progress: Callable[[str], None],
) -> Path | None:
    """An archive of the classes that every run loads, made once; None if there is none and none could be made.

    Args:
        java: The Java program.
        jars: The connector jars on the class path.
        progress: Told in a line that it is being made.
    """
    parts = [os.path.realpath(java), version_text(java), str(lasting_home()), *map(str, jars)]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    archive = cache_folder() / "classes" / f"{name}.jsa"
    failed = archive.with_suffix(".failed")
    if archive.exists():
        return archive
    if failed.exists() or os.environ.get(_NO_ARCHIVE):
        return None
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{archive}.lock", timeout=0):
            progress("preparing a faster start of Spark, once ...")
            aside = archive.with_suffix(f".{os.getpid()}")
            if not _dump(aside):
                failed.touch()
                return None
            aside.rename(archive)
    except (OSError, Timeout):
        # A read-only cache, or another process is making it.
        return None
    return archive


_NO_ARCHIVE = "PIPELINE_PLATFORM_NO_CLASS_ARCHIVE"


def _dump(archive: Path) -> bool:
    environment: dict[str, Any] = {**os.environ, _NO_ARCHIVE: str(archive)}
    command = [sys.executable, "-m", "pipeline_platform.engine.spark.class_archive", str(archive)]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=_DUMP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and archive.exists()
