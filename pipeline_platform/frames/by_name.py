"""Values of one type as those of another, field by field by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.frames.columns import field_named

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructField, StructType


def by_name(value: Column, source: DataType, target: DataType) -> Column:
    """A value with the fields of another type, each that of its name; Spark's own cast goes by their places.

    Args:
        value: The value.
        source: Its type.
        target: The type that it is to have; fields that only this one has are NULL.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    if source == target:
        return value
    match source, target:
        case T.StructType(), T.StructType():
            fields = [_field(value, source, field).alias(field.name) for field in target]
            return F.when(value.isNotNull(), F.struct(*fields))
        case T.ArrayType(), T.ArrayType():
            return F.transform(value, lambda item: by_name(item, source.elementType, target.elementType))
        case T.MapType(), T.MapType():
            made = F.transform_values(value, lambda _, item: by_name(item, source.valueType, target.valueType))
            return F.transform_keys(made, lambda key, _: by_name(key, source.keyType, target.keyType))
        case _:
            return value.cast(target)


def _field(value: Column, source: StructType, wanted: StructField) -> Column:
    from pyspark.sql import functions as F

    found = field_named(source, wanted.name)
    if found is None:
        return F.lit(None).cast(wanted.dataType)
    return by_name(value.getField(found.name), found.dataType, wanted.dataType)


def joint_type(one: DataType, other: DataType) -> DataType:
    """The type that has the fields of both, and whole numbers of the width of the wider one; else the first.

    Args:
        one: A type.
        other: Another one, found to fit it.
    """
    from pyspark.sql import types as T

    match one, other:
        case T.NullType(), _:
            return other
        case T.StructType(), T.StructType():
            fields = [_joint_field(field, field_named(other, field.name)) for field in one]
            return T.StructType([*fields, *(field for field in other if field_named(one, field.name) is None)])
        case T.ArrayType(), T.ArrayType():
            return T.ArrayType(joint_type(one.elementType, other.elementType))
        case T.MapType(), T.MapType():
            return T.MapType(joint_type(one.keyType, other.keyType), joint_type(one.valueType, other.valueType))
        case T.IntegralType(), T.IntegralType():
            widths = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
            return max(one, other, key=lambda found: widths.index(type(found)))
        case _:
            return one


def _joint_field(one: StructField, other: StructField | None) -> StructField:
    from pyspark.sql.types import StructField

    return StructField(one.name, joint_type(one.dataType, other.dataType) if other is not None else one.dataType)
