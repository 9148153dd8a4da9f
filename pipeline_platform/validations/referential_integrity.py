"""`validateReferentialIntegrity`: values that another frame must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import FrameName, Text
from pipeline_platform.frames.columns import HELPER_PREFIX, column_of, own_column, own_columns, quoted
from pipeline_platform.frames.widening import require_same_types
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_platform.config.step_over_range import RangeStep

_KEY = f"{HELPER_PREFIX}referenced"


class ValidateReferentialIntegrity(Validate):
    """Every value of a column occurs in a column of a registered frame; null passes.

    The types of the two may differ if one holds every value of the other, as `BIGINT` holds those of `INT`; others are
    refused, as Spark would find the number 7 in the text `007`.
    """

    method: ClassVar[str] = "validateReferentialIntegrity"
    example = {
        "foreignKey": "customer",
        "referencedDataFrame": "customers",
        "referencedColumn": "customer",
        "onFailure": "warn",
    }

    foreign_key: Text
    """The column that refers."""
    referenced_data_frame: FrameName
    """The registered frame it refers to."""
    referenced_column: Text
    """The column there."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [*super().referenced_frames(), ("referencedDataFrame", self.referenced_data_frame)]

    def require_judges_apart(self, step: RangeStep) -> None:
        if step.frames[self.referenced_data_frame].by:
            raise OneByOne("looks for a value in rows that the partition chose")

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        from pyspark.sql import functions as F

        referenced = named[self.referenced_data_frame]
        foreign = own_column(own_columns(frame), self.foreign_key)
        key = own_column(referenced.columns, self.referenced_column, self.referenced_data_frame)
        require_same_types(
            (self.shown_frame(), foreign, frame.schema[foreign].dataType),
            (f"'{self.referenced_data_frame}'", key, referenced.schema[key].dataType),
            "the comparison with the referenced column",
        )
        keys = referenced.select(F.col(quoted(key)).alias(_KEY)).filter(F.col(_KEY).isNotNull()).distinct()
        return frame.join(keys, F.col(quoted(foreign)) == F.col(_KEY), "left")

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        name = f"{self.foreign_key} in {self.referenced_data_frame}.{self.referenced_column}"
        missing = column_of(frame, self.foreign_key).isNotNull() & F.col(_KEY).isNull()
        return [Rule(name, missing, (self.foreign_key,))]
