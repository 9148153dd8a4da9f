"""What is in the values of Kafka records: columns parsed from them, and which could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline_platform.methods.columns import HELPER_PREFIX, quoted
from pipeline_platform.methods.extract.malformed import MALFORMED, RECORD, marked

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

ValueFormat = Literal["raw", "string", "json", "avro"]
_KEPT = ("key", "topic", "partition", "offset", "timestamp")
_PARSED = f"{HELPER_PREFIX}parsed"
_CORRUPT = f"{HELPER_PREFIX}corrupt"


def with_values(records: DataFrame, value_format: ValueFormat, schema: str | None) -> DataFrame:
    """The records with their values decoded, and marked if they are parsed.

    Parsed, the fields of the value stand beside the columns of the record, without `value` itself; a column of the
    record whose name a field has is called `kafka_<name>`.

    Args:
        records: As Spark's Kafka source gives them.
        value_format: What the values are.
        schema: Of json in Spark DDL, of avro in Avro's JSON.
    """
    from pyspark.sql import functions as F

    if value_format == "raw":
        return records
    if value_format == "string":
        return records.withColumn("value", F.col("value").cast("string"))
    assert schema is not None
    records = records.withColumn(_PARSED, _parsed_json(schema) if value_format == "json" else _parsed_avro(schema))
    struct: StructType = records.schema[_PARSED].dataType  # pyright: ignore[reportAssignmentType]
    fields = [name for name in struct.names if name != _CORRUPT]
    taken = {name.lower() for name in fields}
    malformed = F.col(f"{_PARSED}.{_CORRUPT}") if value_format == "json" else F.col(_PARSED)
    is_malformed = malformed.isNotNull() if value_format == "json" else malformed.isNull()
    reason = F.when(F.col("value").isNotNull() & is_malformed, F.lit(f"the value is not {value_format} of the schema"))
    kept = {f"kafka_{name}" if name in taken else name: F.col(name) for name in _KEPT}
    parsed = {name: F.col(f"{_PARSED}.{quoted(name)}") for name in fields}
    record = {name: F.col(name) for name in (*_KEPT, "value")}
    return marked(records, reason, record).select(
        *(column.alias(name) for name, column in {**kept, **parsed}.items()), RECORD, MALFORMED
    )


def _parsed_json(schema: str) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    fields = StructType.fromDDL(schema)
    assert isinstance(fields, StructType)
    wanted = StructType([*fields.fields]).add(_CORRUPT, "string")
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    return F.from_json(F.col("value").cast("string"), wanted, options)


def _parsed_avro(schema: str) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql.avro.functions import from_avro

    return from_avro(F.col("value"), schema, {"mode": "PERMISSIVE"})
