"""The proof: what an erase found, did and looked at afterwards, without the person's key."""

from __future__ import annotations

import getpass
import socket
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_platform.erasure.keys import Keys, new_salt
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.state_file import replace_text

State = Literal["begun", "erased", "waiting", "nothing", "left out", "failed"]
"""Of a place: whether all is gone, or rows are gone and what is kept of them is not yet, and so on."""


class PlaceRecord(BaseModel):
    """What was done in one place.

    Args:
        place: The pipeline and the step.
        location: Where it is.
        columns: By key, the column that was looked at.
        state: What came of it.
        rows_before: Rows of the person that were there at first.
        rows_deleted: Rows that were deleted, by all runs of this erase.
        deleted_at: When.
        version: The version of the table since which they are gone.
        files_rewritten: Files that were written again without them.
        files_removed: Files that were removed.
        log_entries_removed: Files of the table's log that were removed.
        left: What a new look at everything that is stored has found, afterwards.
        verified_at: When that was.
        waits_until: When what is left may be removed.
        told: What was told of it.
    """

    model_config = ConfigDict(extra="ignore")

    place: str
    location: str
    columns: dict[str, str] = {}
    state: State = "begun"
    rows_before: int = 0
    rows_deleted: int = 0
    deleted_at: datetime | None = None
    version: int | None = None
    files_rewritten: int = 0
    files_removed: int = 0
    log_entries_removed: int = 0
    left: dict[str, int] = {}
    verified_at: datetime | None = None
    waits_until: datetime | None = None
    told: list[str] = []


class EraseRecord(BaseModel):
    """One erase, over all runs that it took.

    Args:
        id: Names it, also in the history of tables.
        key: Names of the keys.
        values: How many values there are.
        salt: Of the hash.
        hash: scrypt of the keys and their values: who knows the key can tell that this is about it.
        begun_at: When it began.
        by: Who began it, and where.
        platform: The version that did it.
        places: What was done in each place.
        sources: Where pipelines read from, which may still have the rows.
        complete: Whether nothing is left that the platform can look into.
    """

    model_config = ConfigDict(extra="ignore")

    id: str
    key: list[str]
    values: int
    salt: str
    hash: str
    begun_at: datetime
    by: str
    platform: str
    places: dict[str, PlaceRecord] = {}
    sources: list[str] = []
    complete: bool = False

    @property
    def mark(self) -> str:
        """What names the erase in the history of tables."""
        return f"erase/{self.id}"

    def with_place(self, place: PlaceRecord) -> Self:
        """The record with what is known of a place now."""
        return self.model_copy(update={"places": {**self.places, place.location: place}})

    def told(self) -> Mapping[str, Any]:
        """It as JSON-like values."""
        return self.model_dump(mode="json")


def opened_record(folder: Path, keys: Keys) -> EraseRecord:
    """The record of an erase of these keys that was begun before and is not complete; otherwise a new one.

    Args:
        folder: Where the records are.
        keys: The keys.
    """
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            record = EraseRecord.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            continue
        if not record.complete and record.key == sorted(keys.values) and keys.hashed(record.salt) == record.hash:
            return record
    salt = new_salt()
    return EraseRecord(
        id=uuid.uuid4().hex[:12],
        key=sorted(keys.values),
        values=len(keys.texts),
        salt=salt,
        hash=keys.hashed(salt),
        begun_at=datetime.now(UTC),
        by=f"{getpass.getuser()}@{socket.gethostname()}",
        platform=version("pipeline-platform"),
    )


def write_record(folder: Path, record: EraseRecord) -> Path:
    """Write a record in one go, and say where.

    Args:
        folder: Where the records are.
        record: The record.

    Raises:
        PipelineExecutionException: It can't be written.
    """
    file = folder / f"{record.id}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(file, record.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise PipelineExecutionException(
            f"the proof can't be written to {file}: {error.strerror}",
            hint="nothing is erased without a proof: name another folder with --proof",
        ) from error
    return file
