"""`fromKafka`: one or more topics, with what is in their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import (
    AvroSchema,
    Flag,
    Location,
    Names,
    PositiveInteger,
    PositiveLong,
    avro_schema_mistake,
    ddl_mistake,
    one_of,
    reveal,
)
from pipeline_platform.connectors.kafka.client import KafkaOptions, Topic
from pipeline_platform.connectors.kafka.cluster import KAFKA_EXTRA
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.kafka.debezium_types import DEBEZIUM_TYPE, PLAIN_TYPES
from pipeline_platform.connectors.kafka.librdkafka import refusals
from pipeline_platform.connectors.kafka.topic_pattern import topic_pattern
from pipeline_platform.connectors.kafka.topics import topic_ids
from pipeline_platform.connectors.kafka.values import LARGEST_ID, ValueFormat, ValueFraming, Values, with_values
from pipeline_platform.connectors.kafka.watching import state_of_topics
from pipeline_platform.extras import Extra
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import SourceState
from pipeline_platform.steps.malformed import MalformedRecords
from pipeline_platform.steps.watched import Watched

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.model import Credentials

_LATEST = -1
_EARLIEST = -2
_ID_DIGITS = len(str(LARGEST_ID))
# Kafka's own default hands on what a transaction wrote that was then aborted.
_COMMITTED = {"kafka.isolation.level": "read_committed"}


def _topics(value: Any) -> Any:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _offsets(value: Any) -> Any:
    """`earliest`, `latest`, or the canonical JSON of `{topic: {partition: offset}}`."""
    if isinstance(value, str):
        if value.strip().lower() in ("earliest", "latest") or has_placeholder(value):
            return value.strip().lower() if not has_placeholder(value) else value
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise PydanticCustomError("offsets", "expected 'earliest', 'latest' or offsets by topic and partition")
    by_topic = cast("dict[str, Any]", value)
    for topic, partitions in by_topic.items():
        if not isinstance(partitions, dict) or not partitions:
            raise PydanticCustomError("offsets", "expected an offset for each partition of '{topic}'", {"topic": topic})
        for partition, offset in cast("dict[str, Any]", partitions).items():
            if not (partition.isascii() and partition.isdigit()):
                message = "'{partition}' of '{topic}' is not a partition number"
                raise PydanticCustomError("offsets", message, {"partition": partition, "topic": topic})
            if isinstance(offset, bool) or not isinstance(offset, int) or offset < _EARLIEST:
                message = "the offset of '{topic}', partition {partition}, is not a number of -2 (earliest) or more"
                raise PydanticCustomError("offsets", message, {"partition": partition, "topic": topic})
    return json.dumps(by_topic)


def _debezium_type(value: Any) -> Any:
    if isinstance(value, str) and (has_placeholder(value) or re.fullmatch(DEBEZIUM_TYPE, value, re.ASCII)):
        return value
    raise PydanticCustomError("type", "expected one of {types} or Decimal(2), say", {"types": ", ".join(PLAIN_TYPES)})


DebeziumType = Annotated[
    str, BeforeValidator(_debezium_type), WithJsonSchema({"type": "string", "pattern": f"^({DEBEZIUM_TYPE})$"})
]
"""A type of Debezium's in `valueTypes`."""

Offsets = Annotated[
    str,
    BeforeValidator(_offsets),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["earliest", "latest"]},
                {"type": "object", "additionalProperties": {"type": "object"}},
            ],
        },
    ),
]
"""`earliest`, `latest`, or JSON such as `{"events": {"0": 23, "1": -2}}`: -2 is earliest, -1 latest."""


