"""`toKafka`: a topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Text, one_of, reveal
from pipeline_platform.connectors.kafka.avro_values import (
    RegisteredSchema,
    WriteWithRegistry,
    framed_avro,
    schema_in_registry,
)
from pipeline_platform.connectors.kafka.client import KafkaOptions, Topic, redirected_topic
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.kafka.registry import REGISTRY_EXTRA
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.extras import Extra
from pipeline_platform.frames.columns import column, in_sql
from pipeline_platform.frames.storable import require_columns
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load, LoadResult, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.readwriter import DataStreamWriter

    from pipeline_platform.credentials.model import Credentials


# Spark's own formats end with milliseconds.
_JSON = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


class ToKafka(Load, KafkaOptions):
    """Writes to a topic: the columns `key` and `value` if there is a `value`, otherwise all columns as one value.

    The two are sent as they are, text as UTF-8; where `value` is null, the message is a tombstone. In JSON, fields
    that are null are left out, times have microseconds and their offset, BINARY is base64, and NaN and infinities are
    texts.
    """

    method: ClassVar[str] = "toKafka"
    example = {"topic": "orders", "keyColumn": "id", "bootstrap.servers": "localhost:9092"}

    topic: Topic
    """The topic."""
    key_column: Text | None = None
    """Without a column `value`, or in Avro: the column that becomes the key."""
    value_format: Annotated[Literal["json", "avro"], one_of("json", "avro")] = "json"
    """What all columns become. `avro` is framed: a zero byte and the four bytes of the schema's id in `schemaRegistry`
    precede it; then a column `value` is one like any other."""
    schema_registry: WriteWithRegistry | None = None
    """For avro: where the schema of the columns is registered, before anything is written; any registry that answers
    Confluent's HTTP API. It is entered as for `fromKafka`.

    Each field may be null, which is its default, so that columns can be added and left out later. A DECIMAL is a
    decimal in bytes, a TIMESTAMP `timestamp-micros`, a TIMESTAMP_NTZ `local-timestamp-micros`. The record has the name
    that it has in the subject's latest version, or else that of the topic. What the registry does not take, as readers
    of the subject could not read it, ends the run with the registry's own words.
    """

    @model_validator(mode="after")
    def _registry_fits(self) -> Self:
        if (self.value_format == "avro") != (self.schema_registry is not None):
            has_avro = self.value_format == "avro"
            wrong = "'valueFormat' avro needs a" if has_avro else "'schemaRegistry' needs 'valueFormat' avro"
            message = f"{wrong} 'schemaRegistry'" if has_avro else wrong
            key = "valueFormat" if has_avro else "schemaRegistry"
            raise PydanticCustomError("registry", "{message}", {"message": message, "key": key})
        return self

    def required_extras(self) -> Sequence[Extra]:
        return (*super().required_extras(), *([REGISTRY_EXTRA] if self.schema_registry is not None else []))

    def registry_url(self) -> str | None:
        return self.schema_registry.url if self.schema_registry is not None else None

    def traits(self) -> Traits:
        return Traits(reports_rows=False, can_be_continuous=True)

    def replaces(self) -> None:
        return None

    def redirected(self, to: Redirection) -> Self:
        topic = redirected_topic(self.topic, to)
        registry = self.schema_registry
        if registry is not None and registry.subject is not None:
            registry = registry.model_copy(update={"subject": to.name(registry.subject)})
        # A key that is not in the file is to stay so.
        changed = {"schema_registry": registry} if registry is not None else {}
        return self.with_place(to, topic=topic, **changed)

    def erasure(self, credentials: Credentials | None) -> str:
        return (
            "messages of a topic can't be deleted by key: wait for its retention, or, where it is compacted, send a "
            "tombstone"
        )

    def dataset(self) -> Dataset:
        return self.topic_dataset([self.topic])

    def native_sink(self, frame: DataFrame, run: LoadRun) -> DataStreamWriter | None:
        options = {**self.spark_options(run.credentials), "topic": self.topic}
        self._require_fit(frame)
        return self._messages(frame, run, self._registered(frame, run)).writeStream.format("kafka").options(**options)

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        options = self.spark_options(run.credentials)
        self._require_fit(frame)
        registered = self._registered(frame, run)
        if registered is not None:
            registered.require_accepted()
        self.require_topics(frame.sparkSession, options, {"subscribe": self.topic})
        return KafkaWrite(partial(self._messages, frame, run, registered), {**options, "topic": self.topic})

    def _registered(self, frame: DataFrame, run: LoadRun) -> RegisteredSchema | None:
        if self.schema_registry is None:
            return None
        assert isinstance(run.credentials, KafkaCredentials)
        return schema_in_registry(frame, self.schema_registry, reveal(run.credentials.properties), self.topic)

    def _sends_value(self, frame: DataFrame) -> bool:
        return self.value_format == "json" and "value" in frame.columns

    def _require_fit(self, frame: DataFrame) -> None:
        if not self._sends_value(frame):
            if self.key_column is not None:
                require_columns(frame, [self.key_column], "keyColumn")
            return
        if self.key_column is not None:
            raise PipelineConfigurationException(
                "the frame has a column 'value', so the key comes from its column 'key', not from 'keyColumn'",
                hint="leave 'keyColumn' out, or drop or rename the column 'value'",
            )
        _require_bytes(frame, ("key", "value"))

    def _messages(self, frame: DataFrame, run: LoadRun, registered: RegisteredSchema | None) -> DataFrame:
        """Columns `key`, `value` and `headers`; the schema is registered now, if there is one."""
        from pyspark.sql import functions as F

        if self._sends_value(frame):
            columns = [F.col(name) for name in ("key", "value") if name in frame.columns]
        else:
            value = framed_avro(registered) if registered is not None else F.to_json(F.struct("*"), _JSON)
            columns = [value.alias("value")]
            if self.key_column is not None:
                columns.append(column(frame.columns, self.key_column).cast("string").alias("key"))
        ids = {"pipeline_platform.run_id": run.run_id, "pipeline_platform.load_id": run.key}
        headers = [
            F.struct(F.lit(name).alias("key"), F.encode(F.lit(value), "UTF-8").alias("value"))
            for name, value in ids.items()
        ]
        return frame.select(*columns, F.array(*headers).alias("headers"))


@dataclass(frozen=True)
class KafkaWrite:
    """One load of a topic: each message at least once, as nothing in Kafka tells which ones an earlier attempt sent.

    Args:
        messages: Makes what is written: columns `key`, `value` and `headers`.
        options: Of Spark's writer.
    """

    messages: Callable[[], DataFrame]
    options: Mapping[str, str]

    def write(self) -> LoadResult:
        """Send every message; the cluster has acknowledged each when this returns."""
        self.messages().write.format("kafka").mode("append").options(**self.options).save()
        return LoadResult()

    def clean(self) -> None:
        """Messages that were sent stay."""


def _require_bytes(frame: DataFrame, names: Sequence[str]) -> None:
    from pyspark.sql.types import BinaryType, StringType

    for field in frame.schema:
        if field.name in names and not isinstance(field.dataType, (BinaryType, StringType)):
            kind = field.dataType.simpleString()
            raise PipelineExecutionException(
                f"the column '{field.name}' is sent in a message as it is, and {kind} is neither text nor bytes",
                hint=f"cast it with enrichData: CAST({in_sql(field.name)} AS STRING), or to_json({in_sql(field.name)})",
            )
