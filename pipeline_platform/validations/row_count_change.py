"""`validateRowCountChange`: as many rows as the loads before had, more or less."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from statistics import median
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Amount, PositiveInteger
from pipeline_platform.steps.validate import RuleResult, Validate

if TYPE_CHECKING:
    from pipeline_platform.config.step_over_range import RangeStep


class ValidateRowCountChange(Validate):
    """The frame has not many more, or fewer, rows than the loads before had: than the median of the last few.

    What they had stands in the log of the Delta table that the frame is loaded into, so it is the same on the command
    line and in Dagster, and stays when runs are deleted. The loads of the same step count, by its name: of all
    partitions, and not those that other steps, or people, made. A table remembers them as long as its log, by default
    for 30 days. Until there is a load before, the rule is kept.
    """

    method: ClassVar[str] = "validateRowCountChange"
    example = {"maxDecrease": 0.5, "maxIncrease": 1, "onFailure": "warn"}

    max_decrease: Annotated[Amount, Field(le=1)] | None = None
    """How many rows fewer, as a share of the median: with `0.5` at least half of it."""
    max_increase: Amount | None = None
    """How many rows more, as a share of the median: with `1` at most twice of it."""
    last: Annotated[PositiveInteger, Field(le=30)] = 7
    """How many loads are looked at."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.max_decrease is None and self.max_increase is None:
            raise PydanticCustomError("change", "expected 'maxDecrease', 'maxIncrease' or both")
        return self

    def traits(self) -> Traits:
        return Traits(looks_at_rows=False)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming":
            return [(None, "a micro-batch has as many rows as happen to have come: use the stream's rates and its lag")]
        return []

    def require_judges_apart(self, step: RangeStep) -> None:
        raise OneByOne("compares the rows of each partition with those of the loads before")

    def loads_compared(self) -> int:
        return self.last

    def history_results(self, rows: int, past: Sequence[int]) -> Sequence[RuleResult]:
        measure = "rows compared with the loads before"
        usual = Fraction(median(past)) if past else Fraction(0)
        value = float(rows / usual) if usual else None
        results: list[RuleResult] = []
        for bound, sign in ((self.max_decrease, -1), (self.max_increase, 1)):
            if bound is None:
                continue
            limit = usual * (1 + sign * Fraction(Decimal(str(bound))))
            word = "fewer" if sign < 0 else "more"
            is_beyond = bool(past) and (rows < limit if sign < 0 else rows > limit)
            loads = f"the last {len(past)} loads" if len(past) > 1 else "the load before"
            detail = (
                f"expected at {'least' if sign < 0 else 'most'} {_shown(limit)} rows, as {loads} had {_shown(usual)}, "
                f"found {rows}"
                if past
                else "there is no load before to compare with"
            )
            rule = f"rows at most {Fraction(Decimal(str(bound))) * 100}% {word} than before"
            results.append(RuleResult(rule, int(is_beyond), rows, detail, measure=measure, value=value))
        return results


def _shown(number: Fraction) -> str:
    return f"{float(number):.10g}"
