"""The log of a Delta table, read as it is stored: what it knows of files, what it shows of values, and how it is cut.

The log keeps, for as long as `delta.logRetentionDuration` says, the smallest and largest values of each file that
there was, values of partitions in paths, and what commits say of themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from pipeline_platform.connectors.delta.log_files import LOG, DeltaLog, remove_log_files
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.files.erasing.key_values import KeyColumn
from pipeline_platform.connectors.files.erasing.parquet_rows import text_pattern
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from upath import UPath

# A store of objects takes some 20 ms for each, however small.
_AT_ONCE = 16
# Of an add, what shows values; of a commit, what somebody wrote.
_FILES = ("add", "remove", "cdc")


@dataclass(frozen=True)
class TableLog:
    """What the log of a table says.

    Args:
        files: Every file that it names, by its path in the table's folder, with the values of its partition as text.
        removed: When a file was removed, in milliseconds since 1970.
        entries: Names of the files of the log, with their versions.
        showing: Those of them that show one of the values.
        shown_at: When the newest commit was made that does; None if none does.
        marked: By what a commit says of itself, its version and time; of several that say the same, the newest.
    """

    files: Mapping[str, Mapping[str, str | None]]
    removed: Mapping[str, int]
    entries: Mapping[str, int]
    showing: frozenset[str]
    shown_at: datetime | None
    marked: Mapping[str, tuple[int, datetime]]


def read_log(place: StorageLocation, columns: Sequence[KeyColumn], texts: frozenset[str]) -> TableLog:
    """Read all that is left of the log.

    Args:
        place: Where the table is.
        columns: Columns, as the files name them, with the values whose mention is noted.
        texts: Values whose mention in what a commit says of itself is noted.
    """
    log = DeltaLog.of(place)
    entries = {file.name: version for file in log.files if (version := file.last_version) is not None}
    readable = sorted(name for name in entries if not name.startswith(".") and not name.endswith(".crc"))
    files: dict[str, Mapping[str, str | None]] = {}
    removed: dict[str, int] = {}
    showing: set[str] = set()
    marked: dict[str, tuple[int, datetime]] = {}
    made: dict[str, datetime] = {}
    shows = _Shows(columns, re.compile(text_pattern(texts)) if texts else None)
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for name, actions in zip(
            readable, workers.map(_actions, [log.folder / name for name in readable]), strict=True
        ):
            for action in actions:
                for kind in _FILES:
                    if (of_file := action.get(kind)) is not None:
                        path = unquote(of_file["path"])
                        files.setdefault(path, dict(of_file.get("partitionValues") or {}))
                        if kind == "remove":
                            removed[path] = int(of_file.get("deletionTimestamp") or 0)
                said: Mapping[str, Any] = action.get("commitInfo") or {}
                if said:
                    made[name] = datetime.fromtimestamp((said.get("timestamp") or 0) / 1000, UTC)
                if (mark := said.get("userMetadata")) is not None:
                    marked[mark] = entries[name], made[name]
                if shows.value_in(action):
                    showing.add(name)
    shown_at = max((made[name] for name in showing if name in made), default=None)
    return TableLog(files, removed, entries, frozenset(showing), shown_at, marked)


def _actions(path: UPath) -> list[Mapping[str, Any]]:
    if path.name.endswith(".parquet"):
        return list(_checkpoint_rows(path))
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _checkpoint_rows(path: UPath) -> Iterator[Mapping[str, Any]]:
    pq = arrow("parquet")

    with path.open("rb") as opened:
        read: Any = pq.ParquetFile(cast("Any", opened))
        columns = [name for name in _FILES if name in read.schema_arrow.names]
        for batch in read.iter_batches(columns=columns):
            yield from batch.to_pylist()


@dataclass(frozen=True)
class _Shows:
    columns: Sequence[KeyColumn]
    pattern: re.Pattern[str] | None

    def value_in(self, action: Mapping[str, Any]) -> bool:
        """Whether an action of the log shows one of the values."""
        if (said := action.get("commitInfo")) is not None and self.pattern is not None:
            told = {name: said.get(name) for name in ("operationParameters", "userMetadata")}
            return self.pattern.search(json.dumps(told, ensure_ascii=False)) is not None
        return any(self._of_file(action[kind]) for kind in _FILES if action.get(kind) is not None)

    def _of_file(self, of_file: Mapping[str, Any]) -> bool:
        values = dict(of_file.get("partitionValues") or {})
        if any(column.has(values.get(column.name)) for column in self.columns):
            return True
        stats: Any = of_file.get("stats") or of_file.get("stats_parsed") or {}
        known: Mapping[str, Any] = json.loads(stats, parse_float=Decimal) if isinstance(stats, str) else stats
        sides: list[Mapping[str, Any]] = [known.get("minValues") or {}, known.get("maxValues") or {}]
        return any(column.has(side.get(column.name)) for side in sides for column in self.columns)


def newest_files(table: DeltaTable) -> frozenset[str]:
    """The files of a table's version, as paths in its folder."""
    actions: Any = table.get_add_actions(flatten=True)
    pa = arrow()

    return frozenset(unquote(path) for path in pa.table(actions).column("path").to_pylist())


