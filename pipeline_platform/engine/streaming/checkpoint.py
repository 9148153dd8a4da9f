"""What lies in a checkpoint of a stream, and what a person may do with it while nobody runs the stream."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.storage.folders import copy_file, files_below, remove_tree
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.failure_rules import DAMAGED_CHECKPOINT
from pipeline_platform.exceptions import PipelineConfigurationException

if TYPE_CHECKING:
    from upath import UPath

METADATA_LOST = (
    "restore the file 'metadata' from any copy of the checkpoint, as it never changes; if there is none, "
    "'pipeline-platform reset-checkpoint --keep-offsets' continues as a new query, which loads again what its sinks "
    "have of the last micro-batch, if that was not finished"
)


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


def has_checkpoint(place: StorageLocation) -> bool:
    """Whether there is a checkpoint at a place, be it a damaged one."""
    folder = place.path()
    return (folder / "metadata").exists() or bool(_batches(folder / "offsets"))


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


def fingerprint_file(folder: UPath) -> UPath:
    """The file beside a checkpoint that says what it was made with.

    Args:
        folder: The checkpoint.
    """
    return folder.with_name(f"{folder.name}.made_with.json")


def set_aside(folder: UPath) -> str:
    """Move a checkpoint aside, so that the stream begins anew; nobody may be running it.

    Args:
        folder: The checkpoint.

    Returns:
        Where it is now.
    """
    aside = folder.with_name(f"{folder.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}")
    record = fingerprint_file(folder)
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
    if not has_checkpoint(checkpoint):
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
