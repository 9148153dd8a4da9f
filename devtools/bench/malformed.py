"""`python -m devtools.bench.malformed`: csv files, malformed records found, against Spark's own permissive read.

First read and thrown away, then to Delta with a filter; then what it costs to read one file as a whole, which is what
lets values hold line breaks, against reading it in parts.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pyspark.sql import DataFrame

from devtools.bench.jobs import CONDITION, make_data
from devtools.bench.systems import FILTER, HEADING, SCHEMA, Bench, Job, measure
from devtools.pipelines import extract, load, run
from pipeline_platform.connectors.files.source import FromFiles
from pipeline_platform.engine.spark.session import spark_session

PERMISSIVE = {"header": "true", "mode": "PERMISSIVE", "quote": '"', "escape": '"', "columnNameOfCorruptRecord": "bad"}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000, help="Orders to read, by default 4 million.")
    parser.add_argument("--rounds", type=int, default=4, help="Measured rounds, by default 4, after one to warm up.")
    options = parser.parse_args()
    spark = spark_session("bench")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        make_data(spark, folder, options.rows)
        bench = Bench(spark, folder, options.rows)
        orders = spark.read.parquet(f"{folder}/orders")
        orders.write.option("header", "true").csv(f"{folder}/csv")
        orders.coalesce(1).write.option("header", "true").csv(f"{folder}/one")

        def permissive(path: str) -> DataFrame:
            read = spark.read.options(**PERMISSIVE).schema(f"{SCHEMA}, bad STRING").csv(path)
            return read.filter("bad IS NULL").drop("bad")

        def accepted(path: str) -> DataFrame:
            step = FromFiles.model_validate({"path": path, "format": "csv", "schema": SCHEMA})
            return step.accepted(step.read(spark, None))

        def throw_away(frame: DataFrame) -> None:
            frame.write.format("noop").mode("overwrite").save()

        def script(path: str) -> None:
            permissive(path).filter(CONDITION).write.format("delta").mode("overwrite").save(bench.out)

        def platform(path: str, *, multi_line: bool | None = None) -> None:
            source = extract("fromFiles", path=path, format="csv", schema=SCHEMA, multiLine=multi_line)
            run(spark, source, FILTER, load("toDeltaLake", path=bench.out, mode="overwrite"))

        print(f"| {options.rows:,} rows | {HEADING}")
        for job in (
            Job(
                "4 csv files, thrown away",
                lambda: throw_away(permissive(f"{folder}/csv")),
                lambda: throw_away(accepted(f"{folder}/csv")),
            ),
            Job("4 csv files to Delta", lambda: script(f"{folder}/csv"), lambda: platform(f"{folder}/csv")),
            Job(
                "one csv file to Delta, read as a whole",
                lambda: script(f"{folder}/one"),
                lambda: platform(f"{folder}/one", multi_line=True),
            ),
            Job(
                "one csv file to Delta, read in parts",
                lambda: script(f"{folder}/one"),
                lambda: platform(f"{folder}/one", multi_line=False),
            ),
        ):
            measure(job, bench, options.rounds)
    spark.stop()


if __name__ == "__main__":
    main()
