"""`validateUnique`: no two rows with the same values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Names
from pipeline_platform.frames.columns import HELPER_PREFIX, column_of
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_platform.config.step_over_range import RangeStep

_OCCURRENCES = f"{HELPER_PREFIX}occurrences"


class ValidateUnique(Validate):
    """No two rows have the same values in these columns; a row with a null in one of them passes.

    Every row of a group of duplicates breaks the rule, not all but one: nobody knows which one would be right.
    """

    method: ClassVar[str] = "validateUnique"
    example = {"columns": ["id"]}

    columns: Names
    """The columns that make a row unique."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def require_judges_apart(self, step: RangeStep) -> None:
        # What is unique in a range is unique in each partition; otherwise the run fails, and loads nothing.
        if self.on_failure == "quarantine" and not self._tells_apart(step):
            raise OneByOne(f"takes out rows that are equal in {', '.join(self.columns)}, be they of two partitions")

    def _tells_apart(self, step: RangeStep) -> bool:
        return step.tells(self.columns) or step.column in (name.lower() for name in self.columns)

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        keys = [column_of(frame, name) for name in self.columns]
        same = Window.partitionBy(*keys)
        return frame.withColumn(_OCCURRENCES, F.sum(eligible.cast("bigint")).over(same))

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        present = [column_of(frame, name).isNotNull() for name in self.columns]
        complete = reduce(lambda all_before, one: all_before & one, present)
        name = f"{', '.join(self.columns)} unique"
        return [Rule(name, complete & (F.col(_OCCURRENCES) > 1), tuple(self.columns))]
