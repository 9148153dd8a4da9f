"""Where a stream keeps its place, and whether a pipeline can go on from there."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict

from pipeline_platform.config.environment import substitute_all
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.stream_shape import StreamShape
from pipeline_platform.connectors.storage.folders import copy_file, files_below, remove_tree
from pipeline_platform.connectors.storage.location import StorageLocation, bucket_of, place_of
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failure_rules import DAMAGED_CHECKPOINT
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import redact
from pipeline_platform.steps.dataset import spark_path
from pipeline_platform.steps.load import Load

if TYPE_CHECKING:
    from upath import UPath

_LOG = logging.getLogger(__name__)

METADATA_LOST = (
    "restore the file 'metadata' from any copy of the checkpoint, as it never changes; if there is none, "
    "'pipeline-platform reset-checkpoint --keep-offsets' continues as a new query, which loads again what its sinks "
    "have of the last micro-batch, if that was not finished"
)

_FOLDER = "stream"
# Names, and for how long rows are waited for.
_MAY_CHANGE = ("registerAs", "input", "cache", "cacheStorageLevel", "watermark", "watermarks")


class CheckpointFingerprint(BaseModel):
    """What of a pipeline its checkpoint depends on; lies beside the checkpoint.

    After https://spark.apache.org/docs/4.1.1/streaming/apis-on-dataframes-and-datasets.html, "Recovery Semantics after
    Changes in a Streaming Query": the sources in their order, and what keeps state. Filters, projections, triggers and
    sinks may change.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: str
    steps: list[dict[str, Any]]
    """For each step that counts: its method, and what of its config counts."""
    sources: dict[str, str] = {}
    """For each source that can be made anew under its name: an id that it has for life."""
    load_ids: dict[str, str] = {}
    """For each sink: by which part of its load id it knows the micro-batches."""


@dataclass(frozen=True)
class CheckpointPosition:
    """How far a checkpoint is.

    Args:
        query_id: Names the query, and so the checkpoint; None for a checkpoint that is to be made.
        planned: The last micro-batch whose offsets it holds; -1 for none.
        finished: The last micro-batch that it knows as done; -1 for none.
    """

    query_id: str | None
    planned: int
    finished: int

    @property
    def is_new(self) -> bool:
        """Whether the stream begins here."""
        return self.query_id is None


def main_load(pipeline: PipelineConfig) -> Step:
    """The first load: what it says of checkpoint, trigger, output mode and name holds for the one query there is."""
    return next(step for step in pipeline.steps if step.type == "load")


def checkpoint_location(pipeline: PipelineConfig) -> str:
    """Path or URI of the checkpoint of a stream that begins now: as written, or fixed by the pipeline's name.

    Args:
        pipeline: A streaming pipeline.
    """
    return _written_location(main_load(pipeline)) or spark_path(f"{_root(pipeline)}/{_FOLDER}")


def find_checkpoint(pipeline: PipelineConfig, place_at: PlaceAt, last_used: str | None = None) -> StorageLocation:
    """The checkpoint of a stream, with what it is entered with.

    It belongs to the pipeline. One that an earlier version has made lies in a folder with the name of the load that
    was the first at the time; it stays there.

    Args:
        pipeline: A streaming pipeline.
        place_at: What `places_of` gave.
        last_used: The checkpoint that the stream had when it last ran here, if that is known.

    Raises:
        CredentialException: Those of its bucket are missing, incomplete, refused or can't be reached.
        PipelineConfigurationException: The stream has its checkpoint elsewhere and would begin anew, or has several.
    """
    wanted = place_at(checkpoint_location(pipeline))
    if _has_checkpoint(wanted):
        return wanted
    written = _written_location(main_load(pipeline))
    if written is None and (earlier := _earlier_places(pipeline, place_at)):
        return _chosen(pipeline, earlier, last_used)
    elsewhere = _elsewhere(pipeline, place_at, last_used)
    if elsewhere:
        uri = elsewhere[0].uri
        raise PipelineConfigurationException(
            f"the stream would start over: its checkpoint is at {uri}, and there is none at {wanted.uri} yet",
            location=pipeline.location,
            hint=(
                f"set 'checkpointLocation' of the first load to {uri}, or move that folder to {wanted.uri}; to "
                f"start over, which loads again what the source still has: {reset_command(pipeline)}"
            ),
        )
    return wanted


