"""Takes rows out of csv and json files so that every other byte of them stays as it is."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Self, cast

from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.erasing.key_values import KeyColumn
from pipeline_platform.connectors.files.erasing.parquet_rows import RowsIn, text_pattern
from pipeline_platform.exceptions import PipelineExecutionException

Values = Mapping[str, frozenset[str]]
"""By column, the values as text."""
Kinds = Mapping[str, Any]
"""By column, pyarrow's type of it."""


@dataclass(frozen=True)
class CsvRows:
    """A csv file as its sink writes it.

    Args:
        dialect: How values are set apart.
        has_header: Whether the first record has the names.
        names: The columns of files that have no header; None if they are not known.
        encoding: Of the characters.
        line_sep: What ends a record.
        null: The text that is NULL, which no key is.
        kinds: pyarrow's types of columns, as far as they are known.
    """

    dialect: CsvDialect
    has_header: bool
    names: Sequence[str] | None
    encoding: str
    line_sep: str
    null: str
    kinds: Kinds = field(default_factory=dict[str, Any])

    def typed(self, kinds: Kinds) -> Self:
        """The same with the types of columns."""
        return replace(self, kinds=kinds)

    def columns(self, data: bytes) -> Sequence[str]:
        """The columns of a file."""
        if not self.has_header:
            return self.names or ()
        return next(self._parsed(_text(data, self.encoding)), list[str]())

    def total(self, data: bytes) -> int:
        """How many rows a file has."""
        return sum(1 for _ in self._parsed(_text(data, self.encoding))) - self.has_header

    def count(self, data: bytes, wanted: Values, texts: frozenset[str]) -> RowsIn:
        """The rows of a file that have one of the values, as Python's own reader of csv finds them."""
        names, pattern = self.columns(data), re.compile(text_pattern(texts)) if texts else None
        rows = alike = within = 0
        keys, unsearched, doubts = _keys(wanted, self.kinds), set[str](), set[str]()
        for number, record in enumerate(self._parsed(_text(data, self.encoding))):
            if number == 0 and self.has_header:
                continue
            cells = self._cells(record, names, keys)
            unsearched |= {reason for key, cell in cells if (reason := key.why_unclear(cell))}
            doubts |= {reason for key, cell in cells if (reason := key.other_spelling(cell))}
            if any(key.has(cell) for key, cell in cells):
                rows += 1
            elif pattern is not None and any(map(pattern.search, record)):
                within += 1
            alike += _is_alike(dict(zip(names, record, strict=False)), wanted)
        return RowsIn(rows, alike, within, frozenset(unsearched), frozenset(doubts))

    def without(self, data: bytes, wanted: Values) -> bytes:
        """The file without the rows.

        Raises:
            PipelineExecutionException: It is not as the sink writes it, so that a row can't be cut out surely.
        """
        text, names = _text(data, self.encoding), self.columns(data)
        records = [found[0] for found in self._record.finditer(text) if found[0]]
        parsed = list(self._parsed(text))
        # A line without anything is no record for Python.
        filled = [record for record in records if record.strip("\r\n")]
        if "".join(records) != text or len(filled) != len(parsed):
            raise _not_ours("csv", "its quotes are not as the pipeline writes them")
        keys = _keys(wanted, self.kinds)
        theirs = {
            place
            for place, record in enumerate(parsed)
            if not (place == 0 and self.has_header)
            and any(key.has(cell) for key, cell in self._cells(record, names, keys))
        }
        kept: list[str] = []
        place = -1
        for record in records:
            place += 1 if record.strip("\r\n") else 0
            if not record.strip("\r\n") or place not in theirs:
                kept.append(record)
        left = "".join(kept)
        if list(self._parsed(left)) != [record for at, record in enumerate(parsed) if at not in theirs]:
            raise _not_ours("csv", "without the rows it would not read the same")
        return left.encode(self.encoding)

    def _cells(
        self, record: Sequence[str], names: Sequence[str], keys: Mapping[str, KeyColumn]
    ) -> list[tuple[KeyColumn, str]]:
        """The values of a record that may be one of a key, with their columns."""
        cells = zip(names, record, strict=False)
        return [(keys[name], value) for name, value in cells if name in keys and value != self.null]

    @property
    def _record(self) -> re.Pattern[str]:
        quote, escape, end = (re.escape(text) for text in (self.dialect.quote, self.dialect.escape, self.line_sep))
        inner = rf"(?:[^{quote}]|{quote}{quote})*" if quote == escape else rf"(?:[^{quote}{escape}]|{escape}.)*"
        return re.compile(rf"(?:{quote}{inner}{quote}|(?!{end})[^{quote}])*(?:{end}|\Z)", re.DOTALL)

    def _parsed(self, text: str) -> Iterator[list[str]]:
        is_doubled = self.dialect.escape == self.dialect.quote
        lines = io.StringIO(text, newline="")
        read = csv.reader(
            lines,
            delimiter=self.dialect.delimiter,
            quotechar=self.dialect.quote,
            doublequote=is_doubled,
            escapechar=None if is_doubled else self.dialect.escape,
        )
        return (record for record in read if record)


