"""`coalesce`: fewer partitions, without a shuffle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import PositiveInteger
from pipeline_platform.steps.transform import Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Coalesce(Transform):
    """Merges partitions without a shuffle; it never makes more of them."""

    method: ClassVar[str] = "coalesce"
    aliases: ClassVar[tuple[str, ...]] = ("coalesceData",)
    example = {"numPartitions": 1}
    neutral_keys: ClassVar[frozenset[str]] = frozenset({"num_partitions"})

    num_partitions: PositiveInteger
    """How many at most."""

    def traits(self) -> Traits:
        return Traits(is_stateful=False, is_join=False, keeps_row_count=True, keeps_rows=True, has_limit=False)

    def apply(self, frames: Frames) -> DataFrame:
        return frames.frame.coalesce(self.num_partitions)
