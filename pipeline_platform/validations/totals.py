"""`validateTotals`: sums and numbers of rows that are those of another frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.number_range import NumberBound
from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, FrameName, Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import field_named, own_column, own_columns, quoted
from pipeline_platform.steps.validate import Measure, RuleResult, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row
    from pyspark.sql.types import StructType

    from pipeline_platform.config.step_over_range import RangeStep


_TOO_LARGE = Decimal("NaN")


def _not_negative(bound: int | float | str) -> int | float | str:
    try:
        is_negative = not (isinstance(bound, str) and has_placeholder(bound)) and Decimal(str(bound)) < 0
    except InvalidOperation:
        is_negative = False
    if is_negative:
        raise PydanticCustomError("difference", "must be 0 or more")
    return bound


class ValidateTotals(Validate):
    """Sums of columns, or the number of rows, are those of a registered frame, such as before and after a join.

    Null adds nothing, and a frame without rows has the sum 0. Whole numbers and decimals are added up exactly. Sums of
    `DOUBLE` and `FLOAT` depend on the order of the rows, so they need a `maxDifference`. The other frame is read once
    more, by itself, and all of its rows count: of a pipeline with partitions it has to have those of the partition.
    """

    method: ClassVar[str] = "validateTotals"
    example = {
        "referencedDataFrame": "orders",
        "sums": {"quantity": "quantity"},
        "rows": True,
        "onFailure": "warn",
    }

    referenced_data_frame: FrameName
    """The registered frame to compare with."""
    sums: Annotated[dict[Text, Text], Field(min_length=1)] | None = None
    """By column the column of the other frame that has the same sum."""
    rows: Flag = False
    """Compare the numbers of rows too."""
    max_difference: Annotated[NumberBound, AfterValidator(_not_negative)] = 0
    """How far the sums may be apart, such as `0.01`; the numbers of rows are always the same."""

    @model_validator(mode="after")
    def _compares_something(self) -> Self:
        if self.sums is None and not self.rows:
            raise PydanticCustomError("totals", "expected 'sums', or 'rows': true")
        return self

    def traits(self) -> Traits:
        return Traits(looks_at_rows=False)

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [*super().referenced_frames(), ("referencedDataFrame", self.referenced_data_frame)]

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming":
            return [
                (None, "a micro-batch is a part of the rows, and has no total: compare the tables in a batch pipeline")
            ]
        return []

    def require_judges_apart(self, step: RangeStep) -> None:
        raise OneByOne("compares the totals of each partition")

    def measures(self, frame: DataFrame, named: Mapping[str, DataFrame]) -> Sequence[Measure]:
        from pyspark.sql import functions as F

        other = named[self.referenced_data_frame]
        sums = self.sums or {}
        own = _addends(own_columns(frame), frame.schema, list(sums), self.shown_frame())
        theirs = _addends(other.columns, other.schema, list(sums.values()), f"'{self.referenced_data_frame}'")
        if Decimal(str(self.max_difference)) == 0:
            for (name, _, is_exact), (_, _, is_other_exact) in zip(own, theirs, strict=True):
                if not (is_exact and is_other_exact):
                    raise PipelineExecutionException(
                        f"the sum of '{name}' is one of floating-point numbers, which depends on the order of the rows",
                        hint="set 'maxDifference', or cast the column to a decimal with enrichData",
                    )
        values = F.struct(
            F.lit(1).alias("row"), *(column.alias(f"n{place}") for place, (_, column, _) in enumerate(own))
        )
        compared = other.select(
            F.struct(
                F.lit(1).alias("row"), *(column.alias(f"n{place}") for place, (_, column, _) in enumerate(theirs))
            ).alias("values")
        ).agg(self._totals(F.col("values")).alias("totals"))
        return [Measure(values, self._totals, self._judge, compared)]

    def _totals(self, values: Column) -> Column:
        """The number of rows, and for each sum how many values it has and what it is, as JSON."""
        from pyspark.sql import functions as F

        places = range(len(self.sums or {}))
        sums = (F.try_sum(values.getField(f"n{place}")).cast("string").alias(f"n{place}") for place in places)
        counts = (F.count(values.getField(f"n{place}")).alias(f"c{place}") for place in places)
        return F.to_json(F.struct(F.count(values).alias("rows"), *sums, *counts))

    def _judge(self, totals: Any, rows: int, compared: Row | None) -> Sequence[RuleResult]:
        assert compared is not None
        own, other = json.loads(totals), json.loads(compared[0])
        frame = self.referenced_data_frame
        results: list[RuleResult] = []
        for place, (name, theirs) in enumerate((self.sums or {}).items()):
            here, there = (_sum(found, place) for found in (own, other))
            # Not as decimals, whose difference Python rounds to 28 digits.
            difference = Fraction(here) - Fraction(there) if here.is_finite() and there.is_finite() else None
            limit = Fraction(Decimal(str(self.max_difference)))
            apart = f", give or take {self.max_difference}" if limit else ""
            expected = f"expected the sum of '{name}' to be {_shown(there)}, that of '{theirs}' in '{frame}'{apart}"
            is_shown = not (self.hides(name) or self.hides(theirs))
            results.append(
                RuleResult(
                    f"sum of {name} = sum of {frame}.{theirs}",
                    int(difference is None or abs(difference) > limit),
                    rows,
                    f"{expected}, found {_shown(here)}" if is_shown else f"'{name}' and '{theirs}' have other sums",
                    measure=f"{name}: difference of sums",
                    value=float(difference) if difference is not None and is_shown else None,
                )
            )
        if self.rows:
            detail = f"expected {other['rows']} rows, as '{frame}' has, found {own['rows']}"
            differs, by = own["rows"] != other["rows"], own["rows"] - other["rows"]
            results.append(
                RuleResult(
                    f"rows = rows of {frame}", int(differs), rows, detail, measure="difference of rows", value=by
                )
            )
        return results


def _sum(totals: Mapping[str, Any], place: int) -> Decimal:
    """A sum; there is none of values that no decimal of Spark's holds together."""
    if f"n{place}" not in totals:
        return _TOO_LARGE if totals[f"c{place}"] else Decimal(0)
    return Decimal(totals[f"n{place}"])


def _shown(total: Decimal) -> str:
    return "too large for a decimal of 38 digits" if total is _TOO_LARGE else f"{total:f}"


def _addends(
    columns: Sequence[str], schema: StructType, names: Sequence[str], told: str
) -> list[tuple[str, Column, bool]]:
    """Each column as it is added up, and whether its sum is exact."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import DecimalType, IntegralType, NumericType

    found: list[tuple[str, Column, bool]] = []
    for name in names:
        own = own_column(columns, name, told.strip("'") if told.startswith("'") else None)
        field = field_named(schema, own)
        kind = field.dataType if field is not None else None
        column = F.col(quoted(own))
        if not isinstance(kind, NumericType):
            shown = kind.simpleString() if kind is not None else "unknown"
            raise PipelineExecutionException(
                f"'{own}' of {told} is {shown}, and only numbers have a sum", hint="make a number of it with enrichData"
            )
        if isinstance(kind, IntegralType):
            column = column.cast("decimal(38,0)")
        found.append((own, column, isinstance(kind, (DecimalType, IntegralType))))
    return found
