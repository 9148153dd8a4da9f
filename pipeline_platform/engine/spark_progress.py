"""How far Spark is with what it does at the moment, from its own status store: no job, and no other thread of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.frames.remote import is_remote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.session import SparkSession as ConnectSession
    from pyspark.sql.connect.shell.progress import ProgressHandler, StageInfo

_END_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparkProgress:
    """The stages that run.

    Args:
        tasks: How many tasks they have.
        tasks_done: How many of those are done.
        rows_read: Rows they have read from datasets so far.
        rows_written: Rows they have written to datasets so far.
    """

    tasks: int
    tasks_done: int
    rows_read: int
    rows_written: int

    def __str__(self) -> str:
        """For people."""
        rows = self.rows_written or self.rows_read
        what = f", {rows:,} rows {'written' if self.rows_written else 'read'} so far" if rows else ""
        return f"{self.tasks_done:,} of {self.tasks:,} tasks done{what}"


@contextmanager
def watched(spark: SparkSession, tell: Callable[[SparkProgress], None], seconds: float) -> Generator[None]:
    """Tell how far Spark is while the block lasts, whenever it has come further.

    Args:
        spark: The session; Spark Connect tells of tasks alone, every two seconds at most.
        tell: Told in a thread of its own.
        seconds: Between two looks.
    """
    if is_remote(spark):
        with _watched_on_server(spark, tell, seconds):
            yield
        return
    over = threading.Event()

    def look() -> None:
        latest: SparkProgress | None = None
        while not over.wait(seconds):
            try:
                found = _progress(spark)
            except Exception:  # noqa: BLE001 - a JVM that is gone is told by whoever waits for it.
                _LOG.debug("Spark can't be asked how far it is", exc_info=True)
                return
            if found is not None and found != latest and not over.is_set():
                latest = found
                tell(found)

    watcher = threading.Thread(target=look, name="spark-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        # A JVM that hangs must not keep the end of the run from being told.
        watcher.join(_END_SECONDS)


@contextmanager
def _watched_on_server(spark: SparkSession, tell: Callable[[SparkProgress], None], seconds: float) -> Generator[None]:
    told = time.monotonic()

    def look(*, stages: Iterable[StageInfo], done: bool, **_: Any) -> None:
        nonlocal told
        active = [stage for stage in stages if not stage.done]
        if active and not done and time.monotonic() - told >= seconds:
            told = time.monotonic()
            tasks_done = sum(stage.num_completed_tasks for stage in active)
            tell(SparkProgress(sum(stage.num_tasks for stage in active), tasks_done, rows_read=0, rows_written=0))

    session, handler = cast("ConnectSession", spark), cast("ProgressHandler", look)
    session.registerProgressHandler(handler)
    try:
        yield
    finally:
        session.removeProgressHandler(handler)


def _progress(spark: SparkSession) -> SparkProgress | None:
    context: Any = spark.sparkContext
    stages: Any = context._jsc.sc().statusStore().activeStages()
    active = [stages.apply(place) for place in range(stages.size())]
    if not active:
        return None
    return SparkProgress(
        tasks=sum(stage.numTasks() for stage in active),
        tasks_done=sum(stage.numCompleteTasks() for stage in active),
        rows_read=sum(stage.inputRecords() for stage in active),
        rows_written=sum(stage.outputRecords() for stage in active),
    )
