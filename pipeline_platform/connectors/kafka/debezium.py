"""Change events of Debezium as columns of a frame. They are read in Python, on the executors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.kafka.debezium_avro import json_of_avro
from pipeline_platform.connectors.kafka.debezium_events import (
    CHANGE_COLUMNS,
    TIME,
    Json,
    Rows,
    UnusableError,
    change_reader,
)
from pipeline_platform.frames.columns import HELPER_PREFIX
from pipeline_platform.frames.json_values import JsonValues, once

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

_CHANGE = f"{HELPER_PREFIX}change"
_WHY = f"{HELPER_PREFIX}why"


def with_changes(frame: DataFrame, data: Column, rows: Rows, writers: Mapping[int, str] | None = None) -> JsonValues:
    """Read the change event in each value.

    Args:
        frame: The frame.
        data: The values, of its columns, as bytes.
        rows: What the rows of the table are.
        writers: Where they are framed Avro, the schemas that they were written with, by id; None for JSON.

    Returns:
        The columns of the row, and `CHANGE_COLUMNS`. Those of the row are null for a truncation.

    Raises:
        PipelineConfigurationException: A column has a type that is not read, or a name that means another.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    # Raises before anything is read.
    change_reader(rows)
    # Of a message that can't be used, and of some that can, each may be null.
    row = [T.StructField(column.name, column.dataType) for column in rows.schema.fields]
    kinds = {name: T.TimestampType() if name == TIME else T.StringType() for name in CHANGE_COLUMNS}
    change = [T.StructField(name, kind) for name, kind in kinds.items()]
    schema = T.StructType([*row, *change, T.StructField(_WHY, T.StringType())])

    # With annotations, which are texts here, Spark would not know the kind of function.
    functions: Any = F
    read = functions.arrow_udf(lambda values: _read_all(values, rows, schema, writers), schema).asNondeterministic()  # pyright: ignore[reportUnknownLambdaType]
    found = F.col(_CHANGE)
    fields = {field.name: found.getField(field.name) for field in (*row, *change)}
    return JsonValues(frame.withColumn(_CHANGE, once(read(data))), fields, found.getField(_WHY))


def _read_all(values: Any, rows: Rows, schema: StructType, writers: Mapping[int, str] | None) -> Any:
    """A struct of the schema for each value; of nulls for a null."""
    import pyarrow

    arrow: Any = pyarrow
    read = change_reader(rows)
    in_json = json_of_avro(writers) if writers is not None else None

    def one(data: bytes | None) -> Json:
        try:
            if data is None:
                return {}
            return read(in_json(data) if in_json is not None else data)
        except UnusableError as error:
            return {_WHY: str(error)}

    found = [one(value.as_py()) for value in values]
    parts = [arrow.array([each.get(field.name) for each in found], _arrow(field.dataType)) for field in schema.fields]
    return arrow.StructArray.from_arrays(parts, names=schema.fieldNames())


def _arrow(kind: DataType) -> Any:
    import pyarrow
    from pyspark.sql import types as T

    arrow: Any = pyarrow
    match kind:
        case T.ArrayType():
            return arrow.list_(_arrow(kind.elementType))
        case T.DecimalType():
            return arrow.decimal128(kind.precision, kind.scale)
        case _:
            return {
                "tinyint": arrow.int8(),
                "smallint": arrow.int16(),
                "int": arrow.int32(),
                "bigint": arrow.int64(),
                "float": arrow.float32(),
                "double": arrow.float64(),
                "boolean": arrow.bool_(),
                "string": arrow.string(),
                "binary": arrow.binary(),
                "date": arrow.date32(),
                "timestamp": arrow.timestamp("us", "UTC"),
                "timestamp_ntz": arrow.timestamp("us"),
            }[kind.simpleString()]
