"""What is known of a Delta table without Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.connectors.delta.history import newest_change
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from deltalake import DeltaTable


def open_table(place: StorageLocation) -> DeltaTable | None:
    """The table as delta-rs sees it; None if there is none.

    Raises:
        DeltaError: It is a table that delta-rs can't read, or the store does not answer.
    """
    from deltalake import DeltaTable

    uri, options = normalized_uri(place.uri), place.delta_rs_options()
    return DeltaTable(uri, storage_options=options) if DeltaTable.is_deltatable(uri, options) else None


def require_unchanged(table: DeltaTable, place: StorageLocation) -> None:
    """Require that a table has the rows that were found, since what is written to it was made of them.

    Args:
        table: As it was found.
        place: Where it is.

    Raises:
        PipelineExecutionException: Somebody has changed it.
    """
    now = open_table(place)
    if now is None or (now.version() != table.version() and newest_change(now, place) > table.version()):
        raise PipelineExecutionException(
            f"another writer changed the table at {place.uri} while changes were applied to it",
            hint="run again; let one pipeline at a time write to a table that changes are applied to",
            retryable=True,
        )
