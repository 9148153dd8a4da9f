"""Brings columns to an Avro schema: by the promotions Avro allows, with its defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.connectors.files.avro_schema import AvroField, AvroSchemaError, AvroType, spark_type
from pipeline_platform.connectors.files.avro_types import PRIMITIVE_OF
from pipeline_platform.frames.columns import find_column

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType, StructType

# https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
_PROMOTIONS = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}


class AvroEvolutionError(ValueError):
    """A field can't come to what the schema wants; the message names it."""


def source_of(field: AvroField, names: Sequence[str]) -> str | None:
    """The column, or struct field, that a field of the target is made from: of its name, or of an alias."""
    for name in (field.name, *field.aliases):
        if (found := find_column(names, name)) is not None:
            return found
    return None


def evolve(fields: Sequence[AvroField], source: StructType, column: Callable[[str], Column]) -> list[Column]:
    """One column for each field of the target, in its order.

    A field that the source lacks takes its default, or null. A null in the source stays null, also where
    the target has no union with null: Spark's columns do not promise their absence.

    Args:
        fields: Of the target.
        source: The columns there are.
        column: A column of the source by name.

    Raises:
        AvroEvolutionError: Avro allows no promotion from what there is to what the target wants.
    """
    return _evolve_fields(fields, source, column, "")


def _evolve_fields(
    fields: Sequence[AvroField], source: StructType, column: Callable[[str], Column], path: str
) -> list[Column]:
    types = {field.name: field.dataType for field in source.fields}
    columns: list[Column] = []
    for field in fields:
        here = f"{path}{field.name}"
        name = source_of(field, source.names)
        try:
            target = spark_type(field.type)
            if name is None:
                evolved = default_column(field.type, field.default) if field.has_default else _null(target)
            else:
                evolved = _convert(column(name), types[name], field.type, here)
        except AvroSchemaError as error:
            raise AvroEvolutionError(f"the field '{here}': {error}") from error
        columns.append(evolved.cast(target).alias(field.name))
    return columns


def _convert(column: Column, source: DataType, avro: AvroType, path: str) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    avro = avro.simplified()
    target = spark_type(avro)
    if _bare(source) == target:
        return column
    if isinstance(source, T.NullType):
        return _null(target)
    if isinstance(source, T.StructType) and _is_union(source) and not _has_fields_of(avro, source):
        members = [_convert(column.getField(member.name), member.dataType, avro, path) for member in source.fields]
        return F.coalesce(*members)
    match avro.kind:
        case "record" if isinstance(source, T.StructType):
            fields = _evolve_fields(avro.fields, source, column.getField, f"{path}.")
            return F.when(column.isNotNull(), F.struct(*fields))
        case "array" if isinstance(source, T.ArrayType):
            element = source.elementType
            return F.transform(column, lambda item: _convert(item, element, avro.element(), f"{path}[]"))
        case "map" if isinstance(source, T.MapType) and isinstance(source.keyType, T.StringType):
            value = source.valueType
            return F.transform_values(column, lambda _, item: _convert(item, value, avro.element(), f"{path}[]"))
        case "union":
            return _as_branch(column, source, avro, path)
        case _:
            converted = _promote(column, source, avro)
            if converted is None:
                raise AvroEvolutionError(
                    f"the field '{path}' can't become {target.simpleString()}: "
                    f"Avro allows no promotion from {source.simpleString()}"
                )
            return converted


def _is_union(source: StructType) -> bool:
    """Whether it is what Spark makes of a union: one member for each branch, of which at most one is not null."""
    return len(source.names) > 1 and source.names == [f"member{place}" for place in range(len(source.names))]


def _has_fields_of(avro: AvroType, source: StructType) -> bool:
    return avro.kind == "record" and any(source_of(field, source.names) for field in avro.fields)


