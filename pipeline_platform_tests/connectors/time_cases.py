"""Takes times through every system in a process of its own, whose machine is in another time zone.

`python -m pipeline_platform_tests.connectors.time_cases STEPS FOLDER`: carries out the pipelines of the file STEPS.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from devtools.pipelines import pipeline_of
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.spark.session import spark_session


def main(pipelines: Path) -> None:
    """Run each of them."""
    spark = spark_session("times", {"spark.master": "local[2]"})
    for keys in json.loads(pipelines.read_text()):
        BatchRun(pipeline_of(**keys), spark).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
