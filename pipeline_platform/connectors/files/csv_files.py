"""Csv files as a frame: RFC 4180, columns by the names in each header, and a mark on each record that can't be used.

Spark's reader says which records have too many or too few fields, or a value that is no number of the type. What it
takes too easily (`1D`, `2013` for a date, decimals that it rounds) is read as text and converted here. A file is read
as a whole, since a record may go over several lines; a big one is split at its lines, each of which is looked at as
text before it is parsed: no quoted value may go over the end of one, which is told.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.heads import HEAD_BYTES
from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.connectors.files.text_values import Formats, can_be_read, converted, is_read_by_spark, kind_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.frames.json_values import once
from pipeline_platform.steps.malformed import MALFORMED, MALFORMED_RECORD, RECORD, marked_in_file

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructField, StructType

_CORRUPT = f"{HELPER_PREFIX}corrupt"
_LINE = f"{HELPER_PREFIX}line"
_PARSED = f"{HELPER_PREFIX}parsed"
_VALUE = f"{HELPER_PREFIX}value_"
_REASON = f"{HELPER_PREFIX}reason"
_TEXTS = f"{HELPER_PREFIX}texts"
# Spark puts this in place of an empty value, and takes it for null; no file has it.
_NO_NULL = "\0null"
_REPLACED = "\ufffd"
# So many of the last characters tell one file from another.
_END = 200
_LINE_ENDS = "\r\n"
# No text holds them, says Unicode; so a line is one value, whatever stands in it.
_WHOLE_LINE = {
    "sep": "\uffff",
    "quote": "\ufffe",
    "escape": "\ufffe",
    "nullValue": _NO_NULL,
    "maxCharsPerColumn": "-1",
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
}

Reader = Any
"""Spark's reader of a batch or of a stream."""


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
        ends: What `file_end` gives for the files that may end within quotes.
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
            "columnNameOfCorruptRecord": _CORRUPT,
            "nullValue": self.null_values[0] if self.null_values else _NO_NULL,
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


@dataclass(frozen=True)
class CsvGroup:
    """Files with the same header.

    Args:
        header: The values of their first record; None if Spark has to tell.
        names: Of the columns, in the order of the files.
        load: Has Spark's reader read them.
        columns: What the columns are called in the frame; as in the files if it is empty.
        line_sep: What ends a line, where Spark is not to find it out: it makes one of the other in quotes too.
    """

    header: tuple[str, ...] | None
    names: tuple[str, ...]
    load: Callable[[Reader], DataFrame]
    columns: tuple[str, ...] = ()
    line_sep: str | None = None


def column_names(values: Sequence[str], *, has_header: bool) -> tuple[str, ...]:
    """The names of columns by their header, as Spark gives them: one that is empty or there twice gets its number."""
    if not has_header:
        return tuple(f"_c{index}" for index in range(len(values)))
    folded = [value.lower() for value in values]
    return tuple(
        f"_c{index}" if not value else f"{value}{index}" if folded.count(value.lower()) > 1 else value
        for index, value in enumerate(values)
    )


def file_end(text: str) -> str:
    """A hash of the last characters of a file, with which a value ends that was never closed."""
    return hashlib.md5(text.rstrip(_LINE_ENDS)[-_END:].encode(), usedforsecurity=False).hexdigest()


