"""Tells that the JVM which this process has started is dead, and of what it died."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipeline_platform.engine.spark.jvm import last_words, listens
from pipeline_platform.engine.spark.server import last_lines
from pipeline_platform.engine.spark.sharing import leave_server, server_exit_code
from pipeline_platform.exceptions import PipelineExecutionException

_MEMORY = "spark.driver.memory"
# Spark ends its process with this itself, https://github.com/apache/spark, SparkExitCode.OOM.
_OUT_OF_MEMORY = 52
_CRASH_FILE = re.compile(r"\S*hs_err_pid\d+\.log")
# Between the end of its connections and the end of a process.
_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class JvmDeath:
    """The end of a JVM.

    Args:
        exit_code: Of its process; a negative one is a signal.
        words: The last lines that it wrote.
    """

    exit_code: int
    words: str = ""

    def message_and_hint(self) -> tuple[str, str]:
        """What happened, and what to do next."""
        code = 128 - self.exit_code if self.exit_code < 0 else self.exit_code
        if code == _OUT_OF_MEMORY or "java.lang.OutOfMemoryError" in self.words:
            return (
                "Spark's process (Java) ended because it ran out of memory",
                f"raise '{_MEMORY}' in sparkConf, or repartition the data",
            )
        if code == 128 + signal.SIGKILL:
            return (
                "Spark's process (Java) was killed, most likely by the operating system, which was out of memory",
                f"give the machine or the container more memory than one and a half times '{_MEMORY}', or lower "
                f"'{_MEMORY}' in sparkConf",
            )
        if code == 128 + signal.SIGTERM:
            return (
                "Spark's process (Java) was ended by a signal",
                "run again; find out what ends processes on this machine",
            )
        if code == 128 + signal.SIGABRT or _CRASH_FILE.search(self.words):
            file = _CRASH_FILE.search(self.words)
            where = f"; see {file[0]}" if file else ""
            return (
                f"Spark's process (Java) crashed{where}",
                "run again; if it crashes again, use another version of Java 17 or 21",
            )
        return (
            f"Spark's process (Java) has ended, with exit code {self.exit_code}",
            "look at what it logged before that, and run again",
        )

    def error(self) -> PipelineExecutionException:
        """The exception for it: in another JVM the same run may succeed."""
        message, hint = self.message_and_hint()
        return PipelineExecutionException(message, hint=hint, retryable=True)


def jvm_death(error: BaseException | None = None) -> JvmDeath | None:
    """How the JVM died that this process has started, or shares; None if it is alive, or there is none.

    Args:
        error: What was raised; where it says that the connection to the JVM is gone, its end is waited for.
    """
    from pyspark import SparkContext

    if (ended := server_exit_code()) is not None:
        return JvmDeath(ended, last_lines())
    gateway: Any = SparkContext._gateway  # pyright: ignore[reportPrivateUsage]
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    if process is None:
        return None
    code = process.poll()
    if code is None and error is not None and _has_lost_jvm(error, gateway):
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(_PATIENCE_SECONDS)
    return JvmDeath(code, last_words()) if code is not None else None


def forget_dead_jvm() -> None:
    """Let the next session have a JVM of its own, if that of this process is dead."""
    if jvm_death() is not None:
        forget_jvm()


def forget_jvm() -> None:
    """Have pyspark forget its JVM and all that lived in it."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    leave_server()
    context: Any = SparkContext
    session: Any = SparkSession
    context._active_spark_context = context._gateway = context._jvm = None
    session._instantiatedSession = session._activeSession = None


def _answers(gateway: Any) -> bool:
    at = gateway.gateway_parameters
    return listens(at.address, at.port, _PATIENCE_SECONDS)


def _has_lost_jvm(error: BaseException, gateway: Any) -> bool:
    from py4j.protocol import Py4JError, Py4JJavaError

    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    if any(isinstance(link, Py4JError) and not isinstance(link, Py4JJavaError) for link in chain):
        return True
    # Of Python, too, where another system does not answer.
    return any(isinstance(link, ConnectionError) for link in chain) and not _answers(gateway)