def first_load(pipeline: PipelineConfig, checkpoint: StorageLocation) -> str:
    """Name of the load that was the first when the checkpoint was made, where no record says so.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Its checkpoint; an earlier version called the folder so.
    """
    folder = checkpoint.uri.rstrip("/").rsplit("/", 1)[-1]
    loads = [step.name for step in pipeline.steps if step.type == "load"]
    return folder if folder in loads else loads[0]


def reset_command(pipeline: PipelineConfig) -> str:
    """What to type to begin anew.

    Args:
        pipeline: A streaming pipeline.
    """
    return f"pipeline-platform reset-checkpoint {pipeline.file or 'FILE'}"


def _root(pipeline: PipelineConfig) -> str:
    return f"{substitute_all(pipeline.streaming.checkpoint_root).rstrip('/')}/{pipeline.name}"


def _written_location(step: Step) -> str | None:
    config = step.config.resolved()
    assert isinstance(config, Load)
    return spark_path(config.checkpoint_location) if config.checkpoint_location else None


PlaceAt = Callable[[str], StorageLocation]
"""A path or URI with what it is entered with."""


def places_of(pipeline: PipelineConfig, credentials: RunCredentials) -> PlaceAt:
    """Where the checkpoint of a stream may be; each bucket's credentials are asked for once, as each access is noted.

    Args:
        pipeline: A streaming pipeline.
        credentials: Where each step gets those of its system.
    """
    known: dict[str, Credentials | None] = {}

    def place_at(uri: str) -> StorageLocation:
        bucket = bucket_of(uri)
        if bucket is None:
            return StorageLocation(uri)
        if bucket not in known:
            known[bucket] = credentials_of_bucket(credentials, pipeline.steps, uri)
        return place_of(uri, known[bucket])

    return place_at


def _has_checkpoint(place: StorageLocation) -> bool:
    folder = place.path()
    return (folder / "metadata").exists() or bool(_batches(folder / "offsets"))


def _elsewhere(pipeline: PipelineConfig, place_at: PlaceAt, last_used: str | None) -> list[StorageLocation]:
    """Other checkpoints that the stream may have had, the one that it had last first."""
    wanted = checkpoint_location(pipeline)
    written = (_written_location(step) for step in pipeline.steps if step.type == "load")
    earlier = (place.uri for place in _earlier_places(pipeline, place_at))
    uris = dict.fromkeys([last_used, spark_path(f"{_root(pipeline)}/{_FOLDER}"), *written, *earlier])
    return [place_at(uri) for uri in uris if uri is not None and uri != wanted and has_checkpoint_at(place_at, uri)]


def has_checkpoint_at(place_at: PlaceAt, uri: str) -> bool:
    """Whether there is a checkpoint at a place that the pipeline no longer names.

    Args:
        place_at: What `places_of` gave.
        uri: Path or URI.

    Returns:
        False as well, with a warning in the log, where it can't be found out.
    """
    try:
        return _has_checkpoint(place_at(uri))
    except Exception as error:  # noqa: BLE001 - it may be in a bucket that no step enters any more.
        _LOG.warning("can't tell whether there is a checkpoint at %s: %s", uri, redact(str(error)))
        return False


def _earlier_places(pipeline: PipelineConfig, place_at: PlaceAt) -> list[StorageLocation]:
    """The checkpoints under names of loads; what `reset-checkpoint` has moved aside has a dot in its name."""
    root = place_at(spark_path(_root(pipeline)))
    folder = root.path()
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if path.name != _FOLDER and "." not in path.name)
    places = [place_at(f"{root.uri}/{name}") for name in names if name]
    return [place for place in places if _has_checkpoint(place)]


def _chosen(pipeline: PipelineConfig, places: Sequence[StorageLocation], last_used: str | None) -> StorageLocation:
    first = main_load(pipeline).name
    for place in places:
        if place.uri == last_used:
            return place
    for place in places:
        if len(places) == 1 or place.uri.rsplit("/", 1)[-1] == first:
            return place
    raise PipelineConfigurationException(
        f"the stream has several checkpoints: {', '.join(place.uri for place in places)}",
        location=pipeline.location,
        hint="set 'checkpointLocation' of the first load to the one to continue from",
    )


