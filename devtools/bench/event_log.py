"""`python -m devtools.bench.event_log`: the event log that a stream takes, with the sensor on."""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from devtools.deployment import Deployment, deploy
from devtools.pipelines import extract, load, validate
from pipeline_platform.orchestration.streams_sensor import SENSOR

_NAME = "events"
_DAY_MINUTES = 24 * 60


def main() -> None:
    """Print a row for each period, and the growth from the first to the last as if it went on for a day."""
    parser = argparse.ArgumentParser(prog="bench.event_log", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60, help="how long, by default 60, after the first period")
    parser.add_argument("--every", type=int, default=10, help="minutes of a period, by default 10")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="event-log-") as name:
        folder = Path(name)
        (folder / "deployment").mkdir()
        deployment = deploy(folder / "deployment", {_NAME: _pipeline(folder)}, {}, "pipeline_platform.definitions")
        try:
            deployment.turn_sensor_on(SENSOR)
            deployment.wait_until(lambda: _batch(deployment) > 0, "the stream runs")
            print("| minute | micro-batch | entries | entries MB | event log on disk MB |\n|---|---|---|---|---|")
            sizes: list[tuple[float, float]] = []
            for minute in range(options.every, options.every + options.minutes + 1, options.every):
                time.sleep(options.every * 60)
                sizes.append(_report(minute, deployment))
        finally:
            deployment.end()
    for what, first, last in zip(("entries", "on disk"), sizes[0], sizes[-1], strict=True):
        print(f"{what}: {(last - first) * _DAY_MINUTES / options.minutes:.2f} MB a day")


def _pipeline(folder: Path) -> dict[str, object]:
    steps = [
        extract("fromRate", rowsPerSecond=100),
        validate("validateRanges", ranges={"value": {"min": 0}}, onFailure="quarantine"),
        load("toDeltaLake", path=str(folder / "delta"), trigger="5 seconds"),
    ]
    streaming = {"checkpointRoot": str(folder / "checkpoints")}
    return {"name": _NAME, "mode": "streaming", "streaming": streaming, "steps": steps}


def _batch(deployment: Deployment) -> int:
    state = deployment.state(_NAME)
    return state.progress.batch if state is not None and state.progress is not None else -1


def _report(minute: int, deployment: Deployment) -> tuple[float, float]:
    """Print what there is, and return the megabytes of the entries, and of the files."""
    history = deployment.home / "history"
    # Each entry stands in the run's file and, if it is of an asset, in the index as well.
    stored = [_entries(path) for path in history.rglob("*.db")]
    entries, payload = (sum(column) for column in zip(*stored, strict=True))
    on_disk = sum(path.stat().st_size for path in history.rglob("*.db*"))
    megabytes = payload / 1e6, on_disk / 1e6
    print(f"| {minute} | {_batch(deployment)} | {entries} | {megabytes[0]:.3f} | {megabytes[1]:.3f} |", flush=True)
    return megabytes


def _entries(database: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'event_logs'").fetchall()
        if not tables:
            return 0, 0
        return connection.execute("SELECT count(*), coalesce(sum(length(event)), 0) FROM event_logs").fetchone()


if __name__ == "__main__":
    main()
