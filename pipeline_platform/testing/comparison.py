"""Whether two sets of rows are the same, and where they differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

Values = tuple[Any, ...]

_CLOSE = 1e-9
"""Of numbers with a fraction: by which part of them they may differ and be the same, as sums depend on the order."""


@dataclass(frozen=True)
class Difference:
    """Where rows differ from those that were expected.

    Args:
        columns: The columns that are compared.
        changed: Pairs of an expected row and one that was found in its place.
        missing: Expected rows that are not there.
        unexpected: Rows that nobody expected.
        expected: How many rows were expected.
        found: How many there are.
    """

    columns: Sequence[str]
    changed: Sequence[tuple[Values, Values]]
    missing: Sequence[Values]
    unexpected: Sequence[Values]
    expected: int
    found: int

    def told(self) -> str:
        """How many rows differ, in words."""
        parts = (
            (len(self.changed), "with another value"),
            (len(self.missing), "missing"),
            (len(self.unexpected), "not expected"),
        )
        told = ", ".join(f"{count} {what}" for count, what in parts if count)
        return f"the rows are others: {told}; {self.expected} are expected, and there are {self.found}"


def difference(columns: Sequence[str], expected: Sequence[Values], found: Sequence[Values]) -> Difference | None:
    """How two sets of rows differ, whatever their order; None if they don't.

    A row that is there twice has to be expected twice. Numbers with a fraction may differ by a billionth of them.

    Args:
        columns: Names of the values of a row.
        expected: The rows that are wanted.
        found: The rows that are there.
    """
    missing, unexpected = _left(expected, found)
    missing, unexpected = _without_close(missing, unexpected)
    if not missing and not unexpected:
        return None
    changed: list[tuple[Values, Values]] = []
    for wanted in list(missing):
        nearest = max(unexpected, key=lambda row: _alike(wanted, row), default=None)
        if nearest is not None and _alike(wanted, nearest) > 0:
            changed.append((wanted, nearest))
            missing.remove(wanted)
            unexpected.remove(nearest)
    return Difference(columns, changed, missing, unexpected, len(expected), len(found))


def same(one: object, other: object) -> bool:
    """Whether two values are the same, NULL and NaN included.

    Args:
        one: A value as Spark hands it to Python.
        other: Another one.
    """
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_CLOSE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        first, second = cast("Mapping[Any, Any]", one), cast("Mapping[Any, Any]", other)
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        first_parts, second_parts = cast("Sequence[Any]", one), cast("Sequence[Any]", other)
        return len(first_parts) == len(second_parts) and all(map(same, first_parts, second_parts))
    kinds: list[Any] = [one, other]
    return type(kinds[0]) is type(kinds[1]) and one == other


def _left(expected: Iterable[Values], found: Iterable[Values]) -> tuple[list[Values], list[Values]]:
    """The rows that have no equal among the others: of those expected, and of those found."""
    counts = Counter(map(_key, found))
    missing: list[Values] = []
    for row in expected:
        key = _key(row)
        if counts[key] > 0:
            counts[key] -= 1
        else:
            missing.append(row)
    unexpected: list[Values] = []
    for row in found:
        key = _key(row)
        if counts[key] > 0:
            counts[key] -= 1
            unexpected.append(row)
    return missing, unexpected


def _without_close(missing: Sequence[Values], unexpected: Sequence[Values]) -> tuple[list[Values], list[Values]]:
    left = list(unexpected)
    still: list[Values] = []
    for wanted in missing:
        match = next((row for row in left if same(wanted, row)), None)
        if match is None:
            still.append(wanted)
        else:
            left.remove(match)
    return still, left


def _alike(one: Values, other: Values) -> int:
    """In how many columns two rows are the same."""
    return sum(map(same, one, other))


def _key(value: Any) -> Any:
    """Something that can be looked up, and is equal for equal values."""
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return "map", frozenset((_key(key), _key(one)) for key, one in items)
    if isinstance(value, (list, tuple)):
        return "list", tuple(_key(one) for one in cast("Sequence[Any]", value))
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, bytearray):
        return bytes(value)
    return type(value), value
