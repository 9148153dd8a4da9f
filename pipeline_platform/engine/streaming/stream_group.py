"""Runs several streams in one process and one JVM, each by itself: the end of one leaves the others alone."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.streaming.checkpoint_place import checkpoint_location
from pipeline_platform.engine.streaming.heartbeat import is_lasting
from pipeline_platform.engine.streaming.queries import STOP_SECONDS
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file, streams_folder
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.redaction import redact
from pipeline_platform.state_file import StateFile

if TYPE_CHECKING:
    from pipeline_platform.config.pipeline import PipelineConfig
    from pipeline_platform.engine.streaming.stream import StreamRun
    from pipeline_platform.metrics.run import RunMetrics

_LOG = logging.getLogger(__name__)
_FOLDER = "groups"
STARTS_AT_ONCE = 4
"""More only wait for each other."""
_START_SECONDS = 30.0
# For what follows a query's end: state, settings, locks.
_TIDY_SECONDS = 15.0


class Member(BaseModel):
    """A stream that is to run in a group.

    Args:
        pipeline: Its name.
        run_id: Names this run of it: another one means that it is to be started again.
        restarts: Restarts by the supervisor since it last made progress.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: str
    run_id: str
    restarts: int = 0


class GroupMembers(StateFile):
    """Which streams a group is to run, as the supervisor last said; the process of the group follows it.

    Args:
        folder: That of the pipelines.
        group: Name of the group.
        members: The streams.
        environment: That they are in, as `place_apart` of a pipeline has it; None for production.
    """

    folder: str
    group: str
    members: tuple[Member, ...] = ()
    environment: str | None = None

    @classmethod
    def of(cls, folder: Path, group: str, members: Iterable[Member] = (), environment: str | None = None) -> Self:
        """What a group of a folder of pipelines is to run."""
        return cls(folder=str(folder.absolute()), group=group, members=tuple(members), environment=environment)

    @property
    def file(self) -> Path:
        """Where that is said."""
        return members_file(Path(self.folder), self.group, self.environment)


def members_file(folder: Path, group: str, environment: str | None = None) -> Path:
    """The file in which the supervisor says what a group is to run.

    Args:
        folder: Of the pipelines; those of others may have groups of the same name.
        group: Name of the group.
        environment: That it is in; None for production.
    """
    return streams_folder() / _FOLDER / f"{_key(folder, environment)}-{group}.json"


def all_groups(folder: Path, environment: str | None = None) -> dict[str, GroupMembers]:
    """What each group of a folder of pipelines was last told to run, by its name; former groups too.

    Args:
        folder: The folder.
        environment: That they are in; None for production.
    """
    files = sorted((streams_folder() / _FOLDER).glob(f"{_key(folder, environment)}-*.json"))
    found = [GroupMembers.read(path) for path in files]
    return {group.group: group for group in found if group is not None}


def group_of_each(groups: Mapping[str, GroupMembers]) -> dict[str, str]:
    """In which group each stream was last told to be, by the name of its pipeline.

    Args:
        groups: What `all_groups` gave.
    """
    return {member.pipeline: name for name, said in groups.items() for member in said.members}


