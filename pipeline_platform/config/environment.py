"""`${env:NAME}` and `${env:NAME:-default}` in the strings of a pipeline."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, cast

from pydantic import SecretStr

from pipeline_platform.redaction import remember_secret

_PLACEHOLDER = re.compile(r"\$\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


class UnsetVariableError(ValueError):
    """A variable that a string needs is not in the environment and has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}",
        )
        self.name = name


def has_placeholder(text: str) -> bool:
    """Whether the string still waits for an environment variable."""
    return _PLACEHOLDER.search(text) is not None


def is_placeholder(text: str) -> bool:
    """Whether the string is an environment variable and nothing else, so that it holds no value itself."""
    match = _PLACEHOLDER.fullmatch(text)
    return match is not None and not match["default"]


def variable_names(text: str) -> str:
    """The string with every placeholder replaced by the name of its variable."""
    return _PLACEHOLDER.sub(lambda match: match["name"], text)


def substitute(text: str, environment: Mapping[str, str] | None = None, *, secret: bool = False) -> str:
    """Replace every placeholder.

    Args:
        text: The string.
        environment: Where to look; the process's environment by default.
        secret: Hide the values from every later output.

    Raises:
        UnsetVariableError: A variable without a default is not set.
    """
    variables = os.environ if environment is None else environment

    def value_of(match: re.Match[str]) -> str:
        name = match["name"]
        default: str | None = match["default"]
        value = variables.get(name, default)
        if value is None:
            raise UnsetVariableError(name)
        if secret and name in variables:
            remember_secret(value)
        return value

    return _PLACEHOLDER.sub(value_of, text)


def substitute_all(value: Any) -> Any:
    """Replace placeholders in every string of a JSON-like value, for use at run time only.

    Raises:
        UnsetVariableError: As `substitute`.
    """
    if isinstance(value, str):
        return substitute(value, secret=True)
    if isinstance(value, SecretStr):
        legible = substitute(value.get_secret_value())
        remember_secret(legible)
        return SecretStr(legible)
    if isinstance(value, Mapping):
        return {key: substitute_all(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [substitute_all(item) for item in cast("list[Any]", value)]
    return value


def unset_variables(value: Any, environment: Mapping[str, str] | None = None) -> list[str]:
    """The variables that the strings of a JSON-like value need, and that are not set, each once.

    Args:
        value: The value.
        environment: Where to look; the process's environment by default.
    """
    variables = os.environ if environment is None else environment
    found: dict[str, None] = {}
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, SecretStr):
            item = item.get_secret_value()
        if isinstance(item, str):
            names = (match["name"] for match in _PLACEHOLDER.finditer(item) if match["default"] is None)
            found |= dict.fromkeys(name for name in names if name not in variables)
        elif isinstance(item, Mapping):
            pending.extend(reversed(list(cast("Mapping[Any, Any]", item).values())))
        elif isinstance(item, (list, tuple)):
            pending.extend(reversed(cast("list[Any]", item)))
    return list(found)
