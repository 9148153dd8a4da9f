"""`repartitionByColumns`: equal rows into the same partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Names, PositiveInteger
from pipeline_platform.frames.columns import column
from pipeline_platform.steps.transform import Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class RepartitionByColumns(Transform):
    """Shuffles the rows so that those equal in some columns are in the same partition."""

    method: ClassVar[str] = "repartitionByColumns"
    example = {"columns": ["customer"]}
    neutral_keys: ClassVar[frozenset[str]] = frozenset({"num_partitions", "columns"})

    columns: Names
    """The columns."""
    num_partitions: PositiveInteger | None = None
    """How many partitions; by default Spark's `spark.sql.shuffle.partitions`."""

    def traits(self) -> Traits:
        return Traits(is_stateful=False, is_join=False, keeps_row_count=True, keeps_rows=True, has_limit=False)

    def apply(self, frames: Frames) -> DataFrame:
        frame = frames.frame
        names = frame.columns
        columns = [column(names, name) for name in self.columns]
        if self.num_partitions is None:
            return frame.repartition(*columns)
        return frame.repartition(self.num_partitions, *columns)
