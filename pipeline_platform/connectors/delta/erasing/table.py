"""Erases rows of one Delta table: from its newest version by a commit, and from what is kept of earlier ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipeline_platform.connectors.delta.erasing.delete import Deletion, commit_nothing, delete_rows, rewrite_marked
from pipeline_platform.connectors.delta.erasing.log import (
    TableLog,
    cut_log,
    entries_before,
    forget_removed,
    newest_files,
    read_log,
)
from pipeline_platform.connectors.delta.history import load_result
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.files.erasing.key_values import (
    KeyColumn,
    as_written,
    can_be_searched,
    fields_within,
    not_searched,
)
from pipeline_platform.connectors.files.erasing.parquet_rows import (
    ColumnPath,
    RowsIn,
    partition_values,
    rows_in,
    type_at,
)
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.connectors.storage.folders import changed_at, files_below, remove_empty_folders
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.steps.erasing import Erased, Found, Order, Wanted

if TYPE_CHECKING:
    from deltalake import DeltaTable

# Beside rows of the table: its log, and what the platform keeps there, which is looked into by itself.
_NO_DATA = ("_delta_log/", "_pipeline_platform/")
_RETENTION = "delta.deletedFileRetentionDuration"
_DEFAULT_RETENTION = timedelta(days=7)
_UNITS = {"week": 7 * 24, "day": 24, "hour": 1}
# pyarrow reads each by several threads.
_AT_ONCE = 4


@dataclass(frozen=True)
class _HeldFile:
    """A file with rows of the person.

    Args:
        name: Its path in the table's folder.
        rows: How many there are of each kind.
        live: How many of them are not marked as deleted.
        is_newest: Whether it belongs to the newest version.
        is_known: Whether it belongs to any.
        removable_at: When it may be removed without harm to readers of earlier versions, or to a load that writes it.
    """

    name: str
    rows: RowsIn
    live: RowsIn
    is_newest: bool
    is_known: bool
    removable_at: datetime


@dataclass(frozen=True)
class TableErasure:
    """One table.

    Args:
        place: Where it is.
        fields: By key, the field of the table that has it; None of a table whose columns are the keys.
    """

    place: StorageLocation
    fields: Mapping[str, ColumnPath] | None = None

    def found(self, wanted: Wanted, mark: str) -> Found:
        """As `Erasable.found`; nothing where there is no table."""
        table = open_table(self.place)
        if table is None:
            return Found()
        log = self._log(table, wanted)
        held = list(self._held(table, log, wanted))
        now = [file for file in held if file.is_newest]
        old = [file for file in held if not file.is_newest and file.is_known]
        unknown = [file for file in held if not file.is_newest and not file.is_known]
        entries = set(log.showing)
        if mark in log.marked:
            # What they say of the files that were removed are values of other columns, too.
            entries |= {name for name in entries_before(log, log.marked[mark][0]) if not name.startswith(".")}
        dates = [file.removable_at for file in old]
        if entries and (since := _since(log, mark)) is not None:
            dates.append(since + _retention(table))
        return Found(
            rows=sum(map(_live(wanted), now)),
            marked=sum(map(_theirs(wanted), now)) - sum(map(_live(wanted), now)),
            total=_all_rows(table),
            history=sum(map(_theirs(wanted), old)),
            history_files=len(old),
            removable_at=max(dates, default=None),
            unknown=sum(map(_theirs(wanted), unknown)),
            within_text=sum(file.live.within_text for file in now),
            alike=sum(file.live.alike for file in now),
            log=len(entries),
            unsearched=self._unsearched(table, wanted),
            doubts=tuple(fields_within(_kinds(table), list(wanted.columns))),
        )

    def erase(self, wanted: Wanted, order: Order) -> Erased:
        """As `Erasable.erase`."""
        table = open_table(self.place)
        if table is None:
            return Erased()
        rows, version, rewritten = self._delete(table, wanted, order)
        table = open_table(self.place)
        assert table is not None
        removed, waits = self._remove_old(table, wanted, order)
        cut = 0 if waits else self._cut(table, wanted, order, has_removed=removed > 0)
        return Erased(rows, version, rewritten, removed, cut)

    def _cut(self, table: DeltaTable, wanted: Wanted, order: Order, *, has_removed: bool) -> int:
        """Cut the log, if it may show values of rows that are gone, and nobody should read versions before."""
        log = self._log(table, wanted)
        done = log.marked.get(order.mark)
        is_old = done is not None and bool(entries_before(log, done[0]))
        if not (is_old or log.showing or has_removed):
            return 0
        since = _since(log, order.mark)
        is_due = since is None or since + _retention(table) <= datetime.now(UTC)
        if not (order.at_once or is_due):
            return 0
        if any(log.entries[name] >= table.version() for name in log.showing):
            commit_nothing(order.spark(), self.place, order.mark)
        cut = cut_log(self.place)
        forget_removed(self.place, self._key_columns(table, wanted))
        return cut

    def _delete(self, table: DeltaTable, wanted: Wanted, order: Order) -> tuple[int, int | None, int]:
        """Delete the rows of the newest version: how many there were, the version without them, files written again."""
        newest = [file for file in self._held(table, self._log(table, wanted), wanted) if file.is_newest]
        if not any(_theirs(wanted)(file) for file in newest):
            return 0, None, 0
        spark = order.spark()
        deletion = Deletion(
            self.place, self._as_written(table, wanted), wanted.texts if wanted.contains else frozenset()
        )
        delete_rows(spark, deletion, order.mark)
        written = load_result(open_table(self.place), self.place, order.mark)
        after = open_table(self.place)
        assert after is not None
        if any(_theirs(wanted)(file) for file in self._held(after, self._log(after, wanted), wanted) if file.is_newest):
            # They were deleted before, by a mark beside a file that still has them.
            rewrite_marked(spark, self.place)
            after = open_table(self.place)
            assert after is not None
        # Of rows that were only marked as deleted no commit is made, and an earlier one may have the same mark.
        detail: Mapping[str, int] = written.detail if (written.version or 0) > table.version() else {}
        return detail.get("numTargetRowsDeleted", 0), after.version(), detail.get("numTargetFilesRemoved", 0)

    def _remove_old(self, table: DeltaTable, wanted: Wanted, order: Order) -> tuple[int, bool]:
        """Remove files of earlier versions that have the rows: how many, and whether some have to wait."""
        now = datetime.now(UTC)
        removed, waits = 0, False
        for file in self._held(table, self._log(table, wanted), wanted):
            if file.is_newest or not _theirs(wanted)(file):
                continue
            # What belongs to no version may be what a load is writing now.
            if file.removable_at > now and not (order.at_once and file.is_known):
                waits = True
                continue
            path = self.place.path() / file.name
            path.unlink(missing_ok=True)
            # Hadoop keeps a checksum beside a local file.
            path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
            remove_empty_folders(self.place.path(), file.name)
            removed += 1
        return removed, waits

    def _log(self, table: DeltaTable, wanted: Wanted) -> TableLog:
        return read_log(self.place, self._key_columns(table, wanted), wanted.texts)

    def _key_columns(self, table: DeltaTable, wanted: Wanted) -> list[KeyColumn]:
        """The columns as the table's files and its log name them, but for fields within others."""
        kinds = _kinds(table)
        by_physical = {physical: kinds.field(name).type for name, physical in _physical_names(table).items()}
        columns = self._columns(table, wanted)
        return [
            KeyColumn(path[0], by_physical.get(path[0]), texts) for path, texts in columns.items() if len(path) == 1
        ]

    def _unsearched(self, table: DeltaTable, wanted: Wanted) -> tuple[str, ...]:
        """Why there may be rows that are not found by the table's columns."""
        kinds = _kinds(table)
        named = self._named(wanted).items()
        reasons = (
            not_searched(path[-1], kind, texts) for path, texts in named if (kind := type_at(kinds, path)) is not None
        )
        return tuple(reason for reason in reasons if reason is not None)

    def _as_written(self, table: DeltaTable, wanted: Wanted) -> Mapping[ColumnPath, frozenset[str]]:
        """The columns as a reader names them, with values as Spark reads them."""
        kinds = _kinds(table)
        return {
            path: frozenset(as_written(kind, text) for text in texts)
            for path, texts in self._named(wanted).items()
            if can_be_searched(kind := type_at(kinds, path))
        }

    def _named(self, wanted: Wanted) -> Mapping[ColumnPath, frozenset[str]]:
        """The columns as a reader of the table names them."""
        if self.fields is None:
            return {(name,): values for name, values in wanted.columns.items()}
        return {self.fields[name]: values for name, values in wanted.columns.items() if name in self.fields}

    def _columns(self, table: DeltaTable, wanted: Wanted) -> Mapping[ColumnPath, frozenset[str]]:
        """The columns as the table's files name them."""
        if self.fields is not None:
            return self._named(wanted)
        physical = _physical_names(table)
        return {(physical[name],): values for name, values in wanted.columns.items() if name in physical}

    def _held(self, table: DeltaTable, log: TableLog, wanted: Wanted) -> Iterator[_HeldFile]:
        """Every file below the folder with rows of the person, whether it belongs to a version or not."""
        folder, newest, retention = self.place.path(), newest_files(table), _retention(table)
        base = folder.path.rstrip("/") + "/"
        found = {path.removeprefix(base): detail for path, detail in files_below(folder).items()}
        names = [name for name in found if name.endswith(".parquet") and not name.startswith(_NO_DATA)]
        columns, keys = self._columns(table, wanted), self._key_columns(table, wanted)
        texts = wanted.texts if wanted.looks_into_text else frozenset[str]()

        kept = _kept_rows(table)

        def look(name: str, keep: Sequence[bool] | None) -> RowsIn:
            values = {**partition_values(name), **log.files.get(name, {})}
            if any(key.has(values.get(key.name)) for key in keys):
                pq = arrow("parquet")

                with (folder / name).open("rb") as opened:
                    read: Any = pq.ParquetFile(opened)
                    return RowsIn(rows=read.metadata.num_rows - (keep.count(False) if keep is not None else 0))
            # What can't be searched is told of the whole table.
            return replace(rows_in(folder / name, columns, texts, keep), unsearched=frozenset(), doubts=frozenset())

        def looked(name: str) -> tuple[RowsIn, RowsIn]:
            rows = look(name, None)
            return rows, look(name, kept[name]) if name in kept and rows != RowsIn() else rows

        with ThreadPoolExecutor(_AT_ONCE) as workers:
            for name, (rows, live) in zip(names, workers.map(looked, names), strict=True):
                if rows == RowsIn():
                    continue
                gone = log.removed.get(name)
                last = datetime.fromtimestamp(gone / 1000, UTC) if gone else changed_at(found[name])
                yield _HeldFile(name, rows, live, name in newest, name in newest or name in log.files, last + retention)


