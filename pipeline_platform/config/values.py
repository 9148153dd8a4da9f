"""The value types of the format: what a string, a flag, a name or an SQL expression may look like."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pipeline_platform.config.placeholders import VariableError, has_placeholder, substitute
from pipeline_platform.config.sql import SqlMistake, checked_query, ddl_mistake, put_in_mistake
from pipeline_platform.config.sql_limits import expression_mistake, query_mistake
from pipeline_platform.redaction import looks_secret

_DECIMAL_DIGITS = 38
PLACEHOLDER_SCHEMA = {"type": "string", "pattern": r"\$\{(env|var):"}

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
# Names that only the JVM has: from Python all data is serialized, so that the level without `_SER` is the same.
SERIALIZED_LEVELS = {
    "MEMORY_ONLY_SER": "MEMORY_ONLY",
    "MEMORY_ONLY_SER_2": "MEMORY_ONLY_2",
    "MEMORY_AND_DISK_SER": "MEMORY_AND_DISK",
    "MEMORY_AND_DISK_SER_2": "MEMORY_AND_DISK_2",
}


def _substituted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return substitute(value)
    except VariableError as error:
        raise PydanticCustomError("variable", "{reason}", {"reason": str(error)}) from error


def _flag(value: Any) -> Any:
    value = _substituted(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise PydanticCustomError("flag", 'expected true or false, or "true" or "false"')


def _integer(value: Any) -> Any:
    value = _substituted(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,40}", value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("integer", "expected an integer")
    return value


def _number(value: Any) -> Any:
    value = _substituted(value)
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise PydanticCustomError("number", "expected a number")


def _bound(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("bound", "expected a number or a string, not a boolean")
    if isinstance(value, int) and abs(value) >= 10**_DECIMAL_DIGITS:
        raise PydanticCustomError("bound", "no column holds a number of more than 38 digits")
    return value


def _list_of(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_line(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("nul", "must not hold a NUL character")
    return value


def _no_home(value: str) -> str:
    if value == "~" or value.startswith("~/"):
        message = "only a shell knows what '~' is: write the folder out, or '{path}'"
        raise PydanticCustomError("home", message, {"path": f"${{env:HOME}}{value[1:]}"})
    return value


@dataclass(frozen=True)
class _OneOf:
    names: tuple[str, ...]

    def canonical(self, value: Any) -> Any:
        value = _substituted(value)
        if not isinstance(value, str):
            return value
        return {name.lower(): name for name in self.names}.get(value.strip().lower(), value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.canonical, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), in_any_case(*self.names), PLACEHOLDER_SCHEMA]}


def one_of(*names: str) -> _OneOf:
    """A validator that accepts these names in any case and returns the canonical spelling."""
    return _OneOf(names)


def in_any_case(*names: str) -> JsonSchemaValue:
    """The JSON Schema of a string that is one of these names, in any case."""
    # JSON Schema's regular expressions have no flag for it.
    spelled = (
        "".join(f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in name)
        for name in names
    )
    return {"type": "string", "pattern": rf"^\s*({'|'.join(spelled)})\s*$"}


def _expression(text: str, info: ValidationInfo) -> str:
    return _right(text, put_in(text, info) or expression_mistake(text))


def _query(text: str, info: ValidationInfo) -> str:
    return _right(text, put_in(text, info) or query_mistake(text))


PUT_INTO_SQL = "values put into SQL"
"""In the context of a validation: texts that have replaced placeholders, and that no SQL may be made of."""


def put_in(text: str, info: ValidationInfo, dialect: str | None = None) -> str | None:
    """Why SQL would be made of a text that was put into it in place of a placeholder; None if there is none.

    Args:
        text: The SQL.
        info: Of the validation.
        dialect: By default Spark's.
    """
    values = cast("dict[str, list[str]]", info.context or {}).get(PUT_INTO_SQL, [])
    return put_in_mistake(text, values, dialect)


def _right(text: str, mistake: SqlMistake | str | None, skipped: int = 0) -> str:
    """The text, unless there is a mistake in it; so many characters stand before it in the file."""
    if isinstance(mistake, SqlMistake) and mistake.offset is not None:
        context = {"mistake": mistake.message, "offset": mistake.offset + skipped}
        raise PydanticCustomError("text", "{mistake}", context)
    if mistake is not None:
        message = mistake.message if isinstance(mistake, SqlMistake) else mistake
        raise PydanticCustomError("text", "{mistake}", {"mistake": message})
    return text


def query_in(dialect: str) -> AfterValidator:
    """A validator that accepts one query in another system's SQL, and drops a closing semicolon."""

    def validated(text: str, info: ValidationInfo) -> str:
        query = text.strip().removesuffix(";")
        checked = put_in(query, info, dialect) or checked_query(query, dialect)
        mistake = checked if isinstance(checked, (SqlMistake, str)) else None
        return _right(query, mistake, len(text) - len(text.lstrip()))

    return AfterValidator(validated)


