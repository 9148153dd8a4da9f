"""Changes whose columns are no longer those of their table: it is what DuckDB makes of all changes at once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import json_rows, last_step, load, pipeline_of, run
from pipeline_platform.connectors.delta.changes.memory import ChangeMemory
from pipeline_platform.connectors.delta.changes.merge import ChangeMerge
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.metrics.run import StepMetrics

LENIENT = {"newColumns": "add", "missingColumns": "allow", "typeChanges": "widen"}
NARROW = "id INT, part DECIMAL(2, 0), amount DECIMAL(5, 2), op STRING, lsn DECIMAL(4, 0)"
WIDE = "id BIGINT, part DECIMAL(8, 0), amount DECIMAL(9, 2), op STRING, lsn DECIMAL(9, 0)"
ARROW = pa.schema(
    {
        "id": pa.int64(),
        "part": pa.decimal128(8, 0),
        "amount": pa.decimal128(9, 2),
        "op": pa.string(),
        "lsn": pa.decimal128(9, 0),
    }
)
KEYS = {"keys": ["id", "part"], "sequenceBy": "lsn", "deleteWhen": "op = 'd'", "columns": ["id", "part", "amount"]}
VERSIONS = {**KEYS, "scdType": 2}

Change = dict[str, Any]
Apply = Callable[..., StepMetrics]


@pytest.fixture
def apply(spark: SparkSession, tmp_path: Path, table: Path) -> Apply:
    """Run a pipeline that applies these changes to the table."""

    def once(
        rows: Sequence[Change],
        schema: str,
        changes: Mapping[str, Any],
        policy: Mapping[str, str] = LENIENT,
        load_id: str | None = None,
    ) -> StepMetrics:
        step = load("toDeltaLake", path=str(table), mode="applyChanges", changes=dict(changes), schemaPolicy=policy)
        return last_step(run(spark, json_rows(tmp_path / "rows.json", rows, schema), step, load_id=load_id))

    return once


def change(key: int, lsn: int, amount: float | None = None, part: int = 1) -> Change:
    return {"id": key, "part": part, "amount": amount, "op": "d" if amount is None else "u", "lsn": lsn}


def some_changes(random_of: random.Random, lsns: range, keys: Sequence[int], largest: float) -> list[Change]:
    made: dict[tuple[int, int], Change] = {}
    while len(made) < 25:
        key, lsn = random_of.choice(keys), random_of.choice(lsns)
        amount = None if random_of.random() < 0.25 else random_of.choice([1.25, largest])
        made[key, lsn] = change(key, lsn, amount)
    return list(made.values())


def rows_in(table: Path, columns: str = "*", order: str = "ALL") -> list[tuple[Any, ...]]:
    files = [str(Path(file)) for file in DeltaTable(table).file_uris()]
    with duckdb.connect() as connection:
        query = f"SELECT {columns} FROM read_parquet({files}, union_by_name = true) ORDER BY {order}"
        return connection.execute(query).fetchall()


def columns_of(table: Path) -> dict[str, str]:
    return {field["name"]: field["type"] for field in json.loads(DeltaTable(table).schema().to_json())["fields"]}


def told(metrics: StepMetrics) -> list[tuple[str, str]]:
    return [(change.column, change.change) for change in metrics.schema_changes]


def by_duckdb(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    query = """
        WITH
        once AS (SELECT DISTINCT id, part, lsn, amount FROM changes),
        begun AS (
            SELECT * FROM once
            WINDOW key AS (PARTITION BY id, part ORDER BY lsn)
            QUALIFY lag(lsn) OVER key IS NULL OR amount IS DISTINCT FROM lag(amount) OVER key
        ),
        ended AS (SELECT *, lead(lsn) OVER (PARTITION BY id, part ORDER BY lsn) AS until FROM begun)
        SELECT id, part, amount, lsn, until, until IS NULL FROM ended WHERE amount IS NOT NULL ORDER BY ALL
    """
    exact = [
        {name: Decimal(str(value)) if isinstance(value, float) else value for name, value in row.items()}
        for row in changes
    ]
    with duckdb.connect() as connection:
        connection.register("changes", pa.Table.from_pylist(exact, ARROW))
        return connection.execute(query).fetchall()


def killed(*_: Any, **__: Any) -> None:
    raise RuntimeError("killed")


def test_keys_values_and_sequence_get_wider_types_also_after_kills_and_take_the_narrower_ones_afterwards(
    apply: Apply, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_of = random.Random(1)
    small, large = [1, 2, 3, 4], [1, 2, 3, 2**40, 2**40 + 1]
    first = some_changes(random_of, range(0, 900, 3), small, 999.99)
    assert told(apply(first, NARROW, VERSIONS)) == []
    wide = some_changes(random_of, range(1, 99_999, 3), large, 9_999_999.99)
    memory = table / "_pipeline_platform" / "changes"
    points = [
        # The table was told that it may widen; then what is remembered was, too; then it has the wider types.
        (ChangeMemory, "confirmed", "decimal(4,0)"),
        (ChangeMemory, "_save", "decimal(4,0)"),
        (ChangeMerge, "write", "decimal(9,0)"),
    ]
    for owner, name, has in points:
        with monkeypatch.context() as faulty:
            faulty.setattr(owner, name, killed)
            with pytest.raises(PipelineExecutionException, match="killed"):
                apply([*wide, *first[:9]], WIDE, VERSIONS, load_id="cut off")
        assert (columns_of(memory)["sequence"], columns_of(table)["validTo"]) == (has, "decimal(4,0)")
        assert rows_in(table) == by_duckdb(first)
    # What there is nothing of in the table is remembered alone, so that the table does not get wider yet.
    gone = [change(5, 70_000, part=2), change(5, 80_000, part=700)]
    assert apply(gone, WIDE, VERSIONS).rows == 0
    assert columns_of(table)["validTo"] == "decimal(4,0)"
    late = [*some_changes(random_of, range(2, 900, 3), small, 999.99), *first[:9], change(5, 20, 1.5, part=2)]
    ordered_by = [("part", "widened"), ("validFrom", "widened"), ("validTo", "widened")]
    assert told(apply(late, NARROW, VERSIONS)) == ordered_by
    assert rows_in(table) == by_duckdb([*first, *gone, *late])
    metrics = apply([*wide, *first[:9]], WIDE, VERSIONS, load_id="cut off")
    assert told(metrics) == [("id", "widened"), ("amount", "widened")]
    assert rows_in(table) == by_duckdb([*first, *gone, *late, *wide])
    assert list(columns_of(table).values())[:4] == ["long", "decimal(8,0)", "decimal(9,2)", "decimal(9,0)"]


SIMPLE = {"keys": "id", "sequenceBy": "lsn", "deleteWhen": "op = 'd'", "truncateWhen": "op = 't'"}
HISTORY = {**KEYS, "keys": "id", "columns": ["id", "a", "b"], "scdType": 2}


def test_columns_that_changes_lack_stay_what_they_were_until_the_row_is_gone(apply: Apply, table: Path) -> None:
    first = [{"id": key, "a": "x", "b": 1, "op": "u", "lsn": 1} for key in range(4)]
    lacking = [
        {"id": 0, "b": 2, "op": "u", "lsn": 9},
        {"id": 1, "op": "d", "lsn": 6},
        {"id": 1, "b": 3, "op": "u", "lsn": 9},
        {"id": 3, "b": 1, "op": "u", "lsn": 1},
        {"id": 4, "b": 4, "op": "u", "lsn": 9},
    ]
    schema = "id INT, b INT, op STRING, lsn INT, more INT"
    policy = {**LENIENT, "newColumns": "ignore"}
    changes = {**HISTORY, "columns": ["id", "b", "more"]}
    apply(first, "id INT, a STRING, b INT, op STRING, lsn INT", HISTORY)
    assert told(apply(lacking, schema, changes, policy)) == [("more", "ignored"), ("a", "missing")]
    assert rows_in(table, "id, a, b, validFrom, validTo") == [
        (0, "x", 1, 1, 9),
        (0, "x", 2, 9, None),
        (1, "x", 1, 1, 6),
        (1, None, 3, 9, None),
        (2, "x", 1, 1, None),
        (3, "x", 1, 1, None),
        (4, None, 4, 9, None),
    ]
    newest = {**SIMPLE, "columns": ["id", "a", "b"]}
    table.rename(table.with_name("history"))
    later = {"id": 5, "a": "z", "b": 1, "op": "u", "lsn": 8}
    apply([*first, later], "id INT, a STRING, b INT, op STRING, lsn INT", newest)
    wider = "id BIGINT, b BIGINT, op STRING, lsn BIGINT, more INT"
    lacking[0]["b"] = 2**40
    truncated = [*lacking, {"op": "t", "lsn": 7}]
    truncated += [{"id": key, "b": 5, "op": "u", "lsn": 9} for key in (2, 5)]
    apply(truncated, wider, {**newest, "columns": ["id", "b", "more"]}, policy)
    found = [(0, None, 2**40, 9), (1, None, 3, 9), (2, None, 5, 9), (4, None, 4, 9), (5, "z", 5, 9)]
    assert rows_in(table, "id, a, b, lsn", "id") == found


REFUSED = [
    ("id INT, lsn INT, op STRING", {}, "has the column 'a', which the frame does not have", "'missingColumns'"),
    ("id BIGINT, a STRING, lsn INT, op STRING", {}, "the column 'id' is bigint", "set 'typeChanges' to widen"),
    (
        "id DOUBLE, a STRING, lsn INT, op STRING",
        LENIENT,
        "the column 'id' is double, and the changes that are remembered .* have it as bigint",
        "CAST",
    ),
]


def test_what_the_policy_does_not_allow_is_refused_before_anything_is_written(apply: Apply, table: Path) -> None:
    apply([{"id": 1, "a": "x", "lsn": 1, "op": "u"}], "id INT, a STRING, lsn INT, op STRING", SIMPLE)
    for schema, policy, message, hint in REFUSED:
        with pytest.raises(PipelineExecutionException, match=message) as raised:
            apply([{"id": 2, "lsn": 2}], schema, SIMPLE, policy)
        assert raised.value.hint is not None
        assert hint in raised.value.hint
    assert DeltaTable(table).version() == 0


@pytest.mark.parametrize("kind", [1, 2])
def test_a_snapshot_widens_adds_and_leaves_what_it_lacks(apply: Apply, table: Path, kind: int) -> None:
    changes = {"snapshotKeys": "id", "scdType": kind}
    apply([{"id": key, "n": key, "a": "x"} for key in (1, 2, 3)], "id INT, n INT, a STRING", changes)
    rows = [{"id": 2, "n": 2, "b": "y"}, {"id": 3, "n": 2**40}, {"id": 2**40, "n": 4}]
    metrics = apply(rows, "id BIGINT, n BIGINT, b STRING", changes)
    assert told(metrics) == [("id", "widened"), ("n", "widened"), ("b", "added"), ("a", "missing")]
    now = [(2, 2, "x", "y"), (3, 2**40, "x", None), (2**40, 4, None, None)]
    before = [(1, 1, "x", None), (2, 2, "x", None), (3, 3, "x", None)]
    if kind == 1:
        assert rows_in(table, "id, n, a, b", "id") == now
        return
    assert rows_in(table, "id, n, a, b, current", "current, id") == [
        *((*row, False) for row in before),
        *((*row, True) for row in now),
    ]
    with pytest.raises(PipelineExecutionException, match="holds a history"):
        apply(rows, "id BIGINT, n BIGINT, b STRING", {"snapshotKeys": "id"})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"newColumns": "quarantine"}, "'newColumns' quarantine is not for mode applyChanges"),
        ({"typeChanges": "variant"}, "'typeChanges' variant is not for mode applyChanges"),
    ],
)
def test_what_would_make_the_same_change_another_one_is_a_mistake_in_the_file(
    policy: dict[str, str], message: str
) -> None:
    with pytest.raises(PipelineConfigurationException, match=message):
        pipeline_of([load("toDeltaLake", path="x", mode="applyChanges", changes=VERSIONS, schemaPolicy=policy)])