def entries_before(log: TableLog, version: int) -> list[str]:
    """Files of the log that nobody needs who reads a version for which there is a checkpoint.

    Args:
        log: The log.
        version: The version.
    """
    return sorted(name for name, of_version in log.entries.items() if of_version < version)


def cut_log(place: StorageLocation) -> int:
    """Remove what the log says of versions before the newest one, once a checkpoint says what is left of them.

    It is what Delta's own cleanup does by `delta.logRetentionDuration`, which counts whole days. Transactions, and so
    what was loaded already, are part of a checkpoint.

    Args:
        place: Where the table is.

    Returns:
        How many files of the log were removed.

    Raises:
        PipelineExecutionException: The table does not read the same from the checkpoint; nothing was removed.
    """
    table = open_table(place)
    assert table is not None
    before, version = newest_files(table), table.version()
    table.create_checkpoint()
    log = DeltaLog.of(place)
    has_checkpoint = any(file.name.startswith(f"{version:020}.checkpoint") for file in log.files)
    again = open_table(place)
    assert again is not None
    again.load_as_version(version)
    if not has_checkpoint or newest_files(again) != before:
        raise PipelineExecutionException(
            f"the log of the table at {place.uri} was left as it is: its checkpoint does not say the same",
            hint="let Delta clean it up: it removes what is older than delta.logRetentionDuration",
        )
    old = [file for file in log.files if file.last_version is not None and file.last_version < version]
    remove_log_files(log, old)
    return len(old)


def forget_removed(place: StorageLocation, columns: Sequence[KeyColumn]) -> None:
    """Take out of the newest version's checkpoint what it says of removed files whose partition shows a value.

    It says it for those who clean up the table, and the files are gone already. A checkpoint of another kind is left as
    it is: it forgets them once `delta.deletedFileRetentionDuration` is over.

    Args:
        place: Where the table is.
        columns: Columns, as the files name them, with the values.

    Raises:
        PipelineExecutionException: The table does not read the same from what is left.
    """
    pa, pq = arrow(), arrow("parquet")
    table = open_table(place)
    assert table is not None
    log, name = place.path() / LOG, f"{table.version():020}.checkpoint.parquet"
    if not (log / name).exists():
        return
    data = (log / name).read_bytes()
    rows: Any = pq.read_table(pa.BufferReader(data))
    shows = _Shows(columns, None)
    removed: list[Any] = rows.column("remove").to_pylist() if "remove" in rows.schema.names else []
    keep = [of_file is None or not shows.value_in({"remove": of_file}) for of_file in removed]
    if all(keep):
        return
    made: Any = pa.BufferOutputStream()
    left: Any = rows.filter(pa.array(keep))
    pq.write_table(left, made)
    aside = log / f".{name}.tmp"
    aside.write_bytes(made.getvalue().to_pybytes())
    # Hadoop's checksum beside a local file would be that of the other one; the hint says how large it is.
    (log / f".{name}.crc").unlink(missing_ok=True)
    (log / "_last_checkpoint").unlink(missing_ok=True)
    aside.rename(log / name)
    again = open_table(place)
    assert again is not None
    if newest_files(again) != newest_files(table):
        (log / name).write_bytes(data)
        raise PipelineExecutionException(
            f"the checkpoint of the table at {place.uri} was left as it is: without the removed files it does not say "
            "the same",
            hint="it forgets them once delta.deletedFileRetentionDuration is over: run it again then",
        )
