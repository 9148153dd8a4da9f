"""Who reads earlier versions of a table: streams that are behind the newest one, and steps that name a version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.delta.log_files import DeltaLog, LogCleanup
from pipeline_platform.connectors.delta.source import FromDeltaLake
from pipeline_platform.connectors.storage.location import StorageLocation, bucket_of
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.streaming.checkpoint import checkpoint_position
from pipeline_platform.engine.streaming.checkpoint_place import find_checkpoint, places_of
from pipeline_platform.engine.streaming.stream_state import StreamState, all_states, state_file
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException

# A commit may say of a file that it was removed when its work began, and a table may take long to maintain.
_MARGIN = timedelta(days=1)


@dataclass(frozen=True)
class Reader:
    """Who still needs a version of a table that is not the newest one, or may be.

    Args:
        name: What people call it.
        version: The first version that it needs.
        is_stream: Whether it goes on from there.
    """

    name: str
    version: int
    is_stream: bool = True


@dataclass(frozen=True)
class Retention:
    """What of a table is kept.

    Args:
        files_from: Files stay that a version needed then, or later.
        files: The same as people wrote it.
        log: What of its log is to be removed.
        log_span: How long its log stays, as people wrote it.
    """

    files_from: datetime
    files: str
    log: LogCleanup = field(default_factory=LogCleanup)
    log_span: str | None = None


def readers_of(
    uri: str, table_id: str, log: DeltaLog, pipelines: Iterable[PipelineConfig], credentials: RunCredentials
) -> list[Reader]:
    """Who reads a table: pipelines of the project, and streams of others that run, or ran, on this machine.

    Args:
        uri: Where the table is, as datasets have it.
        table_id: The id that the table has for life, by which checkpoints know it.
        log: Its log.
        pipelines: Those of the project.
        credentials: With which checkpoints are entered.

    Raises:
        PipelineException: The checkpoint of a stream that reads it can't be looked at.
    """
    found: list[Reader] = []
    names: set[str] = set()
    for pipeline in pipelines:
        names.add(pipeline.name)
        found += _in_pipeline(uri, table_id, log, pipeline, credentials)
    for state in all_states():
        if state.pipeline not in names and uri in state.sources and bucket_of(state.checkpoint) is None:
            found += _at_offsets(state.pipeline, table_id, StorageLocation(state.checkpoint), -1)
    return found


def _in_pipeline(
    uri: str, table_id: str, log: DeltaLog, pipeline: PipelineConfig, credentials: RunCredentials
) -> Iterator[Reader]:
    for step in pipeline.steps:
        config = step.config
        if not isinstance(config, FromDeltaLake):
            continue
        with suppress(PipelineException):
            # With a variable that is not set here, nobody can run it here, either.
            config = config.resolved()
        if config.dataset().location != uri:
            continue
        told = f"step {step.number}, {step.name}, of '{pipeline.name}'"
        if config.version is not None:
            yield Reader(f"{told}, which reads version {config.version}", config.version, is_stream=False)
        elif config.timestamp is not None:
            version = log.last_before(_time(config.timestamp))
            yield Reader(f"{told}, which reads the table of {config.timestamp}", max(version, 0), is_stream=False)
        elif pipeline.mode == "streaming" and step.index in pipeline.shape.streamed:
            state = StreamState.read(state_file(pipeline.name))
            place_at = places_of(pipeline, credentials)
            checkpoint = find_checkpoint(pipeline, place_at, state.checkpoint if state is not None else None)
            first = config.starting_version if config.starting_version is not None else -1
            yield from _at_offsets(pipeline.name, table_id, checkpoint, first, pipeline)


def _time(text: str) -> datetime:
    """A time as the step has it, in UTC where it does not say; of a form that only Spark knows the oldest."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _at_offsets(
    name: str, table_id: str, checkpoint: StorageLocation, first: int, pipeline: PipelineConfig | None = None
) -> Iterator[Reader]:
    """Where a stream goes on, as its checkpoint says."""
    offsets = checkpoint.path() / "offsets"
    told = f"the stream '{name}'"
    finished = checkpoint_position(pipeline, checkpoint).finished if pipeline is not None else _newest(checkpoint)
    if finished >= 0 and (offsets / str(finished)).exists():
        # Before a micro-batch is planned Delta looks at the columns of the version before.
        for version in _versions((offsets / str(finished)).read_text(), table_id):
            yield Reader(told, version)
        return
    planned = offsets / "0"
    if planned.exists():
        # Where it begins is not written down: at `startingVersion`, or with all rows of the version of that moment.
        begun = [max(version - 1, 0) for version in _versions(planned.read_text(), table_id)]
        yield from (Reader(told, first if first >= 0 else version) for version in begun)
    elif first >= 0:
        yield Reader(f"{told}, which has not run yet and begins at version {first}", first)


def _newest(checkpoint: StorageLocation) -> int:
    folder = checkpoint.path() / "commits"
    numbers = (int(file.name) for file in folder.iterdir() if file.name.isdigit()) if folder.is_dir() else ()
    return max(numbers, default=-1)


def _versions(text: str, table_id: str) -> Iterator[int]:
    """The versions of a table in the offsets of a micro-batch."""
    for line in text.splitlines():
        try:
            offset: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(offset, dict) and cast("dict[str, Any]", offset).get("reservoirId") == table_id:
            yield int(cast("dict[str, Any]", offset)["reservoirVersion"])


def require_readers_kept(log: DeltaLog, latest: int, readers: Sequence[Reader], kept: Retention) -> None:
    """Require that nobody who reads a table misses what is to be removed.

    Args:
        log: The log of the table.
        latest: Its newest version.
        readers: Who reads it.
        kept: What is kept.

    Raises:
        PipelineExecutionException: Somebody would; names all of them, and how far behind they are.
    """
    broken = [told for reader in readers if (told := _loses(log, latest, reader, kept)) is not None]
    if broken:
        raise PipelineExecutionException(
            f"nothing was touched, since {'; and '.join(broken)}",
            hint="let streams come to the end of the table first, remove the checkpoint of a stream that is no more, "
            "change the step that names an old version, or keep more in 'maintenance'",
        )


def _loses(log: DeltaLog, latest: int, reader: Reader, kept: Retention) -> str | None:
    """What a reader would lose, and how far behind it is; None if nothing."""
    if reader.version >= latest:
        return None
    if kept.log.first_kept is not None and kept.log.first_kept > reader.version:
        what = f"'keepLog' {kept.log_span} removes versions before {kept.log.first_kept}"
        return f"{what}, and {reader.name} {_stands(log, latest, reader)}"
    following = log.commits.get(reader.version + 1)
    if following is not None and following >= kept.files_from + 2 * _MARGIN:
        return None
    removed = log.first_removal(reader.version)
    if removed is None or removed >= kept.files_from + _MARGIN:
        return None
    what = f"'keepFiles' {kept.files} removes files that were replaced on {removed:%Y-%m-%d %H:%M} UTC"
    return f"{what}, and {reader.name} {_stands(log, latest, reader)}"


def _stands(log: DeltaLog, latest: int, reader: Reader) -> str:
    since = log.commits.get(reader.version + 1)
    ago = f", since {since:%Y-%m-%d %H:%M} UTC" if since is not None else ""
    behind = latest - reader.version
    if not reader.is_stream:
        return f"needs them (the newest version is {latest})"
    return f"has not read them: it is at version {reader.version}, {behind:,} behind the newest one{ago}"
