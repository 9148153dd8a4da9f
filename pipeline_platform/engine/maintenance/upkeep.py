"""Maintains one table: what is to be removed is held against who reads it before anything is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import BaseModel

from pipeline_platform.config.maintenance import Maintenance, Optimize
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.connectors.delta.history import newest_change
from pipeline_platform.connectors.delta.log_files import DeltaLog, log_cleanup, remove_log_files
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.upkeep import (
    SparkFor,
    TableSize,
    checkpoint,
    needs_spark,
    old_files,
    opened,
    optimize,
    retention,
    sizes_of,
    table_size,
    vacuum,
)
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.maintenance.readers import Retention, readers_of, require_readers_kept
from pipeline_platform.engine.maintenance.sinks import Sink, places_inside
from pipeline_platform.engine.streaming.stream_state import streams_folder
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from upath import UPath

_RECORD = "_pipeline_platform/maintenance.json"
"""Delta and VACUUM take no notice of folders whose names begin with `_`."""
_MANY_COMMITS = 10

Say = Callable[[str], None]


class MaintenanceRecord(BaseModel):
    """What is noted beside a table of its last maintenance."""

    at: datetime
    version: int
    """The version that it left."""


@dataclass(frozen=True)
class Kept:
    """What the maintenance of a table did; of a dry run, what it would do.

    Args:
        uri: Where the table is.
        skipped: Why nothing was done, where that is right.
        version_before: The newest version before.
        version: The newest version after.
        before: The files of the newest version before.
        after: The same after.
        removed_files: Files that no kept version needs.
        removed_bytes: Their size.
        commits_before: Commits in the log before.
        removed_commits: Commits that were removed from the log.
        checkpointed: Whether a checkpoint was written.
        by_spark: What of the table it is for which Spark does it, such as a feature; None if delta-rs does.
        remarks: What someone should know.
        seconds: How long it took.
    """

    uri: str
    skipped: str | None = None
    version_before: int | None = None
    version: int | None = None
    before: TableSize = field(default_factory=TableSize)
    after: TableSize = field(default_factory=TableSize)
    removed_files: int = 0
    removed_bytes: int = 0
    commits_before: int = 0
    removed_commits: int = 0
    checkpointed: bool = False
    by_spark: str | None = None
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class Upkeep:
    """The maintenance of one table.

    Args:
        sink: The table.
        pipelines: Those of the project, which may read it.
        credentials: Those of the run.
        spark: Starts a session; called only for a table that delta-rs can't maintain.
        say: Told what is being done.
        maintenance: How the table is kept; by default as its pipeline says.
    """

    sink: Sink
    pipelines: Iterable[PipelineConfig]
    credentials: RunCredentials
    spark: SparkFor
    say: Say
    maintenance: Maintenance | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def run(self, *, dry_run: bool = False) -> Kept:
        """Do it: rewrite small files, write a checkpoint, remove old files, then old entries of the log.

        Args:
            dry_run: Find out what would be done, and do nothing.

        Raises:
            PipelineException: It is no Delta table, somebody reads what would be removed, or the store does not answer;
                it names the step.
        """
        began = datetime.now(UTC)
        with error_context(self.sink.step):
            place = self.sink.place(self.credentials)
            with _alone(place):
                kept = self._run(place, dry_run=dry_run)
        seconds = (datetime.now(UTC) - began).total_seconds()
        return replace(kept, seconds=round(seconds, 3))

    def _run(self, place: StorageLocation, *, dry_run: bool) -> Kept:
        how = self.maintenance or self.sink.maintenance or Maintenance()
        self.say("looking at the table and at who reads it")
        uri = normalized_uri(place.uri)
        table = open_table(place)
        if table is None:
            _require_no_files(place)
            return Kept(uri, skipped="there is no table yet")
        log = DeltaLog.of(place)
        span = retention(table, how.files_for)
        cleanup = log_cleanup(log, self.now - how.log_for) if how.log_for is not None else None
        kept = (
            Retention(self.now - span, how.keep_files)
            if cleanup is None
            else Retention(self.now - span, how.keep_files, cleanup, how.keep_log)
        )
        readers = readers_of(uri, str(table.metadata().id), log, self.pipelines, self.credentials)
        require_readers_kept(log, table.version(), readers, kept)
        _require_nothing_inside(uri, self.pipelines)
        before = table_size(table)
        found = Kept(
            uri,
            version_before=table.version(),
            version=table.version(),
            before=before,
            after=before,
            commits_before=len(log.commits),
            removed_commits=cleanup.commits if cleanup is not None else 0,
            by_spark=needs_spark(table),
            remarks=tuple(_remarks(span, how)),
        )
        if dry_run:
            old = old_files(place, span)
            return replace(found, removed_files=len(old), removed_bytes=sizes_of(place, old))
        return self._changed(place, how, span, log, found)

    def _changed(self, place: StorageLocation, how: Maintenance, span: timedelta, log: DeltaLog, found: Kept) -> Kept:
        if (rewriting := self._rewriting(place, how)) is not None:
            self.say(f"rewriting small files: {found.before.small:,} of {found.before.files:,}")
            optimize(place, rewriting, self.spark)
        is_checkpointed = checkpoint(place, _MANY_COMMITS)
        self.say("looking for files that no version needs")
        old = old_files(place, span)
        old_bytes = sizes_of(place, old)
        if old:
            # Where there is nothing to remove, Delta would still make two commits.
            self.say(f"removing {len(old):,} files")
            vacuum(place, span, self.spark)
        if how.log_for is not None and (cleanup := log_cleanup(log, self.now - how.log_for)).files:
            self.say(f"removing {cleanup.commits:,} entries of the log")
            remove_log_files(log, cleanup.files)
        table = opened(place)
        record = MaintenanceRecord(at=datetime.now(UTC), version=table.version())
        file = _record(place)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(record.model_dump_json(), encoding="utf-8")
        return replace(
            found,
            version=table.version(),
            after=table_size(table),
            removed_files=len(old),
            removed_bytes=old_bytes,
            checkpointed=is_checkpointed,
        )

    def _rewriting(self, place: StorageLocation, how: Maintenance) -> Optimize | None:
        """How files are rewritten now; None if they are not."""
        rewriting = how.how
        if rewriting is None or not rewriting.z_order_by:
            return rewriting
        if self.sink.writer.is_quarantine:
            return rewriting.model_copy(update={"z_order_by": []})
        table = opened(place)
        columns = {column.name.lower() for column in table.schema().fields}
        missing = [name for name in rewriting.z_order_by if name.lower() not in columns]
        if missing:
            raise PipelineExecutionException(
                f"'zOrderBy' of 'maintenance' names '{missing[0]}', and the table has no such column",
                hint="name columns of the table",
            )
        last = last_maintenance(place)
        # It rewrites all files of the table, each time.
        is_new = last is None or newest_change(table, place) > last.version
        return rewriting if is_new else None


def last_maintenance(place: StorageLocation) -> MaintenanceRecord | None:
    """What is noted of the last maintenance of a table; None if it never was maintained.

    Args:
        place: Where the table is.
    """
    file = _record(place)
    return MaintenanceRecord.model_validate_json(file.read_text(encoding="utf-8")) if file.exists() else None


def _record(place: StorageLocation) -> UPath:
    return place.path() / _RECORD


def _remarks(span: timedelta, how: Maintenance) -> Iterable[str]:
    if span > how.files_for:
        yield f"files stay for {span.days} days, as the table's property delta.deletedFileRetentionDuration says"


def _require_no_files(place: StorageLocation) -> None:
    folder = place.path()
    if folder.is_dir() and any(not path.name.startswith(("_", ".")) for path in folder.iterdir()):
        raise PipelineExecutionException(
            f"{place.uri} is not a Delta table: it has files, and no log",
            hint="look at what the path in the step leads to; nothing was touched",
        )


def _require_nothing_inside(uri: str, pipelines: Iterable[PipelineConfig]) -> None:
    """Require that nothing else lies in a table's folder, where VACUUM would take its files for those of the table."""
    found = next(places_inside(uri, pipelines), None)
    if found is not None:
        raise PipelineExecutionException(
            f"nothing was touched, since {found} in the folder of the table, where VACUUM would remove its files",
            hint="move it to a folder of its own, or to one in there whose name begins with '_'",
        )


@contextmanager
def _alone(place: StorageLocation) -> Generator[None]:
    """Keep two processes of a machine from maintaining one table; between machines, Dagster's pool does."""
    folder = streams_folder()
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(normalized_uri(place.uri).encode()).hexdigest()[:20]
    try:
        with FileLock(folder / f"{name}.maintenance.lock", timeout=0):
            yield
    except Timeout:
        raise PipelineExecutionException(
            f"another process maintains the table at {place.uri} at this moment",
            hint="wait until it is done; nothing was touched",
        ) from None
