"""The jobs that are measured, each as a pipeline of the platform and as a plain PySpark script."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.registry import method_registry

CONDITION = "amount > 20 AND status <> 'void'"
CHECKS: Sequence[dict[str, Any]] = (
    {"method": "validateRanges", "config": {"ranges": {"amount": {"min": 0, "max": 1000}}}},
    {"method": "validateNulls", "config": {"notNullColumns": ["id", "customer", "day"]}},
    {"method": "validateBusinessRules", "config": {"rules": ["length(note) > 10", "quantity BETWEEN 1 AND 10"]}},
)


@dataclass(frozen=True)
class Job:
    """One thing to measure: a name, and what runs it into an empty folder."""

    name: str
    run: Callable[[SparkSession, Path], object]


def timed(spark: SparkSession, job: Job, folder: Path) -> float:
    """Run a job into a folder of its own; the seconds it took.

    Args:
        spark: The session.
        job: The job.
        folder: Where its folder is made, and removed.
    """
    out = folder / "out"
    out.mkdir()
    began = time.perf_counter()
    job.run(spark, out)
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return seconds


def make_data(spark: SparkSession, folder: Path, rows: int) -> None:
    """Write `rows` orders and a customer for every hundredth of them."""
    orders = spark.range(rows, numPartitions=4).select(
        "id",
        (F.xxhash64("id") % (rows // 200) + rows // 200).cast("int").alias("customer"),
        F.round(F.rand(1) * 100, 2).alias("amount"),
        (F.rand(2) * 9 + 1).cast("int").alias("quantity"),
        F.expr("date_add(DATE '2024-01-01', cast(id % 366 AS INT))").alias("day"),
        F.expr("element_at(array('paid', 'open', 'void', 'sent'), cast(id % 4 AS INT) + 1)").alias("status"),
        F.concat(F.lit("order "), F.hex(F.xxhash64("id", F.lit(3)))).alias("note"),
    )
    orders.write.parquet(str(folder / "orders"))
    customers = spark.range(rows // 100 + 1).selectExpr(
        "cast(id AS INT) AS customer", "concat('customer ', id) AS name", "id % 50 AS region"
    )
    customers.write.parquet(str(folder / "customers"))


def jobs(data: Path) -> list[Job]:
    """All jobs, in the order they are run in a round."""
    return [
        Job("simple, script", lambda spark, out: _simple_script(spark, data, out)),
        Job("simple, platform", lambda spark, out: run_pipeline(spark, _simple(data, out, checks=0))),
        Job("simple, platform, 1 validation", lambda spark, out: run_pipeline(spark, _simple(data, out, checks=1))),
        Job("simple, platform, 3 validations", lambda spark, out: run_pipeline(spark, _simple(data, out, checks=3))),
        Job("complex, script", lambda spark, out: _complex_script(spark, data, out)),
        Job("complex, platform", lambda spark, out: run_pipeline(spark, _complex(data, out))),
    ]


def _simple_script(spark: SparkSession, data: Path, out: Path) -> None:
    orders = spark.read.parquet(str(data / "orders"))
    orders.filter(CONDITION).write.format("delta").mode("overwrite").save(str(out / "orders"))


def _simple(data: Path, out: Path, checks: int) -> list[dict[str, Any]]:
    return [
        step("extract", "fromFiles", path=str(data / "orders"), format="parquet"),
        step("transform", "filterRows", condition=CONDITION),
        *({"type": "validate", **check} for check in CHECKS[:checks]),
        step("load", "toDeltaLake", path=str(out / "orders"), mode="overwrite"),
    ]


def _complex_script(spark: SparkSession, data: Path, out: Path) -> None:
    orders = spark.read.parquet(str(data / "orders"))
    customers = spark.read.parquet(str(data / "customers"))
    joined = orders.join(customers, "customer")
    broken = joined.agg(
        F.count_if(F.expr("amount < 0 OR amount > 1000")),
        F.count_if(F.expr("id IS NULL OR customer IS NULL OR day IS NULL")),
        F.count_if(F.expr("NOT (length(note) > 10) OR NOT (quantity BETWEEN 1 AND 10)")),
    ).collect()[0]
    if any(broken):
        raise ValueError(f"rules are broken: {broken}")
    joined.write.format("delta").mode("overwrite").save(str(out / "joined"))
    totals = joined.groupBy("region", "day").agg(F.sum("amount").alias("total"), F.count("*").alias("orders"))
    totals.write.format("delta").mode("overwrite").save(str(out / "totals"))


def _complex(data: Path, out: Path) -> list[dict[str, Any]]:
    totals = {"total": "sum(amount)", "orders": "count(*)"}
    return [
        step("extract", "fromFiles", path=str(data / "orders"), format="parquet", registerAs="orders"),
        step("extract", "fromFiles", path=str(data / "customers"), format="parquet", registerAs="customers"),
        step("transform", "joinDataFrames", inputDataFrames=["orders", "customers"], joinColumn="customer"),
        *({"type": "validate", **check} for check in CHECKS),
        step("load", "toDeltaLake", path=str(out / "joined"), mode="overwrite"),
        step("transform", "aggregateData", groupBy=["region", "day"], aggregations=totals),
        step("load", "toDeltaLake", path=str(out / "totals"), mode="overwrite"),
    ]


def step(kind: str, method: str, **config: Any) -> dict[str, Any]:
    """A step as a pipeline's file has it.

    Args:
        kind: Such as `extract`.
        method: Its method.
        config: Of the method.
    """
    return {"type": kind, "method": method, "config": config}


def run_pipeline(spark: SparkSession, steps: Sequence[dict[str, Any]]) -> object:
    """Run a batch pipeline.

    Args:
        spark: The session.
        steps: Of the pipeline.
    """
    text = json.dumps({"name": "bench", "mode": "batch", "steps": steps})
    return BatchRun(parse_pipeline(text, method_registry()), spark).run()