def require_fit(
    pipeline: PipelineConfig, shape: StreamShape, checkpoint: StorageLocation, formers: Collection[str] = ()
) -> CheckpointFingerprint | None:
    """Hold a pipeline against its checkpoint.

    Args:
        pipeline: A streaming pipeline.
        shape: What of it is the stream.
        checkpoint: The checkpoint.
        formers: Names that the pipeline had.

    Returns:
        What the checkpoint was made with; None for one that is to be made, or has no record.

    Raises:
        PipelineConfigurationException: Spark could not go on from there; says what differs.
    """
    record = _record(checkpoint.path())
    if not record.exists() or checkpoint_position(pipeline, checkpoint).is_new:
        return None
    made_with = CheckpointFingerprint.model_validate_json(record.read_text())
    if made_with.pipeline in formers or _written_location(main_load(pipeline)) is None:
        # Who moves a checkpoint into the folder of another pipeline means it.
        made_with = made_with.model_copy(update={"pipeline": pipeline.name})
    differences = _differences(
        made_with, CheckpointFingerprint(pipeline=pipeline.name, steps=_what_counts(pipeline, shape))
    )
    if differences:
        raise PipelineConfigurationException(
            f"the stream can't continue from the checkpoint {checkpoint.uri}: {'; '.join(differences)}",
            location=pipeline.location,
            hint=(
                "undo the change, or start over: with another 'checkpointLocation', or with "
                f"'{reset_command(pipeline)}', which moves the old one aside"
            ),
        )
    return made_with


def note_made_with(
    pipeline: PipelineConfig,
    shape: StreamShape,
    checkpoint: StorageLocation,
    sources: Mapping[str, str],
    load_ids: Mapping[str, str],
) -> None:
    """Note beside a checkpoint what it is made with.

    Args:
        pipeline: A streaming pipeline that fits it.
        shape: What of it is the stream.
        checkpoint: The checkpoint.
        sources: As `CheckpointFingerprint` has them.
        load_ids: As `CheckpointFingerprint` has them.
    """
    record = _record(checkpoint.path())
    steps = _what_counts(pipeline, shape)
    made_with = CheckpointFingerprint(
        pipeline=pipeline.name, steps=steps, sources=dict(sources), load_ids=dict(load_ids)
    )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(made_with.model_dump_json(indent=2))


def checkpoint_position(pipeline: PipelineConfig, checkpoint: StorageLocation) -> CheckpointPosition:
    """How far a checkpoint is.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Its checkpoint.

    Raises:
        PipelineConfigurationException: The file that names the query is lost or damaged, or the checkpoint is not of
            one piece; of the other files Spark itself says so.
    """
    folder = checkpoint.path()
    planned = max(_batches(folder / "offsets"), default=-1)
    finished = max(_batches(folder / "commits"), default=-1)
    try:
        metadata = json.loads((folder / "metadata").read_text())
    except FileNotFoundError:
        if planned < 0:
            return CheckpointPosition(None, -1, -1)
        raise _damaged(
            pipeline, folder, "its file 'metadata', which names the query, is missing", METADATA_LOST
        ) from None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or "id" not in metadata:
        raise _damaged(pipeline, folder, "its file 'metadata' does not name a query", METADATA_LOST)
    if finished > planned:
        told = f"it says that micro-batch {finished} is done, but has no offsets of any after {planned}"
        raise _damaged(pipeline, folder, told, DAMAGED_CHECKPOINT)
    return CheckpointPosition(str(cast("dict[str, Any]", metadata)["id"]), planned, finished)


def _damaged(pipeline: PipelineConfig, folder: UPath, told: str, hint: str) -> PipelineConfigurationException:
    return PipelineConfigurationException(
        f"the checkpoint {folder} is damaged: {told}", location=pipeline.location, hint=hint
    )


def _batches(folder: UPath) -> list[int]:
    """The micro-batches of a log of Spark's, which has a file for each and keeps a hundred."""
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []


