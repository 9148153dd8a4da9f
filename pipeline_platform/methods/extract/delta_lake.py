"""`fromDeltaLake`: a Delta table, now or as it once was."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.values import Location, Natural, Text
from pipeline_platform.methods.base import Extract
from pipeline_platform.methods.dataset import Dataset, at_path, spark_path
from pipeline_platform.methods.s3 import EntersS3

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class FromDeltaLake(Extract, EntersS3):
    """Reads a Delta table, by default its newest version."""

    method: ClassVar[str] = "fromDeltaLake"
    kind: ClassVar[str] = "deltalake"

    path: Location
    """Local path or URI of the table."""
    version: Natural | None = None
    """Read this version of the table."""
    timestamp: Text | None = None
    """Read the table as it was then, such as `2026-01-31 12:00:00`."""
    starting_version: Natural | None = None
    """Streaming: the first version whose changes are read."""

    @model_validator(mode="after")
    def _one_point_in_time(self) -> Self:
        if self.version is not None and self.timestamp is not None:
            raise PydanticCustomError("version", "'version' and 'timestamp' exclude each other", {"key": "timestamp"})
        return self

    def skips_rows_at_source(self) -> bool:
        return True

    def read(self, spark: SparkSession) -> DataFrame:
        reader = spark.read.format("delta")
        if self.version is not None:
            reader = reader.option("versionAsOf", self.version)
        if self.timestamp is not None:
            reader = reader.option("timestampAsOf", self.timestamp)
        return reader.load(spark_path(self.path))

    def dataset(self) -> Dataset:
        return at_path(self.path, "delta")
