"""Erases rows from a folder of files: files that hold some are written again under their names, by a commit."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from pipeline_platform.connectors.files.committer import FileCommitter
from pipeline_platform.connectors.files.erasing.file_kinds import TextRows, packed, parquet_without, unpacked
from pipeline_platform.connectors.files.erasing.key_values import KeyColumn, kind_of_spark
from pipeline_platform.connectors.files.erasing.parquet_rows import RowsIn, partition_values, rows_in
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.connectors.files.newest_file import LEDGER, PlannedColumns, newest_file, noted_file_gone
from pipeline_platform.connectors.storage.folders import changed_at, files_below, is_hidden, remove_empty_folders
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.erasing import Erased, Found, Order, Wanted

if TYPE_CHECKING:
    from upath import UPath

_PENDING = f"{LEDGER}/pending/"
_AT_ONCE = 4
# A load that ends between the look and the commit is looked at again.
_ATTEMPTS = 4


class _ChangedMeanwhile(PipelineExecutionException):
    """A load has changed the files that were to be written again."""


@dataclass(frozen=True)
class _HeldFile:
    """A file with rows of the person.

    Args:
        name: Its path in the folder.
        rows: Which.
        is_whole: Whether all of its rows are theirs, by the name of its folder.
        stamp: Its size and when it was changed.
    """

    name: str
    rows: RowsIn
    is_whole: bool
    stamp: str

    @property
    def is_data(self) -> bool:
        return not self.name.startswith(_PENDING)


@dataclass(frozen=True)
class FolderErasure:
    """A folder of files.

    Args:
        place: Where it is.
        format: Spark's name of the format.
        text: Of csv and json: how they are read and written.
    """

    place: StorageLocation
    format: str
    text: TextRows | None = None

    @property
    def breaks_streams(self) -> bool:
        """As `Erasable.breaks_streams`."""
        return False

    def columns(self) -> Sequence[str] | None:
        """As `Erasable.columns`."""
        folder = self.place.path()
        names = [name for name in self._files() if not is_hidden(name)]
        if not names:
            return None
        found = dict.fromkeys(name for file in names for name in partition_values(file))
        for name in names:
            found |= dict.fromkeys(self._columns_of(folder / name))
        return list(found)

    def found(self, wanted: Wanted, mark: str) -> Found:
        """As `Erasable.found`."""
        held = list(self._held(wanted))
        return Found(
            rows=sum(file.rows.rows for file in held if file.is_data),
            unknown=sum(file.rows.rows for file in held if not file.is_data),
            within_text=sum(file.rows.within_text for file in held if file.is_data),
            alike=sum(file.rows.alike for file in held if file.is_data),
            log=int(self._note_shows(wanted)),
            unsearched=tuple(sorted({reason for file in held for reason in file.rows.unsearched})),
            doubts=tuple(sorted({told for file in held for told in file.rows.doubts})),
        )

    def erase(self, wanted: Wanted, order: Order) -> Erased:
        """As `Erasable.erase`."""
        done = Erased()
        for attempt in range(_ATTEMPTS):
            held = [file for file in self._held(wanted) if file.rows.rows]
            if (not held and not self._note_shows(wanted)) or (attempt and not any(file.is_data for file in held)):
                break
            files = [file for file in held if file.is_data]
            try:
                self._commit(files, wanted, order.mark)
            except _ChangedMeanwhile:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            whole = sum(file.is_whole for file in files)
            done = replace(
                done,
                rows=done.rows + sum(file.rows.rows for file in files),
                rewritten=done.rewritten + len(files) - whole,
                removed=done.removed + whole,
                log=done.log + (0 if held else 1),
            )
        return done

    def _note_shows(self, wanted: Wanted) -> bool:
        """Whether the loads' ledger still names a file that is gone, in a folder that is named by the person."""
        gone = noted_file_gone(self.place.path())
        values = partition_values(gone) if gone is not None else {}
        keys = [KeyColumn(name, None, theirs) for name, theirs in wanted.columns.items()]
        return any(key.has(values.get(key.name)) for key in keys)

    def _commit(self, files: Sequence[_HeldFile], wanted: Wanted, mark: str) -> None:
        folder = self.place.path()
        # The same files are written again by the same load, so that one that was killed is ended by the next.
        stamps = hashlib.sha256("\n".join(f"{file.name} {file.stamp}" for file in files).encode()).hexdigest()
        if not files:
            # Nothing but what dead attempts have left, which each commit removes.
            stamps = uuid.uuid4().hex

        def removes() -> list[str]:
            there = self._files()
            for file in files:
                if file.name not in there or _stamp(there[file.name]) != file.stamp:
                    raise _ChangedMeanwhile(
                        f"a load has changed {file.name} in {self.place.uri} while rows were erased from it",
                        hint="run it again",
                        retryable=True,
                    )
            return [file.name for file in files if file.is_whole]

        text = self._typed_text()

        def without(name: str) -> bytes:
            return self._without(name, text, wanted)

        kept = [file.name for file in files if not file.is_whole]
        noted = newest_file(folder, self.format)
        columns = PlannedColumns(noted.written, None, compares=False) if noted is not None and noted.written else None
        writer: Any = _Rewriter(folder, dict.fromkeys(kept, without))
        FileCommitter(
            self.place.uri, folder, f"{mark}/{stamps[:16]}", "append", writer, columns=columns, removes=removes
        ).write()
        for file in files:
            if file.is_whole:
                # Its name has the value.
                remove_empty_folders(folder, file.name)

    def _without(self, name: str, text: TextRows | None, wanted: Wanted) -> bytes:
        data = (self.place.path() / name).read_bytes()
        if text is None:
            return parquet_without(data, wanted.columns)
        return packed(name, text.without(unpacked(name, data), wanted.columns))

    def _files(self) -> Mapping[str, Mapping[str, Any]]:
        folder = self.place.path()
        base = folder.path.rstrip("/") + "/"
        return {path.removeprefix(base): detail for path, detail in files_below(folder).items()}

    def _columns_of(self, file: UPath) -> Sequence[str]:
        if self.text is not None:
            return self.text.columns(unpacked(file.name, file.read_bytes()))
        pq = arrow("parquet")

        with file.open("rb") as opened:
            schema: Any = pq.read_schema(opened)
        return list(schema.names)

    def _held(self, wanted: Wanted) -> Iterator[_HeldFile]:
        folder, found = self.place.path(), self._files()
        names = [name for name in found if not is_hidden(name) or (name.startswith(_PENDING) and _is_staged(name))]
        texts = wanted.texts if wanted.looks_into_text else frozenset[str]()
        text = self._typed_text()

        def look(name: str) -> tuple[RowsIn, bool]:
            values = partition_values(name)
            rows = self._rows(folder / name, text, wanted, texts)
            if any(values.get(column) in theirs for column, theirs in wanted.columns.items()):
                return RowsIn(rows=self._all_rows(folder / name)), True
            # The type of what a folder's name says is known nowhere.
            keys = [KeyColumn(name, None, theirs) for name, theirs in wanted.columns.items()]
            doubts = {reason for key in keys if (reason := key.other_spelling(values.get(key.name)))}
            return replace(rows, doubts=rows.doubts | doubts), False

        with ThreadPoolExecutor(_AT_ONCE) as workers:
            for name, (rows, is_whole) in zip(names, workers.map(look, names), strict=True):
                if rows != RowsIn():
                    yield _HeldFile(name, rows, is_whole, _stamp(found[name]))

    def _typed_text(self) -> TextRows | None:
        """How files of text are read, with the types of columns as the last load has noted them."""
        return self.text.typed(_kinds_noted(self.place, self.format)) if self.text is not None else None

    def _rows(self, file: UPath, text: TextRows | None, wanted: Wanted, texts: frozenset[str]) -> RowsIn:
        if text is not None:
            return text.count(unpacked(file.name, file.read_bytes()), wanted.columns, texts)
        return rows_in(file, {(name,): values for name, values in wanted.columns.items()}, texts)

    def _all_rows(self, file: UPath) -> int:
        """How many rows a file has, one at least: a file of a person's folder is theirs without any."""
        if self.text is not None:
            return max(self.text.total(unpacked(file.name, file.read_bytes())), 1)
        pq = arrow("parquet")

        with file.open("rb") as opened:
            read: Any = pq.ParquetFile(opened)
            return max(int(read.metadata.num_rows), 1)


