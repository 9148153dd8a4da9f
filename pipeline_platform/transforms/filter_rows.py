"""`filterRows`: keeps the rows for which a condition holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.range_frames import RangeFrame
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import SqlExpression
from pipeline_platform.steps.transform import Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.config.step_over_range import RangeStep


class FilterRows(Transform):
    """Keeps the rows for which a condition is true; rows for which it is null are dropped."""

    method: ClassVar[str] = "filterRows"
    example = {"condition": "quantity > 0"}

    condition: SqlExpression
    """A Spark SQL condition."""

    def traits(self) -> Traits:
        return Traits(is_stateful=False, is_join=False, keeps_rows=True, filters_rows=True, has_limit=False)

    def over_range(self, step: RangeStep) -> RangeFrame:
        return step.sql.row(step.frame, self.condition)

    def apply(self, frames: Frames) -> DataFrame:
        return frames.frame.filter(self.condition)
