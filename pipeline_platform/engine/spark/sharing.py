"""A run's session on the server of the machine: whether it can have one, and how to be rid of it."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import psutil

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.spark.connect import CONNECT_EXTRA, remote_session, when_python_ends
from pipeline_platform.engine.spark.jars import connector_jars, say
from pipeline_platform.engine.spark.server import (
    FREE_MEMORY,
    SERVER_VARIABLE,
    SparkServer,
    Use,
    build_of,
    running_server,
    server_file,
    start_server,
)
from pipeline_platform.engine.spark.settings import DELTA_DEFAULTS, configured_choice
from pipeline_platform.exceptions import (
    PipelineException,
    PipelineExecutionException,
)
from pipeline_platform.redaction import remember_secret

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client import SparkConnectClient

_MODE_VARIABLE = "SPARK_CONNECT_MODE_ENABLED"
# On one machine nothing is lost on the way: who does not answer is gone. By default the client tries for ten minutes.
_RETRIES = 3
_PATIENCE_SECONDS = 3.0
"""Between the end of the server and its being noted."""


@dataclass(frozen=True)
class _Used:
    """What this process has on a server.

    Args:
        server: The server.
        session: Its session; pyspark itself knows the session of a thread alone.
    """

    server: SparkServer
    session: SparkSession


_used: list[_Used] = []


def configured_use(default: Use = Use.RUNNING) -> Use:
    """What `PIPELINE_PLATFORM_SPARK_SERVER` says: `never`, `running` or `on_demand`.

    Args:
        default: What it is taken for if it is not set.

    Raises:
        PipelineConfigurationException: It says something else.
    """
    return configured_choice(SERVER_VARIABLE, Use) or default


def use_for(pipeline: PipelineConfig) -> Use:
    """What is configured, for a batch; a stream has a Spark of its own, and so has a load that needs its JVM.

    Raises:
        PipelineConfigurationException: As `configured_use`.
    """
    has_own = pipeline.mode != "batch" or any(step.traits.needs_own_jvm for step in pipeline.steps)
    return Use.NEVER if has_own else configured_use()


def session_on_server(app_name: str, wanted: Mapping[str, str], use: Use) -> SparkSession | None:
    """A session on the server of the machine; None if the run has to have a JVM of its own, of which a line says why.

    Args:
        app_name: Shown by Spark.
        wanted: Settings of the run; those that are fixed when Spark starts make it a case for a JVM of its own.
        use: Whether a server may be used, or started.
    """
    if use == Use.NEVER or CONNECT_EXTRA.missing():
        return None
    try:
        server = running_server()
        if server is None:
            if use == Use.RUNNING or psutil.virtual_memory().available < FREE_MEMORY:
                return None
            say("starting a Spark server, which the next runs use too ...")
            server = start_server()
        if (reason := _unfit(server, wanted)) is not None:
            say(f"not on the Spark server that runs: {reason}")
            return None
        remember_secret(server.token)
        session = remote_session(server.remote, app_name)
    except PipelineException as error:
        say(f"not on the Spark server of this machine: {error.message}")
        return None
    _give_up_early(cast("SparkConnectClient", session.client))
    if not _used:
        when_python_ends(leave_server)
    _used[:] = [_Used(server, session)]
    return session


def _unfit(server: SparkServer, wanted: Mapping[str, str]) -> str | None:
    if server.build != build_of(connector_jars()):
        return "it belongs to another version of the platform; end it with `pipeline-platform spark stop`"
    if fixed := _fixed_when_started(server, [key for key in wanted if not key.startswith(DELTA_DEFAULTS)]):
        return f"{', '.join(sorted(fixed))} can only be set when Spark starts"
    return None


def _fixed_when_started(server: SparkServer, keys: list[str]) -> list[str]:
    if not keys:
        return []
    from pyspark.errors import PySparkException
    from pyspark.sql.connect import proto
    from pyspark.sql.connect.client import SparkConnectClient

    client = SparkConnectClient(server.remote)
    _give_up_early(client)
    try:
        asked = proto.ConfigRequest.Operation(is_modifiable=proto.ConfigRequest.IsModifiable(keys=keys))
        return [key for key, answer in client.config(asked).pairs if answer != "true"]
    except PySparkException as error:
        raise PipelineExecutionException("it does not answer", retryable=True) from error
    finally:
        with suppress(PySparkException):
            client.release_session()
        client.close()


def _give_up_early(client: SparkConnectClient) -> None:
    from pyspark.sql.connect.client.retries import DefaultPolicy

    # The error that follows says the same.
    warnings.filterwarnings("ignore", r"\[RETRIES_EXCEEDED\]")
    client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])


def leave_server() -> None:
    """End this process's session on the server, if it has one: the next one may have a JVM of its own."""
    if _used:
        _used.pop().session.stop()
        # The mark by which pyspark tells which of its two kinds of sessions a process has.
        os.environ.pop(_MODE_VARIABLE, None)


def server_exit_code() -> int | None:
    """How the server of this process's session has ended; None if it has not, or the session is on none."""
    if not _used or _used[0].server.is_alive():
        return None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        noted = SparkServer.read(server_file())
        if noted is None or noted.jvm != _used[0].server.jvm:
            # It was told to end, or had nothing to do.
            return -signal.SIGTERM
        if noted.exit_code is not None:
            return noted.exit_code
        if time.monotonic() > deadline:
            # Who looks after it was killed as well.
            return -signal.SIGKILL
        time.sleep(0.1)
