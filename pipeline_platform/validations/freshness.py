"""`validateFreshness`: how old the newest row is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import column_of, field_named
from pipeline_platform.steps.validate import Measure, RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_platform.config.step_over_range import RangeStep

_AGE = re.compile(r"\s*(\d{1,6})\s+(second|minute|hour|day|week)s?\s*", re.ASCII | re.IGNORECASE)
_MOST_AHEAD = timedelta(days=1)
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def _age(value: str) -> str:
    if not has_placeholder(value) and not _AGE.fullmatch(value):
        raise PydanticCustomError("age", "'{value}' is not an age; write '1 day' or '90 minutes'", {"value": value})
    return value


Age = Annotated[Text, AfterValidator(_age), WithJsonSchema({"type": "string", "examples": ["1 day", "90 minutes"]})]


class ValidateFreshness(Validate):
    """The newest value of a column is not older than this when the run looks at it.

    A date counts as its first moment. Dates, and timestamps without a zone, are taken in the session's zone: UTC,
    unless `spark.sql.session.timeZone` in `sparkConf` says otherwise. What lies more than a day ahead, such as
    9999-12-31, is no time at which anything happened, and is left out. Where no row has a value, the rule is broken.
    """

    method: ClassVar[str] = "validateFreshness"
    example = {"column": "ordered_at", "maxAge": "1 day", "onFailure": "warn"}

    column: Text
    """A column of dates or timestamps."""
    max_age: Age
    """How old its newest value may be, such as `90 minutes` or `1 day`."""
    allow_empty: Flag = False
    """Let a frame without any value pass, such as a load of what is new when nothing is."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=False)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming":
            return [(None, "a micro-batch has what has just come, however long nothing came: use the stream's lag")]
        return []

    def require_judges_apart(self, step: RangeStep) -> None:
        raise OneByOne("looks for the newest row of each partition")

    def measures(self, frame: DataFrame, named: Mapping[str, DataFrame]) -> Sequence[Measure]:
        from pyspark.sql import functions as F

        return [Measure(self._ages(frame), F.min, self._judge)]

    def _ages(self, frame: DataFrame) -> Column:
        from pyspark.sql import functions as F
        from pyspark.sql.types import DateType, TimestampNTZType, TimestampType

        column, field = column_of(frame, self.column), field_named(frame.schema, self.column)
        assert field is not None
        if not isinstance(field.dataType, (DateType, TimestampType, TimestampNTZType)):
            raise PipelineExecutionException(
                f"'{self.column}' is {field.dataType.simpleString()}, and only dates and timestamps have an age",
                hint="make a timestamp of it with enrichData and to_timestamp",
            )
        age = F.unix_micros(F.current_timestamp()) - F.unix_micros(column.cast("timestamp"))
        return F.when(age >= -_micros(_MOST_AHEAD), age)

    def _judge(self, age: Any, rows: int, _: object) -> Sequence[RuleResult]:
        rule, measure = f"{self.column} at most {self.max_age} old", f"{self.column}: age in hours"
        if age is None:
            detail = f"expected a value of '{self.column}' at most {self.max_age} old, found none"
            return [RuleResult(rule, int(not self.allow_empty), rows, detail, measure=measure)]
        found = timedelta(microseconds=max(int(age), 0))
        detail = f"expected the newest '{self.column}' to be at most {self.max_age} old, found it {_told(found)} old"
        is_old = found > age_of(self.max_age)
        return [RuleResult(rule, int(is_old), rows, detail, measure=measure, value=found / timedelta(hours=1))]


def age_of(text: str) -> timedelta:
    """An age as a time span.

    Args:
        text: As it is written, such as `1 day`.
    """
    found = _AGE.fullmatch(text)
    assert found is not None
    return timedelta(**{f"{found[2].lower()}s": int(found[1])})


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _told(span: timedelta) -> str:
    """The two largest units of a time span that it has any of."""
    left, parts = int(span.total_seconds()), list[str]()
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count and len(parts) < 2:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts) or "0 seconds"
