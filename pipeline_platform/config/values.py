"""The value types of the format: what a string, a flag, a name or an SQL expression may look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import sqlglot
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.environment import UnsetVariableError, has_placeholder, substitute

DIALECT = "spark"
PLACEHOLDER_SCHEMA = {"type": "string", "pattern": r"\$\{env:"}

# Spark's own names, `pyspark.StorageLevel`.
STORAGE_LEVELS = (
    "NONE",
    "DISK_ONLY",
    "DISK_ONLY_2",
    "DISK_ONLY_3",
    "MEMORY_ONLY",
    "MEMORY_ONLY_2",
    "MEMORY_AND_DISK",
    "MEMORY_AND_DISK_2",
    "MEMORY_AND_DISK_DESER",
    "OFF_HEAP",
)


def _substituted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return substitute(value)
    except UnsetVariableError as error:
        raise PydanticCustomError("unset_variable", "{reason}", {"reason": str(error)}) from error


def _flag(value: Any) -> Any:
    value = _substituted(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise PydanticCustomError("flag", 'expected true or false, or "true" or "false"')


def _number(value: Any) -> Any:
    value = _substituted(value)
    if isinstance(value, bool):
        raise PydanticCustomError("number", "expected a number, not a boolean")
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return value
    return value


def _list_of(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def one_of(*names: str) -> BeforeValidator:
    """A validator that accepts these names in any case and returns the canonical spelling."""
    canonical = {name.casefold(): name for name in names}
    return BeforeValidator(lambda value: canonical.get(value.casefold(), value) if isinstance(value, str) else value)


def _parsed(parse: Callable[[str], exp.Expression], text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("sql", "the SQL expression is empty")
    if has_placeholder(text):
        # Its value is known at run time only; Spark reports what is wrong with it then.
        return text
    try:
        parse(text)
    except SqlglotError as error:
        raise PydanticCustomError("sql", "SQL syntax: {reason}", {"reason": _sql_reason(error)}) from error
    except RecursionError as error:
        raise PydanticCustomError("sql", "SQL syntax: nested too deeply") from error
    return text


def _sql_reason(error: SqlglotError) -> str:
    details: list[dict[str, Any]] = getattr(error, "errors", [])
    if not details:
        return str(error).splitlines()[0]
    first = details[0]
    near = f" near '{first['highlight']}'" if first.get("highlight") else ""
    return f"{str(first.get('description', error)).rstrip('.')}{near}, column {first.get('col', 0)} of the expression"


def parse_expression(text: str) -> exp.Expression:
    """Parse one Spark SQL expression.

    Raises:
        SqlglotError: It is not one.
    """
    statement = sqlglot.parse_one(f"SELECT {text}", dialect=DIALECT)
    if not isinstance(statement, exp.Select) or len(statement.expressions) != 1 or _has_clauses(statement):
        raise sqlglot.ParseError(f"expected one expression, not '{text}'")
    return statement.expressions[0]


def parse_query(text: str) -> exp.Expression:
    """Parse one Spark SQL query.

    Raises:
        SqlglotError: It is not one, or it is another kind of statement.
    """
    statement = sqlglot.parse_one(text, dialect=DIALECT)
    if not isinstance(statement, exp.Query):
        raise sqlglot.ParseError("expected a SELECT; other statements are not allowed")
    return statement


def _has_clauses(statement: exp.Select) -> bool:
    return any(value for key, value in statement.args.items() if key not in ("expressions", "kind", "hint"))


def _expression(text: str) -> str:
    return _parsed(parse_expression, text)


def _query(text: str) -> str:
    return _parsed(parse_query, text)


def _avro_schema(value: Any) -> Any:
    text = json.dumps(value) if isinstance(value, (dict, list)) else value
    if not isinstance(text, str) or has_placeholder(text):
        return text
    try:
        json.loads(text)
    except ValueError as error:
        raise PydanticCustomError("avro", "the Avro schema is not JSON: {reason}", {"reason": str(error)}) from error
    return text


def _storage_level(value: str) -> str:
    if value not in STORAGE_LEVELS:
        raise PydanticCustomError(
            "storage_level",
            "unknown storage level '{value}'; valid: {valid}",
            {"value": value, "valid": ", ".join(STORAGE_LEVELS)},
        )
    return value


Flag = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}, PLACEHOLDER_SCHEMA]}),
]
"""A boolean, which may be written as a string."""

_INTEGER_SCHEMA = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?\d+$"}, PLACEHOLDER_SCHEMA]}
Integer = Annotated[int, BeforeValidator(_number), WithJsonSchema(_INTEGER_SCHEMA)]
"""An integer, which may be written as a string."""

PositiveInteger = Annotated[int, Field(gt=0), BeforeValidator(_number), WithJsonSchema(_INTEGER_SCHEMA)]
"""An integer of 1 or more, which may be written as a string."""

Natural = Annotated[int, Field(ge=0), BeforeValidator(_number), WithJsonSchema(_INTEGER_SCHEMA)]
"""An integer of 0 or more, which may be written as a string."""

Text = Annotated[str, Field(min_length=1)]
"""A string that is not empty."""

Location = Annotated[str, BeforeValidator(_substituted), Field(min_length=1)]
"""What identifies a dataset: environment variables in it are replaced when the file is loaded."""

Names = Annotated[
    list[Text],
    BeforeValidator(_list_of),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""One name, or a list of them."""

SqlExpression = Annotated[str, AfterValidator(_expression)]
"""One Spark SQL expression, parsed when the file is loaded."""

SqlQuery = Annotated[str, AfterValidator(_query)]
"""One Spark SQL query, parsed when the file is loaded."""

AvroSchema = Annotated[
    str,
    BeforeValidator(_avro_schema),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}),
]
"""An Avro schema in JSON, as a string or as the object itself."""

StorageLevel = Annotated[str, AfterValidator(_storage_level), WithJsonSchema({"enum": list(STORAGE_LEVELS)})]
"""The name of a Spark storage level."""