@dataclass(frozen=True)
class JsonRows:
    """A json file as its sink writes it: a record in each line.

    Args:
        encoding: Of the characters.
        line_sep: What ends a record.
        kinds: pyarrow's types of columns, as far as they are known.
    """

    encoding: str
    line_sep: str
    kinds: Kinds = field(default_factory=dict[str, Any])

    def typed(self, kinds: Kinds) -> Self:
        """The same with the types of columns."""
        return replace(self, kinds=kinds)

    def columns(self, data: bytes) -> Sequence[str]:
        """The columns of a file."""
        return list(dict.fromkeys(name for record in map(_record, self._lines(data)) for name in record))

    def total(self, data: bytes) -> int:
        """How many rows a file has."""
        return len(self._lines(data))

    def count(self, data: bytes, wanted: Values, texts: frozenset[str]) -> RowsIn:
        """The rows of a file that have one of the values."""
        pattern = re.compile(text_pattern(texts)) if texts else None
        rows = alike = within = 0
        keys, unsearched, doubts = _keys(wanted, self.kinds), set[str](), set[str]()
        for line in self._lines(data):
            record = _record(line)
            unsearched |= {reason for key in keys.values() if (reason := key.why_unclear(record.get(key.name)))}
            doubts |= {reason for key in keys.values() if (reason := key.other_spelling(record.get(key.name)))}
            if _has_value(record, keys):
                rows += 1
            elif pattern is not None and pattern.search(line):
                within += 1
            alike += _is_alike({name: value for name, value in record.items() if isinstance(value, str)}, wanted)
        return RowsIn(rows, alike, within, frozenset(unsearched), frozenset(doubts))

    def without(self, data: bytes, wanted: Values) -> bytes:
        """The file without the rows.

        Raises:
            PipelineExecutionException: A line is no record.
        """
        keys, pieces = _keys(wanted, self.kinds), _text(data, self.encoding).split(self.line_sep)
        kept = [piece for piece in pieces if not piece.strip() or not _has_value(_record(piece), keys)]
        left = self.line_sep.join(kept)
        return left.encode(self.encoding)

    def _lines(self, data: bytes) -> list[str]:
        return [line for line in _text(data, self.encoding).split(self.line_sep) if line.strip()]


def _record(line: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(line, parse_float=Decimal)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _not_ours("json", "a line of it is no object")
    return cast("dict[str, Any]", found)


def _keys(wanted: Values, kinds: Kinds) -> dict[str, KeyColumn]:
    return {name: KeyColumn(name, kinds.get(name), values) for name, values in wanted.items()}


def _has_value(record: Mapping[str, Any], keys: Mapping[str, KeyColumn]) -> bool:
    return any(key.has(record.get(key.name)) for key in keys.values())


def _is_alike(record: Mapping[str, str], wanted: Values) -> bool:
    return any(
        record[name] not in values and record[name].strip().lower() in {value.strip().lower() for value in values}
        for name, values in wanted.items()
        if name in record
    )


def _text(data: bytes, encoding: str) -> str:
    """The characters of a file, of which the same bytes can be made again."""
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        text = None
    if text is None or text.encode(encoding) != data:
        raise _not_ours("text", f"it can't be read as {encoding} and written as the same bytes")
    return text


def _not_ours(kind: str, why: str) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"a {kind} file can't be written again with all other rows as they are: {why}",
        hint="erase the rows from it yourself, or load it again from a source that no longer has them",
    )
