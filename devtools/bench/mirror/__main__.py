"""Mirrors tables of live databases while runs are killed, and compares the tables with their sources at the end.

    python -m devtools.bench.mirror --minutes 15 --kills 20

Somebody writes all the time: inserts, updates, and transactions that stay open for up to a minute and are then
committed, with times from before they began. At some time each table gets another column, and those that are
mirrored by a cursor a wider type, too; rows of the others are deleted. Tables of PostgreSQL are mirrored by a cursor,
by snapshots, and by Debezium and Kafka, those of MariaDB by snapshots; one file makes the pipelines of each. The files
are run again and again; some of the runs are killed by SIGKILL, each when something has happened so many times: Spark
starts, a plan is made, a file is written, a table has a new version, a pipeline has completed. With `--dlt`, dlt
mirrors the tables of the cursor, too, and is killed as often in the same way. At the end the writers stop, each file is
run once more, and each table has to have the rows of its source, as the systems' own clients and DuckDB read them.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtools.bench.mirror.killing import Phase, chosen, phases_of, run
from devtools.bench.mirror.tables import Mirrored, Way, in_table
from devtools.bench.peers.environment import PROGRAMS, peers_python
from devtools.pipelines import StepValue
from devtools.services.debezium import PREFIX, start_debezium
from devtools.services.kafka import Kafka, start_kafka
from devtools.services.mariadb import MariaDB, start_mariadb
from devtools.services.postgres import Postgres, start_postgres

# Of runs after which a table of Debezium, or of dlt, has to have what was written before.
_LAST_RUNS = 5


@dataclass
class Side:
    """Tables that one program mirrors.

    Args:
        name: Of the program.
        command: Program and arguments.
        tables: Those it mirrors.
        lake: The folder of the Delta tables.
        log: What it writes.
        codes: How each run ended, None for killed.
        killed: How often, by phase.
    """

    name: str
    command: Sequence[str]
    tables: Sequence[Mirrored]
    lake: Path
    log: Path
    codes: list[int | None] = field(default_factory=list[int | None])
    killed: Counter[str] = field(default_factory=Counter[str])

    @property
    def phases(self) -> Sequence[Phase]:
        """Where its runs may be killed."""
        found = phases_of(self.log, self.lake)
        # dlt's log says nothing of them.
        return [phase for phase in found if not phase.is_of_log] if self.name == "dlt" else found

    def run(self, kill: tuple[Phase, int] | None = None) -> None:
        """Run it, perhaps not to its end.

        Raises:
            SystemExit: It failed.
        """
        began = time.monotonic()
        code = run(self.command, self.lake.parent, self.log, kill)
        self.codes.append(code)
        what = "killed" if code is None else f"exit code {code}"
        sys.stderr.write(f"{self.name}: {time.monotonic() - began:.0f} s, {what}\n")
        if code is None and kill is not None:
            self.killed[kill[0].name] += 1
        if code:
            sys.exit(f"{self.log.read_text()[-4000:]}\n{self.name} failed")

    def wrong(self) -> list[str]:
        """Tables that are not as their source, with rows that only one of them has."""
        found: list[str] = []
        for table in self.tables:
            source = table.in_source()
            path = self.lake / table.name
            mirror = in_table(path) if (path / "_delta_log").exists() else []
            if source != mirror:
                only = sorted(set(source) ^ set(mirror), key=str)
                found.append(f"{table.name}: {len(source)} rows, {len(only)} differ, such as {only[:4]}")
        return found


def _pipelines(folder: Path, way: Way, tables: Sequence[Mirrored], extract: StepValue, sink: StepValue) -> Side:
    """The file that makes the pipelines of tables."""
    lake = folder / f"{tables[0].name.rpartition('_')[0]}_lake"
    pipeline: dict[str, Any] = {
        "name": f"{lake.name}_${{var:table}}",
        "mode": "streaming" if way is Way.DEBEZIUM else "batch",
        "forEach": [{"table": table.name} for table in tables],
        "variables": {"table": {}},
        "steps": [
            extract | {"type": "extract", "name": "source"},
            {"type": "load", "method": "toDeltaLake", "config": {"path": f"{lake}/${{var:table}}", **sink}},
        ],
    }
    file = folder / f"{lake.name}.json"
    file.write_text(json.dumps(pipeline, indent=2))
    command = [sys.executable, "-m", "pipeline_platform", "run", str(file)]
    return Side(file.stem, command, tables, lake, folder / f"{lake.name}.log")


def _by_cursor(folder: Path, server: Postgres, tables: Sequence[Mirrored]) -> Side:
    incremental = {"cursorColumn": "changed_at", "lag": f"{_lag(tables)} seconds", "key": "id"}
    extract = {"table": "${var:table}", **server.credentials(), "incremental": incremental}
    policy = {"newColumns": "add", "typeChanges": "widen"}
    sink = {"mode": "merge", "mergeKeys": ["id"], "schemaPolicy": policy}
    return _pipelines(folder, Way.CURSOR, tables, {"method": "fromPostgres", "config": extract}, sink)


def _lag(tables: Sequence[Mirrored]) -> int:
    # A transaction may first wait for one that alters the table, and that one for another.
    return int(3 * tables[0].open_seconds)


def _by_snapshot(folder: Path, server: Postgres | MariaDB, tables: Sequence[Mirrored]) -> Side:
    method = "fromPostgres" if isinstance(server, Postgres) else "fromMySQL"
    extract = {"table": "${var:table}", **server.credentials()}
    sink: StepValue = {"mode": "applyChanges", "changes": {"snapshotKeys": ["id"]}, "mergeSchema": True}
    return _pipelines(folder, Way.SNAPSHOT, tables, {"method": method, "config": extract}, sink)


def _by_debezium(folder: Path, kafka: Kafka, schema: str, tables: Sequence[Mirrored]) -> Side:
    columns = ["id", "note", "amount", "more", "changed_at"]
    extract = {
        "topic": f"{PREFIX}.{schema}.${{var:table}}",
        **kafka.credentials(),
        "startingOffsets": "earliest",
        "valueFormat": "debezium",
        "valueSchema": "id INT, note STRING, amount INT, more STRING, changed_at TIMESTAMP",
    }
    changes = {"keys": ["id"], "sequenceBy": "change_sequence", "deleteWhen": "change_op = 'd'", "columns": columns}
    sink = {"mode": "applyChanges", "changes": changes, "trigger": "availableNow"}
    return _pipelines(folder, Way.DEBEZIUM, tables, {"method": "fromKafka", "config": extract}, sink)


def _by_dlt(folder: Path, server: Postgres, tables: Sequence[Mirrored]) -> Side:
    settings = {
        "credentials": {**server.credentials(), "drivername": "postgresql+psycopg"},
        "tables": [table.name for table in tables],
        "lag": _lag(tables),
        "lake": str(folder / "dlt_lake"),
        "state": str(folder / "dlt_state"),
    }
    (folder / "dlt.json").write_text(json.dumps(settings))
    command = [peers_python(), str(PROGRAMS / "mirror_by_dlt.py"), str(folder / "dlt.json")]
    return Side("dlt", command, tables, folder / "dlt_lake", folder / "dlt.log")


@contextmanager
def _sides(folder: Path, options: argparse.Namespace) -> Generator[list[Side]]:
    """Servers, tables and what mirrors them."""
    counts = [options.cursor, options.snapshot, options.debezium, options.mariadb, options.debezium_mariadb]
    pause = 0.05 * sum(counts)
    with ExitStack() as stack:

        @functools.cache
        def kafka() -> Kafka:
            server = start_kafka()
            stack.callback(server.stop)
            return server

        @functools.cache
        def mariadb() -> MariaDB:
            server = start_mariadb(binlog=options.debezium_mariadb > 0, max_connections="600")
            stack.callback(server.stop)
            return server

        def tables(server: Postgres | MariaDB, prefix: str, way: Way, count: int) -> list[Mirrored]:
            made = [Mirrored(server, f"{prefix}_{number}", way, pause, options.open) for number in range(count)]
            for table in made:
                table.make()
            return made

        def by_debezium(server: Postgres | MariaDB, prefix: str, count: int) -> Side:
            made = tables(server, prefix, Way.DEBEZIUM, count)
            schema = "public" if isinstance(server, Postgres) else server.database
            for table in made:
                kafka().make_topic(f"{PREFIX}.{schema}.{table.name}")
            debezium = start_debezium(kafka(), server, [f"{schema}.{table.name}" for table in made])
            stack.callback(debezium.stop)
            return _by_debezium(folder, kafka(), schema, made)

        postgres = start_postgres(wal_level="logical", max_connections="600")
        stack.callback(postgres.stop)
        sides: list[Side] = []
        if options.cursor:
            shop = tables(postgres, "shop", Way.CURSOR, options.cursor)
            sides += [_by_cursor(folder, postgres, shop), *([_by_dlt(folder, postgres, shop)] if options.dlt else [])]
        if options.snapshot:
            sides.append(_by_snapshot(folder, postgres, tables(postgres, "crm", Way.SNAPSHOT, options.snapshot)))
        if options.mariadb:
            sides.append(_by_snapshot(folder, mariadb(), tables(mariadb(), "stock", Way.SNAPSHOT, options.mariadb)))
        if options.debezium:
            sides.append(by_debezium(postgres, "bank", options.debezium))
        if options.debezium_mariadb:
            sides.append(by_debezium(mariadb(), "till", options.debezium_mariadb))
        yield sides


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="bench.mirror", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--kills", type=int, default=20, help="of our runs, and as many of dlt's")
    parser.add_argument("--cursor", type=int, default=30, help="tables of PostgreSQL that a cursor mirrors")
    parser.add_argument("--snapshot", type=int, default=15, help="tables of PostgreSQL that snapshots mirror")
    parser.add_argument("--debezium", type=int, default=5, help="tables of PostgreSQL that Debezium mirrors")
    parser.add_argument("--mariadb", type=int, default=20, help="tables of MariaDB that snapshots mirror")
    parser.add_argument("--debezium-mariadb", type=int, default=3, help="tables of MariaDB that Debezium mirrors")
    parser.add_argument("--open", type=float, default=60, help="seconds that transactions stay open at most")
    parser.add_argument("--dlt", action="store_true", help="let dlt mirror the tables of the cursor, too")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, _sides(Path(name), options) as sides:
        transactions = _mirror(sides, options)
        wrong = [text for side in sides for text in _result(side)]
    sys.stdout.write(f"{transactions:,} transactions\n")
    sys.stdout.write("".join(f"DIFFERENT {text}\n" for text in wrong))
    raise SystemExit(1 if any(not text.startswith("dlt") for text in wrong) else 0)


def _mirror(sides: Sequence[Side], options: argparse.Namespace) -> int:
    """Run all again and again while somebody writes: how many transactions there were."""
    chance, stop = random.Random(options.seed), threading.Event()
    tables = list({table.name: table for side in sides for table in side.tables}.values())
    with ThreadPoolExecutor(len(tables)) as pool:
        writers = [pool.submit(table.write, stop, random.Random(place)) for place, table in enumerate(tables)]
        began, rounds = time.monotonic(), 0
        try:
            while True:
                unkilled = _killed_too_seldom(sides, options.kills)
                running = sides if time.monotonic() - began < 60 * options.minutes else unkilled
                if not running:
                    break
                for side in running:
                    wanted = rounds > 0 and side in unkilled
                    side.run(chosen(side.phases, max(1, len(side.tables) // 2), chance) if wanted else None)
                rounds += 1
        finally:
            stop.set()
        transactions = sum(writer.result() for writer in writers)
    for table in tables:
        table.use_new_column()
    return transactions


def _killed_too_seldom(sides: Sequence[Side], kills: int) -> Sequence[Side]:
    """The sides whose runs are to be killed some more: all of ours together as often as dlt."""
    theirs = [side for side in sides if side.name == "dlt"]
    ours = [side for side in sides if side.name != "dlt"]
    return [side for own in (ours, theirs) if sum(one.killed.total() for one in own) < kills for side in own]


def _result(side: Side) -> list[str]:
    """Run it to its end and print how it went: what is wrong."""
    side.run()
    # dlt first loads what a killed run has left, and reads nothing then.
    is_behind = side.name == "dlt" or side.tables[0].way is Way.DEBEZIUM
    for _ in range(_LAST_RUNS - 1 if is_behind else 0):
        if not side.wrong():
            break
        side.run()
    wrong = side.wrong()
    killed = ", ".join(f"{phase} {count}" for phase, count in sorted(side.killed.items())) or "none"
    equal = len(side.tables) - len(wrong)
    rows = sum(len(table.in_source()) for table in side.tables)
    told = f"{side.name}: {len(side.codes)} runs, killed: {killed}; {equal} of {len(side.tables)} tables equal"
    sys.stdout.write(f"{told}, {rows:,} rows\n")
    return [f"{side.name} {text}" for text in wrong]


if __name__ == "__main__":
    main()
