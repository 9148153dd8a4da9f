"""`repartition`: another number of partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Names, PositiveInteger
from pipeline_platform.frames.columns import column
from pipeline_platform.steps.transform import Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Repartition(Transform):
    """Shuffles the rows into a number of partitions."""

    method: ClassVar[str] = "repartition"
    aliases: ClassVar[tuple[str, ...]] = ("repartitionData",)
    example = {"numPartitions": 8, "columns": ["customer"]}
    neutral_keys: ClassVar[frozenset[str]] = frozenset({"num_partitions", "columns"})

    num_partitions: PositiveInteger
    """How many."""
    columns: Names | None = None
    """Rows that are equal in these columns go into the same partition."""

    def traits(self) -> Traits:
        return Traits(is_stateful=False, is_join=False, keeps_row_count=True, keeps_rows=True, has_limit=False)

    def apply(self, frames: Frames) -> DataFrame:
        frame = frames.frame
        names = frame.columns if self.columns else []
        return frame.repartition(self.num_partitions, *(column(names, name) for name in self.columns or ()))
