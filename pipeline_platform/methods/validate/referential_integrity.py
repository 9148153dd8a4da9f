"""`validateReferentialIntegrity`: values that another frame must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.values import FrameName, Text
from pipeline_platform.methods.columns import HELPER_PREFIX, column_of, own_column, quoted
from pipeline_platform.methods.validate.base import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_KEY = f"{HELPER_PREFIX}referenced"


class ValidateReferentialIntegrity(Validate):
    """Every value of a column stands in a column of a registered frame; null passes."""

    method: ClassVar[str] = "validateReferentialIntegrity"

    foreign_key: Text
    """The column that refers."""
    referenced_data_frame: FrameName
    """The registered frame it refers to."""
    referenced_column: Text
    """The column there."""

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [*super().referenced_frames(), ("referencedDataFrame", self.referenced_data_frame)]

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        from pyspark.sql import functions as F

        referenced = named[self.referenced_data_frame]
        foreign = column_of(frame, self.foreign_key)
        key = F.col(quoted(own_column(referenced.columns, self.referenced_column, self.referenced_data_frame)))
        common = _common_type(frame.select(foreign), referenced.select(key))
        # One type before `distinct`: '1' and '01' would else be two keys that both equal the number 1.
        keys = referenced.select(key.try_cast(common).alias(_KEY)).filter(F.col(_KEY).isNotNull()).distinct()
        return frame.join(keys, foreign.try_cast(common) == F.col(_KEY), "left")

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        name = f"{self.foreign_key} in {self.referenced_data_frame}.{self.referenced_column}"
        missing = column_of(frame, self.foreign_key).isNotNull() & F.col(_KEY).isNull()
        return [Rule(name, missing, (self.foreign_key,))]


def _common_type(foreign: DataFrame, referenced: DataFrame) -> DataType:
    """The type in which Spark compares the two columns."""
    from pyspark.sql import functions as F

    own, other = foreign.schema[0].dataType, referenced.schema[0].dataType
    if own == other:
        return own
    return foreign.select(F.coalesce(F.lit(None).cast(own), F.lit(None).cast(other))).schema[0].dataType
