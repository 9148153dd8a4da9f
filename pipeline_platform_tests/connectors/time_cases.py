"""Takes times through every system in a process of its own, whose machine is in another time zone.

`python -m pipeline_platform_tests.connectors.time_cases PIPELINES`: carries out the pipelines of that file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from devtools.pipelines import pipeline_of
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.spark.session import spark_session


def carried_out(pipelines: Path, spark: SparkSession) -> None:
    """Run each of them."""
    for keys in json.loads(pipelines.read_text()):
        BatchRun(pipeline_of(**keys), spark).run()


if __name__ == "__main__":
    carried_out(Path(sys.argv[1]), spark_session("times", {"spark.master": "local[2]"}))
