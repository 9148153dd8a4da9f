"""Many small tables of PostgreSQL by one file: `python -m devtools.bench.many`.

A file with `forEach` makes a pipeline for each table. What is printed: how long Dagster's definitions of it take, how
long one run of all takes, and how long some runs of a table each take, from which follows what as many runs as there
are tables would. Each table has to have its rows, as delta-rs counts them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from devtools.bench.peers.__main__ import count
from devtools.bench.programs import measured
from devtools.bench.ratios import Ratio, report
from devtools.services.postgres import Postgres, start_postgres
from pipeline_platform.engine.spark.server import Use

_ROWS = 100
_DEFINITIONS = """
import time
from pathlib import Path
from pipeline_platform.orchestration.project_definitions import project_definitions
began = time.perf_counter()
repository = project_definitions(Path("pipelines")).get_repository_def()
repository.load_all_definitions()
print(time.perf_counter() - began, len(repository.job_names))
"""


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(prog="bench.many", description=__doc__)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="runs of a table each, and loads of the definitions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, postgres = Path(name), start_postgres()
        try:
            _make(postgres, folder, options.tables)
            report("many", _compared(folder, options.tables, options.rounds))
        finally:
            postgres.stop()


def _make(postgres: Postgres, folder: Path, tables: int) -> None:
    with postgres.connect() as connection:
        for number in range(tables):
            rows = f"SELECT i AS id, 'note ' || i AS note, now() AS changed_at FROM generate_series(1, {_ROWS}) i"
            connection.execute(f"CREATE TABLE t_{number} AS {rows}".encode())
            connection.execute(f"ALTER TABLE t_{number} ADD PRIMARY KEY (id)".encode())
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "mirror.json").write_text(json.dumps(_pipeline(postgres.credentials(), tables), indent=2))


def _pipeline(credentials: Mapping[str, Any], tables: int) -> Mapping[str, Any]:
    incremental = {"cursorColumn": "changed_at", "lag": "1 minute", "key": "id"}
    source = {"table": "${var:table}", **credentials, "incremental": incremental}
    sink = {"path": "lake/${var:table}", "mode": "merge", "mergeKeys": ["id"]}
    return {
        "name": "mirror_${var:table}",
        "mode": "batch",
        "forEach": [{"table": f"t_{number}"} for number in range(tables)],
        "variables": {"table": {}},
        "steps": [
            {"type": "extract", "method": "fromPostgres", "config": source},
            {"type": "load", "method": "toDeltaLake", "config": sink},
        ],
    }


def _compared(folder: Path, tables: int, rounds: int) -> list[Ratio]:
    loads = [_definitions(folder, tables) for _ in range(rounds)]
    sys.stdout.write(f"definitions of {tables} pipelines: {_spread(loads)}\n")
    run = [sys.executable, "-m", "pipeline_platform", "run", "pipelines/mirror.json"]
    began = time.monotonic()
    measured(run, folder, Use.NEVER)
    together = time.monotonic() - began
    counts = [count(table) for table in (folder / "lake").iterdir()]
    if counts != [_ROWS] * tables:
        sys.exit(f"not all tables have their rows: {counts}")
    alone = [measured([*run, "--var", f"table=t_{number}"], folder, Use.NEVER)[0] for number in range(rounds)]
    sys.stdout.write(f"one run of {tables} tables: {together:.1f} s; of one table: {_spread(alone)}\n")
    return [
        Ratio.of(f"{tables} tables in one run / in {tables} runs", [together] * rounds, [tables * one for one in alone])
    ]


def _definitions(folder: Path, tables: int) -> float:
    command = [sys.executable, "-c", _DEFINITIONS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seconds, jobs = done.stdout.split()[-2:]
    if int(jobs) < tables:
        sys.exit(f"{jobs} jobs only")
    return float(seconds)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
