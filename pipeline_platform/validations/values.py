"""`validateValues`: values that are in a list, or in none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.contracts.values import WrongValue
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import column_of, field_named
from pipeline_platform.frames.promised_values import value_kind, values_in
from pipeline_platform.steps.validate import Rule, Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_SHOWN = 5


def _value(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("null", "null is in no list: use validateNulls, or leave it out, as null passes")
    if not isinstance(value, (str, int, float, bool)):
        raise PydanticCustomError("listed", "expected a string, a number, or true or false")
    return value


_VALUE_SCHEMA = WithJsonSchema({"type": ["string", "number", "boolean"]})
Value = Annotated[Any, BeforeValidator(_value), _VALUE_SCHEMA]


class ValueList(FormatModel):
    """The values that a column may have, or may not have."""

    allowed: Annotated[list[Value], Field(min_length=1)] | None = None
    """No other value is allowed."""
    forbidden: Annotated[list[Value], Field(min_length=1)] | None = None
    """These values are not allowed."""

    @model_validator(mode="after")
    def _has_one_list(self) -> Self:
        if (self.allowed is None) == (self.forbidden is None):
            raise PydanticCustomError("values", "expected either 'allowed' or 'forbidden'")
        return self


def _listed(value: Any) -> Any:
    return {"allowed": cast("list[Any]", value)} if isinstance(value, list) else value


_LIST = {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1}
_LISTS = {
    "type": "object",
    "properties": {
        "allowed": {**_LIST, "description": "No other value is allowed."},
        "forbidden": {**_LIST, "description": "These values are not allowed."},
    },
    "additionalProperties": False,
}
Listed = Annotated[ValueList, BeforeValidator(_listed), WithJsonSchema({"anyOf": [_LIST, _LISTS]})]


class ValidateValues(Validate):
    """Values are in a list, or in none; null passes, NaN is in no list.

    Each value of a list is taken as one of the type of its column: dates and timestamps are strings, as are decimals of
    more digits than a number of JSON has. Texts are compared by each of their characters, case included.
    """

    method: ClassVar[str] = "validateValues"
    judges_each_row: ClassVar[bool] = True
    example = {
        "values": {"product": ["tea", "coffee", "cake"], "customer": {"forbidden": ["", "unknown"]}},
        "onFailure": "quarantine",
    }

    values: Annotated[dict[Text, Listed], Field(min_length=1)]
    """By column a list of the values that are allowed, or `{"forbidden": […]}`."""

    def traits(self) -> Traits:
        return Traits(looks_at_rows=True)

    def rules(self, frame: DataFrame) -> Sequence[Rule]:
        from pyspark.sql import functions as F

        rules: list[Rule] = []
        for name, listed in self.values.items():
            column, field = column_of(frame, name), field_named(frame.schema, name)
            assert field is not None
            values = listed.allowed or listed.forbidden or []
            given = [literal for value in values for literal in _literals(value, field.dataType, name)]
            is_listed = column.isin(*given) if given else F.lit(False) & column.isNotNull()
            word = "not in" if listed.allowed is None else "in"
            rules.append(
                Rule(f"{name} {word} {_told(values)}", is_listed if listed.allowed is None else ~is_listed, (name,))
            )
        return rules


def _literals(value: Any, data_type: DataType, column: str) -> list[Column]:
    """The value in the column's own type; none if the column can't have it, as 1.5 in one of whole numbers."""
    from pyspark.sql import functions as F

    of = value_kind(data_type)
    if of is None:
        raise PipelineExecutionException(
            f"values of '{column}' can't be listed: it is {data_type.simpleString()}",
            hint="use validateBusinessRules, or take the part that is meant out of it with enrichData",
        )
    try:
        exact = Decimal(str(value)) if isinstance(value, float) else value
        return [F.lit(text).cast(data_type) for text in values_in(data_type, of, exact)]
    except WrongValue as error:
        raise PipelineExecutionException(
            f"'{column}' is {data_type.simpleString()}: {error.message}",
            hint=error.hint or "write it as a value of the column, or cast the column with enrichData",
        ) from error


def _told(values: Sequence[Any]) -> str:
    shown = ", ".join(f"'{value}'" if isinstance(value, str) else json.dumps(value) for value in values[:_SHOWN])
    return f"({shown})" if len(values) <= _SHOWN else f"({shown} and {len(values) - _SHOWN} more)"
