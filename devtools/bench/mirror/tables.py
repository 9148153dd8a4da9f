"""The tables of the databases, those who write into them, and the comparison of each with its mirror."""

from __future__ import annotations

import random
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres

Row = tuple[Any, ...]
# Transactions of a table before it gets another column, and before its amounts get a wider type.
_BEFORE_ADD, _BEFORE_WIDEN = 30, 60
# So many that few wait for those that stay open.
_WRITERS = 8
_LARGEST = 2**31 - 1


class Way(StrEnum):
    """How a table is mirrored."""

    CURSOR = "cursor"
    """By `incremental` and a merge: rows are not deleted."""
    SNAPSHOT = "snapshot"
    """By snapshots that are compared."""
    DEBEZIUM = "debezium"
    """By Debezium, Kafka and `applyChanges`."""


@dataclass(frozen=True)
class Mirrored:
    """A table of a database and the Delta table that mirrors it.

    Args:
        server: Where it is.
        name: Its name.
        way: How it is mirrored.
        pause: Seconds between two transactions, on average.
        open_seconds: How long transactions stay open at most.
    """

    server: Postgres | MariaDB
    name: str
    way: Way
    pause: float
    open_seconds: float

    def make(self) -> None:
        """Make the table."""
        time_type = "timestamptz" if isinstance(self.server, Postgres) else "timestamp(6) NULL"
        columns = f"id int PRIMARY KEY, note varchar(20), amount int, changed_at {time_type}"
        self.server.query(f"CREATE TABLE {self.name} ({columns})")
        if self.way is Way.DEBEZIUM and isinstance(self.server, Postgres):
            # Otherwise changes that meet a snapshot lack the values that they did not change.
            self.server.query(f"ALTER TABLE {self.name} REPLICA IDENTITY FULL")

    def write(self, stop: threading.Event, chance: random.Random) -> int:
        """Write until somebody stops it: how many transactions there were."""
        number, done = 0, 0
        with ThreadPoolExecutor(_WRITERS) as late:
            while not stop.is_set():
                rows = [number := number + 1 for _ in range(chance.randint(1, 5))]
                changed = [chance.randint(1, number) for _ in range(chance.randint(0, 3))]
                gone = chance.randint(1, number) if self.way is not Way.CURSOR and chance.random() < 0.3 else None
                seconds = chance.uniform(0, self.open_seconds) if chance.random() < 0.2 else 0
                wide = self._is_widened(done)
                late.submit(self._transaction, rows, changed, gone, seconds, wide).add_done_callback(_tell_failed)
                done += 1
                if done == _BEFORE_ADD:
                    self.server.query(f"ALTER TABLE {self.name} ADD COLUMN more varchar(20)")
                if self._is_widened(done) and done == _BEFORE_WIDEN:
                    self.server.query(f"ALTER TABLE {self.name} ALTER COLUMN amount TYPE bigint")
                stop.wait(chance.uniform(0.2, 1.8) * self.pause)
        if done < _BEFORE_WIDEN:
            sys.exit(f"{self.name} had {done} transactions only: it has not changed as it should; give more minutes")
        return done

    def _is_widened(self, done: int) -> bool:
        return self.way is Way.CURSOR and done >= _BEFORE_WIDEN

    def _transaction(self, rows: list[int], changed: list[int], gone: int | None, seconds: float, wide: bool) -> None:
        now = "clock_timestamp()" if isinstance(self.server, Postgres) else "now(6)"
        with closing(self.server.connect()) as connection:
            connection: Any
            cursor = connection.cursor()
            if isinstance(self.server, MariaDB):
                cursor.execute("SET time_zone = '+00:00'")
            cursor.execute("BEGIN")
            # They have the time from before the transaction was open, and are seen after it.
            at = f"timestamp '{datetime.now(UTC).replace(tzinfo=None)}'"
            at = f"{at} AT TIME ZONE 'UTC'" if isinstance(self.server, Postgres) else at
            for number in rows:
                amount = number + (_LARGEST if wide else 0)
                values = f"{number}, 'new', {amount}, {at}"
                cursor.execute(f"INSERT INTO {self.name} (id, note, amount, changed_at) VALUES ({values})")
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

    def in_source(self) -> list[Row]:
        """Its rows, by the system's own client."""
        text = "id, note, amount, more, extract(epoch FROM changed_at)::numeric * 1000000"
        if isinstance(self.server, MariaDB):
            text = "id, note, amount, more, unix_timestamp(changed_at) * 1000000"
        found = self.server.query(f"SELECT {text} FROM {self.name} ORDER BY 1")
        return [(*row[:4], int(row[4])) for row in found]


def in_table(path: Path) -> list[Row]:
    """The rows of a Delta table: DuckDB reads the files that delta-rs names, which itself reads no widened columns.

    Args:
        path: The table.
    """
    files = DeltaTable(path).file_uris()
    columns = "id, note, amount, more, epoch_us(changed_at)"
    return duckdb.read_parquet(files, union_by_name=True).project(columns).order("id").fetchall() if files else []


def _tell_failed(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        sys.stdout.write(f"a writer failed: {error}\n")
