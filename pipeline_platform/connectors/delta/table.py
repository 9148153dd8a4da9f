"""What is known of a Delta table without Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.connectors.storage.paths import normalized_uri

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
