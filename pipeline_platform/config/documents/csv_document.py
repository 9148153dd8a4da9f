"""A CSV file as a list of objects, with the place of every cell in it."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.document import Document, DocumentError
from pipeline_platform.config.documents.json_positions import JsonError, LocatedValue

# A cell as RFC 4180 has it, and what ends it.
_CELL = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^",\r\n]*))(?P<end>,|\r\n|\n|\r|\Z)')


def parse_csv(text: str, path: Path) -> Document:
    """Read CSV whose first line names the columns: an object for each other line, without its empty cells.

    Args:
        text: The text; lines that are empty are left out.
        path: Named in errors.

    Raises:
        DocumentError: It is not CSV.
    """
    text = text.removeprefix("\ufeff")
    header, *lines = _lines(text, path) or [[]]
    if not header:
        raise DocumentError(ConfigError(path, 1, 1, "the file is empty; expected a line with names of variables"))
    flaws: list[JsonError] = []
    columns: dict[str, LocatedValue] = {}
    for cell in header:
        if cell.value in columns:
            message = f"the column '{cell.value}' appears twice"
            flaws.append(JsonError(cell.start, message, columns[cell.value].start))
        columns.setdefault(cell.value, cell)
    rows: list[LocatedValue] = []
    for line in lines:
        if len(line) != len(header):
            message = f"expected {len(header)} cells, as in the first line, not {len(line)}"
            flaws.append(JsonError(line[0].start, message))
        parts = {name.value: cell for name, cell in zip(header, line, strict=False) if cell.value}
        for name, cell in parts.items():
            cell.key_start = columns[name].start
        values = {name: cell.value for name, cell in parts.items()}
        rows.append(LocatedValue(values, line[0].start, line[-1].end, parts))
    root = LocatedValue([row.value for row in rows], 0, len(text), rows)
    return Document(path, text, root, flaws)


def _lines(text: str, path: Path) -> list[list[LocatedValue]]:
    lines: list[list[LocatedValue]] = []
    cells: list[LocatedValue] = []
    at = 0
    while at < len(text) or cells:
        found = _CELL.match(text, at)
        if found is None:
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            message = "not CSV: a quote that does not begin or end its cell, or is never closed"
            source = text.splitlines()[line - 1] if "\r" not in text[:at] else None
            raise DocumentError(
                ConfigError(path, line, column, message, "write a quote within a quoted cell twice", source)
            )
        quoted: str | None = found["quoted"]
        value = found["plain"] if quoted is None else quoted.replace('""', '"')
        cells.append(LocatedValue(value, at, found.end() - len(found["end"]), None))
        at = found.end()
        if found["end"] != ",":
            if len(cells) > 1 or value or quoted is not None:
                lines.append(cells)
            cells = []
    return lines
