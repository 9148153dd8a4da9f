"""Mirrors tables of live databases while runs are killed, and compares the tables with their sources at the end.

    python -m devtools.bench.mirror --minutes 10 --kills 20 --tables 8 4

Somebody writes all the time: inserts, updates, and transactions that stay open for some seconds and are then committed,
with times from when they began; at some time each table gets another column. Those of PostgreSQL are mirrored by a
cursor, those of MariaDB, where rows are deleted, too, by snapshots; one file makes the pipelines of each. They are run
again and again; some of the runs are killed by SIGKILL after a time that nobody chose. At the end the writers stop,
each file is run once more, and each table has to have the rows of its source, as the systems' own clients and delta-rs
read them.
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
_COLUMNS = "id, note, more, changed_at"
# Transactions of a table before it gets another column.
_BEFORE_ALTER = 50


@dataclass(frozen=True)
class Mirrored:
    """A table of a database and the Delta table that mirrors it.

    Args:
        server: Where it is.
        name: Its name.
        folder: For the pipelines and the Delta tables.
        pause: Seconds between two transactions, on average.
    """

    server: Postgres | MariaDB
    name: str
    folder: Path
    pause: float

    @property
    def table(self) -> Path:
        """The Delta table."""
        return self.folder / "lake" / self.name

    def make(self) -> None:
        """Make the table."""
        time_type = "timestamptz" if isinstance(self.server, Postgres) else "timestamp(6) NULL"
        self.server.query(f"CREATE TABLE {self.name} (id int PRIMARY KEY, note varchar(20), changed_at {time_type})")

    def write(self, stop: threading.Event, chance: random.Random) -> int:
        """Write until somebody stops it: how many transactions there were."""
        number, done = 0, 0
        with ThreadPoolExecutor(_WRITERS) as late:
            while not stop.is_set():
                rows = [number := number + 1 for _ in range(chance.randint(1, 5))]
                changed = [chance.randint(1, number) for _ in range(chance.randint(0, 3))]
                gone = chance.randint(1, number) if isinstance(self.server, MariaDB) and chance.random() < 0.3 else None
                seconds = chance.uniform(0, _OPEN_SECONDS) if chance.random() < 0.2 else 0
                late.submit(self._transaction, rows, changed, gone, seconds).add_done_callback(_raise)
                done += 1
                if done == _BEFORE_ALTER:
                    self.alter()
                stop.wait(chance.uniform(0.2, 1.8) * self.pause)
        if done < _BEFORE_ALTER:
            self.alter()
        return done

    def alter(self) -> None:
        """Give the table another column."""
        self.server.query(f"ALTER TABLE {self.name} ADD COLUMN more varchar(20)")

    def _transaction(self, rows: list[int], changed: list[int], gone: int | None, seconds: float) -> None:
        at = f"'{datetime.now(UTC).replace(tzinfo=None)}'"
        at = f"timestamptz {at[:-1]}+00'" if isinstance(self.server, Postgres) else at
        now = "clock_timestamp()" if isinstance(self.server, Postgres) else "now(6)"
        with closing(self.server.connect()) as connection:
            connection: Any
            cursor = connection.cursor()
            if isinstance(self.server, MariaDB):
                cursor.execute("SET time_zone = '+00:00'")
            cursor.execute("BEGIN")
            for number in rows:
                cursor.execute(f"INSERT INTO {self.name} (id, note, changed_at) VALUES ({number}, 'new', {at})")
            time.sleep(seconds)
            cursor.execute("COMMIT")
            # Of rows that others change at the same time, the one that comes last has the larger time.
            for number in changed:
                cursor.execute(f"UPDATE {self.name} SET note = '{seconds:.3f}', changed_at = {now} WHERE id = {number}")
            if gone is not None:
                cursor.execute(f"DELETE FROM {self.name} WHERE id = {gone}")

    def use_new_column(self) -> None:
        """Fill the column that was added in some of the rows."""
        now = "clock_timestamp()" if isinstance(self.server, Postgres) else "now(6)"
        self.server.query(f"UPDATE {self.name} SET more = 'filled', changed_at = {now} WHERE id % 5 = 0")

    def in_source(self) -> list[tuple[Any, ...]]:
        """Its rows, by the system's own client."""
        text = "id, note, more, extract(epoch FROM changed_at)::numeric * 1000000"
        if isinstance(self.server, MariaDB):
            text = "id, note, more, unix_timestamp(changed_at) * 1000000"
        found = self.server.query(f"SELECT {text} FROM {self.name} ORDER BY 1")
        return [(*row[:3], int(row[3])) for row in found]

    def in_table(self) -> list[tuple[Any, ...]]:
        """The rows of the Delta table, as delta-rs reads it."""
        query = f"SELECT {_COLUMNS} FROM t"
        found: Any = QueryBuilder().register("t", DeltaTable(self.table)).execute(query).read_all()
        arrow: Any = pa
        rows = duckdb.from_arrow(arrow.table(found)).project("id, note, more, epoch_us(changed_at)")
        return rows.order("id").fetchall()


