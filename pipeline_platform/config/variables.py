"""Variables of a pipeline: what a run may be given, by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import SourcePosition, json_type
from pipeline_platform.config.placeholders import strings_in
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import one_of

VariableType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]
VariableValue = str | int | float | bool
VARIABLE_NAME = "[A-Za-z_][A-Za-z0-9_]*"
"""What the name of a variable matches."""
_VARIABLE = re.compile(r"\$\{var:(?P<name>[^}]*)\}")
# What Python reads in addition, such as `20240131`, others read in other ways.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(_DATE.pattern + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?")
# In a default nothing but the environment is looked at again.
_NOT_IN_DEFAULTS = re.compile(r"\$\{(?!env:)")


def _variable_name(name: str) -> str:
    if not re.fullmatch(VARIABLE_NAME, name):
        message = (
            "'{name}' is no name of a variable: it has to be letters of a to z, digits and '_', with no digit first"
        )
        raise PydanticCustomError("variable_name", message, {"name": name})
    return name


VariableName = Annotated[
    str, AfterValidator(_variable_name), WithJsonSchema({"type": "string", "pattern": f"^{VARIABLE_NAME}$"})
]
"""What stands in `${var:…}`; Dagster takes no other names."""


class Variable(FormatModel):
    """A variable of a pipeline."""

    type: Annotated[VariableType, one_of("string", "integer", "number", "boolean", "date", "timestamp")] = "string"
    """What values it takes; a `date` is written as `2024-01-31`, a `timestamp` as `2024-01-31T12:00:00`, which may be
    followed by a fraction of a second, such as `.5`, and by an offset, such as `+01:00` or `Z`."""
    default: str | int | float | bool | None = None
    """Its value in a run that is given none; a variable without a default has to be given."""
    description: str | None = None
    """Shown in Dagster's launchpad and on the command line."""

    @model_validator(mode="after")
    def _default_has_its_type(self) -> Self:
        if self.default is not None and (wrong := wrong_value(self.type, self.default)) is not None:
            raise PydanticCustomError("variable", "{message}", {"message": wrong, "key": "default"})
        if isinstance(self.default, str) and (found := not_in_defaults(self.default)) is not None:
            message = "a default is not looked at for placeholders but '${env:…}', and holds '{found}'"
            raise PydanticCustomError("variable", message, {"found": found, "key": "default"})
        return self


def not_in_defaults(text: str) -> str | None:
    """What of a default is no placeholder that is looked at, from there on; None if there is no such thing.

    Args:
        text: The default.
    """
    found = _NOT_IN_DEFAULTS.search(text)
    return text[found.start() :] if found is not None else None


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        # An integer that no floating-point number comes near to.
        return False


def wrong_value(kind: VariableType, value: object) -> str | None:
    """Why a value is none of this type; None if it is one.

    Args:
        kind: The type.
        value: As a JSON file has it.
    """
    is_right = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": _is_number(value),
        "boolean": isinstance(value, bool),
        "date": isinstance(value, str) and _is_iso(date, _DATE, value),
        "timestamp": isinstance(value, str) and _is_iso(datetime, _TIMESTAMP, value),
    }[kind]
    return None if is_right else f"expected {_EXPECTED[kind]}, not {_shown(value)}"


def _is_iso(kind: type[date], form: re.Pattern[str], text: str) -> bool:
    if not form.fullmatch(text):
        return False
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True


_EXPECTED: Mapping[VariableType, str] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date, such as '2024-01-31'",
    "timestamp": "a timestamp, such as '2024-01-31T12:00:00'",
}


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return text_of(value) if isinstance(value, bool | int | float) else json_type(value)


def typed(kind: VariableType, text: str) -> VariableValue:
    """The value that a text on a command line stands for.

    Args:
        kind: The type of the variable.
        text: The text.

    Raises:
        ValueError: It stands for none; says what was expected.
    """
    value: VariableValue = text
    if kind == "boolean" and text.lower() in ("true", "false"):
        value = text.lower() == "true"
    elif kind in ("integer", "number"):
        with suppress(ValueError):
            value = int(text) if kind == "integer" or re.fullmatch(r"[+-]?\d+", text) else float(text)
    if (wrong := wrong_value(kind, value)) is not None:
        raise ValueError(wrong)
    return value


