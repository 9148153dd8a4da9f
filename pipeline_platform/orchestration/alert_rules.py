"""What of all that happens is worth an alert: each occurrence once, and again only after it was over."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict

from pipeline_platform.metrics.stream import StreamTotals
from pipeline_platform.resources.alert_model import Kind

QUIET = timedelta(hours=1)
"""For so long a failure for the same reason is not told again, nor are rows left out if others were just before."""
_MOST_FAILING = 2000
"""Checks, by partition, that are remembered as failing; beyond that the oldest may be told once more."""
_PART = "\n"
_WHERE = "\0"
"""In a line, what stands for the assets that it is about."""
_VARYING = re.compile(r"[0-9a-fA-F-]{8,}|\d+")


@dataclass(frozen=True)
class Subject:
    """What Dagster knows of an asset.

    Args:
        pipeline: Name of its pipeline; of an asset that no pipeline makes, its key.
        command_arguments: What names it on the command line: its file, and what chooses it there.
        owners: Its owners.
        tags: Its tags.
    """

    pipeline: str
    command_arguments: str | None = None
    owners: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class RunSucceeded:
    """A run has succeeded.

    Args:
        at: When.
        assets: What it was to make.
    """

    at: datetime
    assets: tuple[dg.AssetKey, ...]


@dataclass(frozen=True)
class RunFailed:
    """A run, or one of its steps, has failed.

    Args:
        at: When.
        run_id: The run.
        job: Its job.
        assets: What was to be made by what failed.
        reason: Why.
    """

    at: datetime
    run_id: str
    job: str
    assets: tuple[dg.AssetKey, ...]
    reason: str


@dataclass(frozen=True)
class CheckEvaluated:
    """A check has passed or failed.

    Args:
        at: When.
        key: The check.
        passed: Whether it has passed.
        is_error: Whether its severity is ERROR, if it has failed.
        description: What it says.
        partition: Of the asset.
        run_id: The run; None for one that is reported without a run.
        told_as: What the run is told as that fails because of it.
    """

    at: datetime
    key: dg.AssetCheckKey
    passed: bool
    is_error: bool = True
    description: str | None = None
    partition: str | None = None
    run_id: str | None = None
    told_as: Kind | None = None


@dataclass(frozen=True)
class StreamGivenUp:
    """A supervisor has given a stream up.

    Args:
        at: When.
        asset: The stream's first sink.
        description: Why.
    """

    at: datetime
    asset: dg.AssetKey
    description: str


@dataclass(frozen=True)
class FreshnessMissed:
    """An asset was not updated for longer than its freshness policy allows.

    Args:
        at: When Dagster noticed.
        asset: The asset.
        updated: When it was updated last, if that is known.
    """

    at: datetime
    asset: dg.AssetKey
    updated: datetime | None


@dataclass(frozen=True)
class RowsLeftOut:
    """How many rows a stream has left out since its run began.

    Args:
        at: When it was counted.
        asset: A sink.
        run_id: The run.
        late: Rows that came too late for the watermark.
        future: Rows whose time is too far ahead.
    """

    at: datetime
    asset: dg.AssetKey
    run_id: str
    late: int
    future: int


Event = RunSucceeded | RunFailed | CheckEvaluated | StreamGivenUp | FreshnessMissed | RowsLeftOut


class LeftOut(BaseModel):
    """Rows that a stream has left out."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    rows: int
    grew: datetime | None = None
    """When they were last seen to be more."""


class Memory(BaseModel):
    """What was told, as far as it is not over."""

    model_config = ConfigDict(frozen=True)

    checks: dict[str, Literal["WARN", "ERROR"]] = {}
    """How each check, by asset, name and partition, that has failed did so."""
    failures: dict[str, datetime] = {}
    """When a failure of a run was told, by pipeline and reason."""
    left_out: dict[str, LeftOut] = {}
    """By pipeline."""

    def of(self, assets: Collection[str]) -> Memory:
        """The same without the checks of assets that are gone, such as that of a file that was broken.

        Args:
            assets: The keys of those that are there.
        """
        checks = {name: outcome for name, outcome in self.checks.items() if name.partition(_PART)[0] in assets}
        return self.model_copy(update={"checks": checks})


@dataclass(frozen=True)
class Occurrence:
    """What is to be told, in one alert.

    Args:
        kind: What it is.
        at: When it happened.
        pipeline: Name of the pipeline, as in `Subject`.
        assets: What it is about.
        lines: What happened, one for each thing.
        run_id: The run.
        told_as: Whoever is told of this is not told again.
    """

    kind: Kind
    at: datetime
    pipeline: str
    assets: tuple[dg.AssetKey, ...]
    lines: tuple[str, ...]
    run_id: str | None = None
    told_as: Kind | None = None


def decide(
    memory: Memory, events: Sequence[Event], subject_of: Callable[[dg.AssetKey], Subject]
) -> tuple[Memory, list[Occurrence]]:
    """What is to be told of what has happened.

    Args:
        memory: What was told before.
        events: What has happened since, in any order.
        subject_of: What is known of an asset.
    """
    deciding = _Deciding(memory, subject_of)
    found = [one for event in sorted(events, key=lambda event: event.at) for one in deciding.occurrences(event)]
    # Of a run that is not told again nobody hears by way of it.
    found = [replace(one, told_as=None) if one.run_id in deciding.muted_runs else one for one in found]
    return deciding.memory(), _together(found)


