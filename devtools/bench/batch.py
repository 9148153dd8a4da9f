"""`python -m devtools.bench.batch`: every job in turn, round after round, in one warm session."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from devtools.bench.jobs import Job, jobs, make_data, timed
from devtools.bench.ratios import Ratio, report
from devtools.bench.scans import scanned_rows
from pipeline_platform.engine.spark.session import spark_session

RATIOS = (
    ("simple, platform", "simple, script"),
    ("simple, platform, 1 validation", "simple, platform"),
    ("simple, platform, 3 validations", "simple, platform"),
    ("complex, platform", "complex, script"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.batch", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="orders to read, by default 5 million")
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds, by default 7, after one to warm up")
    parser.add_argument("--only", default="", help="measure only the jobs whose name contains this")
    options = parser.parse_args(arguments)
    spark = spark_session("bench")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        make_data(spark, folder, options.rows)
        chosen = [job for job in jobs(folder) if options.only in job.name]
        scans = {job.name: _warm_up(spark, job, folder) for job in chosen}
        seconds: dict[str, list[float]] = {job.name: [] for job in chosen}
        for number in range(options.rounds):
            for job in chosen:
                seconds[job.name].append(timed(spark, job, folder))
            told = ", ".join(f"{name} {times[-1]:.2f}" for name, times in seconds.items())
            print(f"round {number + 1} of {options.rounds}: {told}", file=sys.stderr)
    spark.stop()
    _report(options.rows, seconds, scans)


def _warm_up(spark: SparkSession, job: Job, folder: Path) -> list[int]:
    with scanned_rows(spark, "orders") as scans:
        timed(spark, job, folder)
    return scans


def _report(rows: int, seconds: dict[str, list[float]], scans: dict[str, list[int]]) -> None:
    print(f"| job, {rows:,} rows | median s | least s | most s | rows/s | scans of the input | rows scanned |")
    print("|---|---|---|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        scanned = f"{len(scans[name])} | {sum(scans[name]):,}"
        print(f"| {name} | {median:.2f} | {min(times):.2f} | {max(times):.2f} | {rows / median:,.0f} | {scanned} |")
    report(
        "batch",
        [
            Ratio.of(f"{job} / {to}", seconds[job], seconds[to])
            for job, to in RATIOS
            if job in seconds and to in seconds
        ],
    )


if __name__ == "__main__":
    main()
