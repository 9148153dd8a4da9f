"""How the time of a run grows with its rows and its steps: `python -m devtools.bench.rates`, with nothing else running.

Pipelines with one to sixteen transforms and scripts that do the same, from Parquet to Delta, in turn in a warm session.
For each number of transforms, the line through the medians (ordinary least squares) says what a run takes however few
its rows are, and what each million of rows adds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from devtools.bench.jobs import Job, make_data, run_pipeline, step, timed
from devtools.bench.ratios import Ratio, report
from pipeline_platform.engine.spark.session import spark_session

ROWS = (1_000_000, 10_000_000, 50_000_000)
TRANSFORMS = (1, 4, 16)


@dataclass(frozen=True)
class Growth:
    """A line through times.

    Args:
        fixed: Seconds without a row.
        each: Seconds for a million rows.
    """

    fixed: float
    each: float


def growth_of(seconds: dict[int, float]) -> Growth:
    """The line through times by their rows.

    Args:
        seconds: Of at least two numbers of rows.
    """
    each, fixed = statistics.linear_regression([rows / 1e6 for rows in seconds], list(seconds.values()))
    return Growth(fixed, each)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(prog="bench.rates", description=__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=ROWS, help="orders to read, by default 1, 10, 50 million"
    )
    parser.add_argument("--transforms", type=int, nargs="+", default=TRANSFORMS, help="by default 1, 4 and 16")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, by default 3, after one to warm up")
    options = parser.parse_args(arguments)
    spark = spark_session("bench")
    seconds: dict[tuple[int, str], dict[int, list[float]]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            make_data(spark, folder, rows)
            jobs = {(count, job.name): job for count in options.transforms for job in _jobs(folder, count)}
            for number in range(options.rounds + 1):
                for which, job in jobs.items():
                    taken = timed(spark, job, folder)
                    if number > 0:
                        seconds.setdefault(which, {}).setdefault(rows, []).append(taken)
                print(f"{rows:,} rows, round {number} of {options.rounds}", file=sys.stderr)
    spark.stop()
    _print(seconds)


def _jobs(data: Path, transforms: int) -> list[Job]:
    return [
        Job("script", lambda spark, out: _script(spark, data, out, transforms)),
        Job("platform", lambda spark, out: run_pipeline(spark, _steps(data, out, transforms))),
    ]


def _columns(number: int) -> str:
    return f"round(amount * {number + 1} + quantity, 2)"


def _script(spark: SparkSession, data: Path, out: Path, transforms: int) -> None:
    frame = spark.read.parquet(str(data / "orders"))
    for number in range(transforms):
        frame = frame.withColumn(f"c{number}", F.expr(_columns(number)))
    frame.write.format("delta").mode("overwrite").save(str(out / "orders"))


def _steps(data: Path, out: Path, transforms: int) -> list[dict[str, Any]]:
    return [
        step("extract", "fromFiles", path=str(data / "orders"), format="parquet"),
        *(step("transform", "enrichData", columns={f"c{n}": _columns(n)}) for n in range(transforms)),
        step("load", "toDeltaLake", path=str(out / "orders"), mode="overwrite"),
    ]


def _print(seconds: dict[tuple[int, str], dict[int, list[float]]]) -> None:
    print("| transforms, by | rows | median s | min | max | rows/s |")
    print("|---|---|---|---|---|---|")
    for (count, who), by_rows in seconds.items():
        for rows, times in by_rows.items():
            median = statistics.median(times)
            spread = f"{min(times):.2f} | {max(times):.2f}"
            print(f"| {count}, {who} | {rows:,} | {median:.2f} | {spread} | {rows / median:,.0f} |")
    if len(next(iter(seconds.values()))) > 1:
        print("\n| transforms, by | s without a row | s for each million |\n|---|---|---|")
        for (count, who), by_rows in seconds.items():
            found = growth_of({rows: statistics.median(times) for rows, times in by_rows.items()})
            print(f"| {count}, {who} | {found.fixed:.2f} | {found.each:.3f} |")
    ratios = [
        Ratio.of(f"{count} transforms, {rows:,} rows, platform / script", times, seconds[count, "script"][rows])
        for (count, who), by_rows in seconds.items()
        if who == "platform"
        for rows, times in by_rows.items()
    ]
    report("rates", ratios)


if __name__ == "__main__":
    main()
