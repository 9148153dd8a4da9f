"""Keys of the methods that write to a database, and what becomes of text that the system can't hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Location, PositiveInteger, one_of
from pipeline_platform.connectors.files.sink import SaveMode
from pipeline_platform.connectors.jdbc.config import DatabaseOptions
from pipeline_platform.connectors.jdbc.row_text import unheld, unheld_text
from pipeline_platform.frames.columns import quoted
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.malformed import OnMalformed

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


class WritesDatabase(Load, DatabaseOptions):
    """Keys of the methods that write to a database."""

    table: Location
    """The table, optionally with its schema."""
    mode: SaveMode = "append"
    """What happens to existing rows; `overwrite` keeps the table's columns, indexes and grants."""
    batch_size: PositiveInteger = 5000
    """Rows per round trip, where the system takes rows in batches; PostgreSQL takes them in one stream."""
    num_partitions: PositiveInteger | None = None
    """How many connections write in parallel; by default as many as the frame has partitions."""
    on_malformed: Annotated[OnMalformed, one_of("fail", "null", "quarantine")] = "fail"
    """What happens to a text that the system can't hold: one that is not UTF-8 or, in PostgreSQL, one with the
    character NUL. `fail` fails the run, `null` makes the text null, `quarantine` takes the row out.

    The rows are counted, and the quarantine keeps each with the reason.
    """
    quarantine_path: Location | None = None
    """With `onMalformed` `quarantine`: the Delta table for those rows; by default next to the first sink."""

    product: ClassVar[str]
    """The system's name as people write it."""

    def dataset(self) -> Dataset:
        return self.table_dataset(self.table)

    def traits(self) -> Traits:
        # With a quarantine it takes fewer rows than the frame has.
        return Traits(reports_rows=not self.quarantines_bad_records(), fails_whole=True, replaces_partitions=True)

    def quarantines_bad_records(self) -> bool:
        return self.on_malformed == "quarantine"

    def quarantine(self) -> str | None:
        return self.quarantine_path

    def malformed(self, frame: DataFrame) -> Column | None:
        from pyspark.sql import functions as F

        reasons = [
            F.when(is_unheld, F.lit(unheld(self.product, what, column.name)))
            for column in frame.schema
            for is_unheld, what in unheld_text(self.product, F.col(quoted(column.name)), column.dataType)
        ]
        return F.coalesce(*reasons) if reasons and self.on_malformed != "fail" else None

    def without_malformed(self, frame: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        columns: dict[str, Column] = {}
        for column in frame.schema:
            kept = value = F.col(quoted(column.name))
            for is_unheld, _ in unheld_text(self.product, value, column.dataType):
                kept = F.when(~is_unheld, kept)
            columns[column.name] = kept
        return frame.select(*(column.alias(name) for name, column in columns.items()))
