"""Changes that are applied to a Delta table: what it holds is what DuckDB makes of all changes at once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import json_rows, last_step, load, run
from pipeline_platform.metrics.run import StepMetrics

SCHEMA = "id BIGINT, name STRING, size INT, op STRING, lsn BIGINT"
CHANGES = {
    "keys": ["id"],
    "sequenceBy": "lsn",
    "deleteWhen": "op = 'd'",
    "columns": ["id", "name", "size"],
}
NEWEST = {**CHANGES, "truncateWhen": "op = 't'"}
VERSIONS = {**CHANGES, "scdType": 2}

Change = dict[str, Any]
Apply = Callable[..., StepMetrics]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table"


@pytest.fixture
def apply(spark: SparkSession, tmp_path: Path, table: Path) -> Apply:
    """Run a pipeline that applies these changes to the table."""

    def once(
        rows: Sequence[Change],
        changes: Mapping[str, Any] = NEWEST,
        schema: str = SCHEMA,
        load_id: str | None = None,
        **config: Any,
    ) -> StepMetrics:
        step = load("toDeltaLake", path=str(table), mode="applyChanges", changes=dict(changes), **config)
        return last_step(run(spark, json_rows(tmp_path / "rows.json", rows, schema), step, load_id=load_id))

    return once


def change(key: int | None, lsn: int | None, name: str | None = None, op: str = "u") -> Change:
    return {"id": key, "name": name, "size": 1 if name is not None else None, "op": op, "lsn": lsn}


def deleted(key: int, lsn: int) -> Change:
    return change(key, lsn, op="d")


def random_changes(seed: int, count: int, keys: int, truncations: int = 0) -> list[Change]:
    """Changes of some keys in a random order, some of them twice; each sequence is there once for a key."""
    random_of = random.Random(seed)
    made: dict[tuple[int | None, int], Change] = {}
    while len(made) < count:
        key, lsn = random_of.randrange(keys), random_of.randrange(count)
        found = change(key, lsn, random_of.choice("abc"))
        made[key, lsn] = deleted(key, lsn) if random_of.random() < 0.25 else found
    for _ in range(truncations):
        lsn = random_of.randrange(count // 2)
        made[None, lsn] = change(None, lsn, op="t")
    changes = [*made.values(), *random_of.sample(list(made.values()), count // 10)]
    random_of.shuffle(changes)
    return changes


def parts(seed: int, changes: Sequence[Change], count: int) -> list[list[Change]]:
    """The changes in some loads of different sizes."""
    random_of = random.Random(seed)
    cuts = sorted(random_of.sample(range(1, len(changes)), count - 1))
    return [list(changes[start:end]) for start, end in zip([0, *cuts], [*cuts, len(changes)], strict=True)]


def newest_by_duckdb(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    return _by_duckdb(
        changes,
        """
        SELECT id, name, size, lsn FROM changes
        WHERE op <> 't'
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY lsn DESC) = 1
            AND op <> 'd' AND lsn >= (SELECT coalesce(max(lsn), -1) FROM changes WHERE op = 't')
        ORDER BY id
        """,
    )


def versions_by_duckdb(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    return _by_duckdb(
        changes,
        """
        WITH
        once AS (SELECT DISTINCT id, lsn, op = 'd' AS gone, name, size FROM changes),
        beside AS (
            SELECT *, coalesce(
                gone = lag(gone) OVER key AND (gone OR (name, size) = lag((name, size)) OVER key), false
            ) AS same FROM once WINDOW key AS (PARTITION BY id ORDER BY lsn)
        ),
        ended AS (SELECT *, lead(lsn) OVER (PARTITION BY id ORDER BY lsn) AS until FROM beside WHERE NOT same)
        SELECT id, name, size, lsn, until, until IS NULL FROM ended WHERE NOT gone ORDER BY id, lsn
        """,
    )


def _by_duckdb(changes: Sequence[Change], query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE changes ({SCHEMA.replace('STRING', 'VARCHAR')})")
        connection.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?)", [list(row.values()) for row in changes])
        return connection.execute(query).fetchall()


def rows_in(table: Path) -> list[tuple[Any, ...]]:
    found = DeltaTable(table).to_pyarrow_table()
    order = "validFrom" if "validFrom" in found.column_names else "id"
    columns = [found.column(name).to_pylist() for name in found.column_names]
    rows = list(zip(*columns, strict=True))
    return sorted(rows, key=lambda row: (row[0], row[found.column_names.index(order)]))


def version(table: Path) -> int:
    return DeltaTable(table).version()


def test_the_table_has_the_newest_row_of_each_key_however_the_changes_come(apply: Apply, table: Path) -> None:
    changes = random_changes(1, 2000, 300, truncations=2)
    loaded: list[Change] = []
    for part in parts(2, changes, 5):
        apply(part)
        loaded += part
        assert rows_in(table) == newest_by_duckdb(loaded)


def test_the_table_has_every_version_of_each_key_however_the_changes_come(apply: Apply, table: Path) -> None:
    changes = random_changes(3, 2000, 150)
    loaded: list[Change] = []
    for part in parts(4, changes, 5):
        apply(part, VERSIONS)
        loaded += part
        assert rows_in(table) == versions_by_duckdb(loaded)


@pytest.mark.parametrize("kind", [NEWEST, VERSIONS])
def test_a_load_that_changes_nothing_makes_no_version(apply: Apply, table: Path, kind: dict[str, Any]) -> None:
    changes = [change(1, 1, "a"), change(1, 3, "b"), change(2, 2, "c"), deleted(2, 4)]
    apply(changes, kind)
    apply([change(3, 9, "d")], kind)
    before = version(table)
    assert apply(changes[::-1], kind).rows == 0
    assert version(table) == before
