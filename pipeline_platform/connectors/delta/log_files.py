"""The files of a table's log: which there are, what they took away, and which are needed no more.

Delta removes old entries itself, but only as its property `delta.logRetentionDuration` says. To set it is a commit of
metadata, at which every load fails that runs at the time, and what Delta removes then it removes whoever still reads
it. So what may go earlier is removed here, as the section "Metadata Cleanup" of Delta's protocol has it: what is older
than a checkpoint from before the time that versions are kept from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.delta.history import COMMITS_LOOKED_AT
from pipeline_platform.connectors.storage.folders import changed_at
from pipeline_platform.connectors.storage.location import StorageLocation

if TYPE_CHECKING:
    from upath import UPath

LOG = "_delta_log"
_AT_ONCE = 16
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet")
_OF_VERSION = re.compile(r"\.?(\d{20})(?:\.(\d{20}))?\.[\w.-]+")
_NEWER_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\.[0-9a-f-]{36}\.(json|parquet)")


@dataclass(frozen=True)
class LogFile:
    """A file of the log.

    Args:
        name: Its name.
        changed: When it was written.
        size: Its bytes.
    """

    name: str
    changed: datetime
    size: int

    @property
    def commit(self) -> int | None:
        """The version that it is the commit of."""
        found = _COMMIT.fullmatch(self.name)
        return int(found[1]) if found is not None else None

    @property
    def last_version(self) -> int | None:
        """The newest version that it is about; None of a file about no version."""
        found = _OF_VERSION.fullmatch(self.name)
        return int(found[2] or found[1]) if found is not None else None


@dataclass(frozen=True)
class DeltaLog:
    """The log of a table.

    Args:
        folder: Where it is.
        files: Those in it, but for folders.
    """

    folder: UPath
    files: Sequence[LogFile]

    @classmethod
    def of(cls, place: StorageLocation) -> DeltaLog:
        """The log of a table, by one listing.

        Args:
            place: Where the table is.
        """
        folder = place.path() / LOG
        store: Any = folder.fs
        found = store.find(folder.path, maxdepth=1, detail=True)
        base = folder.path.rstrip("/") + "/"
        files = [
            LogFile(path.removeprefix(base), changed_at(detail), int(detail["size"])) for path, detail in found.items()
        ]
        return cls(folder, sorted(files, key=lambda file: file.name))

    @property
    def commits(self) -> dict[int, datetime]:
        """When each version was written of which the commit is there."""
        return {file.commit: file.changed for file in self.files if file.commit is not None}

    @property
    def checkpoints(self) -> list[int]:
        """The versions with a complete checkpoint, the oldest first."""
        parts: dict[int, list[int]] = {}
        for file in self.files:
            if (found := _CHECKPOINT.fullmatch(file.name)) is not None:
                parts.setdefault(int(found[1]), []).append(int(found[2] or 1))
        return sorted(version for version, wanted in parts.items() if len(wanted) >= max(wanted))

    def last_before(self, time: datetime) -> int:
        """The newest version that was there at a time; -1 if none was.

        Args:
            time: The time, with its zone.
        """
        return max((version for version, written in self.commits.items() if written <= time), default=-1)

    def first_removal(self, after: int) -> datetime | None:
        """When a commit after a version took the first file away, by what the commits say.

        Args:
            after: The version.
        """
        names = [file.name for file in self.files if file.commit is not None and file.commit > after]
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            found = [time for time in workers.map(self._first_removal_in, names) if time is not None]
        return min(found, default=None)

    def _first_removal_in(self, name: str) -> datetime | None:
        try:
            lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        removed = (json.loads(line)["remove"] for line in lines if line.startswith('{"remove"'))
        times = [int(remove.get("deletionTimestamp") or 0) for remove in removed]
        return datetime.fromtimestamp(min(times) / 1000, UTC) if times else None


@dataclass(frozen=True)
class LogCleanup:
    """What of a log may go.

    Args:
        first_kept: The oldest version that can be read afterwards; None where nothing is removed.
        files: What is removed.
    """

    first_kept: int | None = None
    files: Sequence[LogFile] = ()

    @property
    def commits(self) -> int:
        """How many commits are removed."""
        return sum(file.commit is not None for file in self.files)


def log_cleanup(log: DeltaLog, kept_from: datetime) -> LogCleanup:
    """What of a log may go where every version is to be readable that was the newest at a time, or later.

    The commits that loads look for their own marks in stay, however old they are.

    Args:
        log: The log.
        kept_from: The time.
    """
    commits = log.commits
    if not commits or any(_NEWER_CHECKPOINT.fullmatch(file.name) for file in log.files):
        # Checkpoints of the second kind share files with each other, and Delta alone knows which.
        return LogCleanup()
    # Copied, an old commit may look younger than those after it.
    first_young = min((version for version, written in commits.items() if written > kept_from), default=max(commits))
    last = min(first_young - 1, max(commits) - COMMITS_LOOKED_AT)
    checkpoint = max((version for version in log.checkpoints if version <= last), default=None)
    if checkpoint is None:
        return LogCleanup()
    old = [file for file in log.files if file.last_version is not None and file.last_version < checkpoint]
    return LogCleanup(checkpoint, old) if old else LogCleanup()


def remove_log_files(log: DeltaLog, files: Iterable[LogFile]) -> None:
    """Remove files of a log; whoever removes the same ones at the same time does no harm.

    Args:
        log: The log.
        files: The files, of which the oldest go first, so that what is left is of one piece.
    """

    def remove(file: LogFile) -> None:
        (log.folder / file.name).unlink(missing_ok=True)

    waiting = sorted(files, key=lambda file: (file.last_version or 0, file.name))
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for start in range(0, len(waiting), _AT_ONCE):
            list(workers.map(remove, waiting[start : start + _AT_ONCE]))
