"""The range of a partition column: what Spark splits among the partitions that read side by side.

A bound filters nothing: Spark reads what lies below the first, above the last, and what is null, as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import own_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LONG = 2**63


@dataclass(frozen=True)
class RangeKind:
    """A column that has ranges.

    Args:
        column: Its name, as the source spells it.
        values: Whether it holds numbers, or points in time.
    """

    column: str
    values: Literal["numbers", "times"]

    def range_between(self, lower: Any, upper: Any) -> tuple[str, str] | None:
        """The bounds as Spark takes them; None if they leave nothing to split.

        Args:
            lower: The smallest value, or what the config says it is; None if there is none.
            upper: The largest one, likewise.

        Raises:
            PipelineExecutionException: A bound is no value of the column's type.
        """
        if lower is None or upper is None:
            return None
        if self.values == "times":
            times = self._time(lower), self._time(upper)
            return (times[0].isoformat(" "), times[1].isoformat(" ")) if times[0] < times[1] else None
        numbers = self._whole_number(lower), self._whole_number(upper)
        return (str(numbers[0]), str(numbers[1])) if numbers[0] < numbers[1] else None

    def _whole_number(self, bound: Any) -> int:
        try:
            number = Decimal(str(bound))
        except InvalidOperation:
            raise self._misfit(bound, "a number") from None
        if not number.is_finite():
            raise self._misfit(bound, "a finite number")
        return max(-_LONG, min(_LONG - 1, math.floor(number)))

    def _time(self, bound: Any) -> datetime:
        if isinstance(bound, date) and not isinstance(bound, datetime):
            return datetime(bound.year, bound.month, bound.day)
        try:
            time = bound if isinstance(bound, datetime) else datetime.fromisoformat(str(bound).strip())
        except ValueError:
            raise self._misfit(bound, "a date or a timestamp") from None
        return time.replace(tzinfo=None)

    def _misfit(self, bound: Any, wanted: str) -> PipelineExecutionException:
        return PipelineExecutionException(
            f"the bound {bound} of the partition column '{self.column}' is not {wanted}, as the column's values are",
            hint=f"give 'lowerBound' and 'upperBound' as {wanted}",
        )


def range_kind(frame: DataFrame, name: str) -> RangeKind:
    """What a partition column has ranges of.

    Args:
        frame: The source as it is read without partitions.
        name: `partitionColumn`.

    Raises:
        PipelineExecutionException: There is no such column, or its type has no ranges.
    """
    from pyspark.sql.types import DateType, NumericType, TimestampNTZType, TimestampType

    column = own_column(frame.columns, name)
    match frame.schema[column].dataType:
        case NumericType():
            return RangeKind(column, "numbers")
        case DateType() | TimestampType() | TimestampNTZType():
            return RangeKind(column, "times")
        case other:
            raise PipelineExecutionException(
                f"'partitionColumn' is '{column}', which is {other.simpleString()}; its values have no ranges to split",
                hint="name a numeric, date or timestamp column, or leave 'partitionColumn' out",
            )
