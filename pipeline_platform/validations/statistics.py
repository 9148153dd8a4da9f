"""`validateStatistics`: shares, means and other numbers of whole columns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.number_range import Measured, NumberRange
from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, column_of, field_named
from pipeline_platform.frames.promised_values import is_comparable
from pipeline_platform.redaction import MASK
from pipeline_platform.steps.validate import Measure, RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from pipeline_platform.config.step_over_range import RangeStep

_TOO_LARGE = Decimal("NaN")
_FIRST = f"{HELPER_PREFIX}first_"
# Of a rank: among a million rows the one found is at most a hundred away.
_ACCURACY = 10_000


def _fraction(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise PydanticCustomError(
            "quantile", "expected a fraction from 0 to 1, such as '0.95', not '{text}'", {"text": text}
        )
    return text


Quantile = Annotated[Text, AfterValidator(_fraction)]


class Statistics(FormatModel):
    """Bounds of the statistics of a column."""

    null_share: NumberRange | None = None
    """Rows with null as a share of all rows, from 0 to 1."""
    distinct_share: NumberRange | None = None
    """Different values as a share of the rows that have one: 1 if no value occurs twice."""
    distinct_count: NumberRange | None = None
    """How many different values there are; null is none."""
    min: NumberRange | None = None
    """The smallest number."""
    max: NumberRange | None = None
    """The largest number."""
    mean: NumberRange | None = None
    """The arithmetic mean."""
    sum: NumberRange | None = None
    """The sum, exact for whole numbers and decimals; 0 where there is no value."""
    stddev: NumberRange | None = None
    """The standard deviation of a sample."""
    quantiles: Annotated[dict[Quantile, NumberRange], Field(min_length=1)] | None = None
    """By fraction, such as `0.5` for the median: the smallest value that so many values don't exceed. It is found to
    within 1 in 10000 of the rows, as a `DOUBLE`."""

    @model_validator(mode="after")
    def _asks_for_one(self) -> Self:
        if not any(getattr(self, name) is not None for name in type(self).model_fields):
            names = "nullShare, distinctShare, distinctCount, min, max, mean, sum, stddev, quantiles"
            raise PydanticCustomError("statistics", "expected at least one of {names}", {"names": names})
        return self


class ValidateStatistics(Validate):
    """Numbers of whole columns, such as the share of nulls or the mean, are within bounds.

    Null is no value. Where there is no value, `sum` and `distinctCount` are 0, and the other rules are kept. NaN is
    within no bounds. `distinctShare` and `distinctCount` are exact, and cost a sort of the rows by the column; the
    others cost no more than a rule about rows.
    """

    method: ClassVar[str] = "validateStatistics"
    example = {
        "columns": {
            "quantity": {"mean": {"min": 1, "max": 20}, "quantiles": {"0.95": {"max": 50}}},
            "customer": {"nullShare": {"max": 0.05}, "distinctCount": {"min": 2}},
        }
    }

    columns: Annotated[dict[Text, Statistics], Field(min_length=1)]
    """By column the statistics and their bounds."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=False)

    def require_judges_apart(self, step: RangeStep) -> None:
        raise OneByOne("measures the rows of each partition")

    def annotate(self, frame: DataFrame, eligible: Column, named: Mapping[str, DataFrame]) -> DataFrame:
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        for number, (name, asked) in enumerate(self.columns.items()):
            column, field = column_of(frame, name), field_named(frame.schema, name)
            assert field is not None
            if asked.distinct_share is None and asked.distinct_count is None:
                continue
            if not is_comparable(field.dataType):
                told = f"Spark does not tell two values of '{name}' apart: it is {field.dataType.simpleString()}"
                raise PipelineExecutionException(told, hint="leave out distinctShare and distinctCount")
            equal = Window.partitionBy(column, eligible).orderBy(column)
            is_first = (F.row_number().over(equal) == 1) & column.isNotNull()
            frame = frame.withColumn(f"{_FIRST}{number}", is_first)
        return frame

    def measures(self, frame: DataFrame, named: Mapping[str, DataFrame]) -> Sequence[Measure]:
        measures: list[Measure] = []
        for number, (name, asked) in enumerate(self.columns.items()):
            column, field = column_of(frame, name), field_named(frame.schema, name)
            assert field is not None
            statistics = _asked(number, name, column, field.dataType, asked)
            measures += [replace(one, is_shown=one.is_shown or not self.hides(name)).measure() for one in statistics]
        return measures


@dataclass(frozen=True)
class _Statistic:
    """One statistic of a column.

    Args:
        column: Name of the column.
        name: Of the statistic, in words.
        bounds: Those that are allowed.
        values: Of each row.
        aggregate: What makes the statistic of them.
        read: What it is as a number; None if there is none.
        is_shown: Whether everybody may see it.
    """

    column: str
    name: str
    bounds: NumberRange
    values: Column
    aggregate: Callable[[Column], Column]
    read: Callable[[Any, int], Measured | None]
    is_shown: bool

    def measure(self) -> Measure:
        return Measure(self.values, self.aggregate, self._judge)

    def _judge(self, value: Any, rows: int, _: object) -> Sequence[RuleResult]:
        measure = f"{self.column}: {self.name}"
        rule, found = f"{measure} {self.bounds.told()}", self.read(value, rows)
        if found is None:
            what = f"'{self.column}' has no value" if rows else "there is no row"
            detail = f"{what}, so there is no {self.name}"
            return [RuleResult(rule, 0, rows, detail, measure=measure)]
        shown = _shown(found) if self.is_shown else MASK
        detail = f"expected the {self.name} of '{self.column}' to be {self.bounds.expected()}, found {shown}"
        is_outside = not self.bounds.holds(found)
        number = float(found)
        told = number if self.is_shown and math.isfinite(number) else None
        return [RuleResult(rule, int(is_outside), rows, detail, measure=measure, value=told)]