def _key(folder: Path, environment: str | None) -> str:
    apart = f"\n{environment}" if environment is not None else ""
    return hashlib.sha256(f"{folder.absolute()}{apart}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class EndedMember:
    """How a stream of a group ended.

    Args:
        member: The stream.
        run: The run; None if it could not be made.
        metrics: What it did, if it ended by itself.
        error: What it failed at, or that it was stopped.
    """

    member: Member
    run: StreamRun | None
    metrics: RunMetrics | None = None
    error: BaseException | None = None

    @property
    def was_stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return isinstance(self.error, PipelineCancelledException)


@dataclass
class _Running:
    member: Member
    stop: CancellationToken = field(default_factory=CancellationToken)
    began: float = field(default_factory=time.monotonic)
    thread: threading.Thread | None = None
    run: StreamRun | None = None
    ended: EndedMember | None = None

    def has_query(self) -> bool:
        return self.run is not None and bool(self.run.queries.names)


class StreamGroup:
    """The streams that run in this process.

    Args:
        find: The pipeline of a stream.
        make: Makes its run, in a thread of the stream's own; it has to have the member's run id.
    """

    def __init__(
        self, find: Callable[[Member], PipelineConfig], make: Callable[[Member, PipelineConfig], StreamRun]
    ) -> None:
        self._find = find
        self._make = make
        self._running: dict[str, _Running] = {}
        self._begun: dict[str, str] = {}

    @property
    def names(self) -> Collection[str]:
        """The pipelines whose streams have not ended."""
        return self._running.keys()

    def follow(self, wanted: Iterable[Member]) -> list[EndedMember]:
        """Start what is wanted and does not run, stop what runs and is not wanted; without waiting for either.

        A few are started at once. A stream that has ended is not started again before it has another run id. One that
        was told to stop, and does not, keeps its own next run from beginning, and nobody else.

        Args:
            wanted: The streams that are to run.

        Returns:
            Those that have ended since the last call.
        """
        by_name = {member.pipeline: member for member in wanted}
        for name, running in self._running.items():
            wanted_now = by_name.get(name)
            if wanted_now is None or wanted_now.run_id != running.member.run_id:
                running.stop.cancel()
        ended = self._take_ended()
        for name, member in by_name.items():
            if self._starting() >= STARTS_AT_ONCE:
                break
            if name not in self._running and self._begun.get(name) != member.run_id:
                self._start(member)
        return ended

    def stop(self) -> list[EndedMember]:
        """Stop all, each after its micro-batch; of those that have not ended in time a line says so.

        Returns:
            Those that have ended since the last call.
        """
        for running in self._running.values():
            running.stop.cancel()
        deadline = time.monotonic() + STOP_SECONDS + _TIDY_SECONDS
        for running in self._running.values():
            assert running.thread is not None
            running.thread.join(max(deadline - time.monotonic(), 0))
        ended = self._take_ended()
        if self._running:
            _LOG.warning("these streams did not stop in time: %s", ", ".join(sorted(self._running)))
        return ended

    def _starting(self) -> int:
        """How many have begun lately and have no query yet; one that is blocked counts no longer after a while."""
        lately = time.monotonic() - _START_SECONDS
        return sum(each.began > lately and not each.has_query() for each in self._running.values())

    def _take_ended(self) -> list[EndedMember]:
        ended = [running.ended for running in self._running.values() if running.ended is not None]
        for each in ended:
            del self._running[each.member.pipeline]
        return ended

    def _start(self, member: Member) -> None:
        running = _Running(member)
        # A thread has no context of its own otherwise, and logs could not say what they are about.
        context = copy_context()
        running.thread = threading.Thread(
            target=context.run, args=(self._run, running), name=f"stream-{member.pipeline}", daemon=True
        )
        self._running[member.pipeline] = running
        self._begun[member.pipeline] = member.run_id
        running.thread.start()

    def _run(self, running: _Running) -> None:
        member, pipeline = running.member, None
        try:
            pipeline = self._find(member)
            running.run = self._make(member, pipeline)
            running.ended = EndedMember(member, running.run, metrics=running.run.run_until(running.stop))
        except BaseException as error:  # noqa: BLE001 - told to whoever follows the group, and in the state.
            _note_failure(member, pipeline, error)
            running.ended = EndedMember(member, running.run, error=error)


def _note_failure(member: Member, pipeline: PipelineConfig | None, error: BaseException) -> None:
    """Say in the state of a stream what it failed at, if that was before it could say anything itself."""
    file = state_file(member.pipeline)
    before = StreamState.read(file)
    if isinstance(error, PipelineCancelledException) or (before is not None and before.run_id == member.run_id):
        return
    now = datetime.now(UTC)
    failed = {
        "run_id": member.run_id,
        "phase": "failed",
        "started": now,
        "heartbeat": now,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "restarts": member.restarts,
        "error": redact(str(error)),
        "lasting": is_lasting(error),
    }
    if before is not None:
        before.model_copy(update=failed).write(file)
    elif pipeline is not None:
        # Without its variables, which may be what it failed at, nobody knows where its checkpoint is to be.
        with suppress(PipelineException):
            known = {"pipeline": member.pipeline, "checkpoint": checkpoint_location(pipeline)}
            StreamState.model_validate({**known, **failed}).write(file)
