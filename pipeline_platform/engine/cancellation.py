"""Runs work so that it can be stopped: Spark's jobs end, what was begun is tidied up, and only then the caller goes on.

The work has a thread of its own. Python raises an interruption in the main thread, and there it would cut through a
call to the JVM: the call goes on unseen, and writes after staging was removed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline_platform.exceptions import PipelineCancelledException
from pipeline_platform.redaction import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_log = logging.getLogger(__name__)

T = TypeVar("T")

# How long Spark's jobs, and the tidying after them, may take to end.
_GRACE_SECONDS = 60.0
_AGAIN_SECONDS = 0.2


class CancellationToken:
    """Whether the work was asked to stop."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at the next occasion."""
        self._cancelled.set()

    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Go on only if nobody asked to stop.

        Raises:
            PipelineCancelledException: Somebody did.
        """
        if self.is_cancelled():
            raise PipelineCancelledException("the run was stopped")

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks to stop; then raise as `check` does."""
        self._cancelled.wait(seconds)
        self.check()


def interruptible(work: Callable[[CancellationToken], T], spark: SparkSession, patience_seconds: float = 0) -> T:
    """Return what the work returns, or raise what it raises.

    Args:
        work: Done in a thread of its own; looks at the `CancellationToken` between its actions.
        spark: The session, whose jobs are the work's.
        patience_seconds: How long the work may take to stop by itself before Spark's jobs are interrupted.

    Raises:
        PipelineCancelledException: The caller was interrupted, which is its cause. The work has ended by then, unless
            the message says otherwise.
    """
    stop, outcome = CancellationToken(), _Outcome[T]()
    context = copy_context()
    thread = threading.Thread(target=context.run, args=(outcome.run, work, stop), name="pipeline-run", daemon=True)
    try:
        thread.start()
        outcome.done.wait()
    except BaseException as interruption:
        # KeyboardInterrupt, SystemExit or Dagster's own interruption; what the work raises is kept in the outcome.
        stop.cancel()
        outcome.done.wait(patience_seconds)
        _interrupt_jobs(spark, outcome.done)
        if not outcome.done.is_set():
            message = f"the run was stopped, but Spark's jobs did not end within {_GRACE_SECONDS:.0f} s"
            raise PipelineCancelledException(message) from interruption
        raise PipelineCancelledException("the run was stopped; nothing is half-written") from interruption
    return outcome.result()


class _Outcome(Generic[T]):
    def __init__(self) -> None:
        self.done = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None

    def run(self, work: Callable[[CancellationToken], T], stop: CancellationToken) -> None:
        try:
            self._results.append(work(stop))
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that waits for it.
            self._error = error
        finally:
            self.done.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]


def _interrupt_jobs(spark: SparkSession, done: threading.Event) -> None:
    """Interrupt until the work has ended: between two jobs there is none to interrupt."""
    deadline = time.monotonic() + _GRACE_SECONDS
    call: threading.Thread | None = None
    while time.monotonic() < deadline:
        if call is None or not call.is_alive():
            # Over Spark Connect the call may wait for a server that does not answer.
            call = threading.Thread(target=_interrupt, args=(spark,), name="interrupt-jobs", daemon=True)
            call.start()
        if done.wait(_AGAIN_SECONDS):
            return


def _interrupt(spark: SparkSession) -> None:
    # A tag would be unknown here: Spark keeps tags by thread.
    try:
        spark.interruptAll()
    # Whatever it is, the work fails of it as well.
    except Exception as error:  # noqa: BLE001
        _log.info("Spark's jobs can't be interrupted: %s", redact(str(error)))
