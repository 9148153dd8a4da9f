"""`validatePatterns`: texts that match a regular expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pipeline_platform.config.patterns import Pattern
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import column_of, require_text
from pipeline_platform.frames.java_patterns import java_pattern_mistake
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class ValidatePatterns(Validate):
    r"""Texts match a regular expression; null passes.

    As with Spark's `RLIKE`, and in data contracts, it is enough that a part of the text matches: `^` and `\z` stand for
    its beginning and its end. `$` also matches before a line break at the end.
    """

    method: ClassVar[str] = "validatePatterns"
    judges_each_row: ClassVar[bool] = True
    example = {"patterns": {"product": "^[a-z ]+\\z"}, "onFailure": "quarantine"}

    patterns: Annotated[dict[Text, Pattern], Field(min_length=1)]
    """Regular expressions of Java by column."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        rules: list[Rule] = []
        for name, pattern in self.patterns.items():
            column = column_of(frame, name)
            require_text(frame, name, "a pattern is held against texts")
            if (wrong := java_pattern_mistake(frame.sparkSession, pattern)) is not None:
                raise PipelineExecutionException(
                    f"the pattern of '{name}' is no regular expression of Java: {wrong}", hint="mend the pattern"
                )
            rules.append(Rule(f"{name} like {pattern}", ~column.rlike(pattern), (name,)))
        return rules