def _pipelines(server: Postgres | MariaDB, tables: list[Mirrored], folder: Path) -> Path:
    """The file that makes the pipelines of a database's tables."""
    extract: dict[str, Any] = {"table": "${var:table}", **server.credentials()}
    sink: dict[str, Any] = {"path": f"{folder}/lake/${{var:table}}"}
    if isinstance(server, Postgres):
        extract["incremental"] = {"cursorColumn": "changed_at", "lag": f"{3 * _OPEN_SECONDS} seconds", "key": "id"}
        sink |= {"mode": "merge", "mergeKeys": ["id"], "schemaPolicy": {"newColumns": "add"}}
    else:
        sink |= {"mode": "applyChanges", "changes": {"snapshotKeys": ["id"]}, "mergeSchema": True}
    method = "fromPostgres" if isinstance(server, Postgres) else "fromMySQL"
    pipeline: dict[str, Any] = {
        "name": "mirror_${var:table}",
        "mode": "batch",
        "forEach": [{"table": table.name} for table in tables],
        "variables": {"table": {}},
        "steps": [
            {"type": "extract", "method": method, "name": "source", "config": extract},
            {"type": "load", "method": "toDeltaLake", "config": sink},
        ],
    }
    file = folder / f"{method}.json"
    file.write_text(json.dumps(pipeline, indent=2))
    return file


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
    parser.add_argument("--tables", type=int, nargs=2, default=(2, 1), help="Of PostgreSQL, and of MariaDB.")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, stop = random.Random(options.seed), threading.Event()
    with tempfile.TemporaryDirectory() as made, _servers() as servers, ThreadPoolExecutor(sum(options.tables)) as pool:
        folder = Path(made)
        tables: list[Mirrored] = []
        files: list[Path] = []
        pause = 0.05 * sum(options.tables)
        for server, prefix, count in zip(servers, ("shop", "stock"), options.tables, strict=True):
            own = [Mirrored(server, f"{prefix}_{number}", folder, pause) for number in range(count)]
            files.append(_pipelines(server, own, folder))
            tables += own
        for table in tables:
            table.make()
        writers = [pool.submit(table.write, stop, random.Random(place)) for place, table in enumerate(tables)]
        began, runs, killed, longest = time.monotonic(), 0, 0, 20.0
        try:
            while time.monotonic() - began < 60 * options.minutes or killed < options.kills:
                file = files[runs % len(files)]
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
        for table in tables:
            table.use_new_column()
        for file in files:
            _run(file, folder, None)
        wrong = 0
        for table in tables:
            source, mirror = table.in_source(), table.in_table()
            wrong += source != mirror
            different = sorted(set(source) ^ set(mirror), key=str)[:5]
            print(f"{table.name}: {len(source)} rows, {'equal' if source == mirror else f'DIFFERENT: {different}'}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
