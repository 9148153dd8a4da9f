"""Publishes files all at once: they are written aside, then moved in, and a record says that it was done.

Beside the data, in a folder that Spark and Hive skip because its name begins with an underscore, lies for each load:

- `pending/<load>/staged/`: the files while they are written;
- `pending/<load>/manifest.json`: what is to be moved in and what is to be removed, once all is written;
- `done/<load>.json`: the record that the load is complete.

The manifest is the point of no return. An attempt that finds a record has nothing to do; one that finds a manifest
finishes the moves; any other starts anew. A manifest that was left by another load, which nobody tries again, is
finished by the next load, so that no half of it stays. The idea is that of Hadoop's file output committer, made
repeatable.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.methods.load.base import Written

if TYPE_CHECKING:
    from pyspark.sql import DataFrameWriter
    from upath import UPath

LEDGER = "_pipeline_platform"
_PENDING = "pending"
_DONE = "done"
_STAGED = "staged"
_MANIFEST = "manifest.json"
# A store of objects takes some 20 ms for each, however small.
_AT_ONCE = 16


class _Manifest(BaseModel):
    load: str
    added: dict[str, str]
    removed: list[str]
    bytes: int


@dataclass(frozen=True)
class FilePublication:
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
    """

    uri: str
    folder: UPath
    load_id: str
    mode: str
    writer: DataFrameWriter
    load_before: str | None = None
    stream: str | None = None
    is_old_folder: bool = True

    def check(self) -> None:
        """Raise if the mode does not allow what is there.

        Raises:
            PipelineExecutionException: The folder can't be one, or mode is `errorIfExists` and there are files.
        """
        if self.folder.is_file():
            raise PipelineExecutionException(f"{self.uri} is a file; a folder is needed to write to")
        if self.mode == "errorIfExists" and not self._begun() and self._data_files():
            raise PipelineExecutionException(
                f"there are files in {self.uri} already, and mode is errorIfExists",
                hint="use mode append, overwrite or ignore, or another path",
            )

    def write(self) -> Written:
        """Write aside, then publish."""
        if self._record.exists():
            _remove_work(self.folder, self._name)
            return Written(skipped="an earlier attempt of this run has loaded it already")
        finished = {name: _publish(self.folder, name) for name in self._left_behind()}
        if self._name in finished:
            return replace(finished[self._name], skipped="an earlier attempt of this run wrote it; published now")
        self.check()
        if self.mode == "ignore" and not self._begun() and self._data_files():
            return Written(skipped="there is data already, and mode is ignore")
        self._stage()
        written = _publish(self.folder, self._name)
        if self.load_before is not None:
            _record(self.folder, _name_of(self.load_before)).unlink(missing_ok=True)
        return written

    def last_batch(self) -> int | None:
        """The newest micro-batch of the stream that is published, or written in full and sure to be."""
        if self.stream is None:
            return None
        pending = [_pending(self.folder, name) / _MANIFEST for name in self._left_behind()]
        done = self.folder / LEDGER / _DONE
        records = [path for path in done.iterdir() if path.suffix == ".json"] if done.is_dir() else []
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            loads = workers.map(_load_in, [*pending, *records])
        numbers = (load.removeprefix(f"{self.stream}/") for load in loads if load.startswith(f"{self.stream}/"))
        return max((int(number) for number in numbers if number.isdigit()), default=None)

    def clean(self) -> None:
        """Remove the files of an attempt that was not published; one that was begun is left to be finished."""
        if not self._manifest.exists():
            _remove_work(self.folder, self._name)
            _remove_if_empty(self.folder / LEDGER)
            if not self.is_old_folder:
                _remove_if_empty(self.folder)

    @property
    def _name(self) -> str:
        return _name_of(self.load_id)

    @property
    def _manifest(self) -> UPath:
        return _pending(self.folder, self._name) / _MANIFEST

    @property
    def _record(self) -> UPath:
        return _record(self.folder, self._name)

    def _begun(self) -> bool:
        return self._record.exists() or self._manifest.exists()

    def _left_behind(self) -> list[str]:
        """Loads that were written in full and not published to the end."""
        pending = self.folder / LEDGER / _PENDING
        if not pending.is_dir():
            return []
        return sorted(path.name for path in pending.iterdir() if (path / _MANIFEST).exists())

    def _data_files(self) -> list[str]:
        return [name for name in _files_below(self.folder) if not _is_hidden(name)]

    def _stage(self) -> None:
        work = _pending(self.folder, self._name)
        _remove_tree(work)
        self.writer.mode("error").save(f"{self.uri.rstrip('/')}/{LEDGER}/{_PENDING}/{self._name}/{_STAGED}")
        staged = work / _STAGED
        written = {name: size for name, size in _files_below(staged).items() if not _is_hidden(name)}
        manifest = _Manifest(
            load=self.load_id,
            added={name: self._published_name(name) for name in written},
            removed=self._data_files() if self.mode == "overwrite" else [],
            bytes=sum(written.values()),
        )
        _write_whole(self._manifest, manifest.model_dump_json())

    def _published_name(self, name: str) -> str:
        path = PurePosixPath(name)
        return str(path.with_name(f"{path.name.split('.')[0][:60]}-{self._name}{_extension(path.name)}"))


def _name_of(load_id: str) -> str:
    return hashlib.sha256(load_id.encode()).hexdigest()[:20]


def _pending(target: UPath, name: str) -> UPath:
    return target / LEDGER / _PENDING / name


def _record(target: UPath, name: str) -> UPath:
    return target / LEDGER / _DONE / f"{name}.json"


def _publish(target: UPath, name: str) -> Written:
    """Move in what the manifest of a load says; may be begun again at any point."""
    work = _pending(target, name)
    manifest = _Manifest.model_validate_json((work / _MANIFEST).read_text())

    def move(staged: str) -> None:
        _move(work / _STAGED / staged, target / manifest.added[staged])

    def remove(old: str) -> None:
        (target / old).unlink(missing_ok=True)

    with ThreadPoolExecutor(_AT_ONCE) as workers:
        # A list raises the first failure before anything is removed.
        list(workers.map(move, manifest.added))
        list(workers.map(remove, manifest.removed))
    written = Written(bytes=manifest.bytes, files=len(manifest.added))
    record = {"load": manifest.load, "files": written.files, "bytes": written.bytes}
    _write_whole(_record(target, name), json.dumps(record))
    _remove_work(target, name)
    return written


def _load_in(path: UPath) -> str:
    """The load that a manifest or a record is of."""
    return str(json.loads(path.read_text())["load"])


def _remove_work(target: UPath, name: str) -> None:
    work = _pending(target, name)
    _remove_tree(work)
    _remove_if_empty(work.parent)


def _move(source: UPath, target: UPath) -> None:
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif not target.exists():
        raise PipelineExecutionException(
            f"{source} was written for this load and is gone",
            hint="remove the folder of its manifest and run again",
        )


def _files_below(folder: UPath) -> dict[str, int]:
    """Every file below a folder, with its size; one listing, as a store of objects is asked for each name else."""
    if not folder.is_dir():
        return {}
    base = folder.path.rstrip("/") + "/"
    found = folder.fs.find(folder.path, detail=True)
    return {path.removeprefix(base): int(found[path]["size"]) for path in sorted(found)}


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) and "=" not in part for part in name.split("/"))


def _extension(name: str) -> str:
    return name[name.index(".") :] if "." in name else ""


def _write_whole(path: UPath, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text)
    aside.rename(path)


def _remove_tree(folder: UPath) -> None:
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)


def _remove_if_empty(folder: UPath) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
