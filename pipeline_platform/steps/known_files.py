"""Which files of a listing are new, told by what a sink knows of those that were loaded.

A file is told by its path, and not by its time: one that is copied with its old time, or comes with the time of another
machine's clock, is new all the same. What is known of files that were loaded is kept for the newest `KNOWN_FILES` of
them; of those before, in the order of time and path, it is only known how many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.cursor_values import CursorValue, point_in_time
from pipeline_platform.steps.cursor import StoredCursor

KNOWN_FILES = 100_000
"""Of so many files a sink remembers that they were loaded: the newest ones."""
MODIFICATION_TIME = "modification time"
"""What the position of a cursor is of, where files are read."""
_EPOCH = datetime(1970, 1, 1)
_TOLD = 3


@dataclass(frozen=True)
class FoundFile:
    """A file of a listing.

    Args:
        path: As Spark takes it.
        modified: When it was modified, in microseconds since 1970.
        content: A text that is another one if what is in it may be.
    """

    path: str
    modified: int
    content: str

    @cached_property
    def key(self) -> str:
        """What the path is remembered as."""
        return hashlib.sha256(self.path.encode(errors="surrogatepass")).hexdigest()[:24]

    @property
    def mark(self) -> str:
        """What is remembered of the file."""
        return f"{self.modified} {self._digest}"

    def is_as(self, mark: str) -> bool:
        """Whether it is still what it was when it had that mark."""
        return mark.partition(" ")[2] == self._digest

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class FileChoice:
    """What becomes of the files of a listing.

    Args:
        new: Those that no load has loaded, in the order of time and path.
        changed: Those that have changed since they were loaded, likewise.
        passed: Those that count as loaded since they are from before where somebody has set the cursor, likewise.
        after: What a load of them has the sink know.
    """

    new: Sequence[FoundFile]
    changed: Sequence[FoundFile]
    passed: Sequence[FoundFile]
    after: StoredCursor


def chosen_files(found: Iterable[FoundFile], stored: StoredCursor, most: int = KNOWN_FILES) -> FileChoice:
    """The files that are new, and those that have changed.

    Args:
        found: All that are there.
        stored: What the sink knows.
        most: Of how many it is to know that they were loaded.

    Raises:
        PipelineExecutionException: Among files from before those that it knows there are some that were not loaded.
    """
    begin = _microseconds(point_in_time(stored.position, "the cursor")) if stored.is_start and stored.position else None
    forgotten = _order(stored.seen_from) if stored.seen_from is not None else None
    files = sorted(found, key=lambda file: (file.modified, file.path))
    new: list[FoundFile] = []
    changed: list[FoundFile] = []
    passed: list[FoundFile] = []
    before: list[FoundFile] = []
    for file in files:
        mark = stored.files.get(file.key)
        if mark is not None:
            changed += [file] if not file.is_as(mark) else []
        elif forgotten is not None and (file.modified, file.key) <= forgotten:
            before.append(file)
        elif begin is not None and file.modified < begin:
            passed.append(file)
        else:
            new.append(file)
    _require_no_late_file(before, stored)
    left = {file.key for file in before}
    known = {**stored.files, **{file.key: file.mark for file in files if file.key not in left}}
    ordered = sorted((int(mark.partition(" ")[0]), key) for key, mark in known.items())
    dropped = ordered[: max(0, len(ordered) - most)]
    forgotten = max((one for one in (forgotten, *dropped) if one is not None), default=None)
    names = {file.key for file in files}
    after = StoredCursor(
        stored.version + 1,
        _newest(files, stored),
        column=MODIFICATION_TIME,
        seen_from=f"{forgotten[0]} {forgotten[1]}" if forgotten is not None else None,
        files={key: known[key] for _, key in ordered[len(dropped) :]},
        files_before=len(before) + sum(key in names for _, key in dropped),
    )
    return FileChoice(new, changed, passed, after)


def told(files: Sequence[FoundFile]) -> str:
    """Files as a message names them: the first ones, and how many there are."""
    names = ", ".join(file.path for file in files[:_TOLD])
    return f"{names} and {len(files) - _TOLD:,} more" if len(files) > _TOLD else names


def _newest(files: Sequence[FoundFile], stored: StoredCursor) -> str | None:
    """The largest modification time that was loaded, or counts so."""
    if not files:
        return stored.position
    newest = CursorValue("timestamp", _EPOCH + timedelta(microseconds=files[-1].modified))
    if stored.position is None or stored.is_start:
        return str(newest)
    before = point_in_time(stored.position, "the cursor")
    return str(newest if newest.value > before.value else before)


def _require_no_late_file(before: Sequence[FoundFile], stored: StoredCursor) -> None:
    """Raise if there are more files from before those that are known than were loaded.

    Raises:
        PipelineExecutionException: There are.
    """
    if len(before) <= stored.files_before:
        return
    assert stored.seen_from is not None
    time = CursorValue("timestamp", _EPOCH + timedelta(microseconds=_order(stored.seen_from)[0]))
    raise PipelineExecutionException(
        f"{len(before):,} files were modified before {time}, and only {stored.files_before:,} of them were loaded: the "
        f"sink knows the newest {len(stored.files):,} files by their names, and of older ones how many there were",
        hint="take the files that came late out of the folder, or give them a new modification time, such as with "
        "touch; a folder with fewer files is read faster, too",
    )


def _order(written: str) -> tuple[int, str]:
    modified, _, key = written.partition(" ")
    return int(modified), key


def _microseconds(value: CursorValue) -> int:
    return (value.value - _EPOCH) // timedelta(microseconds=1)
