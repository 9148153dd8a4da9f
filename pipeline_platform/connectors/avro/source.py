"""`fromAvro`: Avro files."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import AvroSchema, Location
from pipeline_platform.connectors.files.listing import FileListing, watched_path
from pipeline_platform.connectors.files.schemas import file_columns, require_one_schema, require_same_logical_types
from pipeline_platform.connectors.files.stream_columns import (
    StreamColumns,
    columns_of_stream,
    require_columns_of_stream,
)
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.folders import has_files
from pipeline_platform.connectors.storage.location import S3Options
from pipeline_platform.connectors.storage.paths import at_path, spark_path
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from pipeline_platform.credentials.model import Credentials


class FromAvro(Extract, S3Options):
    """Reads Avro files."""

    method: ClassVar[str] = "fromAvro"
    kind: ClassVar[str] = "avro"
    example = {"path": "out/orders_avro"}

    path: Location
    """Local path or URI of the files."""
    avro_schema: AvroSchema | None = None
    """The reader's schema; by default that of the files, which must all have the same columns.

    Files are brought to it by Avro's rules, but not to other logical types, which Avro would take for each other: a
    DECIMAL of another scale, or a timestamp in other units, is refused. A stream without a schema stops before it loads
    a file with other columns than it started with, and one with a schema before it loads a file with other logical
    types.
    """

    def traits(self) -> Traits:
        return Traits(is_stream=True, is_repeatable=True, checks_micro_batches=True)

    def uri(self) -> str:
        return spark_path(self.path)

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        frame = spark.read.format("avro").options(**self._options(credentials)).load(self.uri())
        place = self.place(credentials)
        paths = FileListing(place, {}).paths(frame)
        if self.avro_schema is not None:
            require_same_logical_types(file_columns(paths, "avro", place), self.avro_schema)
        elif len(paths) > 1:
            require_one_schema(file_columns(paths, "avro", place), "avro")
        return frame

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        place = self.place(credentials)
        reader = spark.readStream.format("avro").options(**self._options(credentials))
        there = self.read(spark, credentials)
        if self.avro_schema is None:
            paths = FileListing(place, {}).paths(there)
            columns = columns_of_stream(paths, "avro", place, merged=None, has_folder_columns=True)
        else:
            columns = StreamColumns(place.uri, "avro", {}, True, True, avro_schema=self.avro_schema)
        reader = reader.options(**(columns.option() if columns is not None else {}))
        return reader.schema(there.schema).load(watched_path(place))

    def check_micro_batch(self, query: StreamingQuery, credentials: Credentials | None) -> None:
        require_columns_of_stream(query, self.place(credentials))

    def _options(self, credentials: Credentials | None) -> dict[str, str]:
        """What a reader needs in either mode; the bucket is there."""
        place = self.place(credentials)
        require_bucket(place)
        return place.spark_options() | ({"avroSchema": self.avro_schema} if self.avro_schema is not None else {})

    def read_from(self, to: Redirection) -> Self:
        return self.model_copy(update={"path": to.path(self.path)})

    def is_there(self, spark: SparkSession, credentials: Credentials | None) -> bool:
        return has_files(self.place(credentials).path())

    def dataset(self) -> Dataset:
        return at_path(self.path)
