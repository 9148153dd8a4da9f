"""Which rows of a table a load takes away, whoever has written them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sqlglot import exp

from pipeline_platform.config.sql import checked_expression


@dataclass(frozen=True)
class Replacement:
    """The rows that a load replaces or deletes.

    Args:
        does: What it does, as messages have it, such as `replaces all rows`.
        is_all: Whether these are all rows there are; in a pipeline with partitions, all of those that the run loads.
        condition: SQL that holds for each of them and for each row that the load writes, if there is one.
        is_within_partition: Whether in a pipeline with partitions these are rows of the run's partition alone.
    """

    does: str
    is_all: bool = False
    condition: str | None = None
    is_within_partition: bool = True


ALL_ROWS = Replacement("replaces all rows", is_all=True)
PRESENT_PARTITIONS = Replacement("replaces the partitions that it has rows for")
# No method may lose rows for having said nothing.
UNKNOWN = Replacement("may replace any rows", is_within_partition=False)
_ADDING_MODES = ("append", "merge", "errorIfExists", "ignore")


def replacement_of(mode: str | None) -> Replacement | None:
    """What a load with this `mode` takes away, if its method says no more; None if nothing.

    Args:
        mode: None if it has none.
    """
    if mode == "overwrite":
        return ALL_ROWS
    return None if mode in _ADDING_MODES else UNKNOWN


def hold_together(one: str, other: str) -> bool:
    """Whether two conditions may hold for the same row: unless they ask one column for different values.

    Args:
        one: SQL.
        other: SQL.
    """
    first, second = _values(one), _values(other)
    if first is None or second is None or first[0] != second[0]:
        return True
    return not _are_apart(first[1], second[1])


def holds_for_keys(condition: str, column: str, keys: Collection[str]) -> bool:
    """Whether a condition may hold for a row whose column has one of these values.

    Args:
        condition: SQL.
        column: The column.
        keys: The values, as text.
    """
    found = _values(condition)
    return found is None or found[0] != column.lower() or not _are_apart(found[1], list(keys))


def _values(condition: str) -> tuple[str, list[str]] | None:
    """The column that has to have one of some values, and those; None of any other condition."""
    found = checked_expression(condition)
    match found:
        case exp.EQ(this=exp.Column() as column, expression=exp.Literal() as value):
            values = [value]
        case exp.In(this=exp.Column() as column, expressions=list() as values) if values and not found.args.get(
            "query"
        ):
            pass
        case _:
            return None
    if column.table or not all(isinstance(value, exp.Literal) for value in values):
        return None
    return column.name.lower(), [value.name for value in values]


# Other texts may be one value of a column that is no text, such as '1' and '01', or 't' and 'true'.
_WORD = re.compile(r"(?!(?:t|true|y|yes|f|false|n|no|nan|inf|infinity)$)[a-z][\w -]*", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


def _are_apart(some: Collection[str], others: Collection[str]) -> bool:
    """Whether values are different in whatever type they are compared."""
    values = [*some, *others]
    if not all(map(_WORD.fullmatch, values)) and not all(map(_NUMBER.fullmatch, values)):
        return False
    return not {value.casefold() for value in some} & {value.casefold() for value in others}
