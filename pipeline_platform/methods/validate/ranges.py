"""`validateRanges`: values within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Text
from pipeline_platform.methods.base import Rule, Validate
from pipeline_platform.methods.validate.columns import column_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Bound = int | float | str
"""A number, or a string for dates, timestamps, decimals and text."""


class Range(FormatModel):
    """Bounds, both inclusive."""

    min: Bound | None = None
    """The smallest value allowed."""
    max: Bound | None = None
    """The largest value allowed."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise PydanticCustomError("range", "a range needs 'min' or 'max'")
        return self


class ValidateRanges(Validate):
    """Values lie within bounds; null passes, NaN lies within no bounds."""

    method: ClassVar[str] = "validateRanges"

    ranges: Annotated[dict[Text, Range], Field(min_length=1)]
    """Bounds by column."""

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        types = {field.name.casefold(): field.dataType for field in frame.schema}
        rules: list[Rule] = []
        for name, bounds in self.ranges.items():
            column = column_of(frame, name)
            data_type = types[name.casefold()]
            outside = F.lit(False)
            if data_type.typeName() in ("double", "float"):
                outside = F.isnan(column)
            if bounds.min is not None:
                outside = outside | (column < _bound(bounds.min, data_type.simpleString()))
            if bounds.max is not None:
                outside = outside | (column > _bound(bounds.max, data_type.simpleString()))
            rules.append(Rule(_name(name, bounds), outside, (name,)))
        return rules


def _bound(value: Bound, data_type: str):
    from pyspark.sql import functions as F

    # A bound given as text takes the column's type: '2013-01-01' against a date, not against a string.
    return F.lit(value).cast(data_type) if isinstance(value, str) else F.lit(value)


def _name(column: str, bounds: Range) -> str:
    if bounds.max is None:
        return f"{column} >= {bounds.min}"
    if bounds.min is None:
        return f"{column} <= {bounds.max}"
    return f"{column} between {bounds.min} and {bounds.max}"
