"""Text as a value of a type: converted without loss, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType

_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ISO_TIME = r"([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?( ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?))?)?"
_ISO_TIMESTAMP = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{_ISO_TIME}$"


@dataclass(frozen=True)
class Formats:
    """Patterns of dates and times, in Spark's own letters; None for ISO 8601."""

    date: str | None = None
    timestamp: str | None = None


def is_read_by_spark(kind: DataType) -> bool:
    """Whether Spark's own reader of text takes a value of this type exactly or not at all."""
    from pyspark.sql import types as T

    return isinstance(kind, (T.ByteType, T.ShortType, T.IntegerType, T.LongType, T.BooleanType))


def can_be_read(kind: DataType) -> bool:
    """Whether text can be converted to this type."""
    from pyspark.sql import types as T

    exact = (T.DoubleType, T.FloatType, T.DecimalType, T.DateType, T.TimestampType, T.TimestampNTZType)
    return is_read_by_spark(kind) or isinstance(kind, (T.StringType, *exact))


def converted(text: Column, kind: DataType, formats: Formats) -> Column:
    """The text as a value of this type, or null if it is not one that the type holds.

    Args:
        text: Not null.
        kind: Any type that `can_be_read`.
        formats: Patterns of dates and times.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    match kind:
        case T.StringType():
            return text
        case T.DoubleType() | T.FloatType():
            # What Java reads beside decimal digits: 1D, 2F, 0x1p3; and 1e999 as infinity.
            value, last = text.try_cast(kind), F.lower(F.right(text, F.lit(1)))
            is_word = text.isin("Infinity", "+Infinity", "-Infinity", "Inf", "+Inf", "-Inf", "inf", "+inf", "-inf")
            is_javas = last.isin("d", "f") | F.contains(F.lower(text), F.lit("x"))
            is_infinite = F.abs(value) == F.lit(float("inf"))
            return F.when(is_word, value).when(~is_javas & ~is_infinite, value)
        case T.DecimalType():
            # A cast rounds.
            fraction = F.when(F.contains(text, F.lit(".")), F.rtrim(F.substring_index(text, ".", -1), F.lit("0")))
            fits = F.coalesce(F.length(fraction) <= kind.scale, F.lit(True)) & ~F.contains(F.lower(text), F.lit("e"))
            return F.when(fits, text.try_cast(kind))
        case T.DateType():
            if formats.date is not None:
                return F.try_to_timestamp(text, F.lit(formats.date)).try_cast(kind)
            # A cast takes the year alone, and leaves off what follows the day.
            return F.when(text.rlike(_ISO_DATE), text.try_cast(kind))
        case T.TimestampType() | T.TimestampNTZType():
            if formats.timestamp is not None:
                return F.try_to_timestamp(text, F.lit(formats.timestamp)).try_cast(kind)
            # A cast takes a time alone, for one of today, and leaves off what is below a microsecond.
            dashes = F.substring(text, 5, 1).eqNullSafe("-") & F.substring(text, 8, 1).eqNullSafe("-")
            exact = dashes & (F.length(text) <= len("2013-01-01T00:00:00.123456")) | text.rlike(_ISO_TIMESTAMP)
            return F.when(exact & (F.length(text) >= len("2013-01-01")), text.try_cast(kind))
        case T.BooleanType():
            lower = F.lower(text)
            return F.when(lower == "true", F.lit(True)).when(lower == "false", F.lit(False))
        case _:
            return F.when(text.rlike(r"^[+-]?[0-9]+$"), text.try_cast(kind))


def kind_of(text: Column) -> Column:
    """A bit for what a text is the canonical one of, null for a null.

    1 an INT, 2 a BIGINT of up to fifteen digits, 4 a longer one, 8 a DOUBLE with all of its digits, 16 a boolean, 32 an
    ISO date, 64 an ISO timestamp, 128 none of them, as are identifiers such as `01067`, `1D`, `2e5`, `+49`.
    """
    from pyspark.sql import functions as F

    number = text.try_cast("bigint")
    is_whole = number.cast("string").eqNullSafe(text)
    # Fifteen digits are what every double holds.
    digits = F.length(F.translate(text, "-.", "")) <= 15
    is_shortest = text.try_cast("double").cast("string").eqNullSafe(text)
    is_whole_int = is_whole & number.between(-(2**31), 2**31 - 1)
    return (
        F.when(text.isNull(), F.lit(None).cast("int"))
        .when(is_whole_int, F.lit(1))
        .when(is_whole & digits, F.lit(2))
        .when(is_whole, F.lit(4))
        .when(text.rlike(r"^-?(0|[1-9][0-9]*)[.][0-9]+$") & (digits | is_shortest), F.lit(8))
        .when(F.lower(text).isin("true", "false"), F.lit(16))
        .when(text.rlike(_ISO_DATE) & text.try_cast("date").isNotNull(), F.lit(32))
        .when(text.rlike(_ISO_TIMESTAMP) & text.try_cast("timestamp").isNotNull(), F.lit(64))
        .otherwise(F.lit(128))
    )