class _Deciding:
    def __init__(self, memory: Memory, subject_of: Callable[[dg.AssetKey], Subject]) -> None:
        self._subject_of = subject_of
        self._checks = dict(memory.checks)
        self._failures = dict(memory.failures)
        self._left_out = dict(memory.left_out)
        self.muted_runs: set[str] = set()
        """Runs that have failed, for a reason that was told before."""

    def memory(self) -> Memory:
        checks = dict(list(self._checks.items())[-_MOST_FAILING:])
        return Memory(checks=checks, failures=self._failures, left_out=self._left_out)

    def occurrences(self, event: Event) -> Iterator[Occurrence]:
        match event:
            case RunSucceeded():
                self._forget_failures(event)
            case RunFailed():
                yield from self._run_failed(event)
            case CheckEvaluated():
                yield from self._check(event)
            case StreamGivenUp():
                subject = self._subject_of(event.asset)
                command = f"pipeline-platform resume {subject.command_arguments}"
                line = f"the stream is {event.description}\nfix it, then: {command}"
                yield Occurrence("stream_given_up", event.at, subject.pipeline, (event.asset,), (line,))
            case FreshnessMissed():
                pipeline, name = self._subject_of(event.asset).pipeline, event.asset.to_user_string()
                since = f"since {event.updated:%Y-%m-%d %H:%M} UTC" if event.updated is not None else "for too long"
                line = f"{name} was not updated {since}, which is longer than its freshness policy allows"
                yield Occurrence("freshness_missed", event.at, pipeline, (event.asset,), (line,))
            case RowsLeftOut():
                yield from self._rows_left_out(event)

    def _pipelines(self, assets: Sequence[dg.AssetKey]) -> dict[str, list[dg.AssetKey]]:
        found: dict[str, list[dg.AssetKey]] = {}
        for asset in assets:
            found.setdefault(self._subject_of(asset).pipeline, []).append(asset)
        return found

    def _forget_failures(self, event: RunSucceeded) -> None:
        pipelines = self._pipelines(event.assets)
        self._failures = {key: at for key, at in self._failures.items() if key.rpartition("/")[0] not in pipelines}

    def _run_failed(self, event: RunFailed) -> Iterator[Occurrence]:
        self._failures = {key: at for key, at in self._failures.items() if event.at - at < QUIET}
        # Of the same reason only numbers and ids differ from run to run.
        reason = hashlib.sha256(_VARYING.sub("#", event.reason).encode()).hexdigest()[:16]
        for pipeline, assets in (self._pipelines(event.assets) or {event.job: []}).items():
            if f"{pipeline}/{reason}" not in self._failures:
                self._failures[f"{pipeline}/{reason}"] = event.at
                line = f"run {event.run_id} failed: {event.reason}"
                yield Occurrence("run_failed", event.at, pipeline, tuple(assets), (line,), event.run_id)
            else:
                self.muted_runs.add(event.run_id)

    def _check(self, event: CheckEvaluated) -> Iterator[Occurrence]:
        name = _PART.join([event.key.asset_key.to_user_string(), event.key.name, event.partition or ""])
        before = self._checks.pop(name, None)
        if event.passed:
            return
        self._checks[name] = "ERROR" if event.is_error else "WARN"
        if before == "ERROR" or (before == "WARN" and not event.is_error):
            return
        yield Occurrence(
            "check_failed" if event.is_error else "check_warned",
            event.at,
            self._subject_of(event.key.asset_key).pipeline,
            (event.key.asset_key,),
            (_check_line(event),),
            event.run_id,
            event.told_as,
        )

    def _rows_left_out(self, event: RowsLeftOut) -> Iterator[Occurrence]:
        pipeline, rows = self._subject_of(event.asset).pipeline, event.late + event.future
        before = self._left_out.get(pipeline)
        grew = before.grew if before is not None else None
        # Each sink of a stream says the same.
        if rows <= (before.rows if before is not None and before.run_id == event.run_id else 0):
            return
        self._left_out[pipeline] = LeftOut(run_id=event.run_id, rows=rows, grew=event.at)
        if grew is None or event.at - grew >= QUIET:
            totals = StreamTotals(late_rows=event.late, future_rows=event.future)
            line = f"{totals.left_out()}, since the run began"
            yield Occurrence("late_rows", event.at, pipeline, (event.asset,), (line,), event.run_id)


def _check_line(event: CheckEvaluated) -> str:
    partition = f", partition {event.partition}," if event.partition else ""
    outcome = "failed" if event.is_error else "warned"
    said = f": {event.description}" if event.description else ""
    return f"the check {event.key.name} of {_WHERE}{partition} {outcome}{said}"


def _together(found: Sequence[Occurrence]) -> list[Occurrence]:
    """One of a kind and a pipeline, so that a run with five failed checks is one message; failed runs stay apart."""
    grouped: dict[tuple[object, ...], list[Occurrence]] = {}
    for one in found:
        alone = (one.run_id, one.lines) if one.kind == "run_failed" else None
        grouped.setdefault((one.kind, one.pipeline, one.told_as, alone), []).append(one)
    return [_merged(same) for same in grouped.values()]


def _merged(same: Sequence[Occurrence]) -> Occurrence:
    """What is the same of several assets, such as of a frame and the tables that are loaded of it, is one line."""
    by_line: dict[str, dict[dg.AssetKey, None]] = {}
    for one in same:
        for line in one.lines:
            by_line.setdefault(line, {}).update(dict.fromkeys(one.assets))
    lines = [
        line.replace(_WHERE, " and ".join(asset.to_user_string() for asset in assets))
        for line, assets in by_line.items()
    ]
    assets = dict.fromkeys(asset for one in same for asset in one.assets)
    return replace(same[-1], assets=tuple(assets), lines=tuple(lines))


def in_utc(timestamp: float) -> datetime:
    """A time of Dagster's.

    Args:
        timestamp: Seconds since 1970.
    """
    return datetime.fromtimestamp(timestamp, UTC)
