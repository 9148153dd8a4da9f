"""Rules that the rows of a table seem to keep by what they are, and not by chance."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from pipeline_platform.profiling.column_profile import PATTERNS, ColumnProfile
from pipeline_platform.redaction import redact

LEAST_ROWS = 100
"""From fewer rows nothing is concluded."""
_MOST_LISTED = 20
_LEAST_OF_EACH = 5
_ROWS_FOR_EACH = 20
_MOST_KEYS = 3
_MOST_NULLS = 0.2
_LONGEST_SHAPE = 40
_CLASSES = {"A": "[A-Z]", "a": "[a-z]", "9": "[0-9]"}


@dataclass(frozen=True)
class Proposal:
    """A rule that may be one of the data.

    Args:
        method: Of the validation.
        config: Its config.
        evidence: What in the data speaks for it, each in a line.
    """

    method: str
    config: Mapping[str, Any]
    evidence: tuple[str, ...]

    def step(self) -> dict[str, Any]:
        """The rule as a step of a pipeline, which tells of rows that break it and stops nothing."""
        return {"type": "validate", "method": self.method, "config": {**self.config, "onFailure": "warn"}}


def proposals(columns: Sequence[ColumnProfile]) -> list[Proposal]:
    """The rules that a profile speaks for; whether all rows keep them is for the rules themselves to say.

    Args:
        columns: What is in the columns.
    """
    rows = columns[0].rows if columns else 0
    if rows < LEAST_ROWS:
        return []
    keys = _keys(columns)
    found = [Proposal("validateRowCount", {"min": 1}, (f"there are {rows:,} rows",))]
    found += [proposal for column in columns for proposal in _nulls(column)]
    found += [
        Proposal("validateUnique", {"columns": [key.name]}, (f"{key.name}: {key.filled:,} rows, and no value twice",))
        for key in keys
    ]
    found += [proposal for column in columns for proposal in _numbers(column) if column not in keys]
    found += [proposal for column in columns for proposal in _texts(column)]
    return found


def merged(found: Sequence[Proposal]) -> list[Proposal]:
    """The rules of one method about several columns as one, but for those about keys.

    Args:
        found: The rules.
    """
    result: list[Proposal] = []
    for method, group in groupby(sorted(found, key=lambda one: _ORDER.index(one.method)), key=lambda one: one.method):
        several = list(group)
        if method in ("validateUnique", "validateRowCount"):
            result += several
            continue
        [(key, first)] = several[0].config.items()
        values = [one.config[key] for one in several]
        together: Any = (
            [name for names in values for name in names]
            if isinstance(first, list)
            else {name: value for one in values for name, value in one.items()}
        )
        result.append(
            Proposal(method, {key: together}, tuple(dict.fromkeys(line for one in several for line in one.evidence)))
        )
    return result


_ORDER = (
    "validateRowCount",
    "validateNulls",
    "validateUnique",
    "validateValues",
    "validateRanges",
    "validatePatterns",
    "validateLengths",
    "validateStatistics",
)


def _keys(columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """The columns that may be keys: texts and whole numbers, none NULL, and nearly all of them different."""
    likely = [
        column
        for column in columns
        if column.kind in ("text", "whole") and column.nulls == 0 and (column.distinct or 0) >= 0.9 * column.rows
    ]
    return likely[:_MOST_KEYS]


def _nulls(column: ColumnProfile) -> Iterator[Proposal]:
    if column.nulls == 0:
        evidence = f"0 of {column.rows:,} rows are NULL in any of these columns"
        yield Proposal("validateNulls", {"notNullColumns": [column.name]}, (evidence,))
        return
    share = column.nulls / column.rows
    if share <= _MOST_NULLS:
        bound = math.ceil(share * 2 * 100) / 100
        evidence = (
            f"{column.name}: {column.nulls:,} of {column.rows:,} rows are NULL ({share:.2%}); the bound is twice that"
        )
        yield Proposal("validateStatistics", {"columns": {column.name: {"nullShare": {"max": bound}}}}, (evidence,))


def _numbers(column: ColumnProfile) -> Iterator[Proposal]:
    if column.kind not in ("whole", "number") or column.least is None or column.most is None or column.nans:
        return
    least, most = Decimal(column.least), Decimal(column.most)
    if column.filled < LEAST_ROWS or not (least >= 0 and most > 0 and most.is_finite()):
        return
    is_share = column.kind == "number" and most <= 1 and (column.distinct or 0) > _MOST_LISTED
    bounds = {"min": 0, "max": 1} if is_share else {"min": 0}
    evidence = f"{column.name}: {column.filled:,} values from {column.least} to {column.most}, none below 0"
    yield Proposal("validateRanges", {"ranges": {column.name: bounds}}, (evidence,))


def _texts(column: ColumnProfile) -> Iterator[Proposal]:
    if column.kind != "text" or column.is_hidden or column.filled < LEAST_ROWS:
        return
    name, filled = column.name, f"{column.filled:,}"
    if (listed := _listed(column)) is not None:
        counts = ", ".join(f"{value!r} {count:,}" for value, count in listed[:5])
        more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
        evidence = f"{name}: {filled} values, all of them one of {len(listed)}: {counts}{more}"
        yield Proposal("validateValues", {"values": {name: sorted(value for value, _ in listed)}}, (evidence,))
        return
    for known, pattern in PATTERNS.items():
        if column.matches.get(known) == column.filled:
            yield Proposal(
                "validatePatterns", {"patterns": {name: pattern}}, (f"{name}: all {filled} look like one {known}",)
            )
            return
    if (shape := _one_shape(column)) is not None:
        evidence = f"{name}: all {filled} have the form {shape}"
        yield Proposal("validatePatterns", {"patterns": {name: _pattern(shape)}}, (evidence,))
        return
    if column.lengths is not None and column.lengths[0] == column.lengths[1] and _is_varied(column):
        length = column.lengths[0]
        evidence = f"{name}: all {filled} have {length} characters"
        yield Proposal("validateLengths", {"lengths": {name: {"min": length, "max": length}}}, (evidence,))


def _is_varied(column: ColumnProfile) -> bool:
    return (column.distinct or 0) > _MOST_LISTED


def _listed(column: ColumnProfile) -> Sequence[tuple[str, int]] | None:
    """The values of a column that seems to have no others; None if more may come."""
    values = column.values
    if values is None or not 2 <= len(values) <= _MOST_LISTED:
        return None
    if any(redact(value) != value for value, _ in values):
        return None
    is_settled = min(count for _, count in values) >= _LEAST_OF_EACH and column.filled >= _ROWS_FOR_EACH * len(values)
    return values if is_settled else None


def _one_shape(column: ColumnProfile) -> str | None:
    if column.shapes is None or len(column.shapes) != 1 or not _is_varied(column):
        return None
    [(shape, _)] = column.shapes
    is_telling = 0 < len(shape) <= _LONGEST_SHAPE and shape.isascii() and shape.isprintable()
    return shape if is_telling else None


def _pattern(shape: str) -> str:
    """A shape as a regular expression of Java."""
    parts: list[str] = []
    for letter, run in groupby(shape):
        count = len(list(run))
        one = _CLASSES.get(letter) or (re.escape(letter) if letter in r".^$*+?()[]{}|\\" else letter)
        parts.append(one + (f"{{{count}}}" if count > 1 else ""))
    return f"^{''.join(parts)}\\z"