def _avro_schema(value: Any) -> Any:
    text = json.dumps(value) if isinstance(value, (dict, list)) else value
    return _right(text, avro_schema_mistake(text)) if isinstance(text, str) else text


def avro_schema_mistake(text: str) -> str | None:
    """What is wrong with an Avro schema, as far as it shows without Avro; None when it is right."""
    if has_placeholder(text):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"the Avro schema is not JSON: {error}"
    return None


def _ddl(text: str) -> str:
    return _right(text, ddl_mistake(text))


def _storage_level(value: Any) -> Any:
    written, value = value, _substituted(value)
    if not isinstance(value, str):
        return value
    name = value.strip().upper()
    name = SERIALIZED_LEVELS.get(name, name)
    if name not in STORAGE_LEVELS:
        raise PydanticCustomError(
            "storage_level",
            "unknown storage level '{value}'; valid: {valid}",
            {"value": written, "valid": ", ".join(STORAGE_LEVELS)},
        )
    return name


def _setting(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def hide_secrets(properties: Any) -> Any:
    """The same properties, with the value of every secret-looking key as a `SecretStr`."""
    if not isinstance(properties, dict):
        return properties
    items = cast("dict[Any, Any]", properties).items()
    return {key: _secret(value) if isinstance(key, str) and looks_secret(key) else value for key, value in items}


def _secret(value: Any) -> Any:
    setting = _setting(value)
    return SecretStr(setting) if isinstance(setting, str) else value


def reveal(value: Any) -> Any:
    """The same value with its secrets legible, for the system that needs them."""
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    return value.get_secret_value() if isinstance(value, SecretStr) else value


_FLAG_SCHEMA = {"anyOf": [{"type": "boolean"}, in_any_case("true", "false"), PLACEHOLDER_SCHEMA]}
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema(_FLAG_SCHEMA)]
"""A boolean, which may be written as a string."""