def with_values(value: Any, values: Mapping[str, VariableValue]) -> Any:
    """A JSON-like value with its variables replaced; those without a value stay.

    A string that is a variable and nothing else becomes the value itself, whatever its type.

    Args:
        value: The value.
        values: What the variables stand for.
    """
    if isinstance(value, str):
        if (whole := _VARIABLE.fullmatch(value)) is not None:
            return values.get(whole["name"], value)
        return _VARIABLE.sub(
            lambda match: text_of(values[match["name"]]) if match["name"] in values else match[0], value
        )
    if isinstance(value, dict):
        return {key: with_values(item, values) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [with_values(item, values) for item in cast("list[Any]", value)]
    return value


def text_of(value: VariableValue) -> str:
    """A value as it stands within a string."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def names_in(text: str) -> list[str]:
    """The variables that a string names."""
    return [match["name"] for match in _VARIABLE.finditer(text)]


@dataclass(frozen=True)
class VariableValues:
    """The variables that a file declares, and what stands for them.

    Args:
        names: Of all variables.
        values: What they stand for; one without a value is left out.
    """

    names: tuple[str, ...] = ()
    values: Mapping[str, VariableValue] = field(default_factory=dict[str, VariableValue])

    def replaced(self, value: Any, place: SourcePosition) -> tuple[Any, list[ConfigError]]:
        """A value of the file with its variables replaced, and what is wrong with their names.

        Args:
            value: The value.
            place: Where it is.
        """
        unknown = {name: None for text in strings_in(value) for name in names_in(text) if name not in self.names}
        errors = [
            place.problem(
                f"there is no variable '{name}'",
                hint=did_you_mean(name, self.names) if self.names else "declare it under 'variables'",
            )
            for name in unknown
        ]
        if any(self._makes_comment(text) for text in strings_in(value)):
            message = "a '-' before a negative number would begin a comment in SQL"
            errors.append(place.problem(message, hint="put the variable in brackets"))
        return with_values(value, self.values), errors

    def _makes_comment(self, text: str) -> bool:
        for match in _VARIABLE.finditer(text):
            value = self.values.get(match["name"])
            if isinstance(value, int | float) and value < 0 and text.endswith("-", 0, match.start()):
                return True
        return False


def declared_variables(written: Any) -> dict[str, Variable]:
    """The variables of a file, by name, without those that have a mistake.

    Args:
        written: What the file has under `variables`.
    """
    variables: dict[str, Variable] = {}
    for name, value in cast("dict[str, Any]", written).items() if isinstance(written, dict) else ():
        with suppress(ValidationError):
            variables[name] = Variable.model_validate(value)
    return variables


def variable_values(
    written: Any,
    given: Mapping[str, VariableValue],
    root: SourcePosition,
    instead: Mapping[str, VariableValue] | None = None,
) -> tuple[VariableValues, list[ConfigError]]:
    """What stands for each variable, and what is wrong with the values that were given.

    Args:
        written: What the file has under `variables`; a mistake in it is found with the other keys.
        given: Values that a run was given.
        root: The file.
        instead: Of an environment: in place of defaults.
    """
    declared = cast("dict[str, Any]", written) if isinstance(written, dict) else {}
    variables = declared_variables(written)
    defaults = {name: one.default for name, one in variables.items() if one.default is not None}
    defaults |= {name: value for name, value in (instead or {}).items() if name in variables}
    errors: list[ConfigError] = []
    for name, value in given.items():
        if name not in declared:
            hint = did_you_mean(name, declared) if declared else "the file declares none"
            errors.append(root.problem(f"there is no variable '{name}'", hint=hint))
        elif isinstance(value, str) and "${" in value and value != defaults.get(name):
            message = f"the value of the variable '{name}' must not hold '${{'"
            errors.append((root / "variables" / name).problem(message))
        elif name in variables and (wrong := wrong_value(variables[name].type, value)) is not None:
            errors.append((root / "variables" / name).problem(f"the value of the variable '{name}': {wrong}"))
    values = {**defaults, **{name: value for name, value in given.items() if name in declared}}
    return VariableValues(tuple(declared), values), errors
