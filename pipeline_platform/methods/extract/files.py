"""`fromFiles`: files at a local path or any URI that Spark can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.values import Ddl, Flag, Location, Text, one_of
from pipeline_platform.methods.bucket import require_bucket
from pipeline_platform.methods.dataset import Dataset, at_path, spark_path
from pipeline_platform.methods.extract.base import Extract
from pipeline_platform.methods.extract.parquet_columns import naming_columns
from pipeline_platform.methods.s3 import EntersS3, Place, place_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.model import Credentials

FileFormat = Annotated[
    Literal["parquet", "json", "csv", "avro", "orc"],
    one_of("parquet", "json", "csv", "avro", "orc"),
]


class ReadsFiles(Extract):
    """Keys of the methods that read files."""

    path: Location
    """Where the files are."""
    format: FileFormat
    """Their format."""
    header: Flag = True
    """csv: the first line holds the column names."""
    infer_schema: Flag = True
    """csv: derive the types from the data, at the price of one more pass; not with `schema`."""
    delimiter: Text = ","
    """csv: what separates the values."""
    multi_line: Flag = False
    """json: a record may span lines."""
    schema_: Annotated[Ddl | None, Field(alias="schema")] = None
    """A Spark DDL string such as `id BIGINT, name STRING`; a csv or json value that does not fit becomes null."""

    def mode_mistakes(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self.format in ("csv", "json") and self.schema_ is None:
            return [("format", f"a stream of {self.format} files needs a 'schema'")]
        return []

    def is_stream(self) -> bool:
        return True

    def skips_rows_at_source(self) -> bool:
        return self.format in ("parquet", "orc")

    def uri(self) -> str:
        """The path as Spark is to read it."""
        return spark_path(self.path)

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        reader = spark.read.format(self.format).options(**self._options(credentials))
        if self.format == "csv":
            reader = reader.option("inferSchema", self.infer_schema and self.schema_ is None)
        if self.schema_ is not None:
            reader = reader.schema(self.schema_)
        with naming_columns(place_of(self.uri(), credentials)):
            return reader.load(self.uri())

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        # A file that says its columns says them for those that are yet to come.
        schema = self.schema_ if self.schema_ is not None else self.read(spark, credentials).schema
        reader = spark.readStream.format(self.format).options(**self._options(credentials))
        return reader.schema(schema).load(watched_path(place_of(self.uri(), credentials)))

    def _options(self, credentials: Credentials | None) -> dict[str, str]:
        """What a reader needs in either mode; the bucket is there."""
        place = place_of(self.uri(), credentials)
        require_bucket(place)
        options = place.spark_options()
        if self.format == "csv":
            options |= {"header": str(self.header).lower(), "sep": self.delimiter}
        if self.format == "json":
            options |= {"multiLine": str(self.multi_line).lower()}
        return options

    def dataset(self) -> Dataset:
        return at_path(self.uri())


def watched_path(place: Place) -> str:
    """The path of a stream of files: Spark watches folders and patterns, so a single file is made a pattern.

    Args:
        place: A folder, a file, or a pattern.
    """
    return f"{place.uri[:-1]}[{place.uri[-1]}]" if place.path().is_file() else place.uri


class FromFiles(ReadsFiles, EntersS3):
    """Reads files at a local path or any URI that Spark can read."""

    method: ClassVar[str] = "fromFiles"
    kind: ClassVar[str] = "file"
