"""Keeps two processes of a machine from writing to one checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline_platform.exceptions import PipelineExecutionException

STREAMS_VARIABLE = "PIPELINE_PLATFORM_STREAMS"


def streams_folder() -> Path:
    """Where streams leave what others look at: `PIPELINE_PLATFORM_STREAMS`, or `streams` in `DAGSTER_HOME` or here."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(os.environ.get(STREAMS_VARIABLE) or (f"{home}/streams" if home else ".dagster/streams")).absolute()


@contextmanager
def lease(checkpoint: str) -> Generator[None]:
    """Hold a checkpoint until the block, or the process, ends; a lock of the operating system's, so none is stale.

    Args:
        checkpoint: Path or URI of the checkpoint.

    Raises:
        PipelineExecutionException: Another process holds it.
    """
    folder = streams_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{hashlib.sha256(checkpoint.encode()).hexdigest()[:20]}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise PipelineExecutionException(
            f"another process runs a stream on the checkpoint {checkpoint}",
            hint="stop that one first, or give this pipeline a 'checkpointLocation' of its own",
        ) from None
    try:
        yield
    finally:
        lock.release()
