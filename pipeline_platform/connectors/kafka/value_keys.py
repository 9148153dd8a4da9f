"""The keys of `fromKafka` that say what the values of messages are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.values import AvroSchema, Names, avro_schema_mistake, ddl_mistake, one_of
from pipeline_platform.connectors.kafka.debezium_types import DEBEZIUM_TYPE, PLAIN_TYPES
from pipeline_platform.connectors.kafka.registry import REGISTRY_EXTRA
from pipeline_platform.connectors.kafka.registry_schemas import ReadWithRegistry, RegistrySchemas, readable, understood
from pipeline_platform.connectors.kafka.values import LARGEST_ID, ValueFormat, ValueFraming, Values, with_values
from pipeline_platform.extras import Extra
from pipeline_platform.steps.malformed import MalformedRecords

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ID_DIGITS = len(str(LARGEST_ID))


def _debezium_type(value: Any) -> Any:
    if isinstance(value, str) and (has_placeholder(value) or re.fullmatch(DEBEZIUM_TYPE, value, re.ASCII)):
        return value
    raise PydanticCustomError("type", "expected one of {types} or Decimal(2), say", {"types": ", ".join(PLAIN_TYPES)})


DebeziumType = Annotated[
    str, BeforeValidator(_debezium_type), WithJsonSchema({"type": "string", "pattern": f"^({DEBEZIUM_TYPE})$"})
]
"""A type of Debezium's in `valueTypes`."""


