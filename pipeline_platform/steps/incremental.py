"""Extracts that read only what is new since the last load."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.incremental import Incremental
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.cursor_values import CursorColumn, CursorValue
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.credentials.model import Credentials


class ReadsWhatIsNew(Extract):
    """An extract that can read only what is new, by a column or by files; not in a stream, which does so by itself."""

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self.reads_increments():
            return [("incremental", "a stream reads what is new by itself; use mode batch, or leave out 'incremental'")]
        return super().mode_errors(mode)


class ReadsIncrements(ReadsWhatIsNew):
    """An extract that can read what is new by a column that grows."""

    incremental: Incremental | None = None
    """Batch: read only what is new since the last load. Where that ended is part of what the load commits, so that
    nothing is left out or loaded twice, whenever a run is killed; `pipeline-platform cursor` shows and sets it."""

    def reads_increments(self) -> bool:
        return self.incremental is not None

    def looks_again(self) -> bool:
        return self.incremental is not None and self.incremental.boundary == "inclusive"

    def entered_database(self, credentials: Credentials | None) -> str | None:
        """The database that is entered, by its name there; None for an extract that enters none."""
        return None

    def newest(self, frame: DataFrame, column: CursorColumn, credentials: Credentials | None) -> CursorValue | None:
        """The largest value in the source now; None if there is none.

        Args:
            frame: As `read` has made it.
            column: The column that says what is new.
            credentials: As for `read`.
        """
        from pyspark.sql import functions as F

        largest = F.max(quoted(column.name))
        # A timestamp would come in the zone of this machine, in which an hour in autumn is two.
        shown = F.unix_micros(largest) if column.kind == "timestamp" else largest.cast("string")
        row = frame.agg(shown.alias("largest")).first()
        found: Any = row["largest"] if row is not None else None
        if found is not None and column.kind == "timestamp":
            found = datetime(1970, 1, 1) + timedelta(microseconds=found)
        return column.value(found) if found is not None else None

    def has_null(self, frame: DataFrame, column: CursorColumn, credentials: Credentials | None) -> bool:
        """Whether a row of the source has no value in the column, or none that a frame can hold.

        Args:
            frame: As `read` has made it.
            column: The column that says what is new.
            credentials: As for `read`.
        """
        from pyspark.sql import functions as F

        return frame.schema[column.name].nullable and not frame.filter(F.col(quoted(column.name)).isNull()).isEmpty()
