"""A Delta table's files: how many and how large they are, made fewer, and removed where no version needs them.

delta-rs does it without a JVM, in a twentieth of the time, for tables that have none of the features that it does not
know to the end, and whose paths it spells as Spark does: of others it would read columns as NULL, or leave rows twice.
For these there is Spark.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pipeline_platform.config.maintenance import Optimize
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession

SMALL_BYTES = 64 * 1024 * 1024
"""A file below this is a small one: where Delta's auto compaction draws the line, at half of its 128 MB."""
# What delta-rs rewrites as it is; see `test_readers.py`. What Spark writes unless told otherwise has no others.
_SIMPLE = {"appendOnly", "invariants", "timestampNtz"}
# delta-rs 1.6 spells a path that Spark wrote with an 'é' in another way where it says that the file is removed: by that
# the file stays, and its rows are there twice.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.=/%-]+")
_SPARKS_VERSION = (1, 2)
_FEATURES_VERSION = (3, 7)
_ATTEMPTS = 5
_HOUR = timedelta(hours=1)
_RETENTION = "delta.deletedFileRetentionDuration"

SparkFor = Callable[[], "SparkSession"]


@dataclass(frozen=True)
class TableSize:
    """The files that the newest version of a table consists of.

    Args:
        files: How many.
        bytes: Their size.
        small: Those that could be put together: below `SMALL_BYTES`, with another such file in the same partition.
    """

    files: int = 0
    bytes: int = 0
    small: int = 0

    @property
    def small_share(self) -> float:
        """The part of the files that is small, from 0 to 1."""
        return self.small / self.files if self.files else 0.0


def table_size(table: DeltaTable) -> TableSize:
    """The files of a table, as its log has them.

    Args:
        table: The table.
    """
    actions: Any = table.get_add_actions()
    sizes = [int(size) for size in actions.column("size_bytes").to_pylist()]
    folders = [path.rpartition("/")[0] for path in actions.column("path").to_pylist()]
    small = Counter(folder for folder, size in zip(folders, sizes, strict=True) if size < SMALL_BYTES)
    return TableSize(len(sizes), sum(sizes), sum(count for count in small.values() if count > 1))


def needs_spark(table: DeltaTable) -> str | None:
    """What of a table keeps delta-rs from maintaining it, such as a feature; None if nothing does.

    Args:
        table: The table.
    """
    protocol = table.protocol()
    versions = (protocol.min_reader_version, protocol.min_writer_version)
    features = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
    properties = table.metadata().configuration
    if properties.get("delta.columnMapping.mode", "none") != "none":
        return "columnMapping"
    if unknown := sorted(features - _SIMPLE):
        return unknown[0]
    if not (versions <= _SPARKS_VERSION or (features and versions <= _FEATURES_VERSION)):
        return f"protocol {versions[0]}/{versions[1]}"
    actions: Any = table.get_add_actions()
    odd = next((path for path in actions.column("path").to_pylist() if not _PLAIN_PATH.fullmatch(path)), None)
    return f"a file's path, {odd}" if odd is not None else None


def optimize(place: StorageLocation, how: Optimize, spark: SparkFor) -> dict[str, int]:
    """Rewrite small files of a table as large ones, in a commit that changes no row.

    A load that commits meanwhile comes first: then what is left to rewrite is looked for again, a few times.

    Args:
        place: Where the table is.
        how: How.
        spark: Starts a session; called for a table that delta-rs can't rewrite.

    Returns:
        How many files were `added` and `removed`.

    Raises:
        PipelineExecutionException: Others wrote to the table all the time.
    """
    for attempt in Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        retry=retry_if_exception(_is_conflict),
        retry_error_callback=_give_up,
    ):
        with attempt:
            return _optimize(place, how, spark)
    raise AssertionError


def _give_up(_: object) -> None:
    raise PipelineExecutionException(
        "loads changed the same files all the time, so that small files were left as they are",
        hint="nothing is lost; maintain the table at a time when it is written to less",
        retryable=True,
    )


def _is_conflict(error: BaseException) -> bool:
    from deltalake.exceptions import CommitFailedError

    if isinstance(error, CommitFailedError):
        return "Unsupported table features" not in str(error)
    return type(error).__name__.startswith("Concurrent")


def _optimize(place: StorageLocation, how: Optimize, spark: SparkFor) -> dict[str, int]:
    table = opened(place)
    bytes_wanted = how.target_megabytes * 1024 * 1024
    if needs_spark(table) is not None:
        return _optimize_by_spark(spark(), place, how, bytes_wanted)
    if how.z_order_by:
        done: Any = table.optimize.z_order(how.z_order_by, target_size=bytes_wanted)
    else:
        done = table.optimize.compact(target_size=bytes_wanted)
    if int(done["numFilesRemoved"]):
        _require_same_rows(place, table.version())
    return {"added": int(done["numFilesAdded"]), "removed": int(done["numFilesRemoved"])}


