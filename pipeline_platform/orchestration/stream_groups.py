"""Which streams of a project share a process, and what the supervisor knows of those that do."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import dagster as dg
import psutil

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.spark.settings import REMOTE_VARIABLE
from pipeline_platform.engine.streaming.stream_group import GroupMembers, Member
from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.supervisor import Decision, SeenRun, SupervisorState

SIZE_VARIABLE = "PIPELINE_PLATFORM_STREAM_GROUP_SIZE"
"""How many streams that name no group of their own share a process; 1 means that none do."""
_SIZE = 25
# A small one, of JVM and Python: docs/benchmarks.md.
_OWN_PROCESS_BYTES = 1.45 * 2**30
# Others may be fixed when Spark starts, which a group does once for all of its streams.
_CONF_OF_SESSION = ("spark.sql.", "spark.databricks.")

_NAMESPACE = uuid.UUID("6f1f3d1e-5d3c-4c58-9d6b-0d6a5a2c9f10")
# Groups start their streams a few at a time.
_START_SECONDS_EACH = 5


def group_size(pipelines: Sequence[PipelineConfig]) -> int:
    """How many streams without a group of their own share a process.

    By default 25, if processes of their own would take more than half of the machine's memory, or else 1.

    Args:
        pipelines: The streams of a project.

    Raises:
        PipelineConfigurationException: `PIPELINE_PLATFORM_STREAM_GROUP_SIZE` is no number of streams.
    """
    said = os.environ.get(SIZE_VARIABLE)
    if not said:
        needed = len(_without_group(pipelines)) * _OWN_PROCESS_BYTES
        has_room = needed <= psutil.virtual_memory().total / 2
        return 1 if has_room or os.environ.get(REMOTE_VARIABLE) else _SIZE
    if not said.isdecimal() or int(said) < 1:
        raise PipelineConfigurationException(
            f"{SIZE_VARIABLE} is '{said}', which is no number of streams", hint="set it to 1 or more"
        )
    return int(said)


def group_names(pipelines: Sequence[PipelineConfig], size: int) -> list[str]:
    """The groups that the streams of a project may be in.

    Args:
        pipelines: Its streams.
        size: How many of those that name no group share a process.
    """
    named = {group for pipeline in pipelines if isinstance(group := pipeline.streaming.group, str)}
    return [*sorted(named), *_numbered(len(_without_group(pipelines)), size)]


def _without_group(pipelines: Sequence[PipelineConfig]) -> list[str]:
    """Those that may be in any group."""
    return [
        pipeline.name
        for pipeline in pipelines
        if pipeline.streaming.group is None and all(key.startswith(_CONF_OF_SESSION) for key in pipeline.spark_conf)
    ]


def _numbered(streams: int, size: int) -> list[str]:
    return [str(number) for number in range(1, -(-streams // size) + 1)] if size > 1 else []


def assigned(pipelines: Sequence[PipelineConfig], before: Mapping[str, str], size: int) -> dict[str, str]:
    """Which stream is in which group; one that is in none has a process of its own.

    Those that name no group stay where they are, and others fill what is free: a new stream moves no other. One whose
    `sparkConf` may say what is fixed when Spark starts has a process of its own, unless it names a group.

    Args:
        pipelines: Streams.
        before: The groups that streams are in now, by the pipelines' names.
        size: How many of those that name no group share a process.
    """
    found = {pipeline.name: group for pipeline in pipelines if isinstance(group := pipeline.streaming.group, str)}
    others = _without_group(pipelines)
    numbered = _numbered(len(others), size)
    taken: Counter[str] = Counter()
    for name in others:
        if (group := before.get(name)) in numbered and taken[group] < size:
            found[name] = group
            taken[group] += 1
    for name in others:
        if name not in found and numbered:
            found[name] = next(group for group in numbered if taken[group] < size)
            taken[found[name]] += 1
    return found


def run_id_of(pipeline: str, watch: SupervisorState) -> str:
    """What names the run of a stream in a group.

    Args:
        pipeline: Its name.
        watch: What is remembered of it; it is requested, or live.
    """
    if watch.phase == "live" and watch.run_id is not None:
        return watch.run_id
    return str(uuid.uuid5(_NAMESPACE, f"{pipeline}/{watch.generation}/{watch.since.timestamp():.3f}"))


def _ended(state: StreamState, request: StreamRequest | None) -> dg.DagsterRunStatus | None:
    """How a stream ended by itself; None if it has not.

    One that stops without being asked to does so with all of its group; how that run ends says why.
    """
    match state.phase:
        case "failed":
            return dg.DagsterRunStatus.FAILURE
        case "completed":
            return dg.DagsterRunStatus.SUCCESS
        case "stopped" if request is not None and request.action == "stop" and request.at > state.started:
            return dg.DagsterRunStatus.CANCELED
        case _:
            return None


@dataclass
class GroupsNow:
    """The groups of a project as the supervisor finds them when it looks, and as it leaves them.

    Args:
        folder: Of the pipelines.
        jobs: Names of the groups' jobs, by the groups' names.
        groups: The group of each stream that is to be in one, by the pipeline's name.
        before: What each group was last told to run.
        live: The live run of each group that has one.
        last: Of those that have none: the last run, and when it was made.
        environment: That they are in; None for production.
    """

    folder: Path
    jobs: Mapping[str, str]
    groups: Mapping[str, str]
    before: Mapping[str, GroupMembers]
    live: Mapping[str, SeenRun]
    last: Mapping[str, tuple[SeenRun, datetime]]
    environment: str | None = None
    _members: dict[str, list[Member]] = field(default_factory=dict[str, list[Member]])
    _requested: dict[str, datetime] = field(default_factory=dict[str, datetime])
    _silent: dict[str, Decision] = field(default_factory=dict[str, Decision])
    _beating: set[str] = field(default_factory=set[str])

    @cached_property
    def _former(self) -> Mapping[str, tuple[str, Member]]:
        """The group that each stream was last told to be in."""
        return {member.pipeline: (group, member) for group, said in self.before.items() for member in said.members}

    def settled(self, name: str, watch: SupervisorState) -> SupervisorState:
        """What is remembered of a stream; one that is to leave its group is to be started.

        The group that it leaves stops it, and whoever starts it waits for that: the checkpoint is locked until then.

        Args:
            name: Of the pipeline.
            watch: What was remembered.
        """
        former = self._former.get(name)
        if former is None or former[0] == self.groups.get(name) or watch.phase not in ("requested", "live"):
            return watch
        return watch.model_copy(update={"phase": "wanted", "run_id": run_id_of(name, watch)})

    def _has(self, name: str, watch: SupervisorState) -> bool:
        """Whether the run of a stream that is remembered is one in its group."""
        if name not in self.groups or watch.phase not in ("requested", "live"):
            return False
        former = self._former.get(name)
        return watch.phase == "requested" or (former is not None and former[1].run_id == watch.run_id)

    def run_of(
        self,
        name: str,
        watch: SupervisorState,
        state: StreamState | None,
        request: StreamRequest | None,
        now: datetime,
    ) -> SeenRun | None:
        """The run of a stream in its group, as if it were one by itself; None if it has none there.

        Args:
            name: Of the pipeline.
            watch: What is remembered of it.
            state: What it last said of itself.
            request: What a person asked of it.
            now: The time, with its zone.
        """
        if not self._has(name, watch):
            return None
        group, run_id = self.groups[name], run_id_of(name, watch)
        own_state = state if state is not None and state.run_id == run_id else None
        if own_state is not None and (ended := _ended(own_state, request)) is not None:
            return SeenRun(run_id, ended, own_state.started)
        if own_state is not None and own_state.is_alive(now):
            self._beating.add(group)
        if (run := self.live.get(group)) is not None:
            wait = timedelta(seconds=_START_SECONDS_EACH * len(self.groups))
            return SeenRun(run_id, run.status, max(run.began, watch.since) + wait if run.began is not None else None)
        if group in self.last:
            run, made = self.last[group]
            if watch.phase == "live" or made > watch.since:
                return SeenRun(run_id, run.status, run.began)
        return SeenRun(run_id, dg.DagsterRunStatus.FAILURE, None) if watch.phase == "live" else None

    def keep(self, name: str, decision: Decision, state: StreamState | None, now: datetime) -> None:
        """Note what was decided for a stream that has no run by itself."""
        watch = decision.watch
        if decision.end_run is not None:
            if state is None or state.is_stale(now):
                self._silent[self.groups[name]] = decision
            return
        if not self._has(name, watch):
            return
        group, run_id = self.groups[name], run_id_of(name, watch)
        _, former = self._former.get(name, (group, None))
        if former is None or former.run_id != run_id:
            former = Member(pipeline=name, run_id=run_id, restarts=watch.restarts)
        self._members.setdefault(group, []).append(former)
        if decision.start:
            self._requested[group] = max(watch.since, self._requested.get(group, watch.since))

    def gone(self) -> list[tuple[SeenRun, Decision]]:
        """The live runs of groups whose process is gone or hangs: none of their streams has a heartbeat."""
        return [
            (self.live[group], decision)
            for group, decision in self._silent.items()
            if group in self.live and group not in self._beating
        ]

    def tell(self) -> None:
        """Tell the processes of the groups what to run; what is in no group any more is in none of them."""
        for group in {*self.jobs, *self.before}:
            said = GroupMembers.of(self.folder, group, self._members.get(group, ()), self.environment)
            if said != self.before.get(group) and (said.members or group in self.before):
                said.write(said.file)

    def requests(self) -> list[dg.RunRequest]:
        """Runs of groups that have streams to start and no process."""
        return [
            # The time of the last start keeps a sensor that has lost its cursor from asking for a former run.
            dg.RunRequest(run_key=f"{self.jobs[group]}/{since.timestamp():.3f}", job_name=self.jobs[group])
            for group, since in self._requested.items()
            if group not in self.live
        ]
