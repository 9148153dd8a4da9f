"""What pydantic finds wrong, in the words of the format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

Keys = tuple[str | int, ...]
# What pydantic adds to the path of a key of a dict, to tell it from its value.
_OF_KEY = "[key]"


@dataclass(frozen=True)
class FormatError:
    """Something in a config that the format does not allow.

    Args:
        keys: Keys and indices that lead to it.
        message: What is wrong and what was expected.
        kind: `unknown` for a key that does not exist, `key` for one that has the wrong form, `missing` for one that has
            to be there, `type` for a value of the wrong JSON type, `value` for the rest.
        allowed: The values to choose from, where there are few.
        offset: The character of a string it is at, counted from 0; None for the string as a whole.
        is_between: Whether it is what keys are together that is not allowed, rather than one of them.
    """

    keys: Keys
    message: str
    kind: str = "value"
    allowed: tuple[str, ...] = ()
    offset: int | None = None
    is_between: bool = False


def format_errors(error: ValidationError) -> Iterator[FormatError]:
    """Every mistake that pydantic found; one that a model found may name its key, or keys, in the error's context."""
    unknown: set[Keys] = set()
    for detail in error.errors(include_url=False, include_input=False):
        context = detail.get("ctx", {})
        keys: Keys = tuple(detail["loc"])
        if "key" in context:
            keys = (*keys, str(context["key"]))
        keys = (*keys, *context.get("keys", ()))
        kind = detail["type"]
        is_between = not detail["loc"]
        if any(keys[: len(key)] == key for key in unknown):
            continue
        if kind == "extra_forbidden":
            unknown.add(keys)
            yield FormatError(keys, f"unknown key '{keys[-1]}'", "unknown")
        elif kind == "missing":
            yield FormatError(keys, f"the key '{keys[-1]}' is missing", "missing")
        elif kind == "literal_error":
            expected = str(context["expected"])
            yield FormatError(keys, f"expected {expected}", allowed=tuple(re.findall(r"'([^']*)'", expected)))
        else:
            say = _MESSAGES.get(kind)
            message = say(context) if say else _lower_first(detail["msg"].removeprefix("Value error, "))
            if keys[-1:] == (_OF_KEY,):
                yield FormatError(keys[:-1], message, "key")
                continue
            yield FormatError(
                keys,
                message,
                "type" if kind in _WRONG_TYPE else "value",
                offset=context.get("offset"),
                is_between=is_between,
            )


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


_MESSAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "string_type": lambda _: "expected a string",
    "list_type": lambda _: "expected a list",
    "dict_type": lambda _: "expected an object",
    "model_type": lambda _: "expected an object",
    "int_type": lambda _: "expected an integer",
    "float_type": lambda _: "expected a number",
    "bool_type": lambda _: "expected true or false",
    "string_too_short": lambda _: "must not be empty",
    "too_short": lambda context: f"expected at least {context['min_length']}, found {context['actual_length']}",
    "greater_than": lambda context: f"must be greater than {_plain(context['gt'])}",
    "greater_than_equal": lambda context: f"must be {_plain(context['ge'])} or more",
    "less_than_equal": lambda context: f"must be {_plain(context['le'])} or less",
    "string_pattern_mismatch": lambda context: f"must match {context['pattern']}",
}

_WRONG_TYPE = {*(kind for kind in _MESSAGES if kind.endswith("_type")), "integer", "number"}