def _require_same_rows(place: StorageLocation, version: int) -> None:
    """Require that a commit that rewrote files has changed no row, by the counts in the log.

    Args:
        place: Where the table is.
        version: That of the commit.

    Raises:
        PipelineExecutionException: Rows are missing, or there twice.
    """
    after, before = _rows_at(place, version), _rows_at(place, version - 1)
    if before is not None and after is not None and before != after:
        raise PipelineExecutionException(
            f"version {version} of the table at {place.uri} was to have the rows of the one before, and {before:,} "
            f"rows became {after:,}: this is a bug of the platform, or of delta-rs",
            hint=f"stop its loads, RESTORE TABLE delta.`{place.uri}` TO VERSION AS OF {version - 1}, set 'optimize' of "
            "'maintenance' to false, and report it",
        )


def _rows_at(place: StorageLocation, version: int) -> int | None:
    """How many rows a version has; None if its log does not say."""
    table = opened(place)
    table.load_as_version(version)
    actions: Any = table.get_add_actions()
    counts: list[int | None] = actions.column("num_records").to_pylist()
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _optimize_by_spark(spark: SparkSession, place: StorageLocation, how: Optimize, bytes_wanted: int) -> dict[str, int]:
    from delta.tables import DeltaTable as SparkTable

    from pipeline_platform.frames.settings import spark_settings

    with spark_settings(spark, {"spark.databricks.delta.optimize.maxFileSize": str(bytes_wanted)}):
        builder = SparkTable.forPath(spark, place.uri, place.spark_options()).optimize()
        frame = builder.executeZOrderBy(*how.z_order_by) if how.z_order_by else builder.executeCompaction()
        metrics = frame.select("metrics.numFilesAdded", "metrics.numFilesRemoved").collect()[0]
    return {"added": int(metrics[0]), "removed": int(metrics[1])}


def opened(place: StorageLocation) -> DeltaTable:
    """A table that is there.

    Args:
        place: Where it is.

    Raises:
        PipelineExecutionException: There is none.
    """
    from pipeline_platform.connectors.delta.table import open_table

    table = open_table(place)
    if table is None:
        raise PipelineExecutionException(
            f"there is no Delta table at {place.uri}", hint="look whether somebody moved or removed it"
        )
    return table


def retention(table: DeltaTable, wanted: timedelta) -> timedelta:
    """How long files are kept that the newest version does not need: the longer of what is wanted and what the table
    itself says.

    Args:
        table: The table.
        wanted: What the pipeline says.
    """
    said = table.metadata().configuration.get(_RETENTION)
    found = _interval(said) if said else None
    return max(wanted, found) if found is not None else wanted


def _interval(text: str) -> timedelta | None:
    """A time as Delta writes it, such as `interval 2 weeks`; None for one in other units."""
    words = text.lower().removeprefix("interval").split()
    spans = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
    try:
        pairs = zip(words[::2], words[1::2], strict=True)
        return timedelta(seconds=sum(int(number) * spans[unit.rstrip("s")] for number, unit in pairs))
    except (KeyError, ValueError):
        return None


def old_files(place: StorageLocation, kept: timedelta) -> list[str]:
    """The files that no version since then needs, and that nothing in the table's log names; paths within the table.

    Args:
        place: Where the table is.
        kept: For how long files stay.
    """
    table = opened(place)
    # What else lies there only Delta itself tells from what a feature of its own needs.
    return table.vacuum(_hours(kept), dry_run=True, full=needs_spark(table) is None)


def vacuum(place: StorageLocation, kept: timedelta, spark: SparkFor) -> None:
    """Remove the files that `old_files` gives; it is Delta that checks that they are old enough.

    Args:
        place: Where the table is.
        kept: For how long files stay.
        spark: As for `optimize`.
    """
    table = opened(place)
    if needs_spark(table) is None:
        table.vacuum(_hours(kept), dry_run=False, full=True)
        return
    from delta.tables import DeltaTable as SparkTable

    SparkTable.forPath(spark(), place.uri, place.spark_options()).vacuum(_hours(kept))


def checkpoint(place: StorageLocation, commits: int) -> bool:
    """Write a checkpoint of the log if many commits were made since the last one, so that readers need not read them.

    Args:
        place: Where the table is.
        commits: How many are many.

    Returns:
        Whether one was written.
    """
    table = opened(place)
    last = place.path() / "_delta_log" / "_last_checkpoint"
    before = int(json.loads(last.read_text(encoding="utf-8"))["version"]) if last.exists() else -1
    if needs_spark(table) is not None or table.version() - before < commits:
        return False
    table.create_checkpoint()
    return True


def _hours(span: timedelta) -> int:
    return -(-span // _HOUR)


def sizes_of(place: StorageLocation, names: Sequence[str]) -> int:
    """The bytes of files of a table that are there.

    Args:
        place: Where the table is.
        names: Their paths within it.
    """
    from pipeline_platform.connectors.storage.folders import sizes_below

    wanted = set(names)
    return sum(size for name, size in sizes_below(place.path()).items() if name in wanted) if wanted else 0
