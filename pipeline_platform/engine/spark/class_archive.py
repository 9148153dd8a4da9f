"""A small run whose classes are kept: `python -m pipeline_platform.engine.spark.class_archive ARCHIVE`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.engine.spark.jvm import DRIVER_OPTIONS
from pipeline_platform.engine.spark.session import spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def train(archive: Path) -> None:
    """Do a little of what runs do, then let the JVM write the archive as it ends."""
    options = f"-XX:ArchiveClassesAtExit={archive}"
    spark = spark_session("training", {"spark.master": "local[2]", DRIVER_OPTIONS: options})
    with tempfile.TemporaryDirectory() as folder:
        _work(spark, Path(folder))
    gateway: Any = spark.sparkContext._gateway  # pyright: ignore[reportPrivateUsage]
    spark.stop()
    gateway.proc.stdin.close()
    gateway.proc.wait()


def _work(spark: SparkSession, folder: Path) -> None:
    from delta.tables import DeltaTable
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    csv, table = str(folder / "csv"), str(folder / "table")
    spark.range(100).selectExpr("id", "id % 3 AS k", "current_timestamp() AS at").write.csv(csv, header=True)
    rows = spark.read.csv(csv, header=True, schema="id BIGINT, k INT, at TIMESTAMP")
    counted = rows.observe(Observation("rows"), F.count(F.lit(1)).alias("rows"))
    counted.filter("id > 1").write.format("delta").partitionBy("k").save(table)
    counts = spark.read.format("delta").load(table).groupBy("k").agg(F.count(F.lit(1)).alias("n"))
    counts.join(rows, "k").orderBy("n").write.parquet(str(folder / "parquet"))
    spark.read.parquet(str(folder / "parquet")).agg(F.max("n")).collect()
    merge = DeltaTable.forPath(spark, table).alias("t").merge(rows.alias("s"), "t.id = s.id")
    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


if __name__ == "__main__":
    train(Path(sys.argv[1]))
