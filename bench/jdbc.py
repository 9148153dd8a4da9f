"""`python -m bench.jdbc`: databases to Delta and back, the platform against scripts, in one warm session.

The servers are those of the tests, without their log of statements.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from bench.jobs import CONDITION, make_data
from pipeline_platform.engine.session import spark_session
from pipeline_platform_tests.runs import extract, load, run, transform
from pipeline_platform_tests.services.mariadb import MariaDB, start_mariadb
from pipeline_platform_tests.services.postgres import Postgres, start_postgres

PARTITIONS = 4
RATIOS = (
    "PostgreSQL to Delta",
    "MySQL to Delta",
    "Delta to PostgreSQL, new",
    "Delta to PostgreSQL, old",
    "Delta to MySQL, old",
)


@dataclass(frozen=True)
class Job:
    """One thing to measure: a name, what is done before, and what is timed."""

    name: str
    before: Callable[[], object]
    run: Callable[[], object]


@dataclass(frozen=True)
class Place:
    """A database, and how Spark's own reader and writer enter it."""

    server: Postgres | MariaDB
    system: str
    url: str
    driver: str
    for_reading: dict[str, str]
    for_writing: dict[str, str]

    def options(self) -> dict[str, str]:
        entry = {"url": self.url, "user": self.server.username, "password": self.server.password}
        return {**entry, "driver": self.driver}

    def read_by_script(self, spark: SparkSession, rows: int, out: Path) -> None:
        ranges = {"partitionColumn": "id", "lowerBound": "0", "upperBound": str(rows), "numPartitions": str(PARTITIONS)}
        options = {**self.options(), **self.for_reading, **ranges, "dbtable": "orders"}
        orders = spark.read.format("jdbc").options(**options).load()
        orders.filter(CONDITION).write.format("delta").mode("overwrite").save(str(out))

    def read_by_platform(self, spark: SparkSession, out: Path) -> None:
        read = extract(
            f"from{self.system}", table="orders", partitionColumn="id", numPartitions=PARTITIONS, **self.keys()
        )
        run(spark, read, transform("filterRows", condition=CONDITION), load("toDeltaLake", path=str(out)))

    def write_by_script(self, orders: DataFrame) -> None:
        options = {**self.options(), **self.for_writing, "batchsize": "5000", "dbtable": "written"}
        orders.write.format("jdbc").options(**options).mode("append").save()

    def write_by_platform(self, spark: SparkSession, orders: Path) -> None:
        run(spark, extract("fromDeltaLake", path=str(orders)), load(f"to{self.system}", table="written", **self.keys()))

    def keys(self) -> dict[str, Any]:
        return self.server.credentials()


@contextmanager
def places() -> Iterator[tuple[Place, Place]]:
    """Both servers, while the block lasts."""
    postgres = start_postgres()
    mysql = start_mariadb()
    postgres.query(f"ALTER ROLE {postgres.username} SET log_statement = 'none'")
    mysql.query("SET GLOBAL general_log = OFF")
    try:
        yield (
            Place(
                postgres,
                "Postgres",
                f"jdbc:postgresql://{postgres.host}:{postgres.port}/{postgres.database}",
                "org.postgresql.Driver",
                {"fetchsize": "10000"},
                {"reWriteBatchedInserts": "true"},
            ),
            Place(
                mysql,
                "MySQL",
                f"jdbc:mysql://{mysql.host}:{mysql.port}/{mysql.database}",
                "com.mysql.cj.jdbc.Driver",
                {"fetchsize": "10000"},
                {"rewriteBatchedStatements": "true"},
            ),
        )
    finally:
        postgres.stop()
        mysql.stop()


def jobs(spark: SparkSession, postgres: Place, mysql: Place, folder: Path, rows: int) -> list[Job]:
    """All jobs, in the order they are run in a round."""
    delta, out = folder / "delta", folder / "out"
    orders = spark.read.format("delta").load(str(delta))
    made: list[Job] = []
    for name, place in (("PostgreSQL", postgres), ("MySQL", mysql)):
        read = f"{name} to Delta"
        made += [
            Job(f"{read}, script", _nothing, lambda place=place: place.read_by_script(spark, rows, out)),
            Job(f"{read}, platform", _nothing, lambda place=place: place.read_by_platform(spark, out)),
        ]
        for kind in ("new", "old") if place is postgres else ("old",):
            write = f"Delta to {name}, {kind}"
            statement = "DROP TABLE IF EXISTS written" if kind == "new" else "TRUNCATE TABLE written"
            before = lambda place=place, statement=statement: place.server.query(statement)  # noqa: E731
            made += [
                Job(f"{write}, script", before, lambda place=place: place.write_by_script(orders)),
                Job(f"{write}, platform", before, lambda place=place: place.write_by_platform(spark, delta)),
            ]
    return made


def _nothing() -> None:
    return None


def make_sources(spark: SparkSession, places: Sequence[Place], folder: Path, rows: int) -> None:
    """The same orders in Delta and in both databases, with a primary key, and an empty table to write to."""
    make_data(spark, folder, rows)
    orders = spark.read.parquet(str(folder / "orders"))
    orders.write.format("delta").save(str(folder / "delta"))
    for place in places:
        options = {**place.options(), **place.for_writing, "batchsize": "5000"}
        orders.write.format("jdbc").options(**options, dbtable="orders").save()
        orders.limit(0).write.format("jdbc").options(**options, dbtable="written").save()
        place.server.query("ALTER TABLE orders ADD PRIMARY KEY (id)")
    places[0].server.query("VACUUM ANALYZE orders")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.jdbc", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="orders, by default 2 million")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, by default 5, after one to warm up")
    parser.add_argument("--only", default="", help="measure only the jobs whose name contains this")
    options = parser.parse_args(arguments)
    spark = spark_session("bench")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, places() as (postgres, mysql):
        folder = Path(name)
        make_sources(spark, (postgres, mysql), folder, options.rows)
        chosen = [job for job in jobs(spark, postgres, mysql, folder, options.rows) if options.only in job.name]
        seconds: dict[str, list[float]] = {job.name: [] for job in chosen}
        for number in range(options.rounds + 1):
            for job in chosen:
                taken = _timed(job, folder)
                if number > 0:
                    seconds[job.name].append(taken)
            told = ", ".join(f"{name} {times[-1]:.2f}" for name, times in seconds.items() if times)
            print(f"round {number} of {options.rounds}: {told}", file=sys.stderr)
        spark.stop()
    _report(options.rows, seconds)


def _timed(job: Job, folder: Path) -> float:
    job.before()
    began = time.perf_counter()
    job.run()
    seconds = time.perf_counter() - began
    shutil.rmtree(folder / "out", ignore_errors=True)
    return seconds


def _report(rows: int, seconds: dict[str, list[float]]) -> None:
    print(f"| job, {rows:,} rows | median s | least s | most s | rows/s |\n|---|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"| {name} | {median:.2f} | {min(times):.2f} | {max(times):.2f} | {rows / median:,.0f} |")
    print("\n| platform / script, median of the rounds | | least | most |\n|---|---|---|---|")
    for name in RATIOS:
        if f"{name}, script" in seconds:
            pairs = zip(seconds[f"{name}, platform"], seconds[f"{name}, script"], strict=True)
            ratios = [platform / script for platform, script in pairs]
            print(f"| {name} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
