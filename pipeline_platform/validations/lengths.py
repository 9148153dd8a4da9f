"""`validateLengths`: texts of so many characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Natural, Text
from pipeline_platform.frames.columns import column_of, require_text
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Length(FormatModel):
    """Numbers of characters, both inclusive."""

    min: Natural | None = None
    """The fewest characters allowed."""
    max: Natural | None = None
    """The most characters allowed."""

    @model_validator(mode="after")
    def _holds_a_text(self) -> Self:
        if self.min is None and self.max is None:
            raise PydanticCustomError("length", "a length needs 'min' or 'max'")
        if self.min is not None and self.max is not None and self.min > self.max:
            message = "no text has at least {low} characters and at most {high}"
            raise PydanticCustomError("length", message, {"low": self.min, "high": self.max, "key": "max"})
        return self


class ValidateLengths(Validate):
    """Texts have at least, or at most, so many characters; null passes.

    Characters are code points of Unicode, of which some emoji have several; blanks count too.
    """

    method: ClassVar[str] = "validateLengths"
    judges_each_row: ClassVar[bool] = True
    example = {"lengths": {"customer": {"min": 1, "max": 40}}, "onFailure": "quarantine"}

    lengths: Annotated[dict[Text, Length], Field(min_length=1)]
    """Numbers of characters by column."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        rules: list[Rule] = []
        for name, length in self.lengths.items():
            count = F.char_length(column_of(frame, name))
            require_text(frame, name, "a length is one of texts")
            outside = F.lit(False)
            if length.min is not None:
                outside = outside | (count < length.min)
            if length.max is not None:
                outside = outside | (count > length.max)
            rules.append(Rule(_name(name, length), outside, (name,)))
        return rules


def _name(column: str, length: Length) -> str:
    if length.max is None:
        return f"length of {column} >= {length.min}"
    if length.min is None:
        return f"length of {column} <= {length.max}"
    if length.min == length.max:
        return f"length of {column} = {length.min}"
    return f"length of {column} between {length.min} and {length.max}"
