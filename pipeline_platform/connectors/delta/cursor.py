"""Where a load has come in its source, remembered by the Delta table that it writes.

The version of a transaction of the table, which Delta commits together with the rows, says how many loads have moved a
cursor. What each of them has moved it to lies in a file of that version beside the data, written before the commit:

    <table>/_pipeline_platform/cursors/<hash of the name>/<version>-<attempt>.json
    <table>/_pipeline_platform/cursors/<hash of the name>/<version>-<attempt>.seen/*.parquet

So a file counts from the moment that its commit is made, and of two loads that begin at the same version only one can
commit.
Delta and its VACUUM leave alone what lies in folders whose names begin with an underscore.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.delta.history import has_commit
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.folders import remove_tree
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.cursor import CursorMove, StoredCursor, cursor_moved

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession
    from upath import UPath

_FOLDER = "_pipeline_platform/cursors"
_PUT = "put"


@dataclass(frozen=True)
class DeltaCursor:
    """A cursor that a Delta table remembers.

    Args:
        place: Where the table is.
        name: Of the cursor.
    """

    place: StorageLocation
    name: str

    remembers_rows = True

    @property
    def app_id(self) -> str:
        """The application of Delta's transactions that move it."""
        return f"cursor/{self.name}"

    def stored(self) -> StoredCursor:
        """Where it is now.

        Raises:
            PipelineExecutionException: The table says that there is one, and where it is can't be found.
        """
        found = self._current()
        return _read(found)[1] if found is not None else StoredCursor()

    def seen(self, spark: SparkSession) -> DataFrame:
        """Of each row that was loaded from `seen_from` on what tells it from others."""
        current = self._current()
        assert current is not None
        return spark.read.options(**self.place.spark_options()).parquet(self._seen_uri(current.stem))

    def others(self) -> list[str]:
        """The names of all other cursors that the table remembers."""
        folders = self._folder().parent
        found = (_read(file)[0] for file in (folders.glob("*/*.json") if folders.exists() else ()))
        return sorted({name for name in found if name != self.name})

    def put(self, position: str | None) -> None:
        """Have the next load begin at a value, itself included, or with None as if nothing had been loaded."""
        table = open_table(self.place)
        version = self.version(table)
        for entry in self._entries():
            # What is there by now may be what keeps it from being found.
            if _version(entry) <= version or (table is not None and version == 0 and self._was_committed(entry, table)):
                remove_tree(entry)
        self._write(f"{version:020}-{_PUT}", StoredCursor(version, position, is_start=position is not None))

    def version(self, table: DeltaTable | None) -> int:
        """How many loads have moved it.

        Args:
            table: The table, as it is now; None if there is none.
        """
        return (table.transaction_version(self.app_id) or 0) if table is not None else 0

    def stage(self, move: CursorMove, attempt: str) -> None:
        """Write where a load gets to; it counts once the load is committed.

        Args:
            move: Where.
            attempt: Differs for each attempt at the load.
        """
        stem = f"{move.after.version:020}-{attempt}"
        if move.seen is not None:
            writer = move.seen.write.options(**self.place.spark_options())
            writer.mode("overwrite").parquet(self._seen_uri(stem))
        self._write(stem, move.after)

    def settle(self, move: CursorMove, mark: str, attempt: str) -> None:
        """Look at what came of a load, and remove what counts no longer.

        Args:
            move: Where the load gets to.
            mark: What its commit says of itself.
            attempt: As for `stage`.

        Raises:
            PipelineExecutionException: Another load has moved the cursor in the meantime, so that this one wrote
                nothing.
        """
        table = open_table(self.place)
        version = self.version(table)
        is_ours = version == move.after.version and table is not None and has_commit(table, self.place, mark)
        if version > move.before.version and not is_ours:
            raise cursor_moved(self.name)
        for entry in self._entries():
            is_own = entry.stem.endswith(f"-{attempt}")
            # Once the load is committed, other attempts at this version count no longer; otherwise this one does not.
            if _version(entry) < version or (is_own != is_ours and _version(entry) <= move.after.version):
                remove_tree(entry)

    def _current(self) -> UPath | None:
        """The file of the load that moved it last; None if none has, and nobody has put it anywhere."""
        table = open_table(self.place)
        version = self.version(table)
        found = [entry for entry in self._entries() if entry.suffix == ".json" and _version(entry) == version]
        if len(found) > 1 and table is not None:
            # Several attempts got as far as to write one, and the last one was killed before it removed the others.
            found = [entry for entry in found if has_commit(table, self.place, attempt_mark(entry.stem.split("-")[1]))]
        if table is not None and version == 0 and any(self._was_committed(entry, table) for entry in self._entries()):
            raise PipelineExecutionException(
                f"the table at {self.place.uri} has forgotten its transactions, and so where the cursor "
                f"'{self.name}' is",
                hint="unset its property delta.setTransactionRetentionDuration, or set it to longer than loads are "
                "apart; then say where to go on with: pipeline-platform cursor FILE --set VALUE",
            )
        if not found and version > 0:
            raise PipelineExecutionException(
                f"the table at {self.place.uri} says that the cursor '{self.name}' was moved {version} times, and the "
                f"file that says where to is not in its folder {_FOLDER}",
                hint="if the table is a copy, copy that folder too; or say where to go on with: pipeline-platform "
                "cursor FILE --set VALUE",
            )
        return found[0] if found else None

    def _was_committed(self, entry: UPath, table: DeltaTable) -> bool:
        """Whether a file is of a load that was committed, of a table that knows of none."""
        if entry.suffix != ".json" or _version(entry) == 0:
            return False
        return _version(entry) > 1 or has_commit(table, self.place, attempt_mark(entry.stem.split("-")[1]))

    def _entries(self) -> Iterable[UPath]:
        folder = self._folder()
        return list(folder.iterdir()) if folder.exists() else ()

    def _folder(self) -> UPath:
        return self.place.path() / _FOLDER / hashlib.sha256(self.name.encode()).hexdigest()[:16]

    def _seen_uri(self, stem: str) -> str:
        return f"{self.place.uri.rstrip('/')}/{_FOLDER}/{self._folder().name}/{stem}.seen"

    def _write(self, stem: str, stored: StoredCursor) -> None:
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"name": self.name, **asdict(stored)}, indent=2)
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")


def attempt_mark(attempt: str) -> str:
    """What the commit of an attempt has in its user metadata, as a part of them."""
    return json.dumps({"attempt": attempt})[1:-1]


def _version(entry: UPath) -> int:
    return int(entry.name.split("-")[0])


def _read(file: UPath) -> tuple[str, StoredCursor]:
    written: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return written.pop("name"), StoredCursor(**written)
