"""How every sink of a project is: its files, their sizes, its versions, when it was loaded and maintained last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.connectors.delta.history import commits_of, is_change
from pipeline_platform.connectors.delta.log_files import DeltaLog
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.upkeep import SMALL_BYTES, table_size
from pipeline_platform.connectors.storage.folders import changed_at, files_below, is_hidden
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import explained
from pipeline_platform.engine.maintenance.sinks import Sink
from pipeline_platform.engine.maintenance.upkeep import last_maintenance

QUARANTINE = "quarantine"


@dataclass(frozen=True)
class SinkState:
    """How a sink is; what is not known, or means nothing for it, is None.

    Args:
        pipeline: Name of the pipeline.
        step: Name of the step.
        kind: The system, as Dagster's kinds name it; `quarantine` for one.
        uri: Where it is.
        files: How many files it consists of.
        bytes: Their size.
        small: How many of them are small and could be put together.
        version: The newest version of a table.
        commits: How many commits its log has.
        loaded: When it was loaded last.
        maintained: When it was maintained last.
        schedule: When Dagster maintains it.
        note: What else there is to say, such as that there is no table yet.
        error: Why it can't be looked at.
    """

    pipeline: str
    step: str
    kind: str
    uri: str
    files: int | None = None
    bytes: int | None = None
    small: int | None = None
    version: int | None = None
    commits: int | None = None
    loaded: datetime | None = None
    maintained: datetime | None = None
    schedule: str | None = None
    note: str | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """What people call it: pipeline and step."""
        return f"{self.pipeline}/{self.step}{' (quarantine)' if self.kind == QUARANTINE else ''}"

    @property
    def small_share(self) -> float | None:
        """The part of the files that is small."""
        return self.small / self.files if self.files and self.small is not None else None


def overview(sinks: Sequence[Sink], say: Callable[[str], None]) -> Iterator[SinkState]:
    """How sinks are, one after the other; one that can't be reached keeps the others from nothing.

    Args:
        sinks: The sinks.
        say: Told which is looked at.
    """
    for number, sink in enumerate(sinks, start=1):
        say(f"{number} of {len(sinks)}: {sink.name}")
        yield _state(sink)


def _state(sink: Sink) -> SinkState:
    told = sink.maintenance
    kind = QUARANTINE if sink.writer.is_quarantine else sink.step.config.kind
    state = SinkState(
        sink.pipeline.name,
        sink.step.name,
        kind,
        sink.writer.place,
        schedule=told.schedule if told is not None else None,
    )
    if sink.kind == "other":
        return replace(state, note="not looked at: it is in another system")
    if sink.writer.is_in_several:
        return replace(
            state, note="one for each partition, and not looked at", uri=sink.step.config.folder() or state.uri
        )
    try:
        with closing(RunCredentials.from_environment("tables", sink.pipeline.location)) as credentials:
            place = sink.place(credentials)
            return _of_table(state, place) if sink.kind == "delta" else _of_files(state, place)
    # Whatever a store or a table fails at must not hide the others.
    except Exception as error:  # noqa: BLE001
        return replace(state, error=explained(error, sink.step).message.splitlines()[0])


def _of_table(state: SinkState, place: StorageLocation) -> SinkState:
    table = open_table(place)
    uri = normalized_uri(place.uri)
    if table is None:
        return replace(state, uri=uri, note="there is no table yet")
    size, last = table_size(table), last_maintenance(place)
    changes = (commit for commit in commits_of(table, place) if is_change(commit))
    newest = next(changes, None)
    return replace(
        state,
        uri=uri,
        files=size.files,
        bytes=size.bytes,
        small=size.small,
        version=table.version(),
        commits=len(DeltaLog.of(place).commits),
        loaded=datetime.fromtimestamp(newest["timestamp"] / 1000, UTC) if newest is not None else None,
        maintained=last.at if last is not None else None,
    )


def _of_files(state: SinkState, place: StorageLocation) -> SinkState:
    folder = place.path()
    base = folder.path.rstrip("/") + "/"
    found: Mapping[str, Mapping[str, Any]] = files_below(folder) if folder.exists() else {}
    data = [detail for path, detail in found.items() if not is_hidden(path.removeprefix(base))]
    if not data:
        return replace(state, note="there are no files yet")
    sizes = [int(detail["size"]) for detail in data]
    small = sum(size < SMALL_BYTES for size in sizes)
    return replace(
        state,
        files=len(sizes),
        bytes=sum(sizes),
        small=small if small > 1 else 0,
        loaded=max(changed_at(detail) for detail in data),
    )
