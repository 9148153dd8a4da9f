"""Says from a thread of its own that a stream is alive and where it stands, and hears when it is to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.streaming.stream_state import (
    HEARTBEAT_SECONDS,
    StreamRequest,
    StreamState,
    request_file,
    state_file,
)
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    ValidationException,
)
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.metrics.stream import StepTotals, StreamProgress
from pipeline_platform.redaction import redact

_LOG = logging.getLogger(__name__)


def is_lasting(error: BaseException) -> bool:
    """Whether a stream that failed so would, started again unchanged, only fail the same way."""
    return isinstance(error, (PipelineConfigurationException, ValidationException))


class Heartbeat:
    """Keeps the state file of a running stream fresh.

    Args:
        state: What is known at the start.
        stop: Asked to stop when a person wants it, or when the stream is no longer this run's.
        is_wanted: Whether whoever began the run still counts on it; asked with each beat.
    """

    def __init__(self, state: StreamState, stop: CancellationToken, is_wanted: Callable[[], bool]) -> None:
        self._state = state
        self._stop = stop
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._written = True

    def note(self, **changes: Any) -> None:
        """Change what the state file says, and write it."""
        with self._lock:
            self._state = self._state.model_copy(update={**changes, "heartbeat": datetime.now(UTC)})
            try:
                self._state.write(state_file(self._state.pipeline))
                self._written = True
            except OSError as error:
                # A full disk must not be what ends the stream, if the stream itself gets on.
                if self._written:
                    _LOG.warning("the state of the stream %s can't be written: %s", self._state.pipeline, error)
                self._written = False

    def progressed(self, progress: StreamProgress, steps: Iterable[StepMetrics]) -> None:
        """Note what Spark says of a micro-batch, or of having none to work on, and what the steps did in all."""
        self.note(
            phase="running",
            has_begun=True,
            progress=progress,
            moved=datetime.now(UTC),
            totals=self._state.totals.and_then(progress),
            steps=tuple(_totals(step) for step in steps),
        )

    def rests(self) -> None:
        """Note that there is nothing to do at the moment; goes out with the next beat."""
        with self._lock:
            self._state = self._state.model_copy(update={"moved": datetime.now(UTC)})

    def run(self) -> None:
        """Beat until `end`."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self._listen()
            except Exception:  # noqa: BLE001 - whoever is asked may be away for a while; the stream has to beat on.
                _LOG.warning("the stream %s can't check whether it should stop", self._state.pipeline, exc_info=True)
            self.note()

    def _listen(self) -> None:
        request = StreamRequest.read(request_file(self._state.pipeline))
        if request is not None and request.action == "stop" and request.at > self._state.started:
            self._stop.cancel()
        if not self._is_wanted():
            # It has been taken for dead, and another run may go on in its place.
            self._stop.cancel()

    def end(self) -> None:
        """Stop beating."""
        self._ended.set()


def _totals(step: StepMetrics) -> StepTotals:
    return StepTotals(
        name=step.name,
        type=step.type,
        method=step.method,
        rows=step.rows,
        bytes=step.bytes,
        violations=step.violations if step.type == "validate" else None,
        quarantined=step.quarantined,
        malformed=step.malformed,
    )


@contextmanager
def heartbeat(state: StreamState, stop: CancellationToken, is_wanted: Callable[[], bool]) -> Generator[Heartbeat]:
    """Keep the state file fresh while the block lasts, and say in it how the block ended.

    Args:
        state: What is known at the start.
        stop: Asked to stop when a person wants it, or when the stream is no longer this run's.
        is_wanted: Whether whoever began the run still counts on it.
    """
    beating = Heartbeat(state, stop, is_wanted)
    beating.note()
    thread = threading.Thread(target=beating.run, name="stream-heartbeat", daemon=True)
    thread.start()
    ending: dict[str, Any] = {"phase": "completed"}
    try:
        yield beating
    except PipelineCancelledException:
        ending = {"phase": "stopped"}
        raise
    except PipelineException as error:
        ending = {"phase": "failed", "error": redact(str(error)), "lasting": is_lasting(error)}
        raise
    except BaseException as error:
        ending = {"phase": "failed", "error": redact(repr(error))}
        raise
    finally:
        beating.end()
        thread.join()
        beating.note(**ending)