def _integer_schema(**bounds: int) -> WithJsonSchema:
    as_text = {"type": "string", "pattern": r"^\s*[+-]?[0-9]+\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "integer", **bounds}, as_text, PLACEHOLDER_SCHEMA]})


# What Java's `int` and `long` hold: Spark, Delta and the JDBC drivers take no more.
_INT, _LONG = 2**31 - 1, 2**63 - 1

PositiveInteger = Annotated[
    int, Field(gt=0, le=_INT), BeforeValidator(_integer), _integer_schema(minimum=1, maximum=_INT)
]
"""An integer from 1 to 2147483647, which may be written as a string."""

Natural = Annotated[int, Field(ge=0, le=_INT), BeforeValidator(_integer), _integer_schema(minimum=0, maximum=_INT)]
"""An integer from 0 to 2147483647, which may be written as a string."""

PositiveLong = Annotated[int, Field(gt=0, le=_LONG), BeforeValidator(_integer), _integer_schema(minimum=1)]
"""An integer from 1 to 9223372036854775807, which may be written as a string."""

NaturalLong = Annotated[int, Field(ge=0, le=_LONG), BeforeValidator(_integer), _integer_schema(minimum=0)]
"""An integer from 0 to 9223372036854775807, which may be written as a string."""

_SECONDS = 100_000
Timeout = Annotated[
    int, Field(gt=0, le=_SECONDS), BeforeValidator(_integer), _integer_schema(minimum=1, maximum=_SECONDS)
]
"""Seconds from 1 to 100000, more than a day, which may be written as a string.

Drivers count in milliseconds, up to a number of 32 bits.
"""

_PORTS = 65535
Port = Annotated[int, Field(ge=1, le=_PORTS), BeforeValidator(_integer), _integer_schema(minimum=1, maximum=_PORTS)]
"""The port of a server, which may be written as a string."""

_NUMBER_TEXT = {"type": "string", "pattern": "[0-9]"}
_NUMBER_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0}, _NUMBER_TEXT, PLACEHOLDER_SCHEMA]}
Amount = Annotated[float, Field(ge=0), BeforeValidator(_number), WithJsonSchema(_NUMBER_SCHEMA)]
"""A number of 0 or more, which may be written as a string."""

Text = Annotated[str, Field(min_length=1)]
"""A string that is not empty."""

Bound = Annotated[int | float | Text, BeforeValidator(_bound)]
"""A number, or a string for dates, timestamps, decimals and text."""

Location = Annotated[Text, BeforeValidator(_substituted), AfterValidator(_one_line), AfterValidator(_no_home)]
"""What identifies a dataset: environment variables in it are replaced when the file is loaded."""

Setting = Annotated[str, BeforeValidator(_setting), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""A string, which may be written as a number or a boolean."""

Secret = SecretStr
"""A string that is never shown."""

Properties = Annotated[
    dict[Text, Setting | SecretStr],
    BeforeValidator(hide_secrets),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
]
"""Settings by name; those whose name says so are secrets."""

FrameName = Annotated[Text, BeforeValidator(_substituted)]
"""The name of a registered frame; the steps are connected by it, so variables are replaced when the file is loaded."""

Word = Annotated[Text, BeforeValidator(_substituted)]
"""A word that a method knows; variables are replaced when the file is loaded."""

Names = Annotated[
    list[Text],
    BeforeValidator(_list_of),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""One name, or a list of them."""

FrameNames = Annotated[
    list[FrameName],
    BeforeValidator(_list_of),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""One name of a registered frame, or a list of them."""


@dataclass(frozen=True)
class SqlText:
    """Marks a type whose strings are Spark SQL, in which spaces, line breaks and upper or lower case say nothing."""


SQL = SqlText()
SqlExpression = Annotated[str, AfterValidator(_expression), SQL]
"""One Spark SQL expression, parsed when the file is loaded."""

SqlExpressions = Annotated[
    list[SqlExpression],
    BeforeValidator(_list_of),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""One Spark SQL expression, or a list of them."""

SqlQuery = Annotated[str, AfterValidator(_query), SQL]
"""One Spark SQL query, parsed when the file is loaded."""

AvroSchema = Annotated[
    str,
    BeforeValidator(_avro_schema),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}),
]
"""An Avro schema in JSON, as a string or as the object itself."""

_LEVEL_SCHEMA = {"anyOf": [{"enum": [*STORAGE_LEVELS, *SERIALIZED_LEVELS]}, {"type": "string", "pattern": r"\S"}]}
Ddl = Annotated[str, AfterValidator(_ddl)]
"""A schema in Spark DDL."""

StorageLevel = Annotated[str, BeforeValidator(_storage_level), WithJsonSchema(_LEVEL_SCHEMA)]
"""The name of a Spark storage level."""
