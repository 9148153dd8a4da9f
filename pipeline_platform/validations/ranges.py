"""`validateRanges`: values within bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.contracts.promises import RuleKind
from pipeline_platform.config.contracts.values import WrongValue
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Bound, Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import column_of
from pipeline_platform.frames.promised_conditions import PromisedValue, breaks
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


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
            value = PromisedValue(column_of(frame, name), types[name.lower()], F.lit(True))
            outside = F.lit(False)
            if bounds.min is not None:
                outside = outside | _outside("minimum", value, bounds.min, name)
            if bounds.max is not None:
                outside = outside | _outside("maximum", value, bounds.max, name)
            rules.append(Rule(_name(name, bounds), outside, (name,)))
        return rules


def _outside(rule: RuleKind, value: PromisedValue, bound: Bound, column: str) -> Column:
    """Whether a value is outside of a bound, which is compared in the column's own type.

    So nothing is rounded, compared as text by accident, or compared with the null that Spark, with
    `spark.sql.ansi.enabled` off, makes of what it can't read.
    """
    from pyspark.sql.types import CharType, FractionalType, NullType, NumericType, StringType, VarcharType

    data_type = value.kind
    kind = data_type.typeName().partition("(")[0]
    if isinstance(data_type, NumericType):
        number = _number(bound)
        is_floating = isinstance(data_type, FractionalType) and kind != "decimal"
        if number is None or number.is_nan() or not (is_floating or number.is_finite()):
            raise PipelineExecutionException(f"'{bound}' is not a number, but '{column}' is {kind}")
        return breaks(rule, value, number)
    if not isinstance(bound, str):
        raise PipelineExecutionException(
            f"the bound {bound} is a number, but '{column}' is {data_type.simpleString()}",
            hint=_HINTS.get(kind, "write the bound as a string, or cast the column with enrichData"),
        )
    if kind in _MOMENTS:
        try:
            return breaks(rule, value, _MOMENTS[kind](bound))
        except (ValueError, WrongValue) as error:
            told = f"'{bound}' is not a {kind}, but '{column}' is one"
            raise PipelineExecutionException(told, hint=_HINTS[kind]) from error
    if not isinstance(data_type, (StringType, CharType, VarcharType, NullType)):
        raise PipelineExecutionException(
            f"'{column}' is {data_type.simpleString()}, and only numbers, texts, dates and times have bounds",
            hint="use validateValues or validateBusinessRules, or cast the column with enrichData",
        )
    return breaks(rule, value, bound)


def _number(bound: Bound) -> Decimal | None:
    try:
        return Decimal(str(bound))
    except InvalidOperation:
        return None


_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_TIMESTAMP = re.compile(rf"{_DATE.pattern}([T ]{_TIME.pattern}(Z|[+-]\d\d:\d\d)?)?", re.ASCII | re.IGNORECASE)


def _date(bound: str) -> date:
    if not _DATE.fullmatch(bound):
        raise ValueError("another spelling")
    return date.fromisoformat(bound)


def _timestamp(bound: str) -> datetime:
    if not _TIMESTAMP.fullmatch(bound):
        raise ValueError("another spelling")
    return datetime.fromisoformat(bound)


def _without_zone(bound: str) -> datetime:
    moment = _timestamp(bound)
    if moment.tzinfo is not None:
        raise ValueError("Spark would leave the zone out")
    return moment


def _time(bound: str) -> time:
    moment = time.fromisoformat(bound)
    if not _TIME.fullmatch(bound):
        raise ValueError("another spelling")
    return moment


_MOMENTS: dict[str, Callable[[str], date | time]] = {
    "date": _date,
    "timestamp": _timestamp,
    "timestamp_ntz": _without_zone,
    "time": _time,
}
_HINTS = {
    "date": "write it as in '2024-01-31'",
    "timestamp": "write it as in '2024-01-31 18:30:00', or with a zone as in '2024-01-31 18:30:00+01:00'",
    "time": "write it as in '18:30:00'",
    "timestamp_ntz": "write it without a zone, as in '2024-01-31 18:30:00'",
}


def _name(column: str, bounds: Range) -> str:
    if bounds.max is None:
        return f"{column} >= {bounds.min}"
    if bounds.min is None:
        return f"{column} <= {bounds.max}"
    return f"{column} between {bounds.min} and {bounds.max}"
