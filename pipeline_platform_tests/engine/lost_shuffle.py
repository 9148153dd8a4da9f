"""Counts the rows before a shuffle of which a file is lost, so that Spark runs the stage before it again.

A program of its own: in local mode Spark then takes the driver for a lost executor, refuses its heartbeats, and ends
the JVM after sixty of them, ten minutes later, with the exit code 56.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline_platform.engine.counting import counted, observed
from pipeline_platform.engine.spark.session import spark_session

ROWS = 1000


def losing_a_shuffle_file(spark: SparkSession, shuffled: DataFrame, marker: Path) -> DataFrame:
    """The frame, made to delete one finished map output the first time it is read."""
    jvm: Any = spark._jvm
    disks = jvm.org.apache.spark.SparkEnv.get().blockManager().diskBlockManager().localDirsString()
    folders = [Path(str(disk)) for disk in disks]

    def lose(row: int) -> int:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return row
        files = [file for folder in folders for file in folder.rglob("shuffle_*.data")]
        max(files, key=lambda file: file.stat().st_mtime).unlink()
        return row

    return shuffled.select(F.udf(lose, "long")("id"))


def main(marker: Path) -> None:
    """Print the rows that were seen, and the rows that are told."""
    spark = spark_session("lost-shuffle", {"spark.master": "local[2]"})
    frame, observation = counted(spark.range(ROWS, numPartitions=4))
    losing = losing_a_shuffle_file(spark, frame.repartition(6, "id"), marker)
    losing.write.format("noop").mode("overwrite").save()
    seen = observed(observation.observation) or {}
    sys.stdout.write(json.dumps({"seen": seen.get("rows"), "told": observation.rows()}))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
