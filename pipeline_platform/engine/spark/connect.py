"""Starts a session on a Spark Connect server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.connectors.storage.location import NO_KEPT_CLIENTS
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.extras import Extra, install_hint
from pipeline_platform.frames.causes import keep_error_details

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONNECT_EXTRA = Extra("connect", "Spark Connect", ("grpc", "grpc_status", "google.rpc", "pandas", "numpy", "zstandard"))
# By itself the client tries for ten minutes, and says nothing while it does.
_ANSWER_SECONDS = 30.0
_EXTENSIONS = "spark.sql.extensions"
_DELTA = "io.delta.sql.DeltaSparkSessionExtension"


def remote_session(remote: str, app_name: str) -> SparkSession:
    """A session on a Spark Connect server.

    Args:
        remote: URL of the server, `sc://HOST:PORT`; it may hold a token.
        app_name: Shown by Spark.

    Raises:
        PipelineConfigurationException: The client's packages are missing or too old, the URL is no such URL, or the
            server was started without Delta.
        PipelineExecutionException: No server answers.
    """
    CONNECT_EXTRA.require()
    from pyspark.errors import PySparkImportError, PySparkValueError
    from pyspark.sql import SparkSession

    try:
        _require_answer(remote)
        session = SparkSession.builder.remote(remote).appName(app_name).getOrCreate()
        # At last pyspark itself has the server free what models have cached, and waits for that without limit as well.
        when_python_ends(cast("Any", session).client._channel.close)
        # The server's clients of S3 are those of all its sessions, whatever keys they come with.
        for key, value in NO_KEPT_CLIENTS.items():
            session.conf.set(key, value)
    except (ImportError, PySparkImportError) as error:
        raise PipelineConfigurationException(
            f"Spark Connect needs other versions of its packages: {error}", hint=install_hint([CONNECT_EXTRA])
        ) from error
    except PySparkValueError as error:
        raise PipelineConfigurationException(
            "what should be the address of a Spark Connect server is none", hint="write it as sc://HOST:PORT"
        ) from error
    keep_error_details(session)  # pyright: ignore[reportArgumentType]
    if _DELTA not in (session.conf.get(_EXTENSIONS, None) or ""):
        raise PipelineConfigurationException(
            "the Spark Connect server was started without Delta Lake",
            hint=f"start it with the Delta jars and {_EXTENSIONS}={_DELTA}",
        )
    return session


def when_python_ends(call: Callable[[], object]) -> None:
    """Have something done when Python ends, before it waits for the threads that pyspark has to talk to a server.

    What `atexit` is told of comes after that, and they may wait without limit: to say what the server may forget.

    Args:
        call: What is to be done; of several the last comes first.
    """
    threading._register_atexit(call)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def _require_answer(remote: str) -> None:
    import grpc
    from pyspark.sql.connect.client import DefaultChannelBuilder

    builder = DefaultChannelBuilder(remote)
    with builder.toChannel() as channel:
        try:
            grpc.channel_ready_future(channel).result(_ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise PipelineExecutionException(
                f"no Spark Connect server answers at {builder.endpoint}",
                hint="check that it runs, the address, and whether it needs TLS (sc://HOST:PORT/;use_ssl=true)",
                retryable=True,
            ) from error
