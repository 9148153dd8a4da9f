"""`python -m devtools.bench.tpch`: the 22 queries of TPC-H as pipelines, against Spark SQL by hand.

Tables, queries and answers are DuckDB's. Both sides read Parquet and write a Delta table, in one warm session and in
turn; what the pipelines leave is held against DuckDB's answers.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from devtools.bench.peers.environment import PROGRAMS, peers_python
from devtools.bench.ratios import Ratio, report
from devtools.pipelines import extract, load, run, transform
from pipeline_platform.engine.spark.session import spark_session

_SCRIPT, _PIPELINE = "by hand", "pipeline"
TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def tables_of(query: str) -> list[str]:
    """Those that a query reads."""
    return [table for table in TABLES if re.search(rf"\b{table}\b", query)]


def by_hand(spark: SparkSession, data: Path, query: str, out: Path) -> None:
    """A query as a script has it."""
    for table in tables_of(query):
        spark.read.parquet(f"{data}/{table}.parquet").createOrReplaceTempView(table)
    answer: DataFrame = spark.sql(query)  # pyright: ignore[reportUnknownMemberType]
    answer.write.format("delta").mode("overwrite").save(str(out))


def by_pipeline(spark: SparkSession, data: Path, query: str, out: Path) -> None:
    """The same as a pipeline."""
    reads = [
        extract("fromFiles", path=f"{data}/{table}.parquet", format="parquet", registerAs=table)
        for table in tables_of(query)
    ]
    run(spark, *reads, transform("sqlQuery", query=query), load("toDeltaLake", path=str(out), mode="overwrite"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table and the ratios."""
    parser = argparse.ArgumentParser(prog="bench.tpch", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="scale factor, by default 1")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, by default 3, after one to warm up")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        data, out = Path(name) / "data", Path(name) / "out"
        data.mkdir()
        subprocess.run([peers_python(), PROGRAMS / "tpch_data.py", data, str(options.scale)], check=True)
        queries: Mapping[str, str] = json.loads((data / "queries.json").read_text())
        spark = spark_session("bench")
        sides = {_SCRIPT: by_hand, _PIPELINE: by_pipeline}
        taken: dict[str, dict[str, list[float]]] = {query: {side: [] for side in sides} for query in queries}
        for number in range(options.rounds + 1):
            for query, text in queries.items():
                for side, work in sides.items():
                    seconds = timed(lambda work=work, text=text: work(spark, data, text, out))
                    if number == 0:
                        require_answer(query, out, data / "answers" / f"{query}.parquet")
                    shutil.rmtree(out)
                    if number > 0:
                        taken[query][side].append(seconds)
            sys.stderr.write(f"round {number} of {options.rounds}\n")
        spark.stop()
    sys.stdout.write("| query | by hand, median s | pipeline, median s | ratio |\n|---|---|---|---|\n")
    for query, by in taken.items():
        median, _, _ = Ratio.of(query, by[_PIPELINE], by[_SCRIPT]).spread
        times = " | ".join(f"{statistics.median(by[side]):.2f}" for side in sides)
        sys.stdout.write(f"| {query} | {times} | {median:.2f} |\n")
    script, pipeline = (
        [sum(times) for times in zip(*(found[side] for found in taken.values()), strict=True)] for side in sides
    )
    report("tpch", [Ratio.of("all 22 queries, pipeline / by hand", pipeline, script)])


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def require_answer(query: str, table: Path, answer: Path) -> None:
    """End the program unless a Delta table has the rows of DuckDB's answer, in whatever order."""
    connection = duckdb.connect()
    found = in_order(connection.read_parquet(DeltaTable(table).file_uris()).fetchall())
    wanted = in_order(connection.read_parquet(str(answer)).fetchall())
    wrong = [pair for pair in zip(found, wanted, strict=False) if not all(map(is_close, *pair))]
    if len(found) != len(wanted) or wrong:
        sys.exit(f"{query}: {len(found)} rows, DuckDB has {len(wanted)}; {wrong[:1]}")


def in_order(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """The same rows, sorted; numbers may differ a little, and nothing else does."""
    return sorted(rows, key=lambda row: [f"{value:.2g}" if is_number(value) else str(value) for value in row])


def is_number(value: Any) -> bool:
    return isinstance(value, (float, int, Decimal))


def is_close(one: Any, other: Any) -> bool:
    """Whether they are the same value; engines divide in other types."""
    return math.isclose(one, other, rel_tol=1e-3) if is_number(one) and is_number(other) else one == other


if __name__ == "__main__":
    main()
