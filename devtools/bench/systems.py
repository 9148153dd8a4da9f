"""`python -m devtools.bench.systems`: real systems to Delta and back, against scripts, in one warm session.

The servers are those of the tests; the databases keep no log of statements.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from devtools.bench.jobs import CONDITION, make_data
from devtools.bench.ratios import Ratio, report
from devtools.pipelines import StepValue, extract, load, run, transform
from devtools.services.kafka import start_kafka
from devtools.services.mariadb import MariaDB, start_mariadb
from devtools.services.postgres import Postgres, start_postgres
from devtools.services.s3 import REGION, start_s3
from pipeline_platform.engine.spark.session import spark_session

PARTITIONS = 4
SCHEMA = "id BIGINT, customer INT, amount DOUBLE, quantity INT, day DATE, status STRING, note STRING"
FILTER = transform("filterRows", condition=CONDITION)


@dataclass(frozen=True)
class Job:
    """One thing to measure, as a script and as a pipeline.

    Args:
        name: What is moved where.
        script: The script.
        platform: The same as a pipeline.
        before: What is done before each of them, and not timed.
    """

    name: str
    script: Callable[[], object]
    platform: Callable[[], object]
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Bench:
    """What the jobs work on.

    Args:
        spark: The session.
        folder: Has the orders in the Delta table `delta`; the jobs write to `out` in it.
        rows: How many orders there are.
    """

    spark: SparkSession
    folder: Path
    rows: int

    @property
    def delta(self) -> str:
        """Path of the orders."""
        return str(self.folder / "delta")

    @property
    def out(self) -> str:
        """Path of what a job writes."""
        return str(self.folder / "out")

    def orders(self) -> DataFrame:
        """The orders."""
        return self.spark.read.format("delta").load(self.delta)

    def to_delta(self, orders: DataFrame) -> None:
        """Filter orders into Delta, as a script does."""
        orders.filter(CONDITION).write.format("delta").mode("overwrite").save(self.out)

    def pipeline_to_delta(self, source: StepValue) -> None:
        """Filter orders into Delta with a pipeline."""
        run(self.spark, source, FILTER, load("toDeltaLake", path=self.out))


@dataclass(frozen=True)
class Database:
    """A database as scripts and pipelines enter it.

    Args:
        name: Of the system.
        method: The end of its methods' names.
        server: The server.
        options: How Spark's own reader and writer enter it, with what makes the driver send many rows at once.
    """

    name: str
    method: str
    server: Postgres | MariaDB
    options: Mapping[str, str]

    def jobs(self, bench: Bench) -> list[Job]:
        """Make the tables; then: from it in ranges, to a table that the load makes, and to one that is there."""
        self._append(bench.orders(), "orders")
        self.server.query("ALTER TABLE orders ADD PRIMARY KEY (id)")
        ranges = {"partitionColumn": "id", "lowerBound": "0", "upperBound": str(bench.rows)}
        reader = bench.spark.read.format("jdbc").options(**self.options, **ranges, dbtable="orders")
        keys: dict[str, Any] = self.server.credentials()
        source = extract(f"from{self.method}", table="orders", partitionColumn="id", numPartitions=PARTITIONS, **keys)
        sink = load(f"to{self.method}", table="written", **keys)
        return [
            Job(
                f"{self.name} to Delta",
                lambda: bench.to_delta(reader.option("numPartitions", PARTITIONS).load()),
                lambda: bench.pipeline_to_delta(source),
            ),
            *(
                Job(
                    f"Delta to {self.name}, {kind} table",
                    lambda: self._append(bench.orders(), "written"),
                    lambda: run(bench.spark, extract("fromDeltaLake", path=bench.delta), sink),
                    lambda statement=statement: self.server.query(statement),
                )
                for kind, statement in (
                    ("new", "DROP TABLE IF EXISTS written"),
                    ("empty", "TRUNCATE TABLE written"),
                )
            ),
        ]

    def _append(self, orders: DataFrame, table: str) -> None:
        orders.write.format("jdbc").options(**self.options, dbtable=table).mode("append").save()


def postgres_jobs(bench: Bench, servers: ExitStack) -> list[Job]:
    """PostgreSQL, both ways."""
    server = start_postgres()
    servers.callback(server.stop)
    server.query(f"ALTER ROLE {server.username} SET log_statement = 'none'")
    return Database(
        "PostgreSQL",
        "Postgres",
        server,
        {
            "url": f"jdbc:postgresql://{server.host}:{server.port}/{server.database}",
            "driver": "org.postgresql.Driver",
            "user": server.username,
            "password": server.password,
            "fetchsize": "10000",
            "batchsize": "5000",
            "reWriteBatchedInserts": "true",
        },
    ).jobs(bench)


def mysql_jobs(bench: Bench, servers: ExitStack) -> list[Job]:
    """MySQL, both ways."""
    server = start_mariadb()
    servers.callback(server.stop)
    server.query("SET GLOBAL general_log = OFF")
    return Database(
        "MySQL",
        "MySQL",
        server,
        {
            "url": f"jdbc:mysql://{server.host}:{server.port}/{server.database}",
            "driver": "com.mysql.cj.jdbc.Driver",
            "user": server.username,
            "password": server.password,
            "fetchsize": "10000",
            "batchsize": "5000",
            "rewriteBatchedStatements": "true",
        },
    ).jobs(bench)


def kafka_jobs(bench: Bench, servers: ExitStack) -> list[Job]:
    """JSON messages of a topic to Delta."""
    server = start_kafka()
    servers.callback(server.stop)
    server.make_topic("orders", PARTITIONS)
    entry = {"kafka.bootstrap.servers": server.address}
    messages = bench.orders().selectExpr("CAST(id AS STRING) AS key", "to_json(struct(*)) AS value")
    messages.write.format("kafka").options(**entry, topic="orders").mode("append").save()

    def script() -> None:
        records = bench.spark.read.format("kafka").options(**entry, subscribe="orders").load()
        parsed = records.selectExpr(
            "CAST(key AS STRING) AS key",
            "topic",
            "partition",
            "offset",
            "timestamp",
            f"from_json(CAST(value AS STRING), '{SCHEMA}') AS parsed",
        )
        bench.to_delta(parsed.select("key", "topic", "partition", "offset", "timestamp", "parsed.*"))

    def source(**config: str) -> StepValue:
        keys = {"topic": "orders", "valueFormat": "json", "valueSchema": SCHEMA, "bootstrap.servers": server.address}
        return extract("fromKafka", **keys, **config)

    return [
        Job("Kafka to Delta", script, lambda: bench.pipeline_to_delta(source())),
        Job("Kafka to Delta, malformed to NULL", script, lambda: bench.pipeline_to_delta(source(onMalformed="null"))),
    ]


def s3_jobs(bench: Bench, servers: ExitStack) -> list[Job]:
    """Parquet of a bucket to Parquet of the same bucket."""
    server = start_s3()
    servers.callback(server.stop)
    server.make_bucket("lake")
    keys = server.credentials()
    options = {
        "fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "fs.s3a.access.key": server.access_key_id,
        "fs.s3a.secret.key": server.secret_access_key,
        "fs.s3a.endpoint": server.endpoint,
        "fs.s3a.endpoint.region": REGION,
        "fs.s3a.path.style.access": "true",
    }
    bench.orders().write.options(**options).parquet("s3a://lake/orders")

    def script() -> None:
        orders = bench.spark.read.options(**options).parquet("s3a://lake/orders")
        orders.filter(CONDITION).write.options(**options).mode("overwrite").parquet("s3a://lake/out")

    def platform() -> None:
        source = extract("fromS3", bucket="lake", path="orders", format="parquet", **keys)
        sink = load("toS3", bucket="lake", path="out", format="parquet", mode="overwrite", **keys)
        run(bench.spark, source, FILTER, sink)

    def remove_results() -> None:
        for key in server.keys("lake", "out"):
            server.client().delete_object(Bucket="lake", Key=key)

    return [Job("S3 to S3", script, platform, remove_results)]


SYSTEMS: Mapping[str, Callable[[Bench, ExitStack], list[Job]]] = {
    "postgres": postgres_jobs,
    "mysql": mysql_jobs,
    "kafka": kafka_jobs,
    "s3": s3_jobs,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.systems", description=__doc__)
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, []], help="by default all of them")
    parser.add_argument("--rows", type=int, default=2_000_000, help="orders, by default 2 million")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, by default 5, after one to warm up")
    options = parser.parse_args(arguments)
    spark = spark_session("bench")
    ratios: list[Ratio] = []
    print(f"| {options.rows:,} rows | {HEADING}")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        bench = Bench(spark, Path(name), options.rows)
        make_data(spark, bench.folder, options.rows)
        spark.read.parquet(str(bench.folder / "orders")).write.format("delta").save(bench.delta)
        for system in options.systems or SYSTEMS:
            # One server at a time: two cores are few.
            with ExitStack() as servers:
                ratios += [measure(job, bench, options.rounds) for job in SYSTEMS[system](bench, servers)]
    spark.stop()
    report("systems", ratios)


HEADING = "script, median s | platform, median s | rows/s |\n|---|---|---|---|"


def measure(job: Job, bench: Bench, rounds: int) -> Ratio:
    """Print the row of a job, and give the ratios of its rounds.

    Args:
        job: What is measured.
        bench: What it works on.
        rounds: Measured rounds, after one to warm up.
    """
    script, platform = zip(*_rounds(job, bench, rounds), strict=True)
    median = statistics.median(platform)
    times = f"{statistics.median(script):.2f} | {median:.2f} | {bench.rows / median:,.0f}"
    print(f"| {job.name} | {times} |", flush=True)
    return Ratio.of(f"{job.name}, platform / script", platform, script)


def _rounds(job: Job, bench: Bench, rounds: int) -> Iterator[tuple[float, float]]:
    for number in range(rounds + 1):
        pair = _timed(job.script, job, bench), _timed(job.platform, job, bench)
        print(f"{job.name}, round {number} of {rounds}: {pair[0]:.2f} {pair[1]:.2f}", file=sys.stderr)
        if number > 0:
            yield pair


def _timed(work: Callable[[], object], job: Job, bench: Bench) -> float:
    job.before()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    shutil.rmtree(bench.out, ignore_errors=True)
    return seconds


if __name__ == "__main__":
    main()
