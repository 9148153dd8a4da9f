"""What files of each format can't hold: tried out with Spark 4.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.storable import NESTED, StorableTypes, kind_of

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructField

# What JSON writes as the number that Spark keeps, or as the name of a Java object, where it is the key of a map.
_NO_JSON_KEYS = frozenset({"date", "timestamp", "binary", "interval_ym", "interval_dt"}) | NESTED


def is_avro_name(name: str) -> bool:
    """Whether Avro takes it for the name of a field or a type, as Java has it: letters, digits and _, of 16 bits."""
    allowed = all(char == "_" or (char <= "\uffff" and (char.isalpha() or char.isdecimal())) for char in name)
    return bool(name) and allowed and not name[0].isdecimal()


def _require_json(column: StructField, data_type: DataType) -> None:
    from pyspark.sql.types import MapType

    if isinstance(data_type, MapType) and kind_of(data_type.keyType) in _NO_JSON_KEYS:
        raise PipelineExecutionException(
            f"json can't hold the column '{column.name}', {column.dataType.simpleString()}: the keys of an object "
            "are strings",
            hint="convert the keys to strings first, with transform_keys",
        )


def _require_avro(column: StructField, data_type: DataType) -> None:
    from pyspark.sql.types import MapType, StringType, StructType

    if isinstance(data_type, MapType) and not isinstance(data_type.keyType, StringType):
        raise PipelineExecutionException(
            f"avro can't hold the column '{column.name}', {column.dataType.simpleString()}: the keys of its maps "
            "are strings",
            hint="convert the keys to strings first",
        )
    names = [column.name, *(data_type.names if isinstance(data_type, StructType) else ())]
    wrong = next((name for name in names if not is_avro_name(name)), None)
    if wrong is not None:
        where = "" if wrong == column.name else f", in the column '{column.name}'"
        raise PipelineExecutionException(
            f"Avro does not allow the name '{wrong}'{where}: names consist of letters, digits and '_'",
            hint="rename it first; a name must not begin with a digit",
        )


FORMATS: Mapping[str, StorableTypes] = {
    types.name: types
    for types in (
        StorableTypes("parquet", frozenset({"interval", "time"})),
        StorableTypes("orc", frozenset({"void", "variant", "interval", "time"})),
        StorableTypes("json", frozenset({"interval", "time"}), require=_require_json),
        StorableTypes("csv", frozenset({"void", "variant", "interval", "time", "binary"}) | NESTED, is_flat=True),
        StorableTypes("avro", frozenset({"variant", "interval", "time"}), require=_require_avro),
    )
}
"""By Spark's name of the format."""
