"""Bounds of a number that was measured."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Bound

Measured = Decimal | Fraction | float | int
"""A number that was measured, as exactly as it is known."""


def _number(bound: int | float | str) -> int | float | str:
    if not (isinstance(bound, str) and has_placeholder(bound)) and _exact(bound) is None:
        raise PydanticCustomError("number", "expected a number, not '{bound}'", {"bound": str(bound)})
    return bound


def _exact(bound: int | float | str) -> Fraction | None:
    """The bound as it is written: 0.1 is a tenth."""
    try:
        number = Decimal(str(bound))
    except InvalidOperation:
        return None
    return Fraction(number) if number.is_finite() else None


NumberBound = Annotated[Bound, AfterValidator(_number)]
"""A number, or a string of one, for decimals of many digits."""


class NumberRange(FormatModel):
    """Bounds of a number, both inclusive."""

    min: NumberBound | None = None
    """The smallest value allowed."""
    max: NumberBound | None = None
    """The largest value allowed."""

    @model_validator(mode="after")
    def _holds_a_value(self) -> Self:
        if self.min is None and self.max is None:
            raise PydanticCustomError("range", "a range needs 'min' or 'max'")
        low, high = (_exact(bound) if bound is not None else None for bound in (self.min, self.max))
        if low is not None and high is not None and low > high:
            message = "no number is at least {low} and at most {high}"
            raise PydanticCustomError("range", message, {"low": str(self.min), "high": str(self.max), "key": "max"})
        return self

    def holds(self, value: Measured) -> bool:
        """Whether a number is within the bounds; NaN is within none.

        Args:
            value: The number.
        """
        if not isinstance(value, (int, Fraction)):
            if math.isnan(value):
                return False
            if math.isinf(value):
                return (self.max if value > 0 else self.min) is None
        exact = value if isinstance(value, (int, Fraction)) else Fraction(Decimal(str(value)))
        low, high = (_exact(bound) if bound is not None else None for bound in (self.min, self.max))
        return (low is None or exact >= low) and (high is None or exact <= high)

    def told(self) -> str:
        """The bounds in words, to follow what is bounded."""
        if self.max is None:
            return f">= {self.min}"
        return f"<= {self.max}" if self.min is None else f"between {self.min} and {self.max}"

    def expected(self) -> str:
        """The bounds in words, to follow 'expected'."""
        if self.max is None:
            return f"at least {self.min}"
        return f"at most {self.max}" if self.min is None else self.told()