def read_group(
    reader: Reader, group: CsvGroup, wanted: StructType, partitions: StructType, form: CsvFormat
) -> DataFrame:
    """The wanted columns of files with the same header, and a mark on each record that can't be used.

    Args:
        reader: Of a batch or of a stream.
        group: The files.
        wanted: The columns, by name; one that the files lack is null.
        partitions: Columns whose values stand in the names of folders.
        form: How the files are written.

    Raises:
        PipelineExecutionException: Csv files hold no values of a wanted type.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    kinds = {field.name.lower(): field.dataType for field in wanted.fields}
    in_file = {column.lower(): name for column, name in zip(group.columns or group.names, group.names, strict=True)}
    fields = [T.StructField(name, kinds.get(column, T.StringType())) for column, name in in_file.items()]
    for field in fields:
        if not can_be_read(field.dataType):
            raise PipelineExecutionException(
                f"a csv file can't hold values of type {field.dataType.simpleString()}, the type of the column "
                f"'{field.name}'",
                hint="give it a simple type in 'schema', such as STRING, and parse it in a step of its own",
            )
    frame = _raw(reader, group, fields, partitions, form)
    texts = {
        field.name: F.col(quoted(field.name))
        if is_read_by_spark(field.dataType)
        else _text(F.col(quoted(field.name)), field.dataType, form.null_values)
        for field in fields
    }
    values = {
        field.name: converted(texts[field.name], field.dataType, form.formats)
        for field in fields
        if not isinstance(field.dataType, T.StringType) and not is_read_by_spark(field.dataType)
    }
    frame = frame.withColumns({f"{_VALUE}{name}": once(value) for name, value in values.items()})
    read = {name: F.col(quoted(f"{_VALUE}{name}")) if name in values else text for name, text in texts.items()}
    unfit = [
        F.when(texts[field.name].isNotNull() & read[field.name].isNull(), _is_not(field))
        for field in fields
        if field.name in values
    ]
    # Not a part of the reason, where it would be parsed for each column, or in a lambda, which Spark does not compile.
    as_texts = T.StructType([T.StructField(name, T.StringType()) for name in (*group.names, _CORRUPT)])
    parsed = F.from_csv(F.col(_CORRUPT), as_texts.toDDL(), form.record_options())
    frame = frame.withColumn(_TEXTS, once(F.when(F.col(_CORRUPT).isNotNull(), parsed)))
    required = [
        F.when(read[in_file[field.name.lower()]].isNull(), F.lit(f"'{field.name}' is missing or null"))
        for field in wanted.fields
        if not field.nullable and field.name.lower() in in_file
    ]
    frame = frame.withColumn(_REASON, once(F.coalesce(_reason(fields, unfit, form), *required)))
    # Spark gives the text of those alone that it finds fault with.
    values_again = F.to_csv(F.struct(*(quoted(name) for name in group.names)), form.writing_options())
    record = F.coalesce(F.col(_CORRUPT), values_again)
    frame = marked_in_file(frame, F.col(_REASON), record)

    def value(field: StructField) -> Column:
        name = in_file.get(field.name.lower())
        if field.name in partitions.names:
            return F.col(quoted(field.name))
        return F.lit(None).cast(field.dataType) if name is None else read[name]

    return frame.select(*(value(field).alias(field.name) for field in wanted.fields), RECORD, MALFORMED)


def inferred(frames: Sequence[DataFrame], names: Sequence[str]) -> StructType:
    """The type of each column, with one reading: a number, date or boolean if each value is the canonical text of one.

    Args:
        frames: What `texts_of` gives for each group.
        names: Of the columns.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    whole = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
    kinds = whole.agg(*(F.bit_or(kind_of(F.col(quoted(name)))).alias(name) for name in names)).first()
    assert kinds is not None
    return T.StructType([T.StructField(name, _type_of(kinds[index] or 0)) for index, name in enumerate(names)])


