"""Publishes files all at once: they are written aside, then moved in, and a record says that it was done.

Beside the data, in a folder that Spark and Hive skip because its name begins with an underscore, lies for each load:

- `pending/<load>/<attempt>/`: the files while they are written, and beside it a lock that shows that the attempt lives;
- `pending/<load>/manifest.json`: what is to be moved in and what is to be removed, once all is written;
- `done/<load>.json`: the record that the load is complete;
- `newest.json`: a file of the newest load, and its columns (`newest_file.py`).

The manifest is the point of no return. It is written, and carried out, by whoever holds the folder (`folder_lock.py`):
so loads that are written at the same time are published one after the other, and each sees what the one before it
left. An attempt that finds a record has nothing to do; one that finds a manifest finishes the moves, since whoever
began them is gone; any other starts anew. The idea is that of Hadoop's file output committer, made repeatable.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pipeline_platform.connectors.files.folder_lock import alive, if_dead, is_local, only_writer
from pipeline_platform.connectors.files.newest_file import LEDGER, PlannedColumns, WrittenColumns, note_newest
from pipeline_platform.connectors.storage.folders import changed_at, files_below, is_hidden, remove_tree, sizes_below
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.steps.load import LoadResult

if TYPE_CHECKING:
    from pyspark.sql import DataFrameWriter
    from upath import UPath

_PENDING = "pending"
_DONE = "done"
# Where the version before this one wrote the files of any attempt.
_STAGED = "staged"
_MANIFEST = "manifest.json"
_LOCK = "lock"
# A store of objects takes some 20 ms for each, however small.
_AT_ONCE = 16
# No load takes so long: what is older, and of which nothing else can be known, is of one that is dead.
_SURELY_DEAD = timedelta(days=7)


class _Manifest(BaseModel):
    load: str
    added: dict[str, str]
    removed: list[str]
    bytes: int
    staged: str = _STAGED
    columns: WrittenColumns | None = None


@dataclass(frozen=True)
class FileCommitter:
    """One load of files.

    Args:
        uri: Folder of the data, as Spark takes it.
        folder: The same folder for Python's own use.
        load_id: The same for every attempt at the load.
        mode: `append`, `overwrite`, `errorIfExists` or `ignore`.
        writer: Spark's writer with format, options and partition columns set.
        load_before: A load whose record is not needed once this one is done.
        stream: What the ids of all micro-batches of a stream begin with; None for a batch.
        is_old_folder: Whether the folder was there before, so that it stays even if it is empty.
        only_own_partitions: Whether `overwrite` replaces only the folders of partitions that the load has rows for.
        rows: Rows whose folders are all that `overwrite` replaces, those without any in the load too; None for all.
        columns: Those that the files are to have.
        removes: Of files that are written again under their names: which others are removed; raises if they changed.
    """

    uri: str
    folder: UPath
    load_id: str
    mode: str
    writer: DataFrameWriter
    load_before: str | None = None
    stream: str | None = None
    is_old_folder: bool = True
    only_own_partitions: bool = False
    rows: PartitionRows | None = None
    columns: PlannedColumns | None = None
    removes: Callable[[], list[str]] | None = None

    def check(self) -> None:
        """Raise if the mode does not allow what is there.

        Raises:
            PipelineExecutionException: The folder can't be one, or mode is `errorIfExists` and there are files.
        """
        if self.folder.is_file():
            raise PipelineExecutionException(f"{self.uri} is a file; a folder is needed to write to")
        if self.rows is not None and not self._begun():
            self._require_folders(self.rows)
        if self.mode == "errorIfExists" and not self._begun() and self._data_files():
            raise PipelineExecutionException(
                f"there are files in {self.uri} already, and mode is errorIfExists",
                hint="use mode append, overwrite or ignore, or another path",
            )

    def _require_folders(self, rows: PartitionRows) -> None:
        outside = next((name for name in self._data_files() if not rows.shows_values(name)), None)
        if outside is not None:
            raise PipelineExecutionException(
                f"{self.uri} has files that belong to no partition, such as {outside}: the column '{rows.column}' is "
                "not in their path",
                hint="move them away, and load them with partitions",
            )

    def write(self) -> LoadResult:
        """Write aside, then publish."""
        if not self._record.exists() and self._manifest.exists():
            with only_writer(self.folder, self._lock):
                finished = _finish(self.folder)
            if self._name in finished:
                return replace(finished[self._name], skipped="an earlier attempt of this run wrote it; committed now")
        skipped = self._why_nothing()
        if skipped is not None:
            return skipped
        _sweep(self.folder, self._name)
        with _attempt(self.folder, self._name) as attempt:
            manifest = self._stage(attempt)
            with only_writer(self.folder, self._lock) as held:
                finished = _finish(self.folder)
                # Another attempt at the same load, or any other load, may have been published meanwhile.
                skipped = self._why_nothing()
                if skipped is not None:
                    return skipped
                if self.columns is not None:
                    self.columns.require_still(self.folder)
                manifest = manifest.model_copy(update={"removed": self._replaced(manifest)})
                held.require()
                _write_whole(self._manifest, manifest.model_dump_json())
                written = _publish(self.folder, self._name)
        if self.load_before is not None:
            _record(self.folder, _name_of(self.load_before)).unlink(missing_ok=True)
        return written

    def last_batch(self) -> int | None:
        """The newest micro-batch of the stream that is published, or written in full and sure to be."""
        if self.stream is None:
            return None
        pending = [_pending(self.folder, name) / _MANIFEST for name in left_behind(self.folder)]
        done = self.folder / LEDGER / _DONE
        records = [path for path in done.iterdir() if path.suffix == ".json"] if done.is_dir() else []
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            loads = workers.map(_load_in, [*pending, *records])
        numbers = (load.removeprefix(f"{self.stream}/") for load in loads if load.startswith(f"{self.stream}/"))
        return max((int(number) for number in numbers if number.isdigit()), default=None)

    def clean(self) -> None:
        """Remove what is left of an attempt that was not published; one that was begun is left to be finished."""
        if not self._manifest.exists():
            _remove_if_empty(self._manifest.parent)
            _remove_if_empty(self.folder / LEDGER / _PENDING)
            _remove_if_empty(self.folder / LEDGER)
            if not self.is_old_folder:
                _remove_if_empty(self.folder)

    @property
    def _name(self) -> str:
        return _name_of(self.load_id)

    @property
    def _lock(self) -> UPath:
        return self.folder / LEDGER / _LOCK

    @property
    def _manifest(self) -> UPath:
        return _pending(self.folder, self._name) / _MANIFEST

    @property
    def _record(self) -> UPath:
        return _record(self.folder, self._name)

    def _begun(self) -> bool:
        return is_begun(self.folder, self.load_id)

    def _why_nothing(self) -> LoadResult | None:
        """Why there is nothing to write, if there is not."""
        if self._record.exists():
            return LoadResult(skipped="an earlier attempt of this run has loaded it already")
        self.check()
        if self.mode == "ignore" and not self._begun() and self._data_files():
            return LoadResult(skipped="there is data already, and mode is ignore")
        return None

    def _data_files(self) -> list[str]:
        return [name for name in sizes_below(self.folder) if not is_hidden(name)]

    def _replaced(self, manifest: _Manifest) -> list[str]:
        """The files that make way for those of a manifest."""
        if self.mode != "overwrite":
            return self.removes() if self.removes is not None else []
        if self.rows is not None:
            return [name for name in self._data_files() if self.rows.holds_path(name)]
        if not self.only_own_partitions:
            return self._data_files()
        partitions = {_folder_of(name) for name in manifest.added.values()}
        return [name for name in self._data_files() if _folder_of(name) in partitions]

    def _stage(self, attempt: str) -> _Manifest:
        self.writer.mode("error").save(f"{self.uri.rstrip('/')}/{LEDGER}/{_PENDING}/{self._name}/{attempt}")
        staged = _pending(self.folder, self._name) / attempt
        written = {name: size for name, size in sizes_below(staged).items() if not is_hidden(name)}
        return _Manifest(
            load=self.load_id,
            added={name: name if self.removes else self._published_name(name) for name in written},
            removed=[],
            bytes=sum(written.values()),
            staged=attempt,
            columns=self.columns.written if self.columns is not None else None,
        )

    def _published_name(self, name: str) -> str:
        path = PurePosixPath(name)
        return str(path.with_name(f"{path.name.split('.')[0][:60]}-{self._name}{_extension(path.name)}"))


def is_begun(folder: UPath, load_id: str) -> bool:
    """Whether a load is complete, or written in full and sure to be.

    Args:
        folder: The folder of the data.
        load_id: The load.
    """
    name = _name_of(load_id)
    return _record(folder, name).exists() or (_pending(folder, name) / _MANIFEST).exists()


@contextmanager
def _attempt(folder: UPath, load: str) -> Generator[str]:
    """A place for the files of one attempt at a load, which is gone after the block if there is no manifest of it."""
    name = uuid.uuid4().hex[:12]
    work = _pending(folder, load)
    with alive(_mark(work, name)):
        try:
            yield name
        finally:
            if not _is_begun(work, name):
                _remove_if_there(work / name)
    _remove_if_empty(work)
    _remove_if_empty(work.parent)


def _is_begun(work: UPath, attempt: str) -> bool:
    """Whether a manifest says that the files of an attempt are to be moved in."""
    try:
        return _Manifest.model_validate_json((work / _MANIFEST).read_text()).staged == attempt
    except FileNotFoundError:
        return False


def _mark(work: UPath, attempt: str) -> UPath:
    return work / f"{attempt}.lock"


def left_behind(folder: UPath) -> list[str]:
    """Loads that were written in full and not published to the end.

    Args:
        folder: The folder of the data.
    """
    pending = folder / LEDGER / _PENDING
    if not pending.is_dir():
        return []
    return sorted(path.name for path in pending.iterdir() if (path / _MANIFEST).exists())


def _finish(folder: UPath) -> dict[str, LoadResult]:
    """Publish what others began and did not end; only for whoever holds the folder."""
    return {name: _publish(folder, name) for name in left_behind(folder)}


def _sweep(folder: UPath, load: str) -> None:
    """Remove what attempts that are surely dead have left; an attempt of this load by an older version is."""
    for (other, attempt), changed in _attempts(folder).items():
        work = _pending(folder, other)
        if is_local(folder) and _mark(work, attempt).exists():
            with if_dead(_mark(work, attempt)) as dead:
                if dead and not _is_begun(work, attempt):
                    _remove_if_there(work / attempt)
        elif (other == load and attempt == _STAGED) or datetime.now(UTC) - changed > _SURELY_DEAD:
            _remove_if_there(work / attempt)
        _remove_if_empty(work)


def _attempts(folder: UPath) -> dict[tuple[str, str], datetime]:
    """Attempts without a manifest, by load and name, with the time of the last change to their files."""
    pending = folder / LEDGER / _PENDING
    if not pending.is_dir():
        return {}
    base = pending.path.rstrip("/") + "/"
    found: dict[tuple[str, str], datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    begun: set[str] = set()
    for path, detail in files_below(pending).items():
        load, *rest = path.removeprefix(base).split("/")
        if rest == [_MANIFEST]:
            begun.add(load)
        elif rest:
            key = (load, rest[0].removesuffix(".lock"))
            found[key] = max(found[key], changed_at(detail))
    return {key: changed for key, changed in found.items() if key[0] not in begun}


def _name_of(load_id: str) -> str:
    return hashlib.sha256(load_id.encode()).hexdigest()[:20]


def _pending(target: UPath, name: str) -> UPath:
    return target / LEDGER / _PENDING / name


def _record(target: UPath, name: str) -> UPath:
    return target / LEDGER / _DONE / f"{name}.json"


def _publish(target: UPath, name: str) -> LoadResult:
    """Move in what the manifest of a load says; may be begun again at any point."""
    work = _pending(target, name)
    manifest = _Manifest.model_validate_json((work / _MANIFEST).read_text())
    written = LoadResult(bytes=manifest.bytes, files=len(manifest.added))
    if not _record(target, name).exists():

        def move(staged: str) -> None:
            _move(work / manifest.staged / staged, target / manifest.added[staged])

        def remove(old: str) -> None:
            (target / old).unlink(missing_ok=True)

        with ThreadPoolExecutor(_AT_ONCE) as workers:
            # A list raises the first failure before anything is removed.
            list(workers.map(move, manifest.added))
            list(workers.map(remove, manifest.removed))
        note_newest(target, manifest.added.values(), manifest.columns)
        record = {"load": manifest.load, "files": written.files, "bytes": written.bytes}
        _write_whole(_record(target, name), json.dumps(record))
    # In this order: a manifest without its files could not be carried out.
    (work / _MANIFEST).unlink(missing_ok=True)
    _remove_if_there(work / manifest.staged)
    _remove_if_empty(work)
    _remove_if_empty(work.parent)
    return written


def _load_in(path: UPath) -> str:
    """The load that a manifest or a record is of."""
    return str(json.loads(path.read_text())["load"])


def _move(source: UPath, target: UPath) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except FileNotFoundError:
        if not target.exists():
            raise PipelineExecutionException(
                f"{source} was written for this load and is gone",
                hint="remove the folder of its manifest and run again",
            ) from None


def _folder_of(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _extension(name: str) -> str:
    return name[name.index(".") :] if "." in name else ""


def _write_whole(path: UPath, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text)
    aside.rename(path)


def _remove_if_there(folder: UPath) -> None:
    if folder.exists():
        remove_tree(folder)


def _remove_if_empty(folder: UPath) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        # Another load may begin in it at this moment.
        with suppress(OSError):
            folder.rmdir()
