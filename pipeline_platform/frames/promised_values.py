"""Values of a data contract in the type of the column that they are compared with.

Spark would bring both to a third type, in which one of them may be rounded or too large. All of it is about types:
nothing here needs a running Spark.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.contracts.values import ValueKind, WrongValue, value_of

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

_WHOLE = {"tinyint": 7, "smallint": 15, "int": 31, "bigint": 63}
_DIGITS = Context(prec=80)


def exact_limit(kind: DataType, limit: Decimal, *, is_least: bool) -> Decimal | bool:
    """A limit as a value of a column of whole numbers or decimals, which divides its values in the same way.

    Args:
        kind: The type of the column.
        limit: The limit.
        is_least: Whether the next value of the column stands for one that it has not, and not the one before.

    Returns:
        The value, or where none of the column reaches the limit whether all are below it.
    """
    least, most, step = _range(kind)
    if limit > most:
        return True
    if limit < least:
        return False
    return limit.quantize(step, ROUND_CEILING if is_least else ROUND_FLOOR, _DIGITS)


def values_in(kind: DataType, of: ValueKind, given: Any) -> list[str]:
    """The value of a list that a column can have, each as a text that Spark casts to it; none if it can't.

    Args:
        kind: The type of the column.
        of: What its values are.
        given: The value as the contract has it.

    Raises:
        WrongValue: It is no such value.
    """
    from pyspark.sql import types as T

    value = value_of(of, given)
    if isinstance(value, date):
        return [moment_text(kind, value)]
    if of != "number":
        return [str(value).lower() if isinstance(value, bool) else str(value)]
    if isinstance(kind, (T.FloatType, T.DoubleType)):
        return [str(float(value))]
    least, most, step = _range(kind)
    if not least <= value <= most or value.quantize(step, context=_DIGITS) != value:
        return []
    return [format(value.quantize(step, context=_DIGITS), "f")]


def moment_text(kind: DataType, moment: date | datetime) -> str:
    """A date or a time as a text that Spark casts to a type.

    Where Spark can't read a text, it may have no value in its place, which nothing is compared with: so it is never the
    text that somebody wrote.

    Args:
        kind: The type of the column.
        moment: With a zone, it has for a column without one the time that stands there.

    Raises:
        WrongValue: There is no such time in UTC, as of one at the end of the year 9999.
    """
    from pyspark.sql.types import TimestampType

    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return str(moment)
    if not isinstance(kind, TimestampType):
        return str(moment.replace(tzinfo=None))
    try:
        return str(moment.astimezone(UTC))
    except OverflowError as error:
        raise WrongValue(f"'{moment}' is before the year 1 or after the year 9999 in UTC") from error


def value_kind(kind: DataType) -> ValueKind | None:
    """What the values of a column are; None for those that no contract has a value for.

    Args:
        kind: The type of the column.
    """
    from pyspark.sql import types as T

    match kind:
        case T.StringType() | T.CharType() | T.VarcharType():
            return "text"
        case T.NumericType():
            return "number"
        case T.BooleanType():
            return "flag"
        case T.DateType():
            return "date"
        case T.TimestampType() | T.TimestampNTZType():
            return "timestamp"
        case _:
            return None


def is_comparable(kind: DataType) -> bool:
    """Whether Spark tells two values of a type apart, which it does not where a map or a variant is in them.

    Args:
        kind: The type.
    """
    from pyspark.sql import types as T

    match kind:
        case T.ArrayType():
            return is_comparable(kind.elementType)
        case T.StructType():
            return all(is_comparable(field.dataType) for field in kind)
        case _:
            return not isinstance(kind, (T.MapType, T.VariantType))


def _range(kind: DataType) -> tuple[Decimal, Decimal, Decimal]:
    """The least and the greatest value of a type, and what is between two that follow each other."""
    from pyspark.sql.types import DecimalType

    if isinstance(kind, DecimalType):
        step = Decimal(1).scaleb(-kind.scale)
        most = _DIGITS.subtract(Decimal(10) ** (kind.precision - kind.scale), step)
        return most.copy_negate(), most, step
    bits = _WHOLE[kind.simpleString()]
    return Decimal(-(2**bits)), Decimal(2**bits - 1), Decimal(1)