def texts_of(reader: Reader, group: CsvGroup, form: CsvFormat) -> DataFrame:
    """The records of files with the same header as texts; those with too many or too few fields left out."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    fields = [T.StructField(name, T.StringType()) for name in group.names]
    frame = _raw(reader, group, fields, T.StructType([]), form)
    texts = {name: _text(F.col(quoted(name)), T.StringType(), form.null_values) for name in group.names}
    empty_is_null = {name: F.nullif(text, F.lit("")) for name, text in texts.items()}
    return frame.filter(once(F.col(_CORRUPT)).isNull()).select(
        *(text.alias(name) for name, text in empty_is_null.items())
    )


def _type_of(kinds: int) -> DataType:
    from pyspark.sql import types as T

    # By what `kind_of` gives.
    choices: list[tuple[int, DataType]] = [
        (1, T.IntegerType()),
        (1 | 2 | 4, T.LongType()),
        (1 | 2 | 8, T.DoubleType()),
        (16, T.BooleanType()),
        (32, T.DateType()),
        (32 | 64, T.TimestampType()),
    ]
    return next((kind for mask, kind in choices if kinds and kinds & ~mask == 0), T.StringType())


def _raw(
    reader: Reader, group: CsvGroup, fields: Sequence[StructField], partitions: StructType, form: CsvFormat
) -> DataFrame:
    """What Spark reads: every record, and its text where it has a field too many or too few or a value that is none.

    Of a file that is split, `_LINE` is the text of every record.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    text = T.StringType()
    columns = [T.StructField(f.name, f.dataType if is_read_by_spark(f.dataType) else text) for f in fields]
    corrupt = T.StructField(_CORRUPT, text)
    checks_header = form.has_header and not form.is_split and group.header == group.names
    options = form.reader_options(checks_header=checks_header)
    if form.is_split:
        # Spark leaves the header out at the start of each file. More than one value, and it gives the text.
        schema = T.StructType([T.StructField(_LINE, text), *partitions.fields, corrupt])
        frame = group.load(reader.format("csv").options(**{**options, **_WHOLE_LINE}).schema(schema))
        frame = frame.withColumn(_LINE, F.coalesce(F.col(_CORRUPT), F.col(_LINE))).drop(_CORRUPT)
        parsed = F.from_csv(F.col(_LINE), T.StructType([*columns, corrupt]).toDDL(), form.record_options())
        return frame.withColumn(_PARSED, once(parsed)).select("*", f"{_PARSED}.*")
    if group.line_sep is not None:
        options = {"lineSep": group.line_sep, **options}
    schema = T.StructType([*columns, *partitions.fields, corrupt])
    return group.load(reader.format("csv").options(**options).schema(schema))


def _text(column: Column, kind: DataType, null_values: Sequence[str]) -> Column:
    """The text of a value of this type, null for what stands for null; a number is never empty."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    # Spark takes the first for null itself.
    nulls = [*null_values[1:], *([] if isinstance(kind, T.StringType) else [""])]
    return F.when(~column.isin(nulls), column) if nulls else column


def _is_not(field: StructField) -> Column:
    from pyspark.sql import functions as F

    return F.lit(f"the value of '{field.name}' is not a valid {field.dataType.simpleString().upper()}")


def _not_decoded(form: CsvFormat) -> Column:
    from pyspark.sql import functions as F

    # Spark puts that character in their place, so that nobody can tell the two.
    return F.lit(f"it has bytes that are not {form.encoding}, or the character U+FFFD, which stands for them")


def _reason(fields: Sequence[StructField], unfit: Sequence[Column], form: CsvFormat) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    raw = F.col(_CORRUPT)
    not_decoded = _not_decoded(form)
    if form.is_split:
        open_quote = f"{MALFORMED_RECORD}: a quote in it does not end on its line: set 'multiLine' to true"
        line = F.col(_LINE)
        checked = (
            F.when(_has_odd_quote(line, form.dialect), F.raise_error(open_quote).cast("string"))
            .when(raw.isNotNull(), _why(raw, fields, form))
            .when(F.contains(line, F.lit(_REPLACED)), not_decoded)
        )
        return F.coalesce(checked, *unfit)
    replaced = [
        F.when(F.contains(F.col(quoted(field.name)), F.lit(_REPLACED)), not_decoded)
        for field in fields
        if isinstance(field.dataType, T.StringType)
    ]
    none: list[Column] = [F.lit(None).cast("string")]
    last = [] if is_read_by_spark(fields[-1].dataType) else _never_closed(F.col(quoted(fields[-1].name)), form)
    # Spark finds no fault with a column that is not looked at, so that here is a look at all of them.
    # Of a single null Spark would make no text, and fail.
    every = F.to_csv(F.struct(*(quoted(field.name) for field in fields)), {"nullValue": "-"})
    found = F.coalesce(*_never_closed(raw, form), _why(raw, fields, form))
    why = F.when(every == _NO_NULL, F.lit(_NO_NULL)).otherwise(found)
    return F.when(raw.isNotNull(), why).otherwise(F.coalesce(*last, *unfit, *replaced, *none))


def _never_closed(value: Column, form: CsvFormat) -> list[Column]:
    """Fails the run for a text that goes on to the end of its file: the records that should follow are in it."""
    from pyspark.sql import functions as F

    if not form.ends:
        return []
    text = F.rtrim(value, F.lit(_LINE_ENDS))
    goes_on = F.contains(text, F.lit("\n")) | F.contains(text, F.lit("\r"))
    is_end = goes_on & F.md5(F.encode(F.right(text, F.lit(_END)), "UTF-8")).isin(*sorted(form.ends))
    told = f"{MALFORMED_RECORD}: its file ends within a value in quotes: close the quote"
    return [F.when((F.octet_length(value) >= HEAD_BYTES) & is_end, F.raise_error(told).cast("string"))]


def _why(raw: Column, fields: Sequence[StructField], form: CsvFormat) -> Column:
    """Why a record that Spark could not read can't be used; null if it just has texts for null."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    record = F.col(_TEXTS)
    found: list[Column] = []
    for field in fields:
        if not isinstance(field.dataType, T.StringType):
            text = _text(record.getField(field.name), field.dataType, form.null_values)
            no_value = text.isNotNull() & converted(text, field.dataType, form.formats).isNull()
            found.append(F.when(no_value, _is_not(field)))
    is_ragged = F.when(record.getField(_CORRUPT).isNotNull(), _is_ragged(_fields_in(raw, form.dialect), len(fields)))
    replaced = F.when(F.contains(raw, F.lit(_REPLACED)), _not_decoded(form))
    return F.coalesce(is_ragged, *found, replaced)


