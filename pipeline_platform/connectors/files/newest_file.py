"""The newest file of a folder: what the last load noted beside the files, or else what a listing says.

The note lies in the ledger of the loads (`committer.py`), and is written with the files of each. So a load finds the
file whose columns it is compared with without listing the folder, and what some formats do not say of themselves: JSON
leaves out what is NULL, csv may have no names, and ORC has one type for timestamps with and without a zone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from pipeline_platform.connectors.storage.folders import changed_at, files_below, is_hidden
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from upath import UPath

LEDGER = "_pipeline_platform"
"""The folder beside the data; its name begins with an underscore, so that Spark and Hive skip it."""
_NOTE = "newest.json"
# As the committer names what it publishes.
_OURS = re.compile(r"-[0-9a-f]{20}(\.|$)")
_FORMATS = frozenset({"parquet", "orc", "avro", "csv", "json"})


class WrittenColumns(BaseModel):
    """What the files of a load hold.

    Args:
        format: Spark's name of their format.
        columns: Their columns, as JSON of Spark's; those that are folders are none.
        has_header: Of csv: whether the first line has the names.
    """

    format: str
    columns: str
    has_header: bool = True

    def fits(self, other: WrittenColumns) -> bool:
        """Whether files with these columns may lie beside those of another load, whose order may be another one."""
        return (self.format, self.has_header, self._told()) == (other.format, other.has_header, other._told())

    def _told(self) -> object:
        fields = json.loads(self.columns)["fields"]
        if self.format in ("csv", "json"):
            names = [field["name"].lower() for field in fields]
            return sorted(names) if self.has_header else names
        return {field["name"].lower(): field["type"] for field in fields}


class _Note(BaseModel):
    file: str
    written: WrittenColumns


@dataclass(frozen=True)
class NewestFile:
    """The file that a load is compared with.

    Args:
        name: Its path in the folder.
        size: Its bytes.
        format: Spark's name of its format; None if its name does not tell.
        written: What its load noted; None if it is of an earlier version, or by others.
    """

    name: str
    size: int
    format: str | None
    written: WrittenColumns | None

    def folders(self) -> list[str]:
        """The columns whose values stand in the names of its folders."""
        return [unquote(part.partition("=")[0]) for part in self.name.split("/")[:-1]]


@dataclass(frozen=True)
class PlannedColumns:
    """The columns of a load, as they were planned.

    Args:
        written: What its files are to hold.
        compared_with: The file that the last load noted by then; None if it noted none.
        compares: Whether its files are to lie beside others.
    """

    written: WrittenColumns
    compared_with: str | None
    compares: bool

    def require_still(self, folder: UPath) -> None:
        """Raise if another load has brought files with other columns since; for whoever holds the folder.

        Raises:
            PipelineExecutionException: One has.
        """
        note = _note(folder) if self.compares else None
        if note is None or note.file == self.compared_with or note.written.fits(self.written):
            return
        raise PipelineExecutionException(
            f"another load has written {note.file} meanwhile, which has other columns than the files of this one",
            hint="run it again: it is compared with that file then, and nothing of it was written",
        )


def note_newest(folder: UPath, files: Iterable[str], written: WrittenColumns | None) -> None:
    """Note which file is the newest, once it is there; for whoever holds the folder.

    Args:
        folder: The folder of the data.
        files: Those that a load has brought, as paths in it.
        written: What they hold; None if an earlier version planned the load.
    """
    newest = next(iter(files), None)
    place = folder / LEDGER / _NOTE
    if newest is None:
        _name_another(folder)
        return
    if written is None:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    # One that is cut off is none, and the folder is listed.
    place.write_text(_Note(file=newest, written=written).model_dump_json())


def noted_file_gone(folder: UPath) -> str | None:
    """The file that is noted as the newest and is there no more; None if there is none.

    Args:
        folder: The folder of the data.
    """
    note = _note(folder)
    return note.file if note is not None and not (folder / note.file).is_file() else None


def _name_another(folder: UPath) -> None:
    """Name another file in the note, if the one that it names is gone: the name may have a value of a person."""
    if noted_file_gone(folder) is None:
        return
    note, place = _note(folder), folder / LEDGER / _NOTE
    base = folder.path.rstrip("/") + "/"
    found = {path.removeprefix(base): detail for path, detail in files_below(folder).items()}
    newest = max(filter(_is_data, found), key=lambda name: (changed_at(found[name]), name), default=None)
    if note is None or newest is None:
        place.unlink(missing_ok=True)
    else:
        place.write_text(_Note(file=newest, written=note.written).model_dump_json())


def newest_file(folder: UPath, file_format: str) -> NewestFile | None:
    """The file that a load of this format is compared with; None if there is none.

    That is the newest of those that loads of pipelines have left, or, where there are none of these, the newest of the
    format that others have.

    Args:
        folder: The folder of the data.
        file_format: Spark's name of the format.
    """
    note = _note(folder)
    if note is not None and (folder / note.file).is_file():
        size = (folder / note.file).stat().st_size
        return NewestFile(note.file, size, note.written.format, note.written)
    if not folder.is_dir():
        return None
    base = folder.path.rstrip("/") + "/"
    found = {path.removeprefix(base): detail for path, detail in files_below(folder).items()}
    data = {name: detail for name, detail in found.items() if _is_data(name)}
    ours = [name for name in data if _OURS.search(PurePosixPath(name).name)]
    chosen = ours or [name for name in data if _format_of(name) == file_format]
    newest = max(chosen, key=lambda name: (changed_at(data[name]), name), default=None)
    return NewestFile(newest, int(data[newest]["size"]), _format_of(newest), None) if newest is not None else None


def _is_data(name: str) -> bool:
    """Whether readers of the folder take a file for one of its own: those of other folders in it they leave out."""
    return not is_hidden(name) and all("=" in part for part in name.split("/")[:-1])


def _note(folder: UPath) -> _Note | None:
    try:
        return _Note.model_validate_json((folder / LEDGER / _NOTE).read_text())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def _format_of(name: str) -> str | None:
    words = PurePosixPath(name).name.lower().split(".")[1:]
    return next((word for word in reversed(words) if word in _FORMATS), None)
