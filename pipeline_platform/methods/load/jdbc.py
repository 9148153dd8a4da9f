"""What writing to a database takes, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.config.values import Location, PositiveInteger
from pipeline_platform.methods.dataset import Dataset
from pipeline_platform.methods.jdbc import EntersDatabase
from pipeline_platform.methods.load.base import Load, LoadRun, Prepared
from pipeline_platform.methods.load.files import SaveMode
from pipeline_platform.methods.real_systems import not_yet

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class WritesDatabase(Load, EntersDatabase):
    """Keys of the methods that write to a database."""

    table: Location
    """The table, perhaps with its schema."""
    mode: SaveMode = "append"
    """What happens to rows that are there already."""
    batch_size: PositiveInteger = 5000
    """Rows for each round trip."""
    num_partitions: PositiveInteger | None = None
    """How many connections write side by side; by default as many as the frame has partitions."""

    def dataset(self) -> Dataset:
        return self.table_dataset(self.table)

    def prepare(self, frame: DataFrame, run: LoadRun) -> Prepared:
        raise not_yet(self.method)
