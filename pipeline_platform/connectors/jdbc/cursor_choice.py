"""Which column of a table says what is new in it, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline_platform.connectors.jdbc.catalog import TIMES, CatalogColumn, CatalogTable, Kind

# Longer than most transactions take, and more numbers than are given out meanwhile. What has no zone may also be in one
# whose clock goes back by an hour in autumn.
_LAGS: dict[Kind, str | int] = {"timestamp": "1 hour", "local_timestamp": "2 hours", "date": "1 day", "integer": 10000}
_CHANGE = frozenset({"updated", "modified", "changed", "mtime", "lastmod", "lastupdate", "lastmodified"})
_ACT = frozenset({"update", "modify", "modification", "change"})
_TIME = frozenset({"at", "on", "time", "date", "ts", "timestamp", "datetime", "dt", "tstamp"})
_BESIDE = frozenset({"row", "record", "last", "sys", "utc", "gmt", "tz"})
_CREATED = frozenset({"created", "inserted", "added", "recorded", "occurred", "logged", "received"})
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True)
class CursorChoice:
    """The column that says what is new, or none.

    Without an index, each load still has the database look at all rows.

    Args:
        why: Why this one, or why none.
        column: The column; None if every load has to read the whole table.
        lag: How far each load is to read back.
    """

    why: str
    column: CatalogColumn | None = None
    lag: str | int | None = None

    def __str__(self) -> str:
        return f"{self.column.name}: {self.why}" if self.column is not None else f"none: {self.why}"


def cursor_of(table: CatalogTable, *, append_only: bool = False) -> CursorChoice:
    """The column by which a table is best loaded.

    A column that may hold NULL is none: nobody could say whether such a row is new.

    Args:
        table: The table.
        append_only: Somebody says that its rows are only ever added, and never changed.
    """
    if not table.has_rows_of_its_own:
        return CursorChoice(f"a {table.kind} has no key")
    if append_only:
        return _growing(table)
    changed = [column for column in table.columns if tells_changes(column, table.name)]
    usable = [column for column in changed if _is_usable(column)]
    if not table.key:
        return CursorChoice("there is no key to tell a changed row from a new one")
    if usable:
        return _chosen(table, max(usable, key=lambda one: (one.set_at_changes, one.name in table.indexed)))
    if changed:
        why = "may be NULL" if changed[0].nullable else "has values that a frame can't hold"
        return CursorChoice(f"{changed[0].name} {why}")
    grows = _growing_key(table)
    if grows is not None:
        return CursorChoice(f"or {grows.name}, if rows are only ever added")
    return CursorChoice("no time of the last change")


def tells_changes(column: CatalogColumn, table: str) -> bool:
    """Whether a column holds the time at which its row was last changed.

    `updated_at` and `lastModified` do, and `password_changed_at` does not.

    Args:
        column: The column.
        table: The name of its table, which the column's may repeat.
    """
    if column.kind not in TIMES:
        return False
    if column.set_at_changes:
        return True
    words = set(_words(column.name))
    of_table = {form for word in _words(table) for form in (word, word.removesuffix("s"), word.removesuffix("es"))}
    tells = bool(words & _CHANGE) or bool(words & _ACT and words & {*_TIME, "last"})
    return tells and words <= _CHANGE | _ACT | _TIME | _BESIDE | of_table


def _words(name: str) -> Iterator[str]:
    return (word.lower() for word in _WORDS.findall(name))


def _growing(table: CatalogTable) -> CursorChoice:
    key = _growing_key(table)
    if key is not None:
        return CursorChoice("the key grows, and rows are only ever added", key, _LAGS["integer"])
    times = [
        column
        for column in table.columns
        if column.kind in TIMES
        and _is_usable(column)
        and (set(_words(column.name)) & _CREATED or tells_changes(column, table.name))
    ]
    if not times:
        return CursorChoice("no key that grows, and no time that is never NULL")
    return _chosen(table, max(times, key=lambda one: one.name in table.indexed))


def _growing_key(table: CatalogTable) -> CatalogColumn | None:
    """The only column of the key, if the system gives it larger and larger numbers."""
    if len(table.key) != 1:
        return None
    column = table.columns_by_name[table.key[0]]
    return column if column.grows and not column.nullable else None


def _is_usable(column: CatalogColumn) -> bool:
    # Neither NULL nor what a frame can't hold has a place in an order.
    return not column.nullable and column.care is None


def _chosen(table: CatalogTable, column: CatalogColumn) -> CursorChoice:
    sets = ", set at each change" if column.set_at_changes else ""
    index = "indexed" if column.name in table.indexed else "not indexed"
    return CursorChoice(f"{column.type}, never NULL{sets}, {index}", column, _LAGS[column.kind])
