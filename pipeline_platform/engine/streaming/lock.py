"""Keeps two processes of a machine from writing to one checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pipeline_platform.engine.streaming.stream_state import streams_folder
from pipeline_platform.exceptions import PipelineExecutionException


@contextmanager
def checkpoint_lock(
    checkpoint: str, wait_seconds: float = 0, is_over: Callable[[], bool] | None = None
) -> Generator[None]:
    """Hold a checkpoint until the block, or the process, ends; a lock of the operating system's, so none is stale.

    Args:
        checkpoint: Path or URI of the checkpoint.
        wait_seconds: How long to wait for a process that holds it.
        is_over: Asked now and then while waiting: whether to give up.

    Raises:
        PipelineExecutionException: Another process holds it.
    """
    folder = streams_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{hashlib.sha256(checkpoint.encode()).hexdigest()[:20]}.lock", timeout=wait_seconds)
    try:
        lock.acquire(cancel_check=is_over)
    except Timeout:
        raise PipelineExecutionException(
            f"another process is already running a stream on the checkpoint {checkpoint}",
            hint="stop that one first, or give this pipeline a 'checkpointLocation' of its own",
        ) from None
    try:
        yield
    finally:
        lock.release()
