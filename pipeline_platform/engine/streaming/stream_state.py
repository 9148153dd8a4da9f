"""What a running stream leaves in a small file for others to look at, and what others ask of it.

A supervisor, `pipeline-platform streams` and the check of a stream's health read these files, and start no JVM.
"""

from __future__ import annotations

import getpass
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.metrics.stream import StepTotals, StreamProgress, StreamTotals
from pipeline_platform.state_file import StateFile

STREAMS_VARIABLE = "PIPELINE_PLATFORM_STREAMS"
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
"""A heartbeat older than this is none: the process is gone, or does nothing at all."""

StreamPhase = Literal["starting", "running", "stopped", "failed", "completed"]


class StreamState(StateFile):
    """Where a stream stands, as the process that runs it last said."""

    pipeline: str
    checkpoint: str
    """That of the last run that got as far as to have one."""
    run_id: str
    phase: StreamPhase
    started: datetime
    heartbeat: datetime
    host: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    environment: str | None = None
    """The environment that it is in; None in production."""
    file: str | None = None
    """The file of the pipeline; None if an earlier version has written the state."""
    sources: tuple[str, ...] = ()
    sinks: tuple[str, ...] = ()
    """URIs of what it reads and loads."""
    has_begun: bool = False
    """Whether a micro-batch has begun on that checkpoint."""
    restarts: int = 0
    """Restarts by the supervisor since the stream last made progress."""
    progress: StreamProgress | None = None
    totals: StreamTotals = StreamTotals()
    steps: tuple[StepTotals, ...] = ()
    moved: datetime | None = None
    """When it last finished a micro-batch, or had none to work on."""
    error: str | None = None
    lasting: bool = False
    """Whether starting it again unchanged would fail again."""

    @classmethod
    def starting(
        cls, pipeline: PipelineConfig, before: StreamState | None, checkpoint: str, run_id: str, restarts: int
    ) -> Self:
        """That of a stream that starts: what it was, until it is known where it goes on, or that it begins anew.

        Args:
            pipeline: Its pipeline.
            before: What it last said of itself.
            checkpoint: The one it has if it never ran here.
            run_id: Of the run.
            restarts: Since it last made progress.
        """
        known = {name: getattr(before, name) for name in ("file", "sources", "sinks", "has_begun")} if before else {}
        return cls(
            pipeline=pipeline.name,
            environment=pipeline.place_apart,
            checkpoint=before.checkpoint if before is not None else checkpoint,
            run_id=run_id,
            phase="starting",
            started=datetime.now(UTC),
            heartbeat=datetime.now(UTC),
            restarts=restarts,
            **known,
        )

    def is_alive(self, now: datetime) -> bool:
        """Whether a process runs it."""
        return self.phase in ("starting", "running") and not self.is_stale(now)

    def is_stale(self, now: datetime) -> bool:
        """Whether the last heartbeat is too old to mean anything."""
        return now - self.heartbeat > timedelta(seconds=STALE_SECONDS)

    def stalled_for(self, now: datetime) -> timedelta:
        """For how long it has worked on one micro-batch without finishing it."""
        return now - self.moved if self.moved is not None and self.phase == "running" else timedelta()


class StreamRequest(StateFile):
    """What a person asked of a stream; it holds for what began before."""

    action: Literal["stop", "resume"]
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    by: str = Field(default_factory=getpass.getuser)


def streams_folder() -> Path:
    """Where streams leave what others look at: `PIPELINE_PLATFORM_STREAMS`, or `streams` in `DAGSTER_HOME` or here."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(os.environ.get(STREAMS_VARIABLE) or (f"{home}/streams" if home else ".dagster/streams")).absolute()


def all_states(environment: str | None = None) -> list[StreamState]:
    """What every stream that ever ran here last said of itself, whether there still is a pipeline for it or not.

    Args:
        environment: That they are in, as `place_apart` of a pipeline has it; None for production.
    """
    found = (StreamState.read(path) for path in sorted(streams_folder().glob(f"*{_STATE}")))
    return [state for state in found if state is not None and state.environment == environment]


_STATE = ".state.json"


def state_file(pipeline: str) -> Path:
    """The file in which a stream says where it stands.

    Args:
        pipeline: Name of the pipeline.
    """
    return streams_folder() / f"{pipeline}{_STATE}"


def request_file(pipeline: str) -> Path:
    """The file in which people ask something of a stream.

    Args:
        pipeline: Name of the pipeline.
    """
    return streams_folder() / f"{pipeline}.request.json"
