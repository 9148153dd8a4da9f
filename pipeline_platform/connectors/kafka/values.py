"""What is in the values of Kafka records: columns parsed from them, and why a value can't be used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline_platform.connectors.kafka.debezium import with_changes
from pipeline_platform.connectors.kafka.debezium_events import Rows
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.columns import HELPER_PREFIX
from pipeline_platform.frames.exact_json import is_unfit
from pipeline_platform.frames.json_values import EMPTY, NOT_UTF8, once, with_json
from pipeline_platform.frames.nested_values import anywhere
from pipeline_platform.steps.malformed import MALFORMED, RECORD, marked

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

ValueFormat = Literal["raw", "string", "json", "avro", "debezium"]
ValueFraming = Literal["none", "confluent"]
LARGEST_ID = 2**31 - 1
"""The largest id that a schema registry gives."""

NEW_SCHEMA = "a message was written with a schema that the read was not planned with"
"""What the error begins with that a value of an unknown id raises; the id and the topic follow."""

_KEPT = ("key", "topic", "partition", "offset", "timestamp")
_PARSED = f"{HELPER_PREFIX}parsed"
_HEADER_BYTES = 5
# Follows each Avro value while it is read. As no part of it is found within it but itself, it is read as the field
# after the value only if the value ends exactly before it: bytes that are left over are read first, and a value that
# is cut off is read on in here, so that too few bytes are left.
_END = bytes.fromhex("f35ad1c46b0e97a2881d3c5fe4b9076a")


@dataclass(frozen=True)
class Values:
    """What the values of a topic are.

    Args:
        format: How they are encoded.
        schema: Of json and of the rows in debezium in Spark DDL, of avro in Avro's JSON: the schema they are read with.
        framing: What stands before each of them.
        writer_schemas: Of framed avro, the schemas that values were written with, by their ids in the registry.
        types: Of debezium without schemas, the types of columns, by their names.
        ignored: Of debezium, columns that the schema lacks, and that are left out.
        refused: Of framed avro, why values with other ids can't be read, by id.
        others_are_new: Whether the read fails at a value of an id that is in neither, and the value is not malformed.
    """

    format: ValueFormat = "raw"
    schema: str | None = None
    framing: ValueFraming = "none"
    writer_schemas: Mapping[int, str] = field(default_factory=dict[int, str])
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    ignored: Sequence[str] = ()
    refused: Mapping[int, str] = field(default_factory=dict[int, str])
    others_are_new: bool = False


def with_values(records: DataFrame, values: Values) -> DataFrame:
    """The records with their values decoded, and marked unless they are left as they are.

    Parsed, the fields of the value stand beside the columns of the record, without `value` itself; a column of the
    record whose name a field has is called `kafka_<name>`, with as many `kafka_` as no field has. A null, a tombstone,
    has a null in each of them.

    Args:
        records: As Spark's Kafka source gives them.
        values: What the values are.

    Raises:
        PipelineConfigurationException: The schema describes no record, or has a column that debezium has not.
    """
    match values.format:
        case "raw":
            return records
        case "string":
            return _with_text(records)
        case "json":
            return _with_json(records, values)
        case "avro":
            return _with_avro(records, values)
        case "debezium":
            return _with_changes(records, values)


def _with_text(records: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    text = F.col("value").cast("string")
    reason = F.when(~F.is_valid_utf8(text), F.lit(NOT_UTF8))
    return marked(records, reason, _record()).withColumn("value", F.when(F.is_valid_utf8(text), text))


def _with_json(records: DataFrame, values: Values) -> DataFrame:
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    schema = StructType.fromDDL(values.schema or "")
    assert isinstance(schema, StructType)
    unframed = _unframed(values.framing)
    parsed = with_json(records, unframed.cast("string"), schema)
    reason = F.coalesce(_misframed(values.framing), parsed.reason)
    return _beside_the_record(parsed.frame, parsed.fields, reason)


def _with_changes(records: DataFrame, values: Values) -> DataFrame:
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    schema = StructType.fromDDL(values.schema or "")
    assert isinstance(schema, StructType)
    rows = Rows(schema, values.types, values.ignored)
    if values.others_are_new:
        parsed = with_changes(
            records, _or_new(F.when(_is_known(values), F.col("value")), values), rows, values.writer_schemas
        )
        reason = F.coalesce(_misframed(values.framing), _unknown(values), parsed.reason)
    else:
        parsed = with_changes(records, _unframed(values.framing), rows)
        reason = F.coalesce(_misframed(values.framing), parsed.reason)
    return _beside_the_record(parsed.frame, parsed.fields, reason)


def _with_avro(records: DataFrame, values: Values) -> DataFrame:
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    records = records.withColumn(_PARSED, once(_avro(values)))
    parsed: StructType = records.schema[_PARSED].dataType  # pyright: ignore[reportAssignmentType]
    struct = parsed["value"].dataType
    if not isinstance(struct, StructType):
        raise PipelineConfigurationException(
            f"the Avro schema describes a value of type {struct.simpleString()}, and not a record",
            hint="give 'valueSchema' a schema of type record",
        )
    value, end = F.col(_PARSED)["value"], F.col(_PARSED)["end"]
    fields: dict[str, Column] = {}
    reason = (
        F.when(end.isNull() & (F.length(_unframed(values.framing)) == 0), F.lit(EMPTY))
        .when(end.isNull(), F.lit("not Avro of the schema, or cut off"))
        .when(end != F.lit(_END), F.lit("bytes follow the Avro record"))
    )
    unreadable: list[Column] = []
    for found in struct.fields:
        read = value.getField(found.name)
        fits = end == F.lit(_END)
        for test, why in (
            (_is_no_text, f"a text in '{found.name}' is {NOT_UTF8}"),
            (_is_no_day, f"a date or a time in '{found.name}' is not in the years 1 to 9999"),
        ):
            unfit = anywhere(read, found.dataType, test)
            if unfit is not None:
                fits = fits & ~unfit
                unreadable.append(F.when(unfit, F.lit(why)))
        fields[found.name] = F.when(fits, read)
    reason = F.when(
        F.col("value").isNotNull(), F.coalesce(_misframed(values.framing), _unknown(values), reason, *unreadable)
    )
    return _beside_the_record(records, fields, reason)


def _is_no_text(read: Column, data_type: DataType) -> Column | None:
    from pyspark.sql import functions as F
    from pyspark.sql.types import StringType

    return ~F.is_valid_utf8(read) if isinstance(data_type, StringType) else None


def _is_no_day(read: Column, data_type: DataType) -> Column | None:
    from pyspark.sql.types import DateType, TimestampNTZType, TimestampType

    is_time = isinstance(data_type, (DateType, TimestampType, TimestampNTZType))
    return is_unfit(read, data_type) if is_time else None


def _avro(values: Values) -> Column:
    """The struct of the value, and of the bytes after it."""
    from pyspark.sql import functions as F
    from pyspark.sql.avro.functions import from_avro

    assert values.schema is not None
    reader, data = _ended(values.schema), F.concat(_unframed(values.framing), F.lit(_END))
    options = {"mode": "PERMISSIVE"}
    if values.framing == "none":
        return from_avro(data, reader, options)
    read = [
        (
            F.substring("value", 1, _HEADER_BYTES) == F.lit(header_of(schema_id)),
            from_avro(data, _ended(schema), {**options, "avroSchema": reader}),
        )
        for schema_id, schema in values.writer_schemas.items()
    ]
    if not read:
        # Nothing was written yet that could be read; the type is that of a value.
        read = [(F.lit(False), from_avro(data, reader, options))]
    [(condition, value), *others] = read
    parsed = F.when(condition, value)
    for condition, value in others:
        parsed = parsed.when(condition, value)
    return _or_new(parsed, values) if values.others_are_new else parsed


def _is_known(values: Values) -> Column:
    from pyspark.sql import functions as F

    headers = [F.lit(header_of(schema_id)) for schema_id in values.writer_schemas]
    return F.substring("value", 1, _HEADER_BYTES).isin(headers)


def _or_new(parsed: Column, values: Values) -> Column:
    """What is parsed of values whose ids are known, or an error that names another id."""
    from pyspark.sql import functions as F

    # Here, so that nothing at all can be read of such a value.
    refused = F.substring("value", 1, _HEADER_BYTES).isin([F.lit(header_of(schema_id)) for schema_id in values.refused])
    unreadable = F.col("value").isNull() | _misframed(values.framing).isNotNull() | refused
    schema_id = F.conv(F.hex(F.substring("value", 2, _HEADER_BYTES - 1)), 16, 10)
    told = F.concat(F.lit(f"{NEW_SCHEMA}: id "), schema_id, F.lit(", topic "), F.col("topic"))
    return parsed.when(~unreadable, F.raise_error(told))


def _ended(schema: str) -> str:
    """The schema of a value of this schema with `_END` after it."""
    # No type of the schema has such a name.
    end = {"type": "fixed", "name": f"end_{_END.hex()}", "size": len(_END)}
    fields = [{"name": "value", "type": json.loads(schema)}, {"name": "end", "type": end}]
    return json.dumps({"type": "record", "name": f"value_{_END.hex()}", "fields": fields})


def header_of(schema_id: int) -> bytes:
    """What stands before a value that was written with the schema of an id."""
    return b"\0" + schema_id.to_bytes(_HEADER_BYTES - 1, "big")


def _unframed(framing: ValueFraming) -> Column:
    from pyspark.sql import functions as F

    return F.col("value") if framing == "none" else F.expr(f"substring(value, {_HEADER_BYTES + 1})")


def _misframed(framing: ValueFraming) -> Column:
    from pyspark.sql import functions as F

    if framing == "none":
        return F.lit(None).cast("string")
    is_framed = (F.length("value") >= _HEADER_BYTES) & (F.substring("value", 1, 1) == F.lit(b"\0"))
    return F.when(~is_framed, F.lit("without the header of a schema registry"))


def _unknown(values: Values) -> Column:
    from pyspark.sql import functions as F

    header = F.substring("value", 1, _HEADER_BYTES)
    reasons = F.lit(None).cast("string")
    if values.framing == "none":
        return reasons
    # Of ids that are new nothing is read, so that nobody comes here with one.
    if not values.others_are_new:
        headers = [F.lit(header_of(schema_id)) for schema_id in values.writer_schemas]
        reasons = F.when(~header.isin(headers), F.lit("written with a schema that 'writerSchemas' lacks"))
    for schema_id, why in values.refused.items():
        reasons = F.when(header == F.lit(header_of(schema_id)), F.lit(why)).otherwise(reasons)
    return reasons


def _beside_the_record(records: DataFrame, fields: Mapping[str, Column], reason: Column) -> DataFrame:
    from pyspark.sql import functions as F

    taken = {name.lower() for name in fields}
    kept: dict[str, Column] = {}
    for name in _KEPT:
        free = name
        while free in taken:
            free = f"kafka_{free}"
        kept[free] = F.col(name)
    return marked(records, reason, _record()).select(
        *(column.alias(name) for name, column in {**kept, **fields}.items()), RECORD, MALFORMED
    )


def _record() -> dict[str, Column]:
    from pyspark.sql import functions as F

    return {name: F.col(name) for name in (*_KEPT, "value")}