def columns_noted(place: StorageLocation) -> Sequence[str] | None:
    """The columns of a folder whose files don't name them, as its last load has noted them; None if none has.

    Args:
        place: The folder.
    """
    noted = newest_file(place.path(), "csv")
    if noted is None or noted.written is None:
        return None
    return [field["name"] for field in json.loads(noted.written.columns)["fields"]]


def _kinds_noted(place: StorageLocation, file_format: str) -> dict[str, Any]:
    """pyarrow's types of the columns that the last load has noted."""
    noted = newest_file(place.path(), file_format)
    if noted is None or noted.written is None:
        return {}
    fields = json.loads(noted.written.columns)["fields"]
    kinds = {field["name"]: kind_of_spark(field["type"]) for field in fields}
    return {name: kind for name, kind in kinds.items() if kind is not None}


@dataclass(frozen=True)
class _Rewriter:
    """Writes files again into another folder, where a load has Spark write its own.

    Args:
        folder: Of the data.
        files: By name, what makes the new bytes.
    """

    folder: UPath
    files: Mapping[str, Callable[[str], bytes]]

    def mode(self, _: str) -> Self:
        return self

    def save(self, uri: str) -> None:
        """Write them.

        Args:
            uri: A folder within that of the data.
        """
        staged = self.folder / LEDGER / uri.rpartition(f"/{LEDGER}/")[2]
        staged.mkdir(parents=True, exist_ok=True)
        for name, made in self.files.items():
            target = staged / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(made(name))


def _is_staged(name: str) -> bool:
    """Whether a file is one that an attempt at a load has written, and not the platform's own beside it."""
    inner = name.removeprefix(_PENDING).split("/")
    return len(inner) > 2 and not is_hidden("/".join(inner[2:]))


def _stamp(detail: Mapping[str, Any]) -> str:
    return f"{detail['size']} {changed_at(detail).isoformat()}"
