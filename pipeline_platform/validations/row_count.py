"""`validateRowCount`: how many rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.range_frames import OneByOne
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import NaturalLong
from pipeline_platform.steps.validate import RuleResult, Validate

if TYPE_CHECKING:
    from pipeline_platform.config.step_over_range import RangeStep


class ValidateRowCount(Validate):
    """The frame has at least, or at most, this many rows."""

    method: ClassVar[str] = "validateRowCount"
    example = {"min": 1}

    min: NaturalLong | None = None
    """Fewest rows allowed."""
    max: NaturalLong | None = None
    """Most rows allowed."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=False)

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise PydanticCustomError("count", "a row count needs 'min' or 'max'")
        return self

    def require_judges_apart(self, step: RangeStep) -> None:
        raise OneByOne("counts the rows of each partition")

    def count_results(self, rows: int) -> Sequence[RuleResult]:
        results: list[RuleResult] = []
        if self.min is not None:
            detail = f"expected at least {self.min} rows, found {rows}"
            results.append(RuleResult(f"rows >= {self.min}", int(rows < self.min), rows, detail))
        if self.max is not None:
            detail = f"expected at most {self.max} rows, found {rows}"
            results.append(RuleResult(f"rows <= {self.max}", int(rows > self.max), rows, detail))
        return results