def _asked(number: int, name: str, column: Column, kind: DataType, asked: Statistics) -> Iterator[_Statistic]:
    from pyspark.sql import functions as F

    if asked.null_share is not None:
        yield _Statistic(name, "share of NULL", asked.null_share, column.isNull(), F.count_if, _share_of_rows, True)
    first = F.when(column.isNotNull(), F.col(f"{_FIRST}{number}"))
    if asked.distinct_share is not None:
        yield _Statistic(name, "share of distinct values", asked.distinct_share, first, _true_and_all, _share, True)
    if asked.distinct_count is not None:
        yield _Statistic(
            name, "number of distinct values", asked.distinct_count, first, F.count_if, lambda n, _: int(n or 0), True
        )
    yield from _of_numbers(name, column, kind, asked)


def _of_numbers(name: str, column: Column, kind: DataType, asked: Statistics) -> Iterator[_Statistic]:
    from pyspark.sql import functions as F
    from pyspark.sql.types import DecimalType, IntegralType, NumericType

    if not any((asked.min, asked.max, asked.mean, asked.sum, asked.stddev, asked.quantiles)):
        return
    if not isinstance(kind, NumericType):
        raise PipelineExecutionException(
            f"'{name}' is {kind.simpleString()}, and min, max, mean, sum, stddev and quantiles are of numbers",
            hint="make a number of it with enrichData; of texts use validateLengths, of times validateFreshness",
        )
    is_exact = isinstance(kind, (DecimalType, IntegralType))
    # Wide enough for the sum of any rows.
    exact = column.cast("decimal(38,0)") if isinstance(kind, IntegralType) else column
    if asked.min is not None:
        yield _Statistic(name, "minimum", asked.min, column, _as_text(F.min), _number, False)
    if asked.max is not None:
        yield _Statistic(name, "maximum", asked.max, column, _as_text(F.max), _number, False)
    if asked.mean is not None:
        if is_exact:
            yield _Statistic(name, "mean", asked.mean, exact, _sum_and_count, _mean, False)
        else:
            yield _Statistic(name, "mean", asked.mean, column, _as_text(F.avg), _number, False)
    if asked.sum is not None:
        yield _Statistic(name, "sum", asked.sum, exact, _sum_and_count, _sum, False)
    if asked.stddev is not None:
        yield _Statistic(name, "standard deviation", asked.stddev, column, _as_text(F.stddev_samp), _number, False)
    for fraction, bounds in (asked.quantiles or {}).items():
        place = float(fraction)
        at = _as_text(lambda values, place=place: F.percentile_approx(values, place, _ACCURACY))
        yield _Statistic(name, f"{fraction}-quantile", bounds, column, at, _number, False)


def _as_text(aggregate: Callable[[Column], Column]) -> Callable[[Column], Column]:
    """The aggregate as a text that has all of its digits."""
    return lambda values: aggregate(values).cast("string")


def _true_and_all(values: Column) -> Column:
    from pyspark.sql import functions as F

    return F.to_json(F.struct(F.count_if(values).alias("part"), F.count(values).alias("all")))


def _sum_and_count(values: Column) -> Column:
    from pyspark.sql import functions as F

    return F.to_json(F.struct(F.try_sum(values).cast("string").alias("part"), F.count(values).alias("all")))


def _share_of_rows(count: Any, rows: int) -> Fraction | None:
    return Fraction(int(count or 0), rows) if rows else None


def _share(text: Any, _: int) -> Fraction | None:
    found = json.loads(text)
    return Fraction(found["part"], found["all"]) if found["all"] else None


def _sum(text: Any, rows: int) -> Measured | None:
    found = json.loads(text)
    if not found["all"]:
        return 0
    # Null is the sum of values that no decimal of Spark's holds.
    return _number(found["part"], rows) if "part" in found else _TOO_LARGE


def _mean(text: Any, rows: int) -> Measured | None:
    found, total = json.loads(text), _sum(text, rows)
    if not found["all"]:
        return None
    return total if total is _TOO_LARGE else Fraction(cast("Decimal", total)) / found["all"]


def _number(text: Any, _: int) -> Decimal | float | None:
    if text is None:
        return None
    number = float(text)
    return Decimal(text) if math.isfinite(number) else number


def _shown(number: Measured) -> str:
    if isinstance(number, Fraction):
        return str(number.numerator) if number.denominator == 1 else f"{float(number):.6g}"
    if number is _TOO_LARGE:
        return "a sum too large for a decimal of 38 digits"
    return f"{number:f}" if isinstance(number, Decimal) else str(number)
