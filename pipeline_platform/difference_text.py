"""How two tables differ, in words: at a terminal, in a report, and in a comment of a pull request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline_platform.engine.table_difference import Example, TableDifference
from pipeline_platform.redaction import MASK, redact

_KINDS = (("~", "changed", "yellow"), ("-", "before", "red"), ("+", "after", "green"), ("2", "repeated", ""))


def difference_lines(found: TableDifference, before: str, after: str) -> Iterator[str]:
    """The difference in lines, without examples.

    Args:
        found: The difference.
        before: What the first table is called.
        after: What the second is called.
    """
    by = f" by {', '.join(found.key)}" if found.key else ""
    yield f"{before}, {_rows(found.rows_before)}, and {after}, {_rows(found.rows_after)}{by}:"
    for one in found.columns:
        if one.before is None or one.after is None:
            yield f"  column {one.name} {one.before or one.after}: only in {after if one.before is None else before}"
        else:
            compared = "" if one.is_compared else ", not compared"
            yield f"  column {one.name}: {one.before} in {before}, {one.after} in {after}{compared}"
    if found.is_same:
        yield "  no difference"
        return
    changed = f", {found.changed:,} changed" if found.key else ""
    only = f"{found.only_before:,} only in {before}, {found.only_after:,} only in {after}"
    in_what = "" if found.is_all_compared else " in what was compared"
    yield f"  {found.same:,} the same{in_what}{changed}, {only}"
    for side, repeated in ((before, found.repeated_before), (after, found.repeated_after)):
        if repeated:
            yield f"  {repeated:,} keys are several times in {side}, and are not compared"
    for name, count in found.changes.items():
        if count:
            yield f"  {name}: changed in {count:,} of {found.matched:,} ({count / found.matched:.1%})"


def shown_difference(found: TableDifference, before: str, after: str, indent: str = "") -> RenderableType:
    """The difference, as it is printed at a terminal.

    Args:
        found: The difference.
        before: What the first table is called.
        after: What the second is called.
        indent: What each line begins with.
    """
    lines: list[RenderableType] = [Text(f"{indent}{line}") for line in difference_lines(found, before, after)]
    if any(found.examples.values()):
        names, rows = example_rows(found)
        table = Table(*names)
        for style, cells in rows:
            table.add_row(*map(Text, cells), style=style)
        lines.append(table)
    return Group(*lines)


def example_rows(found: TableDifference) -> tuple[Sequence[str], Sequence[tuple[str, Sequence[str]]]]:
    """A few of the rows that differ.

    Args:
        found: The difference.

    Returns:
        The columns, and for each row its colour and its cells.
    """
    names = found.key or found.compared
    rows: list[tuple[str, Sequence[str]]] = []
    for mark, kind, style in _KINDS:
        for example in found.examples.get(kind, ()):
            values = [_text(example.key[name]) for name in names]
            rows.append((style, [_mark(mark, example), *values, *([_others(example)] if found.key else [])]))
    return ["", *names, *([""] if found.key else [])], rows


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def _mark(mark: str, example: Example) -> str:
    before, after = example.times
    if mark == "2":
        return f"{before}:{after}"
    times = abs(before - after)
    return f"{mark}{times}" if times > 1 else mark


def _others(example: Example) -> str:
    """The values beside the key: of a changed row those that differ."""
    before, after = example.before or {}, example.after or {}
    if example.changed:
        return ", ".join(f"{name}: {_text(before[name])} → {_text(after[name])}" for name in example.changed)
    return ", ".join(f"{name}: {_text(value)}" for name, value in {**before, **after}.items())


def _text(value: Any) -> str:
    if isinstance(value, str) and value != MASK:
        # Blanks at either end are seen, and the text NULL is told from NULL.
        return json.dumps(redact(value), ensure_ascii=False)
    return "NULL" if value is None else redact(str(value))
