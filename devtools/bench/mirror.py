"""Mirrors tables of live databases while runs are killed, and compares the tables with their sources at the end.

    python -m devtools.bench.mirror --minutes 10 --kills 20

Somebody writes all the time: inserts, updates, and transactions that stay open for some seconds and are then committed,
with times from when they began. Every pipeline is run again and again; some of the runs are killed by SIGKILL after a
time that nobody chose. At the end the writers stop, each pipeline is run once more, and each table has to have the rows
of its source, as the systems' own clients and delta-rs read them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from devtools.services.mariadb import MariaDB, start_mariadb
from devtools.services.postgres import Postgres, start_postgres

_OPEN_SECONDS = 20
# So many that none waits for those that stay open.
_WRITERS = 64
_COLUMNS = "id, note, changed_at"


@dataclass(frozen=True)
class Mirrored:
    """A table and the pipeline that mirrors it.

    Args:
        server: Where it is.
        name: Its name.
        folder: For the pipeline and the Delta table.
    """

    server: Postgres | MariaDB
    name: str
    folder: Path

    @property
    def table(self) -> Path:
        """The Delta table."""
        return self.folder / "lake" / self.name

    def make(self) -> Path:
        """Make the table, and the file of the pipeline."""
        is_postgres = isinstance(self.server, Postgres)
        time_type = "timestamptz" if is_postgres else "timestamp(6) NULL"
        self.server.query(f"CREATE TABLE {self.name} (id int PRIMARY KEY, note varchar(20), changed_at {time_type})")
        incremental = {"cursorColumn": "changed_at", "lag": f"{3 * _OPEN_SECONDS} seconds", "key": "id"}
        extract = {
            "type": "extract",
            "method": "fromPostgres" if is_postgres else "fromMySQL",
            "name": "source",
            "config": {"table": self.name, "incremental": incremental, **self.server.credentials()},
        }
        sink = {"path": str(self.table), "mode": "merge", "mergeKeys": ["id"]}
        load = {"type": "load", "method": "toDeltaLake", "config": sink}
        file = self.folder / f"{self.name}.json"
        file.write_text(json.dumps({"name": self.name, "mode": "batch", "steps": [extract, load]}, indent=2))
        return file

    def write(self, stop: threading.Event, chance: random.Random) -> int:
        """Write until somebody stops it: how many transactions there were."""
        number, done = 0, 0
        with ThreadPoolExecutor(_WRITERS) as late:
            while not stop.is_set():
                rows = [number := number + 1 for _ in range(chance.randint(1, 5))]
                changed = [chance.randint(1, number) for _ in range(chance.randint(0, 3))]
                seconds = chance.uniform(0, _OPEN_SECONDS) if chance.random() < 0.2 else 0
                late.submit(self._transaction, rows, changed, seconds).add_done_callback(_raise)
                done += 1
                stop.wait(chance.uniform(0.02, 0.2))
        return done

    def _transaction(self, rows: list[int], changed: list[int], seconds: float) -> None:
        at = f"'{datetime.now(UTC).replace(tzinfo=None)}'"
        at = f"timestamptz {at[:-1]}+00'" if isinstance(self.server, Postgres) else at
        with closing(self.server.connect()) as connection:
            connection: Any
            cursor = connection.cursor()
            if isinstance(self.server, MariaDB):
                cursor.execute("SET time_zone = '+00:00'")
            cursor.execute("BEGIN")
            for number in rows:
                cursor.execute(f"INSERT INTO {self.name} VALUES ({number}, 'new', {at})")
            time.sleep(seconds)
            cursor.execute("COMMIT")
            # Of rows that others change at the same time, the one that comes last has the larger time.
            for number in changed:
                now = "clock_timestamp()" if isinstance(self.server, Postgres) else "now(6)"
                cursor.execute(f"UPDATE {self.name} SET note = '{seconds:.3f}', changed_at = {now} WHERE id = {number}")

    def in_source(self) -> list[tuple[Any, ...]]:
        """Its rows, by the system's own client."""
        text = "id, note, extract(epoch FROM changed_at)::numeric * 1000000"
        if isinstance(self.server, MariaDB):
            text = "id, note, unix_timestamp(changed_at) * 1000000"
        return [
            (row[0], row[1], int(row[2])) for row in self.server.query(f"SELECT {text} FROM {self.name} ORDER BY 1")
        ]

    def in_table(self) -> list[tuple[Any, ...]]:
        """The rows of the Delta table, as delta-rs reads it."""
        query = f"SELECT {_COLUMNS} FROM t"
        found: Any = QueryBuilder().register("t", DeltaTable(self.table)).execute(query).read_all()
        arrow: Any = pa
        return duckdb.from_arrow(arrow.table(found)).project("id, note, epoch_us(changed_at)").order("id").fetchall()


def _raise(done: Any) -> None:
    if (error := done.exception()) is not None:
        print(f"a writer failed: {error}", flush=True)


@contextmanager
def _servers() -> Generator[tuple[Postgres, MariaDB]]:
    postgres = start_postgres()
    try:
        mysql = start_mariadb()
        try:
            yield postgres, mysql
        finally:
            mysql.stop()
    finally:
        postgres.stop()


def _run(file: Path, folder: Path, kill_after: float | None) -> int | None:
    """Run a pipeline, perhaps not to its end: its exit code, None if it was killed."""
    command = [sys.executable, "-m", "pipeline_platform", "run", str(file)]
    with (folder / "runs.log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return None


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, stop = random.Random(options.seed), threading.Event()
    with tempfile.TemporaryDirectory() as made, _servers() as (postgres, mysql), ThreadPoolExecutor() as pool:
        folder = Path(made)
        tables = [
            Mirrored(postgres, "shop", folder),
            Mirrored(postgres, "visits", folder),
            Mirrored(mysql, "stock", folder),
        ]
        files = [table.make() for table in tables]
        writers = [pool.submit(table.write, stop, random.Random(place)) for place, table in enumerate(tables)]
        began, runs, killed, longest = time.monotonic(), 0, 0, 20.0
        try:
            while time.monotonic() - began < 60 * options.minutes or killed < options.kills:
                file = chance.choice(files)
                limit = chance.uniform(0.3, 1.0) * longest if killed < options.kills and runs >= len(files) else None
                started = time.monotonic()
                code = _run(file, folder, limit)
                runs, killed = runs + 1, killed + (code is None)
                if code:
                    print((folder / "runs.log").read_text()[-3000:])
                    raise SystemExit(f"{file.stem} failed")
                if code == 0:
                    longest = time.monotonic() - started
        finally:
            stop.set()
        transactions = sum(writer.result() for writer in writers)
        print(f"{runs} runs, {killed} killed, {transactions} transactions", flush=True)
        wrong = 0
        for table, file in zip(tables, files, strict=True):
            _run(file, folder, None)
            source, mirror = table.in_source(), table.in_table()
            wrong += source != mirror
            different = sorted(set(source) ^ set(mirror))[:5]
            print(f"{table.name}: {len(source)} rows, {'equal' if source == mirror else f'DIFFERENT: {different}'}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
