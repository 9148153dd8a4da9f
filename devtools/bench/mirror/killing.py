"""Runs that are killed when something has happened so many times: a line of their log, a file in a table."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Phase:
    """Where a run may be killed.

    Args:
        name: For the report.
        happened: How many times it has happened, since anybody counts.
        is_of_log: Whether the log tells it.
    """

    name: str
    happened: Callable[[], int]
    is_of_log: bool = False


def phases_of(log: Path, tables: Path) -> Sequence[Phase]:
    """The phases of a run.

    Args:
        log: What its process writes.
        tables: The folder of its Delta tables.
    """
    lines = {"Spark starts": ": starting Spark", "planning": ": planning", "completed": ": completed"}
    return [
        *(Phase(name, partial(_lines, log, text), is_of_log=True) for name, text in lines.items()),
        Phase("writing a file", partial(_files, tables, "*/*.parquet")),
        Phase("committed", partial(_files, tables, "*/_delta_log/*.json")),
    ]


def _lines(log: Path, text: str) -> int:
    return log.read_text().count(text) if log.exists() else 0


def _files(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern)) if folder.exists() else 0


def run(command: Sequence[str], folder: Path, log: Path, kill: tuple[Phase, int] | None = None) -> int | None:
    """Run a program, perhaps not to its end: its exit code, None if it was killed.

    Args:
        command: Program and arguments.
        folder: In which it runs.
        log: What it writes.
        kill: When it has happened so many times more.
    """
    before = kill[0].happened() if kill is not None else 0
    with log.open("a") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        while process.poll() is None:
            if kill is not None and kill[0].happened() - before >= kill[1]:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None
            time.sleep(_POLL_SECONDS)
        return process.returncode


def chosen(phases: Sequence[Phase], most: int, chance: random.Random) -> tuple[Phase, int]:
    """A phase, and how many times it has to happen.

    Args:
        phases: Those there are.
        most: How many times at most.
        chance: Chooses.
    """
    return chance.choice(phases), chance.randint(1, most)
