"""What a Delta table can't hold: tried out with Delta 4.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.storable import StorableTypes

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructField


def _require(column: StructField, data_type: DataType) -> None:
    from pyspark.sql.types import ArrayType, MapType, NullType

    if isinstance(data_type, ArrayType | MapType):
        inner = data_type.elementType if isinstance(data_type, ArrayType) else data_type.valueType
        if isinstance(inner, NullType):
            raise PipelineExecutionException(
                f"delta can't hold the column '{column.name}', {column.dataType.simpleString()}: the type of its "
                "elements is not known",
                hint=f"cast it first, for example with enrichData: CAST({column.name} AS ARRAY<STRING>)",
            )


DELTA_TYPES = StorableTypes(
    "delta",
    frozenset({"interval", "interval_ym", "interval_dt", "time"}),
    # It writes bytes as text of their numbers, where Spark writes those of a folder as if they were text.
    takes_binary_folders=True,
    require=_require,
)