def _kept_rows(table: DeltaTable) -> Mapping[str, Sequence[bool]]:
    """Of files some of whose rows are marked as deleted: for each row whether it is not."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    base = unquote(table.table_uri).rstrip("/") + "/"
    marks: Any = arrow().table(table.deletion_vectors())
    return {unquote(mark["filepath"]).removeprefix(base): mark["selection_vector"] for mark in marks.to_pylist()}


def _all_rows(table: DeltaTable) -> int | None:
    """All rows of a table's version, by what its log says of the files; None if it does not say."""
    pa = arrow()

    actions: Any = pa.table(table.get_add_actions(flatten=True))
    if "num_records" not in actions.schema.names:
        return 0 if actions.num_rows == 0 else None
    counts = actions.column("num_records").to_pylist()
    marked = sum(keep.count(False) for keep in _kept_rows(table).values())
    return sum(counts) - marked if all(count is not None for count in counts) else None


def _theirs(wanted: Wanted) -> Callable[[_HeldFile], int]:
    """How many rows of a file are to be erased."""
    return lambda file: file.rows.rows + (file.rows.within_text if wanted.contains else 0)


def _live(wanted: Wanted) -> Callable[[_HeldFile], int]:
    """How many of them a reader of the newest version finds."""
    return lambda file: file.live.rows + (file.live.within_text if wanted.contains else 0)


def _retention(table: DeltaTable) -> timedelta:
    """How long the table keeps files of earlier versions for their readers."""
    said = table.metadata().configuration.get(_RETENTION, "")
    found = re.search(r"(\d+)\s*(week|day|hour)s?\b", said)
    return timedelta(hours=int(found[1]) * _UNITS[found[2]]) if found is not None else _DEFAULT_RETENTION


def _since(log: TableLog, mark: str) -> datetime | None:
    """When what the log shows was last read as the newest version; None if that is not known."""
    times = [log.shown_at, log.marked[mark][1] if mark in log.marked else None]
    return max((time for time in times if time is not None), default=None)


def _kinds(table: DeltaTable) -> Any:
    """The table's columns as a schema of pyarrow's."""
    return arrow().schema(table.schema().to_arrow())


def _physical_names(table: DeltaTable) -> dict[str, str]:
    """By column, its name in the table's files."""
    return {
        field["name"]: field["metadata"].get("delta.columnMapping.physicalName", field["name"])
        for field in json.loads(table.schema().to_json())["fields"]
    }
