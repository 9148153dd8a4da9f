"""`fromRate`: generated rows, for examples that need no service."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.values import PositiveInteger
from pipeline_platform.methods.base import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class FromRate(Extract):
    """Generates rows of `timestamp` and `value`, counting up from 0.

    A stream has `rowsPerSecond` rows each second; a batch has what one minute of that stream would have,
    one minute up to a fixed point in time, so that it is the same at each run.
    """

    method: ClassVar[str] = "fromRate"

    rows_per_second: PositiveInteger
    """Rows for each second."""

    def read(self, spark: SparkSession) -> DataFrame:
        from pyspark.sql import functions as F

        seconds = F.lit(0) + F.col("id") / self.rows_per_second
        return spark.range(60 * self.rows_per_second).select(
            F.timestamp_micros((seconds * 1_000_000).cast("bigint")).alias("timestamp"),
            F.col("id").alias("value"),
        )
