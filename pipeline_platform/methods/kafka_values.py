"""What is in the values of Kafka records: columns parsed from them, and which could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline_platform.methods.columns import HELPER_PREFIX, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

ValueFormat = Literal["raw", "string", "json", "avro"]
OnMalformed = Literal["fail", "null", "quarantine"]
MALFORMED = f"{HELPER_PREFIX}malformed"
"""True for a record whose value could not be parsed; the column is there until they are taken out."""
MALFORMED_VALUE = "the value of a Kafka record can't be parsed"
_KEPT = ("key", "topic", "partition", "offset", "timestamp")
_RECORD = f"{HELPER_PREFIX}record"
_PARSED = f"{HELPER_PREFIX}parsed"
_CORRUPT = f"{HELPER_PREFIX}corrupt"


def with_values(records: DataFrame, value_format: ValueFormat, schema: str | None) -> DataFrame:
    """The records with their values decoded, and the column `MALFORMED` if they are parsed.

    Parsed, the fields of the value stand beside the columns of the record, without `value` itself; a column of the
    record whose name a field has is called `kafka_<name>`. Until `without_malformed` there is the whole record, too.

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
    taken = {name.casefold() for name in fields}
    malformed = F.col(f"{_PARSED}.{_CORRUPT}") if value_format == "json" else F.col(_PARSED)
    is_malformed = malformed.isNotNull() if value_format == "json" else malformed.isNull()
    return records.select(
        *(F.col(name).alias(f"kafka_{name}" if name in taken else name) for name in _KEPT),
        *(F.col(f"{_PARSED}.{quoted(name)}").alias(name) for name in fields),
        F.struct(*_KEPT, "value").alias(_RECORD),
        (F.col("value").isNotNull() & is_malformed).alias(MALFORMED),
    )


def without_malformed(frame: DataFrame, on_malformed: OnMalformed) -> DataFrame:
    """The frame without helper columns, its malformed records dealt with.

    Args:
        frame: Of `with_values`.
        on_malformed: `fail` fails the job that meets one, `null` leaves its fields null, `quarantine` leaves it out.
    """
    from pyspark.sql import functions as F

    if MALFORMED not in frame.columns:
        return frame
    malformed = F.col(MALFORMED)
    if on_malformed == "quarantine":
        frame = frame.filter(~malformed)
    if on_malformed == "fail":
        place = (F.concat(F.lit(f"{name} "), F.col(f"{_RECORD}.{name}")) for name in ("topic", "partition", "offset"))
        told = F.concat(F.lit(f"{MALFORMED_VALUE}: "), F.concat_ws(", ", *place))
        frame = frame.filter(F.when(malformed, F.raise_error(told).cast("boolean")).otherwise(F.lit(True)))
    return frame.drop(MALFORMED, _RECORD)


def malformed_records(frame: DataFrame, value_format: ValueFormat) -> DataFrame:
    """The records that can't be parsed, as Kafka has them, with the reason.

    Args:
        frame: Of `with_values`.
        value_format: What their values should be.
    """
    from pyspark.sql import functions as F

    reason = F.lit(f"the value is not {value_format} of the schema").alias("reason")
    return frame.filter(MALFORMED).select(f"{_RECORD}.*", reason)


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