class FromKafka(Watched, MalformedRecords, KafkaOptions):
    """Reads topics; columns parsed from the value come in addition to Kafka's own.

    Messages of aborted or open transactions are not read, unless the property `isolation.level` is `read_uncommitted`.

    What counts as new for `watch` is that a topic ends later than before, or was recreated. A transaction that was
    aborted moves the end too; one that is open does not. `watch` needs the extra `kafka` and no JVM. So it knows only
    the mechanisms PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, and stores of the type PEM, or PKCS12 for the client's own
    key. What else begins with `sasl.` or `ssl.` and changes how the cluster is entered is refused.
    """

    method: ClassVar[str] = "fromKafka"
    example = {
        "topic": "orders",
        "bootstrap.servers": "localhost:9092",
        "valueFormat": "json",
        "valueSchema": "id BIGINT, customer STRING, quantity INT",
        "onMalformed": "quarantine",
    }
    record_place: ClassVar[tuple[str, ...]] = ("topic", "partition", "offset")

    topic: (
        Annotated[
            list[Topic],
            BeforeValidator(_topics),
            Field(min_length=1),
            WithJsonSchema(
                {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
            ),
        ]
        | None
    ) = None
    """The topic, or a list of them; either this or `topicPattern`."""
    topic_pattern: Location | None = None
    """A Java regular expression; all topics that match it are read, including those created later."""
    starting_offsets: Offsets | None = None
    """Where to start: `earliest`, `latest`, or offsets by topic and partition, -2 for earliest and -1 for latest.

    By default `latest` in streaming and `earliest` in batch. A stream that has a checkpoint continues from it.
    """
    ending_offsets: Offsets | None = None
    """Batch: where to stop: `latest`, the default, or offsets by topic and partition."""
    fail_on_data_loss: Flag = True
    """Fail when offsets that have not been read yet are gone."""
    max_offsets_per_trigger: PositiveLong | None = None
    """Streaming: the maximum number of records in a micro-batch."""
    min_partitions: PositiveInteger | None = None
    """Read with at least this many Spark partitions; by default one per Kafka partition."""
    tombstones: Annotated[Literal["keep", "drop"], one_of("keep", "drop")] | None = None
    """What happens to a message without a value, which says that its key was deleted.

    `keep` keeps it as a row in which `value`, or each column parsed from it, is null; `drop` leaves it out, and it is
    not counted. It is never malformed. By default `keep`, and `drop` for debezium, which sends one after each delete.
    """
    value_format: Annotated[ValueFormat, one_of("raw", "string", "json", "avro", "debezium")] = "raw"
    """What a value is: `raw` leaves Kafka's columns as they are, `string` decodes it as UTF-8, the others parse it.

    A value is malformed unless it is complete and of its format: text that is not UTF-8, or json or avro that is empty,
    truncated, followed by anything else, or not of `valueSchema`. The key stays bytes.

    `debezium` is a change event of Debezium in JSON, from PostgreSQL, MySQL or MariaDB, with its schema or without. The
    columns of the changed row come with `change_op`, `change_sequence`, `change_time` and `change_transaction`. Any
    other message is malformed. It runs Python on the executors.
    """
    value_framing: Annotated[ValueFraming, one_of("none", "confluent")] = "none"
    """What precedes a json, avro or debezium value: `confluent` is the header of a schema registry, a zero byte and the
    four bytes of the schema's id.

    Avro is read with the schema of that id in `writerSchemas`; a value without the header is malformed. For json and
    debezium the id has no meaning.
    """
    value_schema: Annotated[
        str | None,
        BeforeValidator(lambda value: json.dumps(value) if isinstance(value, (dict, list)) else value),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}),
    ] = None
    """The value's schema: Spark DDL such as `id BIGINT, name STRING` for json, and of the row for debezium, an Avro
    schema for avro.

    Its fields become columns beside `key`, `topic`, `partition`, `offset` and `timestamp`; where a field has such a
    name, the Kafka column is called `kafka_<name>`.

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

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.topic is not None and self.topic_pattern is not None:
            message = "'topic' and 'topicPattern' are mutually exclusive"
            raise PydanticCustomError("source", message, {"key": "topicPattern"})
        if self.topic is None and self.topic_pattern is None:
            raise PydanticCustomError("source", "one of 'topic' and 'topicPattern' is required")
        return self

    @model_validator(mode="after")
    def _offsets_fit(self) -> Self:
        for key, offsets in (("startingOffsets", self.starting_offsets), ("endingOffsets", self.ending_offsets)):
            unknown = set(_by_topic(offsets)) - set(self.topic or _by_topic(offsets))
            if unknown:
                message = "'{key}' names topics that are not read: {topics}"
                raise PydanticCustomError("offsets", message, {"key": key, "topics": ", ".join(sorted(unknown))})
        if self.ending_offsets == "earliest" or _EARLIEST in _values(self.ending_offsets):
            message = "'endingOffsets' can't be earliest: nothing would be read"
            raise PydanticCustomError("offsets", message, {"key": "endingOffsets"})
        return self

    @model_validator(mode="after")
    def _schema_fits_format(self) -> Self:
        parses = self.value_format in ("json", "avro", "debezium")
        if parses and self.value_schema is None:
            message = "'valueFormat' {format} needs a 'valueSchema'"
            raise PydanticCustomError("schema", message, {"format": self.value_format, "key": "valueFormat"})
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
        if needed and self.writer_schemas is None:
            message = "'valueFraming' confluent needs 'writerSchemas' for avro: the schema of each id"
            raise PydanticCustomError("framing", message, {"key": "valueFraming"})
        if not needed and self.writer_schemas is not None:
            message = "'writerSchemas' needs 'valueFormat' avro and 'valueFraming' confluent"
            raise PydanticCustomError("framing", message, {"key": "writerSchemas"})
        for key in self.writer_schemas or ():
            if not (key.isascii() and key.isdigit() and len(key) <= _ID_DIGITS and int(key) <= LARGEST_ID):
                message = "'{id}' is not a schema id, which is a number"
                raise PydanticCustomError("framing", message, {"id": key, "key": "writerSchemas"})
        return self

    def required_extras(self) -> Sequence[Extra]:
        return (*super().required_extras(), *([KAFKA_EXTRA] if self.watch else []))

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "batch" and (self.starting_offsets == "latest" or _LATEST in _values(self.starting_offsets)):
            return [("startingOffsets", "a batch that starts at the latest offset reads nothing; leave it out")]
        return [*super().mode_errors(mode), *(("watch", message) for message in self._watch_errors())]

    def _watch_errors(self) -> Iterator[str]:
        """Why a sensor could not tell whether there is something new, as far as the file shows."""
        if not self.watch:
            return
        if self.ending_offsets not in (None, "latest") and not has_placeholder(self.ending_offsets or ""):
            yield "what is new comes after 'endingOffsets', so leave out one of the two"
        if self.topic_pattern is not None and topic_pattern(self.topic_pattern) is None:
            yield "only Java understands this 'topicPattern': write it more simply, or name the topics, to watch them"
        properties = {key: None if has_placeholder(text) else text for key, text in self.inline_credentials().items()}
        yield from refusals(properties, is_whole=self.credential_path is None)

    def source_state(self, credentials: Credentials | None) -> SourceState | None:
        assert isinstance(credentials, KafkaCredentials)
        wanted = self.topic if self.topic is not None else topic_pattern(self.topic_pattern or "")
        assert wanted is not None
        return state_of_topics(reveal(credentials.properties), wanted)

    def traits(self) -> Traits:
        return Traits(
            is_stream=True,
            # Where the topic ends is found out at each reading.
            is_repeatable=False,
            checks_micro_batches=False,
            may_lose_data=not self.fail_on_data_loss,
        )

    def dataset(self) -> Dataset:
        return self.topic_dataset(self.topic or [self.topic_pattern or ""])

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        reader = spark.read.format("kafka").options(**self._options(spark, credentials))
        offsets = {
            "startingOffsets": self.starting_offsets or "earliest",
            "endingOffsets": self.ending_offsets or "latest",
        }
        return self._with_values(reader.options(**offsets).load())

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        reader = spark.readStream.format("kafka").options(**self._options(spark, credentials))
        reader = reader.option("startingOffsets", self.starting_offsets or "latest")
        if self.max_offsets_per_trigger is not None:
            reader = reader.option("maxOffsetsPerTrigger", self.max_offsets_per_trigger)
        return self._with_values(reader.load())

    def _with_values(self, records: DataFrame) -> DataFrame:
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
        return with_values(records, values)

    def _options(self, spark: SparkSession, credentials: Credentials | None) -> dict[str, str]:
        """What a reader needs in either mode; the topics are there."""
        subscription = (
            {"subscribe": ",".join(self.topic)} if self.topic else {"subscribePattern": self.topic_pattern or ""}
        )
        options = {**_COMMITTED, **self.spark_options(credentials)}
        self.require_topics(spark, options, subscription)
        options |= {**subscription, "failOnDataLoss": str(self.fail_on_data_loss).lower()}
        return options | ({"minPartitions": str(self.min_partitions)} if self.min_partitions is not None else {})

    def source_ids(self, spark: SparkSession, credentials: Credentials | None) -> Mapping[str, str]:
        return topic_ids(spark, self.spark_options(credentials), self.topic, self.topic_pattern)

    def position_in(self) -> Mapping[str, Any]:
        # Brokers come and go.
        return {"topic": self.topic} if self.topic is not None else {"topicPattern": self.topic_pattern}

    def may_be_malformed(self) -> bool:
        return self.value_format != "raw"


def _by_topic(offsets: str | None) -> dict[str, dict[str, int]]:
    return json.loads(offsets) if offsets is not None and offsets.startswith("{") else {}


def _values(offsets: str | None) -> set[int]:
    return {offset for partitions in _by_topic(offsets).values() for offset in partitions.values()}
