"""Decides what is to be done for a stream: start it, leave it, start it again, or give it up.

Nothing here reads or starts anything: what is known goes in, a decision comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict

from pipeline_platform.config.pipeline_keys import StreamingOptions
from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState

START_SECONDS = 300.0
"""How long a run may take from its start to its first heartbeat: a fresh machine has jars to fetch."""
_MOST_DOUBLINGS = 32

STREAM_TAG = "pipeline_platform/stream"
GENERATION_TAG = "pipeline_platform/generation"
RESTARTS_TAG = "pipeline_platform/restarts"
"""Tags of a run that the supervisor requests: the pipeline, how often it was started, restarts without progress."""

SupervisionPhase = Literal["wanted", "requested", "live", "waiting", "stopped", "given_up"]

LIVE_STATUSES = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class SupervisorState(BaseModel):
    """What the supervisor remembers of a stream from one look to the next."""

    model_config = ConfigDict(frozen=True)

    phase: SupervisionPhase = "wanted"
    since: datetime = datetime.fromtimestamp(0, UTC)
    """When that phase began."""
    generation: int = 0
    """How often it was started."""
    run_id: str | None = None
    restarts: int = 0
    """Since it last got on."""
    place: str | None = None
    """The last micro-batch it has finished, of which checkpoint."""
    start_at: datetime | None = None
    """While it waits: when it is started again."""
    reason: str = ""
    """Why it waits, is stopped or was given up."""


@dataclass(frozen=True)
class SeenRun:
    """A run of a stream, as the instance has it.

    Args:
        run_id: The run.
        status: Its status.
        began: When it was started; None if it has not been.
    """

    run_id: str
    status: dg.DagsterRunStatus
    began: datetime | None

    @property
    def is_live(self) -> bool:
        """Whether it has not ended yet."""
        return self.status in LIVE_STATUSES


@dataclass(frozen=True)
class Observation:
    """What there is to see of a stream.

    Args:
        run: The run that is live, else the one that was watched last.
        state: What the stream last said of itself.
        request: What a person asked of it.
    """

    run: SeenRun | None = None
    state: StreamState | None = None
    request: StreamRequest | None = None

    def live_id(self, watch: SupervisorState, now: datetime) -> str | None:
        """Run id of whoever runs it, Dagster or somebody at a terminal; None if nobody does.

        A process whose run was ended may beat on until it notices; it counts no more.
        """
        if self.run is not None and self.run.is_live:
            return self.run.run_id
        if self.state is None or not self.state.is_alive(now):
            return None
        is_ended = self.state.run_id == watch.run_id and watch.phase != "live"
        has_ended = self.run is not None and self.run.run_id == self.state.run_id
        return None if is_ended or has_ended else self.state.run_id


@dataclass(frozen=True)
class Decision:
    """What is to be done for a stream, and what is to be remembered of it.

    Args:
        watch: What is remembered.
        start: Whether to request a run.
        end_run: Why the live run has to be ended, which does not end by itself; None to leave it.
    """

    watch: SupervisorState
    start: bool = False
    end_run: str | None = None


def decide(options: StreamingOptions, watch: SupervisorState, seen: Observation, now: datetime) -> Decision:
    """Say what is to be done for a stream.

    Args:
        options: How it is supervised.
        watch: What is remembered of it.
        seen: What there is to see of it.
        now: The time, with its zone.
    """
    live_id = seen.live_id(watch, now)
    if live_id is not None:
        return _of_live(options, watch, seen, live_id, now)
    if seen.request is not None and seen.request.at > watch.since:
        return _as_requested(watch, seen.request, now)
    match watch.phase:
        case "live" | "requested":
            return _of_ended(options, watch, seen, now)
        case "waiting" if watch.start_at is not None and now < watch.start_at:
            return Decision(watch)
        case "wanted" | "waiting":
            return _start(watch, now)
        case "stopped" | "given_up":
            return Decision(watch)


def _of_live(
    options: StreamingOptions, watch: SupervisorState, seen: Observation, run_id: str, now: datetime
) -> Decision:
    if watch.phase != "live" or watch.run_id != run_id:
        # One that somebody else began starts with a clean slate.
        restarts = watch.restarts if watch.phase == "requested" else 0
        watch = watch.model_copy(
            update={"phase": "live", "run_id": run_id, "since": now, "restarts": restarts, "reason": ""}
        )
    own_state = seen.state if seen.state is not None and seen.state.run_id == run_id else None
    watch = _with_progress(watch, own_state)
    if seen.run is None or not seen.run.is_live:
        return Decision(watch)
    silent = _silent_for(seen.run, own_state, now)
    if silent is not None and seen.run.status == dg.DagsterRunStatus.CANCELING:
        reason = "terminated, and its process was gone"
        return Decision(_changed(watch, "stopped", now, reason), end_run=reason)
    if silent is not None:
        return _again(options, watch, now, f"no heartbeat for {_told(silent)}", end_run=True)
    if own_state is not None and seen.run.status == dg.DagsterRunStatus.STARTED:
        still = own_state.stalled_for(now)
        if still > timedelta(seconds=options.stall_timeout_seconds):
            return _again(options, watch, now, f"it has made no progress for {_told(still)}", end_run=True)
    return Decision(watch)


def _with_progress(watch: SupervisorState, state: StreamState | None) -> SupervisorState:
    """Count its restarts anew once it has finished a micro-batch that it had not finished before."""
    progress = state.progress if state is not None else None
    if progress is None or not progress.worked:
        return watch
    place = f"{progress.query_id}/{progress.batch}"
    return watch if place == watch.place else watch.model_copy(update={"place": place, "restarts": 0})


def _silent_for(run: SeenRun, state: StreamState | None, now: datetime) -> timedelta | None:
    """For how long a run that should beat has not; None if all is well."""
    if run.status not in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING) or run.began is None:
        return None
    if state is not None and state.phase in ("starting", "running"):
        return now - state.heartbeat if state.is_stale(now) else None
    # Before it has the session, and after the stream has ended, only the process itself is at work.
    last = max(run.began, state.heartbeat) if state is not None else run.began
    return now - last if now - last > timedelta(seconds=START_SECONDS) else None


def _of_ended(options: StreamingOptions, watch: SupervisorState, seen: Observation, now: datetime) -> Decision:
    run_id = seen.run.run_id if seen.run is not None else watch.run_id
    if run_id is None:
        # The request was lost; a second one with the same key starts no second run.
        return Decision(watch, start=True)
    watch = watch.model_copy(update={"run_id": run_id})
    state = seen.state if seen.state is not None and seen.state.run_id == run_id else None
    canceled = seen.run is not None and seen.run.status == dg.DagsterRunStatus.CANCELED
    if canceled or (seen.run is None and state is not None and state.phase == "stopped"):
        return Decision(_changed(watch, "stopped", now, "stopped by a person"))
    watch = _with_progress(watch, state)
    if state is not None and state.error is not None:
        return _again(options, watch, now, state.error, permanent=state.lasting)
    return _again(options, watch, now, "its process is gone")


def _as_requested(watch: SupervisorState, request: StreamRequest, now: datetime) -> Decision:
    if request.action == "stop":
        return Decision(_changed(watch, "stopped", now, f"stopped by {request.by}"))
    return _start(watch.model_copy(update={"restarts": 0}), now)


def _start(watch: SupervisorState, now: datetime) -> Decision:
    started = watch.model_copy(
        update={"phase": "requested", "since": now, "generation": watch.generation + 1, "run_id": None}
    )
    return Decision(started, start=True)


def _again(
    options: StreamingOptions,
    watch: SupervisorState,
    now: datetime,
    reason: str,
    *,
    permanent: bool = False,
    end_run: bool = False,
) -> Decision:
    """Start it again after a delay, unless that was done often enough without its getting on."""
    ended = reason if end_run else None
    if permanent or watch.restarts >= options.max_restarts:
        return Decision(_changed(watch, "given_up", now, reason), end_run=ended)
    delay = options.restart_delay_seconds * 2 ** min(watch.restarts, _MOST_DOUBLINGS)
    start_at = now + timedelta(seconds=min(delay, options.max_restart_delay_seconds))
    waiting = _changed(watch, "waiting", now, reason)
    return Decision(
        waiting.model_copy(update={"start_at": start_at, "restarts": watch.restarts + 1}),
        end_run=ended,
    )


def _changed(watch: SupervisorState, phase: SupervisionPhase, now: datetime, reason: str) -> SupervisorState:
    return watch.model_copy(update={"phase": phase, "since": now, "reason": reason})


def _told(time: timedelta) -> str:
    return f"{time.total_seconds():.0f} s"
