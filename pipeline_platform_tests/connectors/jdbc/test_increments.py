"""What is new in a table of a real database, loaded into Delta."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, last_step, load, pipeline_of, run
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform_tests.connectors.databases import Schema


@pytest.fixture
def orders(schema: Schema) -> Schema:
    """A table of three orders, the last two of the same instant."""
    schema.query(f"CREATE TABLE {schema.name}.t (id bigint PRIMARY KEY, at timestamp(6) NULL, note varchar(20))")
    order(schema, 1, "10:00:00")
    order(schema, 2, "10:05:00.000001")
    order(schema, 3, "10:05:00.000001")
    return schema


def order(schema: Schema, number: int, at: str, note: str = "new") -> None:
    schema.at_utc(
        f"INSERT INTO {schema.name}.t VALUES ({number}, '2024-01-01 {at}', '{note}'); COMMIT"
        if schema.is_postgres
        else f"INSERT INTO {schema.name}.t VALUES ({number}, '2024-01-01 {at}', '{note}')"
    )


def incremental(schema: Schema, **keys: Any) -> StepValue:
    return schema.extract(incremental={"cursorColumn": "at", **keys}, registerAs="orders")


def loaded(table: Path) -> list[int]:
    found = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT id FROM t ORDER BY id").read_all()
    return found.column("id").to_pylist()


def test_each_run_loads_what_is_new_and_rows_of_the_last_instant_once(
    spark: SparkSession, orders: Schema, tmp_path: Path
):
    steps = [incremental(orders), load("toDeltaLake", path=str(tmp_path / "t"))]
    first = last_step(run(spark, *steps))
    assert (first.rows, first.cursor) == (3, "2024-01-01 10:05:00.000001+00:00")
    order(orders, 4, "10:05:00.000001")
    order(orders, 5, "10:06:00")
    assert last_step(run(spark, *steps)).rows == 2
    assert loaded(tmp_path / "t") == [1, 2, 3, 4, 5]
    version = DeltaTable(tmp_path / "t").version()
    assert last_step(run(spark, *steps)).rows == 0
    assert DeltaTable(tmp_path / "t").version() == version
