"""Erases rows of a Delta table, and of what the platform keeps within its folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline_platform.connectors.delta.erasing.table import TableErasure
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.files.erasing.parquet_rows import text_pattern
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.steps.erasing import Erased, Found, Order, Wanted

# Of mode `applyChanges`: the keys and times of what was deleted.
_CHANGES = "_pipeline_platform/changes"
_CURSORS = "_pipeline_platform/cursors"


@dataclass(frozen=True)
class DeltaErasure:
    """A table with the changes that are remembered beside it.

    Args:
        place: Where the table is.
        keys: With mode `applyChanges`, the columns that identify a row.
    """

    place: StorageLocation
    keys: tuple[str, ...] = ()

    @property
    def breaks_streams(self) -> bool:
        """As `Erasable.breaks_streams`."""
        return True

    def columns(self) -> Sequence[str] | None:
        """As `Erasable.columns`."""
        table = open_table(self.place)
        return [field.name for field in table.schema().fields] if table is not None else None

    def found(self, wanted: Wanted, mark: str) -> Found:
        """As `Erasable.found`."""
        table = TableErasure(self.place).found(wanted, mark)
        beside = self._changes.found(_of_keys(wanted), mark)
        dates = [found.removable_at for found in (table, beside) if found.removable_at is not None]
        notes = [*table.notes]
        if beside.rows:
            notes.append(f"{beside.rows} in what is remembered of changes ({_CHANGES})")
        if wanted.texts and self._cursors_show(re.compile(text_pattern(wanted.texts))):
            notes.append("a cursor of what is new stands at the key, until the next load moves it on")
        return replace(
            table,
            rows=table.rows + beside.rows,
            history=table.history + beside.history,
            history_files=table.history_files + beside.history_files,
            removable_at=max(dates, default=None),
            unknown=table.unknown + beside.unknown,
            log=table.log + beside.log,
            notes=tuple(notes),
            unsearched=tuple(dict.fromkeys((*table.unsearched, *beside.unsearched))),
            marked=table.marked + beside.marked,
        )

    def erase(self, wanted: Wanted, order: Order) -> Erased:
        """As `Erasable.erase`."""
        # First what would bring nothing back.
        beside = self._changes.erase(_of_keys(wanted), order)
        table = TableErasure(self.place).erase(wanted, order)
        return replace(
            table,
            rows=table.rows + beside.rows,
            rewritten=table.rewritten + beside.rewritten,
            removed=table.removed + beside.removed,
            log=table.log + beside.log,
            notes=(*table.notes, *beside.notes),
        )

    def _cursors_show(self, pattern: re.Pattern[str]) -> bool:
        """Whether what is remembered of a source of which what is new is loaded has one of the values."""
        folder = self.place.path() / _CURSORS
        files = folder.glob("*/*.json") if folder.exists() else ()
        return any(pattern.search(file.read_text(encoding="utf-8")) for file in files)

    @property
    def _changes(self) -> TableErasure:
        uri = f"{self.place.uri.rstrip('/')}/{_CHANGES}"
        # As `changes/timeline.py` names them.
        return TableErasure(replace(self.place, uri=uri), {key: ("key", f"_{at}") for at, key in enumerate(self.keys)})


def _of_keys(wanted: Wanted) -> Wanted:
    return replace(wanted, looks_into_text=False, contains=False)
