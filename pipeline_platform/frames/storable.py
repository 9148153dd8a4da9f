"""What sinks ask of a frame before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic_core import PydanticCustomError

from pipeline_platform.config.problem import nearest
from pipeline_platform.config.values import one_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import repeated

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField

PartitionOverwrite = Annotated[Literal["static", "dynamic"], one_of("static", "dynamic")]
"""What mode `overwrite` replaces of a partitioned sink: all, or the partitions that the frame has rows for."""

_NESTED = frozenset({"array", "map", "struct"})
# Sinks without a type for what has others in it.
_FLAT = ("csv", "PostgreSQL", "MySQL")
# Spark finds out only while it writes; tried out with each format of Spark 4.1 and Delta 4.4.
_UNSTORABLE = {
    "parquet": frozenset({"interval", "time"}),
    "orc": frozenset({"void", "variant", "interval", "time"}),
    "json": frozenset({"interval", "time"}),
    "csv": frozenset({"void", "variant", "interval", "time", "binary"}) | _NESTED,
    "avro": frozenset({"variant", "interval", "time"}),
    "delta": frozenset({"interval", "interval_ym", "interval_dt", "time"}),
    "PostgreSQL": frozenset({"map", "struct", "variant", "interval", "interval_ym", "interval_dt", "time"}),
    "MySQL": frozenset({"array", "map", "struct", "variant", "interval", "interval_ym", "interval_dt", "time"}),
}
_AVRO_NAME = re.compile(r"[^\W\d]\w*")
# What JSON writes as the number that Spark keeps, or as the name of a Java object, where it is the key of a map.
_NO_JSON_KEYS = frozenset({"date", "timestamp", "binary", "interval_ym", "interval_dt"}) | _NESTED
_UNPARTITIONABLE = frozenset({"void", "variant", "interval"}) | _NESTED


def require_columns(frame: DataFrame, columns: Sequence[str], key: str) -> None:
    """Raise unless the frame has these columns, compared as Spark does, without regard to case.

    Args:
        frame: The frame.
        columns: Names that a config key holds.
        key: That key.

    Raises:
        PipelineExecutionException: One is missing.
    """
    there = {name.lower() for name in frame.columns}
    for column in columns:
        if column.lower() not in there:
            has = ", ".join(frame.columns)
            raise PipelineExecutionException(
                f"'{key}' names the column '{column}', which the frame does not have; it has {has}",
                hint=nearest(column, frame.columns) or f"name one of its columns in '{key}'",
            )


def require_partition_overwrite(overwrite: str | None, mode: str, partition_by: Sequence[str]) -> None:
    """Raise unless a `partitionOverwrite` goes with the other keys of a step.

    Raises:
        PydanticCustomError: The mode overwrites nothing, or there are no partitions.
    """
    message = None
    if overwrite is not None and mode != "overwrite":
        message = "'partitionOverwrite' goes with mode overwrite"
    elif overwrite == "dynamic" and not partition_by:
        message = "'partitionOverwrite' dynamic needs 'partitionBy'"
    if message is not None:
        raise PydanticCustomError("overwrite", "{message}", {"message": message, "key": "partitionOverwrite"})


def require_storable(frame: DataFrame, file_format: str, partition_by: Sequence[str] = ()) -> None:
    """Raise unless files of this format, or tables of this system, can hold the frame.

    Args:
        frame: The frame.
        file_format: Spark's name of the format, or `delta`, `PostgreSQL` or `MySQL`.
        partition_by: The columns that become folders.

    Raises:
        PipelineExecutionException: Two columns, or two fields of one, have the same name, all columns would be
            folders, or the format has no place for a type or a name.
    """
    from pyspark.sql.types import MapType

    _require_different_names(frame)
    folders = {name.lower() for name in partition_by}
    if partition_by and len(folders) == len(frame.columns):
        raise PipelineExecutionException(
            "'partitionBy' names every column of the frame, so that none is left for the files",
            hint="leave at least one column out of 'partitionBy'",
        )
    for field in frame.schema:
        if field.name.lower() in folders:
            kind = _kind(field.dataType)
            # Delta writes bytes as text of their numbers, and Spark those of a folder as if they were text.
            if kind in _UNPARTITIONABLE or (kind == "binary" and file_format != "delta"):
                raise PipelineExecutionException(
                    f"'partitionBy' names the column '{field.name}', and {field.dataType.simpleString()} can't be the "
                    "name of a folder",
                    hint="partition by a column of a simple type, such as string or date",
                )
            continue
        _require_fields(field, file_format)
        for data_type in _types_in(field.dataType):
            if _kind(data_type) in _UNSTORABLE.get(file_format, ()):
                raise PipelineExecutionException(
                    f"{file_format} can't hold the column '{field.name}', {field.dataType.simpleString()}",
                    hint=f"cast it first, for example with enrichData: {_cast(field.name, file_format, data_type)}",
                )
            if file_format == "json" and isinstance(data_type, MapType) and _kind(data_type.keyType) in _NO_JSON_KEYS:
                raise PipelineExecutionException(
                    f"json can't hold the column '{field.name}', {field.dataType.simpleString()}: the names in an "
                    "object are texts",
                    hint="make texts of the keys first, with transform_keys",
                )


def _require_fields(column: StructField, file_format: str) -> None:
    """Look at what is in a column, at any depth, that Spark looks at only while it writes."""
    from pyspark.sql.types import ArrayType, MapType, NullType, StringType, StructType

    told = f"the column '{column.name}', {column.dataType.simpleString()}"
    names = [column.name]
    for data_type in _types_in(column.dataType):
        if isinstance(data_type, StructType):
            if not data_type.fields:
                raise PipelineExecutionException(
                    f"{file_format} can't hold {told}: it has a struct without fields",
                    hint="drop the column, or give the struct a field",
                )
            if twice := repeated(data_type.names):
                raise PipelineExecutionException(
                    f"{told}, has the field '{twice[0]}' twice, as case does not count",
                    hint="rename or drop one of them first",
                )
            names += data_type.names
        if file_format == "avro" and isinstance(data_type, MapType) and not isinstance(data_type.keyType, StringType):
            raise PipelineExecutionException(
                f"avro can't hold {told}: the keys of its maps are texts", hint="make the keys texts first"
            )
        if file_format == "delta" and isinstance(data_type, ArrayType | MapType):
            inner = [data_type.elementType] if isinstance(data_type, ArrayType) else [data_type.valueType]
            if any(isinstance(kind, NullType) for kind in inner):
                raise PipelineExecutionException(
                    f"delta can't hold {told}: nothing says what its elements are",
                    hint=f"cast it first, for example with enrichData: CAST({column.name} AS ARRAY<STRING>)",
                )
    if file_format == "avro" and (wrong := [name for name in names if not _AVRO_NAME.fullmatch(name)]):
        where = "" if wrong[0] == column.name else f", in the column '{column.name}'"
        raise PipelineExecutionException(
            f"Avro does not take the name '{wrong[0]}'{where}: names are of letters, digits and '_'",
            hint="rename it first; a name must not begin with a digit",
        )


def field_names(data_type: DataType) -> list[str]:
    """The names of all fields in a type, at any depth."""
    from pyspark.sql.types import StructType

    return [name for inner in _types_in(data_type) if isinstance(inner, StructType) for name in inner.names]


def _require_different_names(frame: DataFrame) -> None:
    seen: dict[str, str] = {}
    for name in frame.columns:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            told = f"two columns '{name}'" if other == name else f"the columns '{other}' and '{name}'"
            raise PipelineExecutionException(
                f"the frame has {told}, which are one to a sink, as case does not count",
                hint="rename or drop one of them first",
            )


def _types_in(data_type: DataType) -> Iterator[DataType]:
    from pyspark.sql.types import ArrayType, MapType, StructType

    yield data_type
    match data_type:
        case ArrayType():
            yield from _types_in(data_type.elementType)
        case MapType():
            yield from _types_in(data_type.keyType)
            yield from _types_in(data_type.valueType)
        case StructType():
            for field in data_type:
                yield from _types_in(field.dataType)
        case _:
            return


def _kind(data_type: DataType) -> str:
    from pyspark.sql import types as T

    kinds: tuple[tuple[type[DataType], str], ...] = (
        (T.ArrayType, "array"),
        (T.MapType, "map"),
        (T.StructType, "struct"),
        (T.NullType, "void"),
        (T.VariantType, "variant"),
        (T.CalendarIntervalType, "interval"),
        (T.YearMonthIntervalType, "interval_ym"),
        (T.DayTimeIntervalType, "interval_dt"),
        (T.TimeType, "time"),
        (T.BinaryType, "binary"),
        (T.DateType, "date"),
        (T.TimestampType, "timestamp"),
        (T.TimestampNTZType, "timestamp"),
    )
    return next((kind for type_, kind in kinds if isinstance(data_type, type_)), "simple")


def _cast(column: str, file_format: str, data_type: DataType) -> str:
    if _kind(data_type) == "binary":
        return f"base64({column})"
    nested = _kind(data_type) in (*_NESTED, "variant")
    return f"to_json({column})" if file_format in _FLAT and nested else f"CAST({column} AS STRING)"
