"""How csv files are written, and the options by which Spark reads such files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.connectors.files.text_values import Formats
from pipeline_platform.frames.columns import HELPER_PREFIX

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType

CORRUPT = f"{HELPER_PREFIX}corrupt"
"""The column in which Spark leaves the text of a record that it finds fault with."""
NO_NULL = "\0null"
"""Spark puts this in place of an empty value, and takes it for null; no file has it."""


@dataclass(frozen=True)
class CsvFormat:
    """How csv files are written.

    Args:
        dialect: How values are set apart.
        has_header: Whether the first record holds the names.
        encoding: Of the text, by Spark's name.
        null_values: Texts that stand for null, beside an empty one without quotes.
        formats: Patterns of dates and times.
        is_split: Whether a file is read in parts, cut at its lines.
        options: Other options of Spark's reader.
        ends: What `csv_malformed.file_end` gives for the files that may end within quotes.
    """

    dialect: CsvDialect
    has_header: bool
    encoding: str
    null_values: tuple[str, ...]
    formats: Formats
    is_split: bool
    options: Mapping[str, str]
    ends: frozenset[str] = frozenset()

    def reader_options(self, *, checks_header: bool) -> dict[str, str]:
        """Options of Spark's reader."""
        own = {
            "header": _flag(self.has_header),
            "multiLine": _flag(not self.is_split),
            "encoding": self.encoding,
            "columnPruning": "false",
            # Where the next record begins is not known after a broken quote.
            "unescapedQuoteHandling": "RAISE_ERROR",
            "enforceSchema": _flag(not checks_header),
        }
        return {**self.record_options(), **own}

    def record_options(self) -> dict[str, str]:
        """Options of a parser of one record."""
        dialect = self.dialect
        return {
            "sep": dialect.delimiter,
            "quote": dialect.quote,
            "escape": dialect.escape,
            # The parser's own is NUL where a quote is escaped by a quote: it would drop each NUL in quotes.
            "charToEscapeQuoteEscaping": dialect.escape,
            "mode": "PERMISSIVE",
            "columnNameOfCorruptRecord": CORRUPT,
            "nullValue": self.null_values[0] if self.null_values else NO_NULL,
            "emptyValue": "",
            **({"comment": dialect.comment} if dialect.comment is not None else {}),
            **self.options,
        }

    @property
    def line_sep(self) -> str | None:
        """What the options say that ends a line; None for any of the usual line ends."""
        return option_of(self.options, "lineSep")

    def with_line_feeds(self, text: str) -> str:
        """The text with a line feed where the options say that a line ends."""
        return text if self.line_sep is None else text.replace(self.line_sep, "\n")

    def writing_options(self) -> dict[str, str]:
        """Options by which values are put together to a record again."""
        dialect = self.dialect
        return {
            "sep": dialect.delimiter,
            "quote": dialect.quote,
            "escape": dialect.escape,
            "emptyValue": dialect.quote * 2,
            "ignoreLeadingWhiteSpace": "false",
            "ignoreTrailingWhiteSpace": "false",
        }

    def trimmed(self, header: tuple[str, ...]) -> tuple[str, ...]:
        """The values of a header without the white space that Spark's options say to ignore."""
        if (option_of(self.options, "ignoreLeadingWhiteSpace") or "").lower() == "true":
            header = tuple(value.lstrip() for value in header)
        if (option_of(self.options, "ignoreTrailingWhiteSpace") or "").lower() == "true":
            header = tuple(value.rstrip() for value in header)
        return header

    def text_or_null(self, value: Column, kind: DataType) -> Column:
        """The text of a value of a type, null for what stands for null; a number is never empty.

        Args:
            value: As Spark's reader gives it, which takes the first text that stands for null as null.
            kind: The type.
        """
        from pyspark.sql import functions as F
        from pyspark.sql import types as T

        nulls = [*self.null_values[1:], *([] if isinstance(kind, T.StringType) else [""])]
        return F.when(~value.isin(nulls), value) if nulls else value


def _flag(value: bool) -> str:
    return str(value).lower()
