"""`toKafka`: a topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Text
from pipeline_platform.connectors.kafka.client import KafkaOptions, Topic
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.frames.columns import column
from pipeline_platform.frames.storable import require_columns
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load, LoadResult, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.readwriter import DataStreamWriter


# Spark's own formats end with milliseconds.
_JSON = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


class ToKafka(Load, KafkaOptions):
    """Writes to a topic: the columns `key` and `value` if there is a `value`, otherwise all columns as one JSON value.

    The two are sent as they are, text as UTF-8; where `value` is null, the message is a tombstone. In JSON, fields
    that are null are left out, times have microseconds and their offset, BINARY is base64, and NaN and infinities are
    texts.
    """

    method: ClassVar[str] = "toKafka"
    example = {"topic": "orders", "keyColumn": "id", "bootstrap.servers": "localhost:9092"}

    topic: Topic
    """The topic."""
    key_column: Text | None = None
    """Without a column `value`: the column that becomes the key."""

    def traits(self) -> Traits:
        return Traits(reports_rows=False, can_be_continuous=True)

    def dataset(self) -> Dataset:
        return self.topic_dataset([self.topic])

    def native_sink(self, frame: DataFrame, run: LoadRun) -> DataStreamWriter | None:
        options = {**self.spark_options(run.credentials), "topic": self.topic}
        return self._messages(frame, run).writeStream.format("kafka").options(**options)

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        options = self.spark_options(run.credentials)
        messages = self._messages(frame, run)
        self.require_topics(frame.sparkSession, options, {"subscribe": self.topic})
        return KafkaWrite(messages, {**options, "topic": self.topic})

    def _messages(self, frame: DataFrame, run: LoadRun) -> DataFrame:
        from pyspark.sql import functions as F

        if "value" in frame.columns:
            if self.key_column is not None:
                raise PipelineConfigurationException(
                    "the frame has a column 'value', so the key comes from its column 'key', not from 'keyColumn'",
                    hint="leave 'keyColumn' out, or drop or rename the column 'value'",
                )
            columns = [F.col(name) for name in ("key", "value") if name in frame.columns]
            _require_bytes(frame, ("key", "value"))
        else:
            columns = [F.to_json(F.struct("*"), _JSON).alias("value")]
            if self.key_column is not None:
                require_columns(frame, [self.key_column], "keyColumn")
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
        messages: Columns `key`, `value` and `headers`.
        options: Of Spark's writer.
    """

    messages: DataFrame
    options: Mapping[str, str]

    def write(self) -> LoadResult:
        """Send every message; the cluster has acknowledged each when this returns."""
        self.messages.write.format("kafka").mode("append").options(**self.options).save()
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
                hint=f"cast it with enrichData: CAST({field.name} AS STRING), or to_json({field.name})",
            )
