"""Which types Spark may bring to one without a value becoming another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import in_sql

if TYPE_CHECKING:
    from pyspark.sql.types import DataType

# Digits that the whole numbers have at most, and those that floating-point numbers hold of every whole number.
_DIGITS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
_HELD = {"float": 7, "double": 15}
_MOST_DIGITS = 38


def widen_without_loss(one: DataType, other: DataType) -> bool:
    """Whether there is a type, the one that Spark brings both to, in which every value of both is what it was.

    Args:
        one: A type.
        other: Another one.
    """
    from pyspark.sql import types as T

    if one == other or isinstance(one, T.NullType) or isinstance(other, T.NullType):
        return True
    match one, other:
        case T.ArrayType(), T.ArrayType():
            return widen_without_loss(one.elementType, other.elementType)
        case T.MapType(), T.MapType():
            return widen_without_loss(one.keyType, other.keyType) and widen_without_loss(one.valueType, other.valueType)
        case T.StructType(), T.StructType():
            fields = {field.name.lower(): field.dataType for field in other}
            # Whether both need the same fields is not for here to say.
            return all(
                widen_without_loss(field.dataType, fields.get(field.name.lower(), field.dataType)) for field in one
            )
        case ((T.StringType() | T.VarcharType() | T.CharType()), (T.StringType() | T.VarcharType() | T.CharType())):
            return True
        case T.NumericType(), T.NumericType():
            return _numbers_widen(one, other)
        case _:
            return {one.typeName(), other.typeName()} in ({"date", "timestamp"}, {"date", "timestamp_ntz"}) or (
                one.typeName() == other.typeName()
            )


def holds(wanted: DataType, found: DataType) -> bool:
    """Whether a type has every value of another one, or the text of it.

    Args:
        wanted: The type that values are to have.
        found: The type that they have.
    """
    from pyspark.sql import types as T

    if wanted == found or isinstance(found, T.NullType):
        return True
    match wanted, found:
        case T.ArrayType(), T.ArrayType():
            return holds(wanted.elementType, found.elementType)
        case T.MapType(), T.MapType():
            return holds(wanted.keyType, found.keyType) and holds(wanted.valueType, found.valueType)
        case T.StructType(), T.StructType():
            fields = {field.name.lower(): field.dataType for field in found}
            return all(holds(field.dataType, fields.get(field.name.lower(), field.dataType)) for field in wanted)
        case T.StringType(), _:
            return isinstance(found, T.AtomicType) and not isinstance(found, T.BinaryType)
        case T.NumericType(), T.NumericType():
            return _number_holds(wanted, found)
        case _:
            times = ("timestamp", "timestamp_ntz")
            return wanted.typeName() in times and found.typeName() in ("date", *times)


def _number_holds(wanted: DataType, found: DataType) -> bool:
    from pyspark.sql.types import DecimalType

    whole, real = wanted.simpleString() in _DIGITS, wanted.simpleString() in _HELD
    match found:
        case DecimalType():
            return isinstance(wanted, DecimalType) and (
                wanted.scale >= found.scale and wanted.precision - wanted.scale >= found.precision - found.scale
            )
        case _ if found.simpleString() in _HELD:
            return real and _HELD[wanted.simpleString()] >= _HELD[found.simpleString()]
        case _:
            digits = _DIGITS[found.simpleString()]
            if isinstance(wanted, DecimalType):
                return wanted.precision - wanted.scale >= digits
            return digits <= (_DIGITS if whole else _HELD)[wanted.simpleString()]


def _numbers_widen(one: DataType, other: DataType) -> bool:
    from pyspark.sql.types import DecimalType

    def size(kind: DataType) -> tuple[int, int]:
        """Digits before and after the point."""
        if isinstance(kind, DecimalType):
            return kind.precision - kind.scale, kind.scale
        return _DIGITS[kind.simpleString()], 0

    held = [_HELD.get(kind.simpleString()) for kind in (one, other)]
    match held:
        case None, None:
            if not isinstance(one, DecimalType) and not isinstance(other, DecimalType):
                return True
            sizes = size(one), size(other)
            return max(digits for digits, _ in sizes) + max(scale for _, scale in sizes) <= _MOST_DIGITS
        case None, digits:
            return size(one) <= (digits or 0, 0) and size(one)[1] == 0
        case digits, None:
            return size(other) <= (digits or 0, 0) and size(other)[1] == 0
        case _:
            return True


def require_same_types(one: tuple[str, str, DataType], other: tuple[str, str, DataType], action: str) -> None:
    """Raise unless two columns that are brought to one type keep their values.

    Args:
        one: Name of a frame, of its column, and the type of that.
        other: The same of the other frame.
        action: What is done with them, for the message.

    Raises:
        PipelineExecutionException: A value of one would become another.
    """
    (frame, column, kind), (other_frame, other_column, other_kind) = one, other
    if widen_without_loss(kind, other_kind):
        return
    wanted = kind.simpleString()
    raise PipelineExecutionException(
        f"{action} would change values: {frame} has the column '{column}' as {wanted}, and {other_frame} has "
        f"'{other_column}' as {other_kind.simpleString()}",
        hint=f"cast one of them first, for example with enrichData on {other_frame}: "
        f"CAST({in_sql(other_column)} AS {wanted})",
    )
