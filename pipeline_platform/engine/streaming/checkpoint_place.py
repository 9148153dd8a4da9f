"""Where the checkpoint of a stream is, or will be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.placeholders import substitute_all
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.storage.location import StorageLocation, bucket_of, place_of
from pipeline_platform.connectors.storage.paths import spark_path
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.engine.streaming.checkpoint import has_checkpoint, set_aside
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import redact
from pipeline_platform.steps.load import Load

_LOG = logging.getLogger(__name__)
_FOLDER = "stream"

PlaceAt = Callable[[str], StorageLocation]
"""A path or URI with what it is entered with."""


def checkpoint_location(pipeline: PipelineConfig) -> str:
    """Path or URI of the checkpoint of a stream that begins now: as written, or fixed by the pipeline's name.

    Args:
        pipeline: A streaming pipeline.
    """
    return _written_location(pipeline.main_load) or spark_path(f"{_root(pipeline)}/{_FOLDER}")


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
    if has_checkpoint(wanted):
        return wanted
    written = _written_location(pipeline.main_load)
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
    return f"pipeline-platform reset-checkpoint {pipeline.command_arguments}"


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
    return [set_aside(folder) for folder in folders if folder.exists()]


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


def has_checkpoint_at(place_at: PlaceAt, uri: str) -> bool:
    """Whether there is a checkpoint at a place that the pipeline no longer names.

    Args:
        place_at: What `places_of` gave.
        uri: Path or URI.

    Returns:
        False as well, with a warning in the log, where it can't be found out.
    """
    try:
        return has_checkpoint(place_at(uri))
    except Exception as error:  # noqa: BLE001 - it may be in a bucket that no step enters any more.
        _LOG.warning("can't tell whether there is a checkpoint at %s: %s", uri, redact(str(error)))
        return False


def _root(pipeline: PipelineConfig) -> str:
    return f"{substitute_all(pipeline.streaming.checkpoint_root).rstrip('/')}/{pipeline.name}"


def _written_location(step: Step) -> str | None:
    config = step.config
    assert isinstance(config, Load)
    return spark_path(config.checkpoint_location) if config.checkpoint_location else None


def _elsewhere(pipeline: PipelineConfig, place_at: PlaceAt, last_used: str | None) -> list[StorageLocation]:
    """Other checkpoints that the stream may have had, the one that it had last first."""
    wanted = checkpoint_location(pipeline)
    written = (_written_location(step) for step in pipeline.steps if step.type == "load")
    earlier = (place.uri for place in _earlier_places(pipeline, place_at))
    uris = dict.fromkeys([last_used, spark_path(f"{_root(pipeline)}/{_FOLDER}"), *written, *earlier])
    return [place_at(uri) for uri in uris if uri is not None and uri != wanted and has_checkpoint_at(place_at, uri)]


def _earlier_places(pipeline: PipelineConfig, place_at: PlaceAt) -> list[StorageLocation]:
    """The checkpoints under names of loads; what `reset-checkpoint` has moved aside has a dot in its name."""
    root = place_at(spark_path(_root(pipeline)))
    folder = root.path()
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if path.name != _FOLDER and "." not in path.name)
    places = [place_at(f"{root.uri}/{name}") for name in names if name]
    return [place for place in places if has_checkpoint(place)]


def _chosen(pipeline: PipelineConfig, places: Sequence[StorageLocation], last_used: str | None) -> StorageLocation:
    first = pipeline.main_load.name
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
