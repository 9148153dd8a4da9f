"""`schemaPolicy` of loads into databases, as psycopg and PyMySQL find the table afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform_tests.connectors.databases import Schema
from pipeline_platform_tests.connectors.jdbc.test_sinks import Stopped, prepared, stop_before
from pipeline_platform_tests.duckdb_rows import frame_of

LENIENT = {"newColumns": "add", "missingColumns": "allow", "typeChanges": "widen"}
BY_ID: dict[str, Any] = {"mode": "merge", "mergeKeys": "id"}


@pytest.fixture
def table(schema: Schema) -> Schema:
    """A table with numbers that are narrow, a column that may be NULL, and one that the database fills."""
    at = f"{schema.name}.t"
    comment = "" if schema.is_postgres else " COMMENT 'how many, 100%'"
    schema.query(
        f"CREATE TABLE {at} (id int PRIMARY KEY, many smallint NOT NULL DEFAULT 3{comment}, price decimal(6,2), "
        "note varchar(9), made int DEFAULT 5)"
    )
    schema.query(f"INSERT INTO {at} (id, price, note) VALUES (1, 1.5, 'a'), (2, 2.5, 'b')")
    return schema


def load(
    spark: SparkSession,
    table: Schema,
    columns: str,
    rows: Sequence[tuple[Any, ...]],
    policy: Mapping[str, str],
    **config: Any,
) -> Any:
    return prepared(table, frame_of(spark, list(rows), columns), "a", schemaPolicy=dict(policy), **config)


def types_of(table: Schema) -> dict[str, str]:
    kind = "format_type(atttypid, atttypmod)" if table.is_postgres else "column_type"
    where = (
        "pg_attribute WHERE attrelid = '{}.t'::regclass AND attnum > 0"
        if table.is_postgres
        else ("information_schema.columns WHERE table_schema = '{}' AND table_name = 't'")
    )
    name = "attname" if table.is_postgres else "column_name"
    return dict(table.query(f"SELECT {name}, {kind} FROM {where.format(table.name)}"))


def test_a_merge_adds_columns_and_widens_numbers_in_the_transaction_of_its_rows(
    spark: SparkSession, table: Schema
) -> None:
    rows = [(2, 70_000, Decimal("12345.678"), "x" * 12), (3, 4, None, None)]
    merge = load(spark, table, "id INT, many INT, price DECIMAL(8,3), colour STRING", rows, LENIENT, **BY_ID)
    before = types_of(table)
    done = merge.write()
    assert [change.change for change in done.schema_changes] == [
        "widened",
        "widened",
        "added",
        "missing",
    ]
    numbers = ("integer", "numeric(8,3)", "text") if table.is_postgres else ("int(11)", "decimal(8,3)", "longtext")
    after = types_of(table)
    assert (after.pop("many"), after.pop("price"), after.pop("colour")) == numbers
    assert after == {name: kind for name, kind in before.items() if name not in ("many", "price")}
    table.query(f"INSERT INTO {table.name}.t (id) VALUES (4)")
    assert [tuple(map(str, row)) for row in table.rows(columns="id, many, price, note, made, colour")] == [
        ("1", "3", "1.500", "a", "5", "None"),
        ("2", "70000", "12345.678", "b", "5", "x" * 12),
        ("3", "4", "None", "None", "5", "None"),
        ("4", "3", "None", "None", "5", "None"),
    ]
    if not table.is_postgres:
        [[_, made]] = table.query(f"SHOW CREATE TABLE {table.name}.t")
        assert "`many` int(11) NOT NULL DEFAULT 3 COMMENT 'how many, 100%'" in made
    assert table.tables() == ["t"]


def test_a_text_column_gets_room_for_the_longest_text_of_a_load_and_no_more_than_that(
    spark: SparkSession, table: Schema
) -> None:
    done = load(spark, table, "id INT, note STRING", [(5, "é" * 12), (6, None)], LENIENT).write()
    kind = "character varying" if table.is_postgres else "varchar"
    assert types_of(table)["note"] == f"{kind}(12)"
    assert [change.after.split(" CHAR")[0] for change in done.schema_changes if change.column == "note"] == [
        f"{kind}(12)"
    ]
    assert table.rows(columns="id, note")[-2:] == [(5, "é" * 12), (6, None)]
    prepared(table, frame_of(spark, [(7, "short")], "id INT, note STRING"), "b", schemaPolicy=LENIENT).write()
    assert types_of(table)["note"] == f"{kind}(12)"


@pytest.mark.parametrize(
    ("columns", "row", "policy", "told"),
    [
        ("id INT, many INT, price DECIMAL(6,2)", (5, 1, None), {"missingColumns": "allow"}, "'many' is int"),
        ("id INT, x INT", (5, 1), {"missingColumns": "allow"}, "has no column 'x'"),
        ("id INT", (5,), {}, "has columns 'price', 'note', which the frame does not have"),
        ("id BIGINT", (5,), LENIENT, "rows are found by this column"),
        ("id INT, price DOUBLE", (5, 0.1), LENIENT, "'price' is double"),
        ("id INT, many STRING", (5, "1"), LENIENT, "'many' is string"),
    ],
)
def test_what_a_policy_does_not_allow_is_refused_before_anything_is_written(
    spark: SparkSession, table: Schema, columns: str, row: tuple[Any, ...], policy: dict[str, str], told: str
) -> None:
    before = types_of(table)
    with pytest.raises(PipelineExecutionException) as raised:
        load(spark, table, columns, [row], policy, **BY_ID)
    assert told in str(raised.value)
    assert (types_of(table), table.loads()) == (before, 0)


def test_columns_that_are_ignored_or_kept_aside_are_not_loaded(spark: SparkSession, table: Schema) -> None:
    load(spark, table, "id INT, x INT", [(5, 1)], {**LENIENT, "newColumns": "ignore"}).write()
    assert list(types_of(table)) == ["id", "many", "price", "note", "made"]
    policy = {**LENIENT, "newColumns": "quarantine"}
    prepared(table, frame_of(spark, [(6, 7)], "id INT, x INT"), "b", schemaPolicy=policy).write()
    assert table.rows(columns="id, _rescued_data")[-2:] == [(5, None), (6, '{"x":7}')]


def test_a_load_that_is_stopped_before_its_rows_leaves_the_rows_and_at_most_a_column_more(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, types = table.rows(), types_of(table)
    columns = "id INT, many INT, x INT"
    append = load(spark, table, columns, [(7, 70_000, 1)], LENIENT)
    with monkeypatch.context() as patch:
        stop_before(patch, "COMMIT")
        with pytest.raises((Stopped, PipelineException)):
            append.write()
    left = table.rows(columns="id, many, price, note, made")
    assert left == before
    assert table.loads() == 0
    assert types_of(table) == types if table.is_postgres else set(types) <= set(types_of(table))
    load(spark, table, columns, [(7, 70_000, 1)], LENIENT).write()
    assert table.rows(columns="id, many, x")[-1] == (7, 70_000, 1)


def test_who_may_not_change_the_columns_is_told_before_anything_is_staged(
    spark: SparkSession, in_postgres: Schema
) -> None:
    table = in_postgres
    table.query(f"CREATE TABLE {table.name}.t (id int)")
    user = table.make_user("reads_and_writes", f"SELECT, INSERT ON {table.name}.t")
    frame = frame_of(spark, [(1, 2)], "id INT, x INT")
    with pytest.raises(PipelineException, match="does not own"):
        prepared(table, frame, "a", entering=user, schemaPolicy=LENIENT)
    prepared(table, frame, "b", entering=user, schemaPolicy={**LENIENT, "newColumns": "ignore"}).write()
    assert table.rows() == [(1,)]