def _promote(column: Column, source: DataType, avro: AvroType) -> Column | None:
    """A primitive as another one; None if Avro does not allow it."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    target = spark_type(avro)
    if isinstance(source, T.DecimalType) and isinstance(target, T.DecimalType):
        # The unscaled integer is what Avro stores: it stays the same only when the scale does.
        return column.cast(target) if source.scale == target.scale and source.precision < target.precision else None
    written = PRIMITIVE_OF.get(source.simpleString())
    plain = avro.logical is None and avro.catalyst is None
    if plain and isinstance(source, T.DateType):
        return F.unix_date(column) if avro.kind == "int" else None
    if plain and isinstance(source, T.TimestampType):
        return F.unix_micros(column) if avro.kind == "long" else None
    if plain and (written == avro.kind or (written, avro.kind) in _PROMOTIONS):
        return column.cast(target)
    if written == avro.kind == "int" and avro.logical == "date":
        return F.date_from_unix_date(column.cast("int"))
    if written == avro.kind == "long" and avro.logical in ("timestamp-millis", "timestamp-micros"):
        return F.timestamp_millis(column) if avro.logical == "timestamp-millis" else F.timestamp_micros(column)
    return None


def _as_branch(column: Column, source: DataType, union: AvroType, path: str) -> Column:
    """A value as the struct Spark makes of a union: the first branch of its type, or that it can be promoted to."""
    from pyspark.sql import functions as F

    branches = list(enumerate(union.branches))
    branches.sort(key=lambda branch: spark_type(branch[1]) != _bare(source))
    for place, branch in branches:
        try:
            converted = _convert(column, source, branch, path)
        except AvroEvolutionError:
            continue
        members = [
            (converted if place == other else _null(spark_type(union.branches[other]))).alias(f"member{other}")
            for other in range(len(union.branches))
        ]
        return F.when(column.isNotNull(), F.struct(*members))
    raise AvroEvolutionError(
        f"the field '{path}' can't become one of a union: Avro allows no promotion from {source.simpleString()} to any"
    )


def _null(target: DataType) -> Column:
    from pyspark.sql import functions as F

    return F.lit(None).cast(target)


def default_column(avro: AvroType, value: Any) -> Column:
    """A default, given in Avro's JSON encoding, as a column.

    Raises:
        AvroSchemaError: The value is not one of the type.
    """
    from pyspark.sql import functions as F

    if avro.kind == "union" and len(avro.branches) > 1:
        return _union_default(avro, value)
    avro = avro.simplified() if avro.kind == "union" else avro
    target = spark_type(avro)
    match avro.kind, value:
        case "null", None:
            return _null(target)
        case "record", dict():
            return _record_default(avro, cast("Mapping[str, Any]", value))
        case "array", list():
            items = [default_column(avro.element(), item) for item in cast("list[Any]", value)]
            return F.array(*(item.cast(spark_type(avro.element())) for item in items)).cast(target)
        case "map", dict():
            entries = cast("Mapping[str, Any]", value)
            pairs = [(F.lit(key), default_column(avro.element(), item)) for key, item in entries.items()]
            return F.create_map(*(part for pair in pairs for part in pair)).cast(target)
        case "boolean", bool():
            return F.lit(value)
        case (("string" | "enum"), str()):
            return F.lit(value)
        case (("bytes" | "fixed"), str()):
            return _bytes_default(avro, value)
        case (("int" | "long"), int()) if not isinstance(value, bool):
            return _integer_default(avro, value)
        case (("float" | "double"), int() | float()) if not isinstance(value, bool):
            return F.lit(float(value)).cast(target)
        case _:
            raise AvroSchemaError(f"the default {value!r} is not a value of the type {avro.kind}")


def _union_default(union: AvroType, value: Any) -> Column:
    """The default of a union belongs to the first branch, or, since Avro 1.12, to the first that it fits."""
    from pyspark.sql import functions as F

    merged = union.simplified()
    if value is None and any(branch.kind == "null" for branch in union.branches):
        return _null(spark_type(union))
    if merged.kind != "union":
        return default_column(merged, value)
    for place, branch in enumerate(merged.branches):
        try:
            chosen = default_column(branch, value)
        except AvroSchemaError:
            continue
        members = [
            (chosen if place == other else _null(spark_type(kind))).cast(spark_type(kind)).alias(f"member{other}")
            for other, kind in enumerate(merged.branches)
        ]
        return F.struct(*members)
    raise AvroSchemaError(f"the default {value!r} is not a value of any type of the union")


def _record_default(record: AvroType, value: Mapping[str, Any]) -> Column:
    from pyspark.sql import functions as F

    columns: list[Column] = []
    for field in record.fields:
        if field.name not in value and not field.has_default:
            raise AvroSchemaError(f"the default {dict(value)!r} lacks the field '{field.name}'")
        default = default_column(field.type, value.get(field.name, field.default))
        columns.append(default.cast(spark_type(field.type)).alias(field.name))
    return F.struct(*columns)


def _bytes_default(avro: AvroType, value: str) -> Column:
    from pyspark.sql import functions as F

    try:
        # Avro's JSON encoding: one character for each byte.
        content = value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise AvroSchemaError(f"the default {value!r} has characters that are not bytes") from error
    if avro.kind == "fixed" and len(content) != avro.size:
        raise AvroSchemaError(f"the default {value!r} has {len(content)} bytes, not {avro.size}")
    if avro.logical == "decimal":
        number = Decimal(int.from_bytes(content, "big", signed=True)).scaleb(-avro.scale)
        return F.lit(number).cast(spark_type(avro))
    return F.lit(content)


def _integer_default(avro: AvroType, value: int) -> Column:
    from pyspark.sql import functions as F

    bits = 32 if avro.kind == "int" else 64
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise AvroSchemaError(f"the default {value} is too large for {avro.kind}")
    number = F.lit(value)
    match avro.logical:
        case "date":
            return F.date_from_unix_date(number)
        case "timestamp-millis":
            return F.timestamp_millis(number.cast("long"))
        case "timestamp-micros":
            return F.timestamp_micros(number.cast("long"))
        case "local-timestamp-millis" | "local-timestamp-micros":
            micros = value * 1000 if avro.logical == "local-timestamp-millis" else value
            return F.lit(_local_time(micros)).cast("timestamp_ntz")
        case _ if avro.catalyst is not None:
            raise AvroSchemaError(f"a default for the Spark type '{avro.catalyst}' is not known here")
        case _:
            return number.cast(spark_type(avro))


def _local_time(micros: int) -> str:
    from datetime import datetime, timedelta

    return (datetime(1970, 1, 1) + timedelta(microseconds=micros)).isoformat(sep=" ")


def _bare(data_type: DataType) -> DataType:
    """The type with everything in it nullable, as `spark_type` has it."""
    from pyspark.sql import types as T

    match data_type:
        case T.StructType():
            return T.StructType([T.StructField(field.name, _bare(field.dataType)) for field in data_type.fields])
        case T.ArrayType():
            return T.ArrayType(_bare(data_type.elementType))
        case T.MapType():
            return T.MapType(_bare(data_type.keyType), _bare(data_type.valueType))
        case _:
            return data_type
