"""The table that `quarantine list` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_platform.cli.output import table_console


def show_list(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what is in each quarantine.

    Args:
        rows: For each what is known of it, or why nothing is.
    """
    from datetime import UTC, datetime

    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, pad_edge=False)
    for column, right in (("pipeline", False), ("step", False), ("rows", True), ("rules", False), ("oldest", True)):
        table.add_column(column, justify="right" if right else "left", no_wrap=column in ("pipeline", "step"))
    for column in ("newest", "size", "in a replay"):
        table.add_column(column, justify="right")
    now = datetime.now(UTC)
    for row in rows:
        if row["error"]:
            table.add_row(row["pipeline"], row["step"], "?", Text(row["error"], style="red"))
            continue
        rules = "\n".join(f"{rule}: {count:,}" for rule, count in row["by_rule"].items())
        size = row.get("table_bytes")
        table.add_row(
            row["pipeline"],
            row["step"],
            f"{row['rows']:,}",
            Text(rules or "–"),
            *(_age(now - row[at]) if row.get(at) else "–" for at in ("oldest", "newest")),
            _size(size) if size else "–",
            f"{row['pending']:,}" if row.get("pending") else "–",
        )
    console = table_console()
    console.print(table)


def _age(age: Any) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _size(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB" if size >= 1_000_000 else f"{size / 1_000:,.1f} kB"
