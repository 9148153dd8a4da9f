"""`fromKafka`: one or more topics, with what is in their values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import (
    Flag,
    Location,
    PositiveInteger,
    PositiveLong,
    reveal,
)
from pipeline_platform.connectors.kafka.client import KafkaOptions, Topic, redirected_topic
from pipeline_platform.connectors.kafka.cluster import KAFKA_EXTRA
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.kafka.librdkafka import refusals
from pipeline_platform.connectors.kafka.registry import Registry
from pipeline_platform.connectors.kafka.registry_schemas import (
    RegistrySchemas,
    new_id,
    require_same_columns,
    schemas_of,
)
from pipeline_platform.connectors.kafka.topic_pattern import topic_pattern
from pipeline_platform.connectors.kafka.topics import topic_ids
from pipeline_platform.connectors.kafka.value_keys import ValueKeys
from pipeline_platform.connectors.kafka.watching import state_of_topics
from pipeline_platform.extras import Extra
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import SourceState
from pipeline_platform.steps.watched import Watched

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.credentials.model import Credentials

_LATEST = -1
_EARLIEST = -2
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


RECORD_COLUMNS = (
    "key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, timestampType INT"
)
"""The columns of Spark's Kafka source."""


class FromKafka(Watched, ValueKeys, KafkaOptions):
    """Reads topics; columns parsed from the value come in addition to Kafka's own.

    Messages of aborted or open transactions are not read, unless the property `isolation.level` is `read_uncommitted`.

    What counts as new for `watch` is that a topic ends later than before, or was recreated. A transaction that was
    aborted moves the end too; one that is open does not. `watch` needs the extra `kafka` and no JVM. So it knows only
    the mechanisms PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, and stores of the type PEM, or PKCS12 for the client's own
    key. What else begins with `sasl.` or `ssl.` and changes how the cluster is entered is refused.
    """

    method: ClassVar[str] = "fromKafka"
    neutral_keys: ClassVar[frozenset[str]] = frozenset({"max_offsets_per_trigger", "min_partitions"})
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

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.topic is not None and self.topic_pattern is not None:
            message = "'topic' and 'topicPattern' are mutually exclusive"
            raise PydanticCustomError("source", message, {"key": "topicPattern"})
        if self.topic is None and self.topic_pattern is None:
            raise PydanticCustomError("source", "one of 'topic' and 'topicPattern' is required")
        return self

    @model_validator(mode="after")
    def _has_subject(self) -> Self:
        if self.topic_pattern is not None and self.schema_registry is not None and self.schema_registry.subject is None:
            message = "'schemaRegistry' needs a 'subject' beside 'topicPattern'"
            raise PydanticCustomError("registry", message, {"key": "schemaRegistry"})
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

    def registry_url(self) -> str | None:
        return self.schema_registry.url if self.schema_registry is not None else None

    def traits(self) -> Traits:
        return Traits(
            is_stream=True,
            # Where the topic ends is found out at each reading.
            is_repeatable=False,
            checks_micro_batches=False,
            asks_first=self.schema_registry is not None,
            may_lose_data=not self.fail_on_data_loss,
        )

    def read_from(self, to: Redirection) -> Self | None:
        # Offsets are those of one topic.
        if self.topic is None or any(map(_by_topic, (self.starting_offsets, self.ending_offsets))):
            return None
        return self.model_copy(update={"topic": [redirected_topic(topic, to) for topic in self.topic]})

    def is_there(self, spark: SparkSession, credentials: Credentials | None) -> bool:
        options = {**_COMMITTED, **self.spark_options(credentials)}
        return self.has_topics(spark, options, {"subscribe": ",".join(self.topic or ())})

    def dataset(self) -> Dataset:
        return self.topic_dataset(self.topic or [self.topic_pattern or ""])

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        reader = spark.read.format("kafka").options(**self._options(spark, credentials))
        offsets = {
            "startingOffsets": self.starting_offsets or "earliest",
            "endingOffsets": self.ending_offsets or "latest",
        }
        return self.with_parsed_values(reader.options(**offsets).load(), self._schemas(credentials))

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        reader = spark.readStream.format("kafka").options(**self._options(spark, credentials))
        reader = reader.option("startingOffsets", self.starting_offsets or "latest")
        if self.max_offsets_per_trigger is not None:
            reader = reader.option("maxOffsetsPerTrigger", self.max_offsets_per_trigger)
        return self.with_parsed_values(reader.load(), self._schemas(credentials))

    def settled(self, spark: SparkSession, credentials: Credentials | None, failure: str | None = None) -> Self:
        if self.schema_registry is None:
            return self
        schemas = self._schemas(credentials)
        assert schemas is not None
        if failure is None:
            return self if self._registry_schemas is not None else self._with_schemas(schemas)
        schema_id = new_id(failure, self.topic)
        if schema_id is None or schema_id in schemas.writers or schema_id in schemas.refused:
            return self
        registry = self._registry(credentials)
        schemas = schemas.with_id(registry, schema_id)
        require_same_columns(spark, registry, schemas, schema_id)
        return self._with_schemas(schemas)

    def _with_schemas(self, schemas: RegistrySchemas) -> Self:
        copy = self.model_copy()
        copy._registry_schemas = schemas
        return copy

    def _registry(self, credentials: Credentials | None) -> Registry:
        assert isinstance(credentials, KafkaCredentials)
        return Registry.enter(reveal(credentials.properties))

    def _schemas(self, credentials: Credentials | None) -> RegistrySchemas | None:
        if self.schema_registry is None or self._registry_schemas is not None:
            return self._registry_schemas
        subjects = self.schema_registry.subject or [f"{topic}-value" for topic in self.topic or ()]
        return schemas_of(self._registry(credentials), subjects, self.schema_registry.version, self.value_schema)

    def _options(self, spark: SparkSession, credentials: Credentials | None) -> dict[str, str]:
        """What a reader needs in either mode; the topics are there."""
        subscription = (
            {"subscribe": ",".join(self.topic)} if self.topic else {"subscribePattern": self.topic_pattern or ""}
        )
        options = {**_COMMITTED, **self.spark_options(credentials)}
        self.require_topics(spark, options, subscription)
        options |= {**subscription, "failOnDataLoss": str(self.fail_on_data_loss).lower()}
        return options | ({"minPartitions": str(self.min_partitions)} if self.min_partitions is not None else {})

    def declared_columns(self, spark: SparkSession) -> StructType | None:
        if self.schema_registry is not None:
            return None
        # Without brokers: as Spark's source gives them.
        records = empty_frame(spark, RECORD_COLUMNS)
        return self.accepted(self.with_parsed_values(records, None)).schema

    def source_ids(self, spark: SparkSession, credentials: Credentials | None) -> Mapping[str, str]:
        return topic_ids(spark, self.spark_options(credentials), self.topic, self.topic_pattern)

    def position_in(self) -> Mapping[str, Any]:
        # Brokers come and go.
        return {"topic": self.topic} if self.topic is not None else {"topicPattern": self.topic_pattern}


def _by_topic(offsets: str | None) -> dict[str, dict[str, int]]:
    return json.loads(offsets) if offsets is not None and offsets.startswith("{") else {}


def _values(offsets: str | None) -> set[int]:
    return {offset for partitions in _by_topic(offsets).values() for offset in partitions.values()}
