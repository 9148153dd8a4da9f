"""`${env:NAME}` and `${env:NAME:-default}` in the strings of a pipeline."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import SecretStr

from pipeline_platform.config.permissions import how_to_allow, is_allowed
from pipeline_platform.redaction import looks_secret, remember_secret, remember_value

_PLACEHOLDER = re.compile(r"\$\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
# With what the platform logs in to Vault, to its own database and to those who watch it.
_OF_THE_PLATFORM = re.compile(
    r"VAULT_.*|OPENLINEAGE_.*|DAGSTER_.*(PASSWORD|TOKEN|SECRET).*|PIPELINE_PLATFORM_.*|SPARK_REMOTE"
)
_credentials: set[str] = set()


class VariableError(ValueError):
    """A variable can't be had."""


class UnsetVariableError(VariableError):
    """A variable that a string needs is not in the environment and has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}",
        )
        self.name = name


class RefusedVariableError(VariableError):
    """A variable holds a credential of the platform's own."""


def reserve_variables(names: Iterable[str]) -> None:
    """Keep variables from being shown: from now on they may stand in a key for secrets only.

    Args:
        names: Of the variables.
    """
    _credentials.update(name.upper() for name in names)


def variable_limit(text: str, *, in_secret: bool) -> str | None:
    """Why a string may not have its variables replaced; None if it may.

    Args:
        text: The string.
        in_secret: Whether it is the value of a key for secrets, which is never shown.
    """
    if is_allowed("platform-variables"):
        return None
    for match in _PLACEHOLDER.finditer(text):
        name = match["name"].upper()
        if _OF_THE_PLATFORM.fullmatch(name):
            return (
                f"the environment variable {match['name']} is reserved for the platform; "
                f"{how_to_allow('platform-variables')}"
            )
        if name in _credentials and not in_secret:
            return (
                f"the environment variable {match['name']} is a credential, and would be visible here; leave it to "
                "the step's own keys for credentials, which read it by themselves; "
                f"{how_to_allow('platform-variables')}"
            )
    return None


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


def substitute(
    text: str,
    environment: Mapping[str, str] | None = None,
    *,
    at_run_time: bool = False,
    in_secret: bool = False,
) -> str:
    """Replace every placeholder.

    Args:
        text: The string.
        environment: Where to look; the process's environment by default.
        at_run_time: Hide the values from every later output, but numbers, dates and short words.
        in_secret: It is the value of a key for secrets: hide whatever they are.

    Raises:
        UnsetVariableError: A variable without a default is not set.
        RefusedVariableError: A variable holds a credential of the platform's own.
    """
    if (limit := variable_limit(text, in_secret=in_secret)) is not None:
        raise RefusedVariableError(limit)
    variables = os.environ if environment is None else environment

    def value_of(match: re.Match[str]) -> str:
        name = match["name"]
        default: str | None = match["default"]
        value = variables.get(name, default)
        if value is None:
            raise UnsetVariableError(name)
        if name in variables and in_secret:
            remember_secret(value)
        elif name in variables and (at_run_time or looks_secret(name)):
            remember_value(name, value)
        return value

    return _PLACEHOLDER.sub(value_of, text)


def substitute_all(value: Any) -> Any:
    """Replace placeholders in every string of a JSON-like value, for use at run time only.

    Raises:
        VariableError: As `substitute`.
    """
    if isinstance(value, str):
        return substitute(value, at_run_time=True)
    if isinstance(value, SecretStr):
        reveal = substitute(value.get_secret_value(), in_secret=True)
        remember_secret(reveal)
        return SecretStr(reveal)
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
