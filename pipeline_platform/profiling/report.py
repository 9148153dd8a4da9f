"""A profile as people read it on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline_platform.profiling.column_profile import ColumnProfile
from pipeline_platform.profiling.proposals import LEAST_ROWS
from pipeline_platform.profiling.table_profile import TableProfile
from pipeline_platform.redaction import MASK, redact

_MOST_SHOWN = 3
_LONGEST = 24


def report(profile: TableProfile) -> Iterator[RenderableType]:
    """The table of the columns, then each rule with what speaks for it, as a step to paste into a pipeline.

    Args:
        profile: The profile.
    """
    yield _table(profile)
    if profile.rows < LEAST_ROWS:
        yield Text(f"\n{profile.rows:,} rows: no rule is proposed from fewer than {LEAST_ROWS}")
        return
    yield Text(f"\nRules that all {profile.rows:,} rows keep; take those that are meant to hold:")
    for proposal in profile.proposals:
        yield Text("\n" + "\n".join(redact(line) for line in proposal.evidence), style="dim")
        yield Text(f"{json.dumps(proposal.step(), ensure_ascii=False)},")


def _table(profile: TableProfile) -> Table:
    table = Table(caption=f"{profile.rows:,} rows; ~ is an estimate", caption_justify="left")
    for name in ("column", "NULL", "distinct", "min", "max", "length", "most frequent"):
        table.add_column(name, overflow="fold", justify="right" if name in ("NULL", "distinct", "length") else "left")
    for column in profile.columns:
        table.add_row(
            Text.assemble(column.name, "\n", (column.type, "dim")),
            f"{column.nulls / column.rows:.1%}" if column.rows else "",
            _distinct(column),
            *(Text(cell) for cell in _values(column)),
        )
    return table


def _distinct(column: ColumnProfile) -> str:
    if column.values is not None:
        return f"{len(column.values):,}"
    return f"~{column.distinct:,}" if column.distinct is not None else ""


def _values(column: ColumnProfile) -> tuple[str, str, str, str]:
    if column.is_hidden:
        return (MASK, MASK, "", MASK)
    length = "" if column.lengths is None else "-".join(str(one) for one in dict.fromkeys(column.lengths))
    counted = column.values if column.values is not None else column.shapes
    frequent = (f"{_short(value)} {count:,}" for value, count in (counted or ())[:_MOST_SHOWN])
    return (_short(column.least), _short(column.most), length, "\n".join(frequent))


def _short(value: str | None) -> str:
    shown = redact(value) if value is not None else ""
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
