"""What the first and last characters of a csv file say: its header, how lines end, whether the last quote is closed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class CsvDialect:
    """How values are set apart.

    Args:
        delimiter: Between two values.
        quote: Around a value.
        escape: Before a quote within a value; the quote itself, as in RFC 4180.
        comment: What lines begin with that are skipped; None for no such lines.
    """

    delimiter: str
    quote: str
    escape: str
    comment: str | None


def header_of(text: str, is_whole: bool, dialect: CsvDialect) -> tuple[str, ...] | None:
    """The values of the first record; None where it can't be told, () for no record.

    Args:
        text: The first characters of a file.
        is_whole: Whether they are all.
        dialect: How values are set apart.
    """
    if len(dialect.delimiter) != 1:
        return None
    lines = io.StringIO(text, newline="")
    try:
        header = next(_reader(_records_begin(lines, dialect.comment), dialect), list[str]())
    except csv.Error:
        return None
    is_cut = not is_whole and not lines.read(1)
    return None if is_cut else tuple(header)


def _records_begin(lines: io.StringIO, comment: str | None) -> Iterator[str]:
    """The lines, without blank ones and comments before the first record."""
    begun = False
    for line in lines:
        begun = begun or not (line.strip() == "" or (comment is not None and line.startswith(comment)))
        if begun:
            yield line


def ends_in_crlf(text: str, dialect: CsvDialect) -> bool:
    """Whether each line ends in a carriage return and a line feed, those within quotes left aside.

    Args:
        text: The first characters of a file.
        dialect: How values are set apart.
    """
    bare = _without_quoted(text, dialect)
    return "\r\n" in bare and _LONE_LINE_END.search(bare) is None


def has_mixed_line_ends(text: str, dialect: CsvDialect) -> bool:
    """Whether some lines end in a carriage return and a line feed, and others in one of them.

    Args:
        text: The first characters of a file.
        dialect: How values are set apart.
    """
    bare = _without_quoted(text, dialect)
    return "\r\n" in bare and _LONE_LINE_END.search(bare) is not None


def ends_in_quotes(text: str, dialect: CsvDialect, *, is_whole: bool) -> bool | None:
    """Whether a file ends within a quoted value; None if its last characters do not tell.

    Args:
        text: The last characters of the file.
        dialect: How values are set apart.
        is_whole: Whether they are all.
    """
    if len(dialect.delimiter) != 1:
        # Python's parser takes one character.
        text, dialect = text.replace(dialect.delimiter, _UNIT), replace(dialect, delimiter=_UNIT)
    if dialect.comment is not None:
        without = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(dialect.comment))
        plain = replace(dialect, comment=None)
        # A line that begins so may stand within quotes too.
        found = {ends_in_quotes(one, plain, is_whole=is_whole) for one in (text, without)}
        return found.pop() if len(found) == 1 else None if None in found else False
    if is_whole:
        return _fault(text, dialect) == _OPEN
    if dialect.quote not in text:
        return None
    # They may begin within a quoted value, or not; read in the wrong way, there are quotes where none may be.
    faults = {_fault(text, dialect), _fault(dialect.quote + text, dialect)}
    return _OPEN in faults and None not in faults


_LONE_LINE_END = re.compile(r"(?<!\r)\n|\r(?!\n|$)")


def _without_quoted(text: str, dialect: CsvDialect) -> str:
    quote = re.escape(dialect.quote)
    if dialect.escape != dialect.quote:
        text = re.sub(f"{re.escape(dialect.escape)}.", "", text, flags=re.DOTALL)
    return re.sub(f"{quote}[^{quote}]*({quote}|$)", "", text)


# A character of ASCII that separates units.
_UNIT = "\x1f"
# What Python's parser says of a text that ends within quotes.
_OPEN = "unexpected end of data"


def _fault(text: str, dialect: CsvDialect) -> str | None:
    try:
        for _ in _reader(io.StringIO(text, newline=""), dialect, strict=True):
            pass
    except csv.Error as error:
        return str(error)
    return None


def _reader(lines: Iterable[str], dialect: CsvDialect, *, strict: bool = False) -> Iterator[list[str]]:
    doubles = dialect.escape == dialect.quote
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        doublequote=doubles,
        escapechar=None if doubles else dialect.escape,
        strict=strict,
    )