class ValueKeys(MalformedRecords):
    """Keys that say what the values of messages are."""

    tombstones: Annotated[Literal["keep", "drop"], one_of("keep", "drop")] | None = None
    """What happens to a message without a value, which says that its key was deleted.

    `keep` keeps it as a row in which `value`, or each column parsed from it, is null; `drop` leaves it out, and it is
    not counted. It is never malformed. By default `keep`, and `drop` for debezium, which sends one after each delete.
    """
    value_format: Annotated[ValueFormat, one_of("raw", "string", "json", "avro", "debezium")] = "raw"
    """What a value is: `raw` leaves Kafka's columns as they are, `string` decodes it as UTF-8, the others parse it.

    A value is malformed unless it is complete and of its format: text that is not UTF-8, or json or avro that is empty,
    truncated, followed by anything else, or not of `valueSchema`. The key stays bytes.

    `debezium` is a change event of Debezium from PostgreSQL, MySQL or MariaDB: in JSON, with its schema or without, or
    in Avro, with `schemaRegistry`. The columns of the changed row come with `change_op`, `change_sequence`,
    `change_time` and `change_transaction`. Any other message is malformed. It runs Python on the executors.
    """
    value_framing: Annotated[ValueFraming, one_of("none", "confluent")] = "none"
    """What precedes a json, avro or debezium value: `confluent` is the header of a schema registry, a zero byte and the
    four bytes of the schema's id. With `schemaRegistry` it is `confluent`.

    Avro is read with the schema of that id, in `schemaRegistry` or `writerSchemas`; a value without the header is
    malformed. For json and debezium the id has no meaning.
    """
    value_schema: Annotated[
        str | None,
        BeforeValidator(lambda value: json.dumps(value) if isinstance(value, (dict, list)) else value),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}),
    ] = None
    """The value's schema: Spark DDL such as `id BIGINT, name STRING` for json, and of the row for debezium, an Avro
    schema for avro. With `schemaRegistry` it may be left out.

    Its fields become columns beside `key`, `topic`, `partition`, `offset` and `timestamp`; where a field has such a
    name, the Kafka column is called `kafka_<name>`, and `kafka_kafka_<name>` where a field has that one, too.

    Avro leaves a date or a time outside the years 1 to 9999 to who reads it: here it is malformed, and so is a message
    whose `writerSchemas` or registry says another logical type for a field, such as a DECIMAL of another scale.

    JSON follows RFC 8259 and I-JSON, and what a column can't hold unchanged is malformed. A value is one object; fields
    that the schema lacks are ignored, and a missing field is null, or malformed if the schema says NOT NULL. Names are
    case-sensitive: `ID` and `id` differ. These are malformed: a key that occurs twice, single quotes, leading zeros,
    comments, a bare `NaN`; a number too large for its type; a fraction, even 1.0, for an integer, and one with more
    digits than the DECIMAL has; a number in quotes, except for a DECIMAL; anything but `true` and `false` for a
    BOOLEAN. "NaN" and "Infinity" in quotes are a DOUBLE, whose precision a number may exceed. A STRING takes any value,
    as its JSON text, without zeros at the end of a fraction; a number with more than 38 digits or with an exponent
    becomes the nearest double. A DATE is `2026-01-31`, a TIMESTAMP `2026-01-31T12:00:00.123456+01:00`, where a space
    may replace the `T`, and seconds, time or offset may be missing (without an offset it is UTC), or a whole number of
    seconds since 1970; digits of a second after the sixth are dropped. Both are in the years 1 to 9999. BINARY is
    base64.

    Of debezium, a column is read by its type in the schema of the message: it is malformed unless that has no more than
    one meaning as the column's type, and so is a column that neither this schema nor `ignoredColumns` has.
    """
    value_types: Annotated[dict[str, DebeziumType], Field(min_length=1)] | None = None
    """For debezium without schemas in the messages: Debezium's types of those columns whose values tell too little,
    such as `{"created": "MicroTimestamp", "price": "Decimal(2)"}`.

    For a TIMESTAMP or TIMESTAMP_NTZ `Timestamp`, in milliseconds, `MicroTimestamp`, `NanoTimestamp` or `IsoTimestamp`;
    for a DECIMAL `Decimal` with the scale that the column has in the database, or `String`; for a BINARY `Bytes`. An
    ARRAY has that of its items.
    """
    ignored_columns: Names = []
    """For debezium: columns of the table that `valueSchema` leaves out."""
    writer_schemas: Annotated[dict[str, AvroSchema], Field(min_length=1)] | None = None
    """For framed avro: the schemas that values were written with, by their ids in the registry, such as `{"17": {…}}`.

    Values are resolved to `valueSchema` by Avro's rules. One with another id is malformed.
    """
    schema_registry: ReadWithRegistry | None = None
    """For avro, and debezium in Avro: the schema registry that has the schemas which values were written with; any that
    answers Confluent's HTTP API.

    Values of avro become the columns of `valueSchema`, or else of the subject's latest version, which is looked up when
    the run begins and stays the same for the whole of it. A message with the id of a schema that is newer, or of
    another subject, makes the run ask the registry for it and read on. Malformed is a value whose id the registry does
    not have, or whose schema can't be resolved to the wanted one by Avro's rules.

    The registry is entered with what the credentials have of `schema.registry.basic.auth.user.info` (user:password) or
    `schema.registry.bearer.auth.token`, and `schema.registry.ssl.truststore.certificates` (PEM).
    """

    # What the registry said; of a copy that is read with it.
    _registry_schemas: RegistrySchemas | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _schema_fits_format(self) -> Self:
        parses = self.value_format in ("json", "avro", "debezium")
        if parses and self.value_schema is None and not (self.schema_registry and self.value_format == "avro"):
            either = " or a 'schemaRegistry'" if self.value_format == "avro" else ""
            message = "'valueFormat' {format} needs a 'valueSchema'{either}"
            context = {"format": self.value_format, "either": either, "key": "valueFormat"}
            raise PydanticCustomError("schema", message, context)
        if not parses and self.value_schema is not None:
            message = "'valueSchema' needs 'valueFormat' json, avro or debezium"
            raise PydanticCustomError("schema", message, {"key": "valueSchema"})
        if self.value_framing != "none" and not parses:
            message = "'valueFraming' needs 'valueFormat' json, avro or debezium"
            raise PydanticCustomError("framing", message, {"key": "valueFraming"})
        if self.value_schema is not None:
            judge = avro_schema_mistake if self.value_format == "avro" else ddl_mistake
            mistake = judge(self.value_schema)
            if mistake is not None:
                raise PydanticCustomError("schema", "{mistake}", {"mistake": mistake, "key": "valueSchema"})
        return self

    @model_validator(mode="after")
    def _fits_debezium(self) -> Self:
        if self.value_format != "debezium":
            for key, value in (("valueTypes", self.value_types), ("ignoredColumns", self.ignored_columns)):
                if value:
                    message = "'{key}' needs 'valueFormat' debezium"
                    raise PydanticCustomError("debezium", message, {"key": key})
        elif self.on_malformed == "null":
            message = "a change that can't be read would overwrite a row with null: take fail or quarantine"
            raise PydanticCustomError("debezium", message, {"key": "onMalformed"})
        return self

    @model_validator(mode="after")
    def _writer_schemas_fit(self) -> Self:
        needed = self.value_format == "avro" and self.value_framing == "confluent"
        if needed and self.writer_schemas is None and self.schema_registry is None:
            message = (
                "'valueFraming' confluent needs 'schemaRegistry' or 'writerSchemas' for avro: the schema of each id"
            )
            raise PydanticCustomError("framing", message, {"key": "valueFraming"})
        if not needed and self.writer_schemas is not None:
            message = "'writerSchemas' needs 'valueFormat' avro and 'valueFraming' confluent"
            raise PydanticCustomError("framing", message, {"key": "writerSchemas"})
        for key in self.writer_schemas or ():
            if not (key.isascii() and key.isdigit() and len(key) <= _ID_DIGITS and int(key) <= LARGEST_ID):
                message = "'{id}' is not a schema id, which is a number"
                raise PydanticCustomError("framing", message, {"id": key, "key": "writerSchemas"})
        return self

    @model_validator(mode="after")
    def _schema_registry_fits(self) -> Self:
        if self.schema_registry is None:
            return self
        wrong = None
        if self.value_format not in ("avro", "debezium"):
            wrong = "'schemaRegistry' needs 'valueFormat' avro or debezium"
        elif self.writer_schemas is not None:
            wrong = "'schemaRegistry' and 'writerSchemas' are mutually exclusive"
        elif self.value_framing == "none" and "value_framing" in self.model_fields_set:
            wrong = "the schema of each value is told by its header, so leave out 'valueFraming' none"
        elif self.value_schema is not None and self.schema_registry.version is not None:
            wrong = "'valueSchema' says what the columns are, so leave out 'version' in 'schemaRegistry'"
        if wrong is not None:
            raise PydanticCustomError("registry", "{wrong}", {"wrong": wrong, "key": "schemaRegistry"})
        return self

    def required_extras(self) -> Sequence[Extra]:
        return (*super().required_extras(), *([REGISTRY_EXTRA] if self.schema_registry is not None else []))

    def with_parsed_values(self, records: DataFrame, schemas: RegistrySchemas | None) -> DataFrame:
        """The records with their values decoded.

        Args:
            records: As Spark's Kafka source gives them.
            schemas: Those of the registry, if there is one.
        """
        if self.tombstones == "drop" or (self.tombstones is None and self.value_format == "debezium"):
            records = records.filter("value IS NOT NULL")
        writer_schemas = {int(key): schema for key, schema in (self.writer_schemas or {}).items()}
        values = Values(
            self.value_format,
            self.value_schema,
            self.value_framing,
            writer_schemas,
            self.value_types or {},
            self.ignored_columns,
        )
        if schemas is None and self.value_format == "avro":
            found = understood(RegistrySchemas(self.value_schema or "", writer_schemas, {}))
            values = replace(values, writer_schemas=found.writers, refused=found.refused)
        if schemas is not None:
            if self.value_format == "avro":
                schemas = readable(records.sparkSession, schemas)
            values = replace(
                values,
                schema=schemas.reader,
                framing="confluent",
                writer_schemas=schemas.writers,
                refused=schemas.refused,
                others_are_new=True,
            )
        return with_values(records, values)

    def may_be_malformed(self) -> bool:
        return self.value_format != "raw"
