"""Which types Spark may bring to one without a value becoming another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineExecutionException

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
        hint=f"cast one of them before, for example with enrichData on {other_frame}: CAST({other_column} AS {wanted})",
    )
