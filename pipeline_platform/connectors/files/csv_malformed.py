"""Why a record of a csv file can't be used: too many or too few fields, a value of another type, a quote left open."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_platform.connectors.files.csv_dialect import CsvDialect
from pipeline_platform.connectors.files.csv_format import CORRUPT, NO_NULL, CsvFormat
from pipeline_platform.connectors.files.heads import HEAD_BYTES
from pipeline_platform.connectors.files.text_values import converted, is_read_by_spark
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted
from pipeline_platform.steps.malformed import MALFORMED_RECORD

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import StructField

LINE = f"{HELPER_PREFIX}line"
"""Of a file that is read in parts, the column with the text of every record."""
PARSED_AS_TEXTS = f"{HELPER_PREFIX}texts"
"""The column with the values of a record that Spark finds fault with, each as it is written."""
_REPLACED = "\ufffd"
# So many of the last characters tell one file from another.
_END = 200
_LINE_ENDS = "\r\n"


def file_end(text: str) -> str:
    """A hash of the last characters of a file, with which a value ends that was never closed."""
    return hashlib.md5(text.rstrip(_LINE_ENDS)[-_END:].encode(), usedforsecurity=False).hexdigest()


def no_value_message(field: StructField) -> Column:
    """What is said of a text that is no value of the field's type."""
    from pyspark.sql import functions as F

    return F.lit(f"the value of '{field.name}' is not a valid {field.dataType.simpleString().upper()}")


def malformed_reason(fields: Sequence[StructField], unfit: Sequence[Column], form: CsvFormat) -> Column:
    """Why a record can't be used; null if it can.

    Args:
        fields: The columns of the file, with the types that they are read with.
        unfit: For values that are converted by the platform, why one is of no such type.
        form: How the files are written.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    raw = F.col(CORRUPT)
    not_decoded = _not_decoded(form)
    if form.is_split:
        open_quote = f"{MALFORMED_RECORD}: a quote in it does not end on its line: set 'multiLine' to true"
        line = F.col(LINE)
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
    why = F.when(every == NO_NULL, F.lit(NO_NULL)).otherwise(found)
    return F.when(raw.isNotNull(), why).otherwise(F.coalesce(*last, *unfit, *replaced, *none))


def _not_decoded(form: CsvFormat) -> Column:
    from pyspark.sql import functions as F

    # Spark puts that character in their place, so that nobody can tell the two.
    return F.lit(f"it has bytes that are not {form.encoding}, or the character U+FFFD, which stands for them")


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

    record = F.col(PARSED_AS_TEXTS)
    found: list[Column] = []
    for field in fields:
        if not isinstance(field.dataType, T.StringType):
            text = form.text_or_null(record.getField(field.name), field.dataType)
            no_value = text.isNotNull() & converted(text, field.dataType, form.formats).isNull()
            found.append(F.when(no_value, no_value_message(field)))
    is_ragged = F.when(record.getField(CORRUPT).isNotNull(), _is_ragged(_fields_in(raw, form.dialect), len(fields)))
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
