"""`fromRate`: generated rows, for examples that need no service."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import PositiveInteger
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.model import Credentials


_ROW_BYTES = 16


class FromRate(Extract):
    """Generates rows of `timestamp` and `value`, counting up from 0.

    A stream has `rowsPerSecond` rows each second; a batch has those of the first minute of 1970, the same in each run.
    """

    method: ClassVar[str] = "fromRate"
    example = {"rowsPerSecond": 10}

    rows_per_second: PositiveInteger
    """Rows per second."""

    def traits(self) -> Traits:
        return Traits(is_stream=True, is_repeatable=True, checks_micro_batches=False)

    def known_bytes(self) -> int | None:
        return 60 * self.rows_per_second * _ROW_BYTES

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        return spark.readStream.format("rate").option("rowsPerSecond", self.rows_per_second).load()

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        from pyspark.sql import functions as F

        microseconds = (F.col("id") * 1_000_000 / self.rows_per_second).cast("bigint")
        return spark.range(60 * self.rows_per_second).select(
            F.timestamp_micros(microseconds).alias("timestamp"),
            F.col("id").alias("value"),
        )
