"""Placeholders in the strings of a pipeline: `${env:NAME}`, `${env:NAME:-default}` and `${partition:key}`.

Those of variables, `${var:NAME}`, are replaced before a step is read, in `variables.py`; one that is left has no value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from pydantic import SecretStr

from pipeline_platform.config.permissions import how_to_allow, is_allowed
from pipeline_platform.redaction import looks_secret, remember_secret, remember_value

_ENVIRONMENT = r"\$\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
_VARIABLE = re.compile(_ENVIRONMENT)
# One pattern for both: what a variable's value looks like is not looked at again.
_PLACEHOLDER = re.compile(rf"{_ENVIRONMENT}|\$\{{(?:partition|var):(?P<other>[^}}]*)\}}")
_PARTITION = re.compile(r"\$\{partition:(?P<part>[^}]*)\}")
# With what the platform logs in to Vault, to its own database and to those who watch it.
_OF_THE_PLATFORM = re.compile(
    r"VAULT_.*|OPENLINEAGE_.*|DAGSTER_.*(PASSWORD|TOKEN|SECRET).*|PIPELINE_PLATFORM_.*|SPARK_REMOTE"
)
_RESEMBLES = re.compile(r"\$\{\s*(?:partition|var|env)\b[^}]*\}", re.IGNORECASE)
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
    for match in _VARIABLE.finditer(text):
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
    """Whether the string still waits for a value."""
    return _PLACEHOLDER.search(text) is not None


def is_placeholder(text: str) -> bool:
    """Whether the string is an environment variable and nothing else, so that it holds no value itself."""
    match = _VARIABLE.fullmatch(text)
    return match is not None and not match["default"]


def variable_names(text: str) -> str:
    """The string with every placeholder replaced by the name of what stands for it."""
    return _PLACEHOLDER.sub(lambda match: match["name"] or match["other"], text)


def with_stand_ins(text: str, stand_in: str = "1") -> str:
    """The string with one text for every placeholder, so that SQL can be parsed before the values are known."""
    return _PLACEHOLDER.sub(stand_in, text)


def with_partition_texts(text: str, texts: Mapping[str, str], stand_in: str = "1") -> str:
    """As `with_stand_ins`, but with other texts for those of a partition.

    Args:
        text: The string.
        texts: Texts for `key`, `start` and `end`.
        stand_in: For every other placeholder.
    """
    return with_stand_ins(with_partition(text, texts), stand_in)


def with_partition(text: str, texts: Mapping[str, str]) -> str:
    """The string with the placeholders of a partition replaced, and no others.

    Args:
        text: The string.
        texts: Texts for `key`, `start` and `end`.
    """
    return _PARTITION.sub(lambda match: texts.get(match["part"], match[0]), text)


def partition_parts(value: Any) -> set[str]:
    """What the strings of a JSON-like value use of a partition: `key`, `start`, `end`, or what is none of these."""
    return {match["part"] for text in strings_in(value) for match in _PARTITION.finditer(text)}


# The bound of an interval, in SQL: `day >= DATE '${partition:start}'`, `to_date('${partition:end}') > day`. What may
# stand between are quotes, brackets, the name of a function and what gives a literal its type.
_COMPARED = r"(?:(?<![<>=!-])[<>]=?|\bBETWEEN\b|\bBETWEEN\b(?:(?!\bAND\b).)*\bAND\b)"
_BEFORE_BOUND = re.compile(
    rf"{_COMPARED}\s*(?:\w*\s*\(\s*|(?:DATE|TIMESTAMP\w*)\s*)*['\"]?$", re.IGNORECASE | re.DOTALL
)
_AFTER_BOUND = re.compile(r"['\"]?(?:\s+AS\s+\w+)?[\s)]*(?:<(?!=?>)|>)", re.IGNORECASE)


def has_only_bounds(value: Any) -> bool:
    """Whether the strings of a JSON-like value use a partition only where its start and end bound an interval.

    Then what they say of one partition they say of several that follow each other, too.
    """
    return all(
        match["part"] in ("start", "end")
        and (_BEFORE_BOUND.search(text, 0, match.start()) or _AFTER_BOUND.match(text, match.end()))
        for text in strings_in(value)
        for match in _PARTITION.finditer(text)
    )


def misspelled_placeholders(value: Any) -> list[str]:
    """What in the strings of a JSON-like value looks like a placeholder, and is none; a default is not shown."""
    return [
        re.sub(r":-.*", ":-…}", match[0], flags=re.DOTALL)
        for text in strings_in(value)
        for match in _RESEMBLES.finditer(text)
        if _PLACEHOLDER.fullmatch(match[0]) is None
    ]


def strings_in(value: Any) -> Iterator[str]:
    """Every string of a JSON-like value, secrets included; keys are none."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[Any, Any]", value).values():
            yield from strings_in(item)
    elif isinstance(value, (list, tuple)):
        for item in cast("list[Any]", value):
            yield from strings_in(item)


def substitute(
    text: str,
    environment: Mapping[str, str] | None = None,
    *,
    at_run_time: bool = False,
    in_secret: bool = False,
    partition: Mapping[str, str] | None = None,
) -> str:
    """Replace every placeholder of the environment, and those of a partition if there is one.

    Args:
        text: The string.
        environment: Where to look; the process's environment by default.
        at_run_time: Hide the values from every later output, but numbers, dates and short words.
        in_secret: It is the value of a key for secrets: hide whatever they are.
        partition: Texts for `key`, `start` and `end`.

    Raises:
        UnsetVariableError: A variable without a default is not set.
        RefusedVariableError: A variable holds a credential of the platform's own.
    """
    if (limit := variable_limit(text, in_secret=in_secret)) is not None:
        raise RefusedVariableError(limit)
    variables = os.environ if environment is None else environment

    def value_of(match: re.Match[str]) -> str:
        name: str | None = match["name"]
        if name is None:
            return (partition or {}).get(match["other"], match[0])
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


def substitute_all(value: Any, partition: Mapping[str, str] | None = None) -> Any:
    """Replace placeholders in every string of a JSON-like value, for use at run time only.

    Args:
        value: The value.
        partition: As in `substitute`.

    Raises:
        VariableError: As `substitute`.
    """
    if isinstance(value, str):
        return substitute(value, at_run_time=True, partition=partition)
    if isinstance(value, SecretStr):
        reveal = substitute(value.get_secret_value(), in_secret=True, partition=partition)
        remember_secret(reveal)
        return SecretStr(reveal)
    if isinstance(value, Mapping):
        return {key: substitute_all(item, partition) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [substitute_all(item, partition) for item in cast("list[Any]", value)]
    return value


def unset_variables(value: Any, environment: Mapping[str, str] | None = None) -> list[str]:
    """The variables that the strings of a JSON-like value need, and that are not set, each once.

    Args:
        value: The value.
        environment: Where to look; the process's environment by default.
    """
    variables = os.environ if environment is None else environment
    found: dict[str, None] = {}
    for text in strings_in(value):
        names = (match["name"] for match in _VARIABLE.finditer(text) if match["default"] is None)
        found |= dict.fromkeys(name for name in names if name not in variables)
    return list(found)
