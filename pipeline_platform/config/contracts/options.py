"""`logicalTypeOptions` of a data contract: which there are, what they may be, and which contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal, cast

from pipeline_platform.config.contracts.values import ValueKind, WrongValue, value_of
from pipeline_platform.config.patterns import pattern_error

LogicalType = Literal[
    "string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean", "map", "vector"
]

_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"})
_TIME = _BOUNDS | {"timezone", "defaultTimezone"}
OPTIONS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "date": _BOUNDS,
    "timestamp": _TIME,
    "time": _TIME,
    "integer": _BOUNDS | {"multipleOf"},
    "number": _BOUNDS | {"multipleOf"},
    "object": frozenset({"minProperties", "maxProperties", "required"}),
    "array": frozenset({"minItems", "maxItems", "uniqueItems"}),
    "vector": frozenset(
        {"dimensions", "elementType", "distanceMetric", "embeddingModel", "embeddingModelVersion", "normalized"}
    ),
}
"""The options of each logical type that has any."""
_COUNTS = (("minLength", "maxLength"), ("minProperties", "maxProperties"), ("minItems", "maxItems"))
_MOST_DIGITS = 38
KINDS: Mapping[str, ValueKind] = {
    "string": "text", "integer": "number", "number": "number", "boolean": "flag", "date": "date",
    "timestamp": "timestamp",
}  # fmt: skip
"""What the values of a logical type are; those of the others are not compared with anything."""


def option_mistakes(kind: LogicalType, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the options of a logical type, each with the key at fault.

    Args:
        kind: The logical type.
        options: Its options.
    """
    found = [(key, wrong) for key, value in options.items() if (wrong := _wrong_option(kind, key, value)) is not None]
    yield from found or _contradictions(kind, options)


def pattern_mistake(pattern: str) -> str | None:
    """What is wrong with a regular expression wherever it is read; None if nothing is, as far as is known here.

    Args:
        pattern: The expression.
    """
    found = pattern_error(pattern)
    return found[0] if found is not None else None


def _wrong_option(kind: LogicalType, key: str, value: Any) -> str | None:
    """What is wrong with an option of a logical type; None if nothing is."""
    allowed = OPTIONS.get(kind, frozenset[str]())
    if key not in allowed:
        listed = f"; it has {', '.join(sorted(allowed))}" if allowed else ""
        return f"'{key}' is no option of the logical type {kind}{listed}"
    if any(key in pair for pair in _COUNTS):
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return None if is_count else "expected an integer of 0 or more"
    if key in ("pattern", "format", "defaultTimezone"):
        if not isinstance(value, str):
            return "expected a string"
        return pattern_mistake(value) if key == "pattern" else None
    if key in ("uniqueItems", "timezone"):
        return None if isinstance(value, bool) else "expected true or false"
    if key == "required":
        is_names = isinstance(value, list) and all(isinstance(one, str) for one in cast("list[Any]", value))
        return None if is_names else "expected a list of names"
    # Up to v3.0.2 these say of 'minimum' and 'maximum' that they are not allowed themselves.
    if key.startswith("exclusive") and isinstance(value, bool):
        return None
    return _wrong_bound(kind, key, value) if key in _BOUNDS | {"multipleOf"} else None


def _wrong_bound(kind: LogicalType, key: str, value: Any) -> str | None:
    if kind not in ("integer", "number"):
        return None if isinstance(value, str) else "expected a string"
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return "expected a number"
    if not Decimal(value).is_finite():
        return "expected a finite number"
    if key == "multipleOf" and not 0 < value < 10**_MOST_DIGITS:
        return f"must be greater than 0, and of at most {_MOST_DIGITS} digits"
    return None


def _contradictions(kind: LogicalType, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for least, most in _COUNTS:
        if least in options and most in options and options[least] > options[most]:
            yield most, f"no value has a '{least}' of {options[least]} and a '{most}' of {options[most]}"
    for low, low_limit, is_open in _limits(kind, options, "minimum", "exclusiveMinimum"):
        for high, high_limit, is_open_too in _limits(kind, options, "maximum", "exclusiveMaximum"):
            try:
                is_empty = low_limit > high_limit or (low_limit == high_limit and (is_open or is_open_too))
            except TypeError:
                # One has a time zone and the other none.
                continue
            if is_empty:
                yield high, f"no value is within '{low}' {options[low]} and '{high}' {options[high]}"


def _limits(
    kind: LogicalType, options: Mapping[str, Any], plain: str, exclusive: str
) -> Iterator[tuple[str, Any, bool]]:
    """The limits on one side: what says so, the limit, and whether it is excluded itself."""
    for key in (plain, exclusive):
        value = options.get(key)
        if value is None or isinstance(value, bool) or kind not in KINDS:
            continue
        try:
            yield key, value_of(KINDS[kind], value), key == exclusive or options.get(exclusive) is True
        except WrongValue:
            continue
