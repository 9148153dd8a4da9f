"""Text as a value of a type: converted without loss, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType

_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
_ZONE = r"( ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?))?"
_ISO_LOCAL = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({_TIME})?$"
_ISO_TIMESTAMP = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({_TIME}{_ZONE})?$"


_WORDS = ("NaN", "Infinity", "+Infinity", "-Infinity", "Inf", "+Inf", "-Inf", "inf", "+inf", "-inf")
# A number of so many digits is finite.
_DIGITS_OF_A_FLOAT = 38


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
            # What Java reads beside decimal digits: 1D, 2F, 0x1p3; and 1e999 as infinity. The usual number first, since
            # this is done for each row.
            value, last = text.try_cast(kind), F.right(text, F.lit(1))
            ends_well = last.between("0", "9") | (last == ".")
            is_hexadecimal = F.contains(text, F.lit("x")) | F.contains(text, F.lit("X"))
            has_exponent = F.contains(text, F.lit("e")) | F.contains(text, F.lit("E"))
            is_short = F.length(text) < _DIGITS_OF_A_FLOAT
            return (
                F.when(ends_well & ~is_hexadecimal & ~has_exponent & is_short, value)
                .when(ends_well & ~is_hexadecimal & (F.abs(value) < float("inf")), value)
                .when(text.isin(*_WORDS), value)
            )
        case T.DecimalType():
            # A cast rounds.
            fraction = F.when(F.contains(text, F.lit(".")), F.rtrim(F.substring_index(text, ".", -1), F.lit("0")))
            fits = F.coalesce(F.length(fraction) <= kind.scale, F.lit(True)) & ~F.contains(F.lower(text), F.lit("e"))
            return F.when(fits, text.try_cast(kind))
        case T.DateType():
            if formats.date is not None:
                return F.try_to_timestamp(text, F.lit(formats.date)).try_cast(kind)
            # A cast takes the year alone, and leaves off what follows the day.
            digit = F.substring(text, 10, 1).between("0", "9")
            return F.when((F.length(text) == len("2013-01-31")) & _has_dashes(text) & digit, text.try_cast(kind))
        case T.TimestampType() | T.TimestampNTZType():
            if formats.timestamp is not None:
                return F.try_to_timestamp(text, F.lit(formats.timestamp)).try_cast(kind)
            # A cast takes a time alone, for one of today, leaves off what is below a microsecond, knows Java's short
            # names of zones, and leaves out a zone where the type has none.
            has_colons = (F.substring(text, 14, 1) == ":") & (F.substring(text, 17, 1) == ":")
            usual = has_colons & (F.length(text) == len("2013-01-31 12:00:00"))
            ends_well = F.right(text, F.lit(1)).between("0", "9")
            iso = _ISO_TIMESTAMP if isinstance(kind, T.TimestampType) else _ISO_LOCAL
            return F.when((_has_dashes(text) & usual & ends_well) | text.rlike(iso), text.try_cast(kind))
        case T.BooleanType():
            lower = F.lower(text)
            return F.when(lower == "true", F.lit(True)).when(lower == "false", F.lit(False))
        case _:
            return F.when(text.rlike(r"^[+-]?[0-9]+$"), text.try_cast(kind))


def _has_dashes(text: Column) -> Column:
    """Whether a date begins with four digits of a year and two of a month, if it is one at all."""
    from pyspark.sql import functions as F

    return (F.substring(text, 5, 1) == "-") & (F.substring(text, 8, 1) == "-")


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