def reset_checkpoint(pipeline: PipelineConfig, place_at: PlaceAt, last_used: str | None = None) -> list[str]:
    """Move the checkpoint aside, so that the stream begins anew; nobody may be running it.

    Args:
        pipeline: A streaming pipeline.
        place_at: What `places_of` gave.
        last_used: The checkpoint that the stream had when it last ran here, if that is known.

    Returns:
        Where it is now; none if there was none. There are two if the pipeline has been given another place.
    """
    wanted = place_at(checkpoint_location(pipeline))
    folders = [place.path() for place in [wanted, *_elsewhere(pipeline, place_at, last_used)]]
    return [_set_aside(folder) for folder in folders if folder.exists()]


def _set_aside(folder: UPath) -> str:
    aside = folder.with_name(f"{folder.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}")
    record = _record(folder)
    if record.exists():
        record.unlink()
    _move(folder, aside)
    return str(aside)


def rename_query(checkpoint: StorageLocation) -> int | None:
    """Let a stream go on from the offsets of its checkpoint as a query that no sink knows; nobody may be running it.

    What was loaded after these offsets is loaded again, and nothing is left out.

    Args:
        checkpoint: The checkpoint of a stream, perhaps a copy that is older than what was loaded.

    Returns:
        The last micro-batch that will not be loaded again, -1 if all will be; None if there is no checkpoint.
    """
    folder = checkpoint.path()
    if not _has_checkpoint(checkpoint):
        return None
    finished = max(_batches(folder / "commits"), default=-1)
    # Hadoop's checksum of the old one.
    (folder / ".metadata.crc").unlink(missing_ok=True)
    (folder / "metadata").write_text(json.dumps({"id": str(uuid.uuid4())}, separators=(",", ":")))
    return finished


def _move(folder: UPath, aside: UPath) -> None:
    if folder.protocol in ("", "file"):
        folder.rename(aside)
        return
    for path, found in files_below(folder).items():
        # Moving as a whole, fsspec stumbles over the empty objects that Hadoop leaves for folders.
        if found["size"]:
            copy_file(folder, path, aside.path + path.removeprefix(folder.path))
    remove_tree(folder)


def _record(folder: UPath) -> UPath:
    return folder.with_name(f"{folder.name}.made_with.json")


def _what_counts(pipeline: PipelineConfig, shape: StreamShape) -> list[dict[str, Any]]:
    streamed = [step for step in pipeline.steps if step.index in shape.streamed]
    sources = [
        {"method": step.config.method, **step.config.position_in()} for step in streamed if step.traits.is_stream
    ]
    states = [
        {key: value for key, value in step.config.as_config().items() if key not in _MAY_CHANGE}
        | {"method": step.config.method}
        for step in streamed
        if step.type == "transform" and _keeps_state(pipeline, step)
    ]
    load = main_load(pipeline).config
    assert isinstance(load, Load)
    return [*sources, *states, *([{"method": load.method, "outputMode": load.output_mode}] if states else [])]


def _keeps_state(pipeline: PipelineConfig, step: Step) -> bool:
    streams = {other.index for other in pipeline.steps if other.traits.is_stream}
    streaming_inputs = {edge.step for edge in step.inputs if pipeline.upstream_of({edge.step}) & streams}
    return step.traits.is_stateful or (step.traits.is_join and len(streaming_inputs) > 1)


def _differences(before: CheckpointFingerprint, now: CheckpointFingerprint) -> list[str]:
    if before.pipeline != now.pipeline:
        return [f"it belongs to the pipeline '{before.pipeline}'"]
    # The first load counts by its output mode alone: sinks may change.
    had, has = [_kind(step) for step in before.steps], [_kind(step) for step in now.steps]
    if had != has:
        return [f"it was created with {', '.join(had)}, and now there are {', '.join(has)}"]
    return [
        f"{old['method']} had '{key}' {json.dumps(old.get(key))}, and now has {json.dumps(new.get(key))}"
        for old, new in zip(before.steps, now.steps, strict=True)
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key) and key != "method"
    ]


def _kind(step: Mapping[str, Any]) -> str:
    return "a load" if "outputMode" in step else step["method"]
