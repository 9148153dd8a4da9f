"""Programs that are measured: how long one takes, and the table of all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psutil

from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use

Taken = tuple[float, float]
"""Seconds, and the CPU seconds of the whole machine meanwhile."""


def measured(command: Sequence[str], folder: Path, use: Use) -> Taken:
    """Run a program to its end, which has to go well: what it took.

    Args:
        command: Program and arguments.
        folder: In which it runs.
        use: Whether it may use the Spark server.
    """
    environment = {**os.environ, SERVER_VARIABLE: use}
    began, worked = time.monotonic(), _worked()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    taken = time.monotonic() - began, _worked() - worked
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return taken


def _worked() -> float:
    """CPU seconds that the machine has worked since it started."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def print_table(title: str, taken: Mapping[str, Sequence[Taken]]) -> Mapping[str, Sequence[float]]:
    """Print what each program took; its seconds, by name.

    Args:
        title: Above the names.
        taken: What each round took, by name.
    """
    sys.stdout.write(f"| {title} | median s | min | max | CPU s, median | min | max |\n|---|---|---|---|---|---|---|\n")
    for name, rounds in taken.items():
        cells = [cell for values in zip(*rounds, strict=True) for cell in (median(values), min(values), max(values))]
        sys.stdout.write(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |\n")
    return {name: [seconds for seconds, _ in rounds] for name, rounds in taken.items()}
