"""A Spark server that runs share, of its own: not the one that a developer has started."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline_platform.engine.spark.server import SparkServer, running_server, start_server, stop_server

STATE_VARIABLE = "XDG_STATE_HOME"
"""Below the folder that it names, a server is noted."""


@contextmanager
def spark_state(folder: Path) -> Generator[None]:
    """Let servers be noted in a folder while the block lasts, and end the one that runs at its end.

    Args:
        folder: An empty folder.
    """
    before = os.environ.get(STATE_VARIABLE)
    os.environ[STATE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        end_server()
        if before is None:
            del os.environ[STATE_VARIABLE]
        else:
            os.environ[STATE_VARIABLE] = before


@contextmanager
def spark_server(folder: Path, memory: str | None = None) -> Generator[SparkServer]:
    """A server that is noted in a folder, while the block lasts.

    Args:
        folder: An empty folder.
        memory: Of its JVM, such as `2g`; by default what the platform chooses.
    """
    with spark_state(folder):
        yield start_server(memory, idle_minutes=60)


def end_server() -> None:
    """End the server that runs, if one does."""
    if (server := running_server()) is not None:
        stop_server(server)
