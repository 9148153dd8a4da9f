"""What sinks ask of a frame before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import nearest
from pipeline_platform.config.values import one_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import in_sql, repeated
from pipeline_platform.frames.nested_values import types_in

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField

PartitionOverwrite = Annotated[Literal["static", "dynamic"], one_of("static", "dynamic")]
"""What mode `overwrite` replaces of a partitioned sink: all, or the partitions that the frame has rows for."""

NESTED = frozenset({"array", "map", "struct"})
"""The kinds of types that have others in them."""


@dataclass(frozen=True)
class StorableTypes:
    """What a format of files, or a system, can't hold.

    Spark finds that out only while it writes.

    Args:
        name: Of the format or the system.
        without: The kinds of types that it has no place for.
        is_flat: Whether it has no type for what has others in it.
        takes_binary_folders: Whether bytes may be the name of a folder.
        require: Raises for more that it can't hold of a column; given the column, and each type in it.
    """

    name: str
    without: frozenset[str]
    is_flat: bool = False
    takes_binary_folders: bool = False
    require: Callable[[StructField, DataType], None] | None = None


_UNPARTITIONABLE = frozenset({"void", "variant", "interval"}) | NESTED


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
        message = "'partitionOverwrite' needs mode overwrite"
    elif overwrite == "dynamic" and not partition_by:
        message = "'partitionOverwrite' dynamic needs 'partitionBy'"
    if message is not None:
        raise PydanticCustomError("overwrite", "{message}", {"message": message, "key": "partitionOverwrite"})


def require_storable(frame: DataFrame, types: StorableTypes, partition_by: Sequence[str] = ()) -> None:
    """Raise unless files of a format, or tables of a system, can hold the frame.

    Args:
        frame: The frame.
        types: What they can't hold.
        partition_by: The columns that become folders.

    Raises:
        PipelineExecutionException: Two columns, or two fields of one, have the same name, all columns would be
            folders, or the format has no place for a type or a name.
    """
    require_different_names(frame)
    folders = {name.lower() for name in partition_by}
    if partition_by and len(folders) == len(frame.columns):
        raise PipelineExecutionException(
            "'partitionBy' names every column of the frame, so none is left for the files",
            hint="leave at least one column out of 'partitionBy'",
        )
    for field in frame.schema:
        if field.name.lower() in folders:
            kind = kind_of(field.dataType)
            # Delta writes bytes as text of their numbers, and Spark those of a folder as if they were text.
            if kind in _UNPARTITIONABLE or (kind == "binary" and not types.takes_binary_folders):
                raise PipelineExecutionException(
                    f"'partitionBy' names the column '{field.name}', and {field.dataType.simpleString()} can't be the "
                    "name of a folder",
                    hint="partition by a column of a simple type, such as string or date",
                )
            continue
        _require_fields(field, types.name)
        for data_type in types_in(field.dataType):
            if kind_of(data_type) in types.without:
                raise PipelineExecutionException(
                    f"{types.name} can't hold the column '{field.name}', {field.dataType.simpleString()}",
                    hint=f"cast it first, for example with enrichData: {_cast(field.name, types, data_type)}",
                )
            if types.require is not None:
                types.require(field, data_type)


def _require_fields(column: StructField, name: str) -> None:
    """Raise for a struct without fields, or with two of the same name, at any depth."""
    from pyspark.sql.types import StructType

    told = f"the column '{column.name}', {column.dataType.simpleString()}"
    for data_type in types_in(column.dataType):
        if isinstance(data_type, StructType):
            if not data_type.fields:
                raise PipelineExecutionException(
                    f"{name} can't hold {told}: it has a struct without fields",
                    hint="drop the column, or give the struct a field",
                )
            if twice := repeated(data_type.names):
                raise PipelineExecutionException(
                    f"{told}, has the field '{twice[0]}' twice, as case is ignored",
                    hint="rename or drop one of them first",
                )


def field_names(data_type: DataType) -> list[str]:
    """The names of all fields in a type, at any depth."""
    from pyspark.sql.types import StructType

    return [name for inner in types_in(data_type) if isinstance(inner, StructType) for name in inner.names]


def require_different_names(frame: DataFrame) -> None:
    """Raise if two columns have the same name, as Spark compares them.

    Args:
        frame: The frame.

    Raises:
        PipelineExecutionException: Two have.
    """
    seen: dict[str, str] = {}
    for name in frame.columns:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            told = f"two columns '{name}'" if other == name else f"the columns '{other}' and '{name}'"
            raise PipelineExecutionException(
                f"the frame has {told}, which are the same to a sink, as case is ignored",
                hint="rename or drop one of them first",
            )


def kind_of(data_type: DataType) -> str:
    """The kind of a type, as `StorableTypes` has it; `simple` for the others."""
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


def _cast(column: str, types: StorableTypes, data_type: DataType) -> str:
    written = in_sql(column)
    if kind_of(data_type) == "binary":
        return f"base64({written})"
    nested = kind_of(data_type) in (*NESTED, "variant")
    return f"to_json({written})" if types.is_flat and nested else f"CAST({written} AS STRING)"
