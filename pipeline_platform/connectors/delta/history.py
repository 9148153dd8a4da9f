"""What the history of a Delta table says: of a load its rows, bytes and files, and when rows were changed last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.steps.load import LoadResult

if TYPE_CHECKING:
    from deltalake import DeltaTable

COMMITS_LOOKED_AT = 50
"""The newest commits, among which a load looks for its own: others may come between that and the look at it."""
MAINTENANCE = ("OPTIMIZE", "VACUUM")
"""What the operations of commits begin with that maintenance makes."""
# Of Delta and of delta-rs: these leave the rows as they are.
_WITHOUT_CHANGES = ("OPTIMIZE", "REORG", "VACUUM", "FSCK", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD CONSTRAINT")


CLONED_FROM = "pipelinePlatform.clonedFrom"
"""Property of a table that began as a shallow clone: where the other one is."""


def load_result(table: DeltaTable | None, place: StorageLocation, mark: str) -> LoadResult:
    """What a load has written, by the commit that bears its mark.

    Args:
        table: The table as it is now; None if there is none.
        place: Where it is.
        mark: The commit's user metadata.
    """
    for commit in commits_of(table, place) if table is not None else ():
        if commit.get("userMetadata") == mark:
            metrics = {key: int(value) for key, value in commit.get("operationMetrics", {}).items()}
            return LoadResult(
                rows=_changed_rows(metrics),
                bytes=metrics.get("numOutputBytes", metrics.get("numTargetBytesAdded")),
                files=metrics.get("numFiles", metrics.get("numTargetFilesAdded")),
                version=commit["version"],
                detail=metrics,
            )
    # Delta makes no commit for a merge or an append that changes nothing.
    return LoadResult(rows=0, bytes=0, files=0, version=table.version() if table is not None else None)


def loaded_rows(table: DeltaTable, place: StorageLocation, load: str) -> list[int]:
    """The numbers of rows that the loads of a step had, the newest first, as far as the table remembers them.

    Args:
        table: The table as it is now.
        place: Where it is.
        load: A load of the step, which does not count itself.
    """
    found: list[int] = []
    for commit in commits_of(table, place):
        other = _load_of(commit)
        if other is None or other == load or _step_of(other) != _step_of(load):
            continue
        metrics = {key: int(value) for key, value in commit.get("operationMetrics", {}).items()}
        rows = metrics.get("numSourceRows", _changed_rows(metrics))
        found += [rows] if rows is not None else []
    return found


def _load_of(commit: Mapping[str, Any]) -> str | None:
    """The load that made a commit; None if it was none of the platform's."""
    try:
        mark = json.loads(commit.get("userMetadata") or "null")
    except ValueError:
        return None
    load = cast("dict[str, Any]", mark).get("load") if isinstance(mark, dict) else None
    return load if isinstance(load, str) else None


def _step_of(load: str) -> str:
    """The step of a load: what follows the id of the run."""
    return load.partition("/")[2].partition("/")[0]


def repeated_keys(metrics: Mapping[str, int]) -> str | None:
    """What a merge tells of rows of the table that have the same keys; None if it met none.

    The rows that are merged have unique keys, and each of them is added or updates what it finds.

    Args:
        metrics: What Delta counted of a merge by keys alone.
    """
    merged = metrics.get("numTargetRowsInserted", 0) + metrics.get("numTargetRowsUpdated", 0)
    more = merged - metrics.get("numSourceRows", merged)
    if more <= 0:
        return None
    return (
        f"{merged:,} rows of the table were merged with {merged - more:,}: it has rows with the same keys, such as of "
        "loads that appended, and each of them was updated; remove what is there twice"
    )


def has_commit(table: DeltaTable, place: StorageLocation, mark: str) -> bool:
    """Whether one of the newest commits has a text in its user metadata.

    Args:
        table: The table as it is now.
        place: Where it is.
        mark: The text.
    """
    return any(mark in (commit.get("userMetadata") or "") for commit in commits_of(table, place))


def newest_change(table: DeltaTable, place: StorageLocation) -> int:
    """The newest version in which rows may have changed; the version itself where only maintenance is remembered.

    Args:
        table: The table as it is now.
        place: Where it is.
    """
    changes = (commit["version"] for commit in commits_of(table, place) if is_change(commit))
    return next(changes, table.version())


def is_change(commit: Mapping[str, Any]) -> bool:
    """Whether a commit may have changed rows.

    Args:
        commit: What it says of itself.
    """
    return not str(commit.get("operation", "")).upper().startswith(_WITHOUT_CHANGES)


def commits_of(table: DeltaTable, place: StorageLocation) -> Iterator[dict[str, Any]]:
    """What the newest commits say of themselves, the newest first.

    Args:
        table: The table as it is now.
        place: Where it is.
    """
    limit = COMMITS_LOOKED_AT
    if CLONED_FROM in table.metadata().configuration:
        # delta-rs 1.6 can't read the commit that made a clone: it says that it read the version -1.
        limit = min(limit, table.version())
        if limit == 0:
            return
    if history := table.history(limit):
        yield from history
        return
    # delta-rs 1.6 finds none where the path holds '#' or '?'.
    log = place.path() / "_delta_log"
    for version in range(table.version(), max(table.version() - COMMITS_LOOKED_AT, -1), -1):
        for line in (log / f"{version:020}.json").read_text().splitlines():
            if (commit := json.loads(line).get("commitInfo")) is not None:
                yield {**commit, "version": version}


def _changed_rows(metrics: Mapping[str, int]) -> int | None:
    if "numTargetRowsInserted" in metrics:
        return metrics["numTargetRowsInserted"] + metrics.get("numTargetRowsUpdated", 0)
    # Where a condition replaces rows, Delta writes those that lie in the same files again, and counts them as output.
    written = metrics.get("numOutputRows")
    return written - metrics.get("numCopiedRows", 0) if written is not None else None