def _is_ragged(count: Column, expected: int) -> Column:
    from pyspark.sql import functions as F

    return F.concat(F.lit("it has "), count.cast("string"), F.lit(f" fields, and its file {expected} columns"))


def _without_quoted(raw: Column, dialect: CsvDialect) -> Column:
    """The record without its quoted values; what is left of quotes is not in its place."""
    from pyspark.sql import functions as F

    quote, sep = re.escape(dialect.quote), re.escape(dialect.delimiter)
    escaped = f"{quote}{quote}" if dialect.escape == dialect.quote else f"{re.escape(dialect.escape)}."
    plain = F.regexp_replace(raw, escaped, "")
    bare = F.regexp_replace(plain, f"(^|{sep}){quote}[^{quote}]*{quote}[ \\t]*(?={sep}|$)", "$1")
    return F.when(F.contains(raw, F.lit(dialect.quote)), bare).otherwise(raw)


def _has_odd_quote(line: Column, dialect: CsvDialect) -> Column:
    """Whether a value that begins with a quote does not end with one, before a delimiter or at the end of the line."""
    from pyspark.sql import functions as F

    quote, sep, escape = (re.escape(one) for one in (dialect.quote, dialect.delimiter, dialect.escape))
    escaped = quote * 2 if dialect.escape == dialect.quote else f"{escape}."
    within = f"[^{quote}]*+" if dialect.escape == dialect.quote else f"[^{quote}{escape}]*+"
    in_quotes = f"{quote}{within}(?:{escaped}{within})*+{quote}[ \\t]*+"
    value = f"(?:{in_quotes}|(?!{quote})(?:(?!{sep}).)*+)"
    has_quote = F.contains(line, F.lit(dialect.quote))
    return has_quote & ~line.rlike(f"(?s)^{value}(?:{sep}{value})*+$")


def _fields_in(raw: Column, dialect: CsvDialect) -> Column:
    from pyspark.sql import functions as F

    bare = _without_quoted(raw, dialect)
    lost = F.length(bare) - F.length(F.replace(bare, F.lit(dialect.delimiter), F.lit("")))
    return (lost / len(dialect.delimiter)).cast("int") + 1


def _flag(value: bool) -> str:
    return str(value).lower()
