"""`validateRanges`: values within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Bound, Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import column_of
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType


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
    """Values are within bounds; null passes, NaN is within no bounds."""

    method: ClassVar[str] = "validateRanges"
    judges_each_row: ClassVar[bool] = True
    example = {"ranges": {"quantity": {"min": 1, "max": 100}}, "onFailure": "quarantine"}

    ranges: Annotated[dict[Text, Range], Field(min_length=1)]
    """Bounds by column."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        types = {field.name.lower(): field.dataType for field in frame.schema}
        rules: list[Rule] = []
        for name, bounds in self.ranges.items():
            column = column_of(frame, name)
            data_type = types[name.lower()]
            outside = F.isnan(column) if data_type.typeName() in ("double", "float") else F.lit(False)
            if bounds.min is not None:
                outside = outside | (column < _literal(bounds.min, data_type, name))
            if bounds.max is not None:
                outside = outside | (column > _literal(bounds.max, data_type, name))
            rules.append(Rule(_name(name, bounds), outside, (name,)))
        return rules


def _literal(bound: Bound, data_type: DataType, column: str) -> Column:
    """The bound in the column's own type, so that nothing is rounded or compared as text by accident."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import FractionalType, NumericType

    kind = data_type.typeName()
    if isinstance(data_type, NumericType):
        try:
            number = Decimal(str(bound))
        except InvalidOperation as error:
            raise PipelineExecutionException(f"'{bound}' is not a number, but '{column}' is {kind}") from error
        if isinstance(data_type, FractionalType) and kind != "decimal":
            return F.lit(float(number)).cast(data_type)
        return F.lit(number)
    if not isinstance(bound, str):
        raise PipelineExecutionException(
            f"the bound {bound} is a number, but '{column}' is {data_type.simpleString()}",
            hint="write the bound as a string, or cast the column with enrichData",
        )
    parse = _PARSERS.get(kind)
    if parse is not None:
        try:
            parse(bound)
        except ValueError as error:
            raise PipelineExecutionException(f"'{bound}' is not a {kind}, but '{column}' is one") from error
    return F.lit(bound).cast(data_type)


def _without_zone(bound: str) -> None:
    if datetime.fromisoformat(bound).tzinfo is not None:
        raise ValueError("Spark would leave the zone out")


_PARSERS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamp_ntz": _without_zone,
}


def _name(column: str, bounds: Range) -> str:
    if bounds.max is None:
        return f"{column} >= {bounds.min}"
    if bounds.min is None:
        return f"{column} <= {bounds.max}"
    return f"{column} between {bounds.min} and {bounds.max}"
