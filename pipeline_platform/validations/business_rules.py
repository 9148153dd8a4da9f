"""`validateBusinessRules`: SQL conditions that every row keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema
from sqlglot import exp

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.sql import parse_expression
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import SqlExpression, Text
from pipeline_platform.frames.columns import find_column, own_columns
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from pipeline_platform.config.step_over_range import RangeStep


class BusinessRule(FormatModel):
    """A named condition."""

    name: Text
    """Shown in results."""
    rule: SqlExpression
    """A Spark SQL condition; a row for which it is false breaks it, one for which it is null does not."""


def _named(value: Any) -> Any:
    return {"name": value, "rule": value} if isinstance(value, str) else value


_RULE_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "rule": {"type": "string"}},
            "required": ["name", "rule"],
            "additionalProperties": False,
        },
    ],
}


class ValidateBusinessRules(Validate):
    """Every row satisfies these SQL conditions; a condition that is null counts as satisfied."""

    method: ClassVar[str] = "validateBusinessRules"
    example = {"rules": ["price > 0", {"name": "no large orders of tea", "rule": "product <> 'tea' OR quantity <= 10"}]}

    rules_: Annotated[
        list[Annotated[BusinessRule, BeforeValidator(_named), WithJsonSchema(_RULE_SCHEMA)]],
        Field(min_length=1, alias="rules"),
    ]
    """Conditions, each a Spark SQL string or `{name, rule}`."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def require_judges_apart(self, step: RangeStep) -> None:
        # A rule may have a window function, and looks at the rows of the partition, whatever the run has read.
        column = step.frame.value(step.column)
        judged = step.frame if step.frame.by else step.frame.divided([column.base if column else step.origin], 0)
        step.sql.row(judged, *(rule.rule for rule in self.rules_))

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        own, conditions = own_columns(frame), [F.expr(rule.rule) for rule in self.rules_]
        kinds = [field.dataType for field in frame.select(*conditions).schema]
        return [
            Rule(rule.name, _broken(condition, kind), _columns(rule.rule, own))
            for rule, condition, kind in zip(self.rules_, conditions, kinds, strict=True)
        ]


def _broken(condition: Column, kind: DataType) -> Column:
    from pyspark.sql.types import StringType

    is_kept = condition.cast("boolean")
    # Of a text that is neither true nor false, Spark makes null with `spark.sql.ansi.enabled` off.
    return ~is_kept | (condition.isNotNull() & is_kept.isNull()) if isinstance(kind, StringType) else ~is_kept


def _columns(expression: str, own: Sequence[str]) -> tuple[str, ...]:
    """The frame's columns that an expression reads; of a field in a structure, the structure."""
    if has_placeholder(expression):
        return ()
    read = parse_expression(expression).find_all(exp.Column)
    found = (next(filter(None, (find_column(own, part.name) for part in column.parts)), None) for column in read)
    return tuple(dict.fromkeys(name for name in found if name is not None))
