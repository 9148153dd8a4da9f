"""The types by which JSON values are read, so that it shows whether one is of the wanted type and all of it was kept.

Spark reads what is in a text as the type that it is told. So it is told a wider one, and what was read is held against
the wanted one: a DECIMAL is read as text, a TINYINT as SMALLINT, an integer that became a double again as a DECIMAL.

The functions that look at a value are for `anywhere`: None where a type gives no reason to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.frames.columns import any_of
from pipeline_platform.frames.nested_values import types_in, with_leaves

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, DecimalType

_MOST_DIGITS = 38
# What Spark makes of a number in a text column is that of the nearest double.
_FRACTION = r"^-?[0-9]+[.][0-9]+(E-?[0-9]+)?$|^[{\[].*[0-9.]{17}"
_EXPONENT = r"^-?([0-9]+)(?:\.([0-9]+))?[eE]([+-]?[0-9]{1,4})$"


def read_type(wanted: DataType) -> DataType:
    """The type that shows whether a value fits the wanted one."""
    return with_leaves(wanted, _read_leaf)


def _read_leaf(wanted: DataType) -> DataType:
    from pyspark.sql import types as T

    match wanted:
        case T.ByteType():
            return T.ShortType()
        case T.DecimalType():
            return T.StringType()
        case _:
            return wanted


def converted(read: Column, wanted: DataType, *, texts: bool = False) -> Column:
    """What was read, as the wanted type.

    Args:
        read: Of the type that `read_type`, `with_decimals` or `with_variants` gives.
        wanted: The type of the schema.
        texts: Whether texts were read as variants.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    other = (T.ByteType, T.DecimalType, *((T.StringType,) if texts else ()))
    if not any(isinstance(kind, other) for kind in types_in(wanted)):
        return read
    match wanted:
        case T.StructType():
            fields = [
                converted(read.getField(field.name), field.dataType, texts=texts).alias(field.name)
                for field in wanted.fields
            ]
            return F.when(read.isNotNull(), F.struct(*fields))
        case T.ArrayType():
            return F.transform(read, lambda item: converted(item, wanted.elementType, texts=texts))
        case T.MapType():
            return F.transform_values(read, lambda _, item: converted(item, wanted.valueType, texts=texts))
        case _:
            return read.try_cast(wanted)


def is_unfit(read: Column, wanted: DataType) -> Column | None:
    """Whether a value, of the type that `read_type` gives, is none of the wanted type."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    match wanted:
        case T.ByteType():
            return ~read.between(-128, 127)
        case T.DecimalType():
            return read.isNotNull() & ~_fits(read, wanted)
        case T.StringType():
            # What Spark writes for a number that no double holds.
            return read.isin('"Infinity"', '"-Infinity"')
        case T.DateType():
            return ~read.between(F.lit("0001-01-01").cast(wanted), F.lit("9999-12-31").cast(wanted))
        case T.TimestampType() | T.TimestampNTZType():
            zone = "Z" if isinstance(wanted, T.TimestampType) else ""
            first, last = f"0001-01-01T00:00:00{zone}", f"9999-12-31T23:59:59.999999{zone}"
            return ~read.between(F.lit(first).cast(wanted), F.lit(last).cast(wanted))
        case _:
            return None


def may_lack_digits(read: Column, wanted: DataType) -> Column | None:
    """Whether a text is, or has, a number of which Spark may have left digits out."""
    from pyspark.sql import types as T

    return read.rlike(_FRACTION) if isinstance(wanted, T.StringType) else None


def with_variants(wanted: DataType) -> DataType:
    """The type by which the digits of numbers in texts are read, and those of decimals."""
    from pyspark.sql import types as T

    return with_leaves(wanted, lambda leaf: T.VariantType() if isinstance(leaf, T.StringType) else with_decimals(leaf))


def is_infinite(read: Column, wanted: DataType) -> Column | None:
    """Whether a floating-point number is infinite."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    if not isinstance(wanted, (T.FloatType, T.DoubleType)):
        return None
    return F.abs(read) == F.lit(float("inf")).cast(wanted)


def is_large(read: Column, wanted: DataType) -> Column | None:
    """Whether a double is so large that not every integer is one."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    return F.abs(read) >= float(2**53) if isinstance(wanted, T.DoubleType) else None


def with_integers(wanted: DataType) -> DataType:
    """The type by which all digits of integers are read that were made doubles."""
    from pyspark.sql import types as T

    return with_leaves(
        wanted, lambda leaf: T.DecimalType(_MOST_DIGITS, 0) if isinstance(leaf, T.DoubleType) else _read_leaf(leaf)
    )


def is_changed(read: Column, wanted: DataType) -> Column | None:
    """Whether an integer, of the type that `with_integers` gives, is another one as a double."""
    from pyspark.sql import types as T

    if not isinstance(wanted, T.DoubleType):
        return None
    return read.cast("double").try_cast(with_integers(wanted)) != read


def lacks_field(read: Column, wanted: DataType) -> Column | None:
    """Whether an object has no value for a field that is NOT NULL."""
    from pyspark.sql import types as T

    required = [field.name for field in wanted.fields if not field.nullable] if isinstance(wanted, T.StructType) else []
    missing = any_of(read.getField(name).isNull() for name in required)
    return read.isNotNull() & missing if missing is not None else None


def _fits(text: Column, wanted: DecimalType) -> Column:
    """Whether the text is a number that the decimal type holds without rounding it."""
    from pyspark.sql import functions as F

    plain = text.rlike(rf"^-?[0-9]+(\.[0-9]{{0,{wanted.scale}}}0*)?$")
    whole, fraction, exponent = (F.regexp_extract(text, _EXPONENT, group) for group in (1, 2, 3))
    digits = F.concat(whole, fraction)
    significant = F.rtrim(digits, F.lit("0"))
    places = F.length(fraction) - (F.length(digits) - F.length(significant)) - exponent.try_cast("int")
    scaled = text.rlike(_EXPONENT) & ((significant == "") | (places <= wanted.scale))
    return (plain | scaled) & text.try_cast(wanted).isNotNull()


def with_decimals(wanted: DataType, *, finer: bool = False) -> DataType:
    """The type by which all digits of a decimal are read.

    Args:
        wanted: The type of the schema.
        finer: With one place more for the widest decimals, which have no room for all digits before the point then.
    """
    from pyspark.sql import types as T

    def exact(leaf: DataType) -> DataType:
        match leaf:
            case T.DecimalType() if is_widest(leaf):
                return T.DecimalType(_MOST_DIGITS, leaf.scale + 1) if finer else leaf
            case T.DecimalType():
                return T.DecimalType(_MOST_DIGITS, _MOST_DIGITS - (leaf.precision - leaf.scale))
            case _:
                return _read_leaf(leaf)

    return with_leaves(wanted, exact)


def is_widest(wanted: DataType) -> bool:
    """Whether it is a decimal type with fraction of as many digits as Spark has."""
    from pyspark.sql import types as T

    return isinstance(wanted, T.DecimalType) and wanted.precision == _MOST_DIGITS > wanted.scale


def is_rounded(read: Column, wanted: DataType, *, finer: bool = False) -> Column | None:
    """Whether a decimal was read with digits that the wanted type has no place for.

    Args:
        read: Of the type that `with_decimals` gives.
        wanted: The type of the schema.
        finer: As there: the widest decimals alone, instead of all others.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    if not isinstance(wanted, T.DecimalType) or finer != is_widest(wanted):
        return None
    wide = with_decimals(wanted, finer=finer)
    return ~F.coalesce(read.try_cast(wanted).try_cast(wide) == read, read.isNull())
