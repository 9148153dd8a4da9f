"""`python -m devtools.bench`: all benches, one after the other, and what has changed since the baseline.

Each runs its sides in turn, in one session or as programs, prints their times, and their ratios beside those of the
baseline. Nothing else may run meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from devtools.bench.ratios import RESULTS_VARIABLE, keep

BENCHES = {
    "cold": "the smallest batch as a program, against a script",
    "batch": "batches in a warm session, against scripts",
    "rates": "1 to 50 million rows and 1 to 16 transforms, against scripts",
    "tpch": "the queries of TPC-H at scale factor 1, against Spark SQL",
    "systems": "databases, Kafka and S3, against scripts",
    "streams": "streams of Kafka, against scripts",
    "peers": "a batch by laktory, dlt and DuckDB with delta-rs",
}
_OPTIONS = {"streams": ["throughput"]}


def main(
    benches: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(BENCHES)}; by default all.")] = None,
    keep_baseline: Annotated[bool, typer.Option("--keep", help="Make what is measured the new baseline.")] = False,
) -> None:
    """Measure the platform against scripts and other tools, and say what has changed since the baseline."""
    chosen = benches or list(BENCHES)
    if unknown := sorted(set(chosen) - set(BENCHES)):
        typer.echo(f"there is no bench called {', '.join(unknown)}; there are {', '.join(BENCHES)}", err=True)
        raise typer.Exit(2)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        results.touch()
        for bench in chosen:
            typer.echo(f"\n## {bench}: {BENCHES[bench]}\n")
            command = [sys.executable, "-m", f"devtools.bench.{bench}", *_OPTIONS.get(bench, [])]
            subprocess.run(command, env={**os.environ, RESULTS_VARIABLE: str(results)}, check=True)
        if keep_baseline:
            keep(results)


if __name__ == "__main__":
    typer.run(main)
