"""`python -m devtools.bench.observability`: a batch with every exporter and JSON logs, and with none."""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path

from devtools.bench.jobs import make_data
from devtools.bench.systems import HEADING, Bench, Job, measure
from devtools.pipelines import extract, load, pipeline_of, transform, validate
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.logs import LOG_VARIABLE, configure_logs
from pipeline_platform.metrics.exporter import METRICS_VARIABLE, exporters_from_environment


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="Orders to read, by default 5 million.")
    parser.add_argument("--rounds", type=int, default=9, help="Measured rounds, by default 9, after one to warm up.")
    options = parser.parse_args()
    spark = spark_session("bench")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        make_data(spark, folder, options.rows)
        bench = Bench(spark, folder, options.rows)
        transport = {"type": "file", "log_file_path": f"{folder}/lineage.jsonl", "append": True}
        os.environ["OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
        os.environ[METRICS_VARIABLE] = f"log,jsonl:{folder}/runs.jsonl,textfile:{folder}/prom,openlineage"
        os.environ[LOG_VARIABLE] = "json"
        configure_logs()
        logger, exporters = logging.getLogger("pipeline_platform"), exporters_from_environment()
        pipeline = pipeline_of(
            [
                extract("fromFiles", path=f"{folder}/orders", format="parquet"),
                transform("filterRows", condition="amount > 10"),
                validate("validateNulls", notNullColumns=["id"]),
                load("toFiles", path=bench.out, format="parquet"),
            ]
        )

        def off() -> None:
            logger.setLevel(logging.CRITICAL)
            BatchRun(pipeline, spark).run()

        def on() -> None:
            logger.setLevel(logging.INFO)
            BatchRun(pipeline, spark, exporters=exporters).run()

        print(f"| {options.rows:,} rows | {HEADING.replace('script', 'off').replace('platform', 'on')}")
        measure(Job("filter, one validation, Parquet to Parquet", off, on), bench, options.rounds)
    spark.stop()


if __name__ == "__main__":
    main()
