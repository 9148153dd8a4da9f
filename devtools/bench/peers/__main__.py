"""`python -m devtools.bench.peers`: the same job by other tools, each a program of its own, in turn.

Parquet is filtered into a Delta table: by `pipeline-platform run` as it is, by the same on a Spark server that runs, by
laktory on Spark with its own defaults, by dlt, and by DuckDB with delta-rs. Each leaves the same rows, which delta-rs
counts. CPU seconds are those of the whole machine meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
from deltalake import DeltaTable

from devtools.bench.jobs import CONDITION, make_data
from devtools.bench.peers.environment import PROGRAMS, peers_python
from devtools.bench.programs import Taken, measured, print_table
from devtools.bench.ratios import Ratio, report
from devtools.pipelines import extract, load, pipeline_text, transform
from devtools.services.spark_server import spark_server
from pipeline_platform.engine.spark.jars import connector_jars
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.engine.spark.session import spark_session

PLATFORM, WARM = "platform", "platform, warm"


def commands(folder: Path) -> Mapping[str, Sequence[str]]:
    """Write the pipeline; the commands, by what they are called in the table.

    Args:
        folder: Has the orders, and gets the table.
    """
    orders, table = str(folder / "orders"), str(folder / "lake" / "orders")
    steps = [
        extract("fromFiles", path=orders, format="parquet"),
        transform("filterRows", condition=CONDITION),
        load("toDeltaLake", path=table, mode="overwrite"),
    ]
    (folder / "orders.json").write_text(pipeline_text(steps, "orders"))
    run = [sys.executable, "-m", "pipeline_platform", "run", "orders.json"]
    python, given = peers_python(), [orders, table, CONDITION]
    return {
        PLATFORM: run,
        WARM: run,
        "laktory": [python, str(PROGRAMS / "by_laktory.py"), *given, ":".join(map(str, connector_jars()))],
        "dlt": [python, str(PROGRAMS / "by_dlt.py"), *given],
        "DuckDB with delta-rs": [python, str(PROGRAMS / "by_duckdb.py"), *given],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table and the ratios."""
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    sizes = [1000, 5_000_000]
    parser.add_argument("--rows", type=int, nargs="*", default=sizes, help="orders, by default 1,000 and 5 million")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, by default 3")
    options = parser.parse_args(arguments)
    ratios: list[Ratio] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name, spark_server(Path(name)):
        for rows in options.rows:
            folder = Path(name) / str(rows)
            folder.mkdir()
            ratios += compared(folder, rows, options.rounds)
    report("peers", ratios)


def compared(folder: Path, rows: int, rounds: int) -> list[Ratio]:
    """Print what each takes; the ratios of the platform to each of the others.

    Args:
        folder: An empty folder.
        rows: How many orders.
        rounds: Measured rounds.
    """
    spark = spark_session("bench")
    make_data(spark, folder, rows)
    spark.stop()
    taken: dict[str, list[Taken]] = {}
    counts: set[int] = set()
    for _ in range(rounds):
        for name, command in commands(folder).items():
            shutil.rmtree(folder / "lake", ignore_errors=True)
            use = Use.RUNNING if name == WARM else Use.NEVER
            taken.setdefault(name, []).append(measured(command, folder, use))
            counts.add(count(folder / "lake" / "orders"))
    if len(counts) != 1:
        sys.exit(f"they don't leave the same rows: {counts}")
    times = print_table(f"{rows:,} orders", taken)
    return [
        Ratio.of(f"{rows:,} orders, {ours} / {name}", times[ours], times[name])
        for ours in (PLATFORM, WARM)
        for name in times
        if name not in (PLATFORM, WARM)
    ]


def count(table: Path) -> int:
    """Rows of a Delta table."""
    files = DeltaTable(table).file_uris()
    [(rows,)] = duckdb.connect().execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchall()
    return rows


if __name__ == "__main__":
    main()
