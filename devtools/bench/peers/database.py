"""`python -m devtools.bench.peers.database`: a table of PostgreSQL into Delta, by us and by dlt in turn.

The first run loads all rows, the second the twentieth that has changed since, both by a cursor and a merge by key. What
is printed: rows a second, and how much memory each program and those that it started had at most. Each table has to
have the rows of its source, as DuckDB reads the files that delta-rs names.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
import psutil
from deltalake import DeltaTable

from devtools.bench.peers.environment import PROGRAMS, peers_python
from devtools.bench.ratios import Ratio, report
from devtools.pipelines import extract, load, pipeline_text
from devtools.services.postgres import Postgres, start_postgres

_SAMPLE_SECONDS = 0.1
_CHANGED = 20
_OURS = "platform"


@dataclass(frozen=True)
class Usage:
    """What a run took.

    Args:
        seconds: From start to end.
        memory: Bytes that its processes had in memory at most, taken together.
    """

    seconds: float
    memory: int


def usage_of(command: Sequence[str], folder: Path) -> Usage:
    """Run a program to its end, which has to go well.

    Args:
        command: Program and arguments.
        folder: In which it runs.

    Raises:
        SystemExit: It failed.
    """
    began, most = time.monotonic(), 0
    with (folder / "run.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        while process.poll() is None:
            most = max(most, _memory(process.pid))
            time.sleep(_SAMPLE_SECONDS)
        log.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{log.read()[-4000:]}")
    return Usage(time.monotonic() - began, most)


def _memory(pid: int) -> int:
    found = 0
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(pid)
        for process in [started, *started.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                found += process.memory_info().rss
    return found


def main() -> None:
    """Measure, and print a table and the ratios."""
    parser = argparse.ArgumentParser(prog="bench.peers.database", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    taken: dict[str, list[Usage]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, postgres = Path(name), start_postgres()
        try:
            for _ in range(options.rounds):
                _round(folder, postgres, options.rows, taken)
        finally:
            postgres.stop()
    sys.stdout.write("| | rows | median s | min | max | rows a second | MB at most |\n|---|---|---|---|---|---|---|\n")
    ratios: list[Ratio] = []
    for what, rows in (("all", options.rows), ("changed", options.rows // _CHANGED)):
        for program in (_OURS, "dlt"):
            seconds = [one.seconds for one in taken[f"{what}, {program}"]]
            memory = max(one.memory for one in taken[f"{what}, {program}"]) / 1e6
            cells = f"{rows:,} | {median(seconds):.1f} | {min(seconds):.1f} | {max(seconds):.1f}"
            sys.stdout.write(f"| {what}, {program} | {cells} | {rows / median(seconds):,.0f} | {memory:,.0f} |\n")
        ours, theirs = ([one.seconds for one in taken[f"{what}, {program}"]] for program in (_OURS, "dlt"))
        ratios.append(Ratio.of(f"{what}, {rows:,} rows of PostgreSQL, platform / dlt", ours, theirs))
    report("peers.database", ratios)


def _round(folder: Path, postgres: Postgres, rows: int, taken: dict[str, list[Usage]]) -> None:
    postgres.query("DROP TABLE IF EXISTS orders")
    columns = "i::int AS id, 'customer ' || i % 1000 AS customer, (i * 7 % 10000)::numeric(10,2) AS amount"
    postgres.query(f"CREATE TABLE orders AS SELECT {columns}, now() AS changed_at FROM generate_series(1, {rows}) i")
    postgres.query("ALTER TABLE orders ADD PRIMARY KEY (id)")
    postgres.query("CREATE INDEX ON orders (changed_at)")
    commands = {_OURS: _ours(folder, postgres), "dlt": _dlt(folder, postgres)}
    for lake in ("lake", "dlt_lake", "dlt_state"):
        shutil.rmtree(folder / lake, ignore_errors=True)
    for what in ("all", "changed"):
        for program, command in commands.items():
            taken.setdefault(f"{what}, {program}", []).append(usage_of(command, folder))
            _require_equal(postgres, folder / ("lake" if program == _OURS else "dlt_lake") / "orders")
        postgres.query(
            f"UPDATE orders SET amount = amount + 1, changed_at = clock_timestamp() WHERE id % {_CHANGED} = 0"
        )


def _ours(folder: Path, postgres: Postgres) -> Sequence[str]:
    incremental = {"cursorColumn": "changed_at", "key": "id"}
    source = extract("fromPostgres", table="orders", **postgres.credentials(), incremental=incremental)
    sink = load("toDeltaLake", path=str(folder / "lake" / "orders"), mode="merge", mergeKeys=["id"])
    (folder / "orders.json").write_text(pipeline_text([source, sink], "orders"))
    return [sys.executable, "-m", "pipeline_platform", "run", "orders.json"]


def _dlt(folder: Path, postgres: Postgres) -> Sequence[str]:
    settings = {
        "credentials": {**postgres.credentials(), "drivername": "postgresql+psycopg"},
        "tables": ["orders"],
        "lag": 0,
        "lake": str(folder / "dlt_lake"),
        "state": str(folder / "dlt_state"),
    }
    (folder / "dlt.json").write_text(json.dumps(settings))
    return [peers_python(), str(PROGRAMS / "mirror_by_dlt.py"), "dlt.json"]


def _require_equal(postgres: Postgres, table: Path) -> None:
    sums = "count(*), count(DISTINCT id), sum(amount)"
    [wanted] = postgres.query(f"SELECT {sums} FROM orders")
    [found] = duckdb.read_parquet(DeltaTable(table).file_uris()).aggregate(sums).fetchall()
    if [*map(float, wanted)] != [*map(float, found)]:
        sys.exit(f"{table} has {found}, its source {wanted}")


if __name__ == "__main__":
    main()
