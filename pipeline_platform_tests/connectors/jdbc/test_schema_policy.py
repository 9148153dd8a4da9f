"""`schemaPolicy` of loads into databases, as psycopg and PyMySQL find the table afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipeline_platform.connectors.jdbc.postgres import sink as postgres_sink
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.frames.partition_rows import PartitionRows
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
        "note varchar(9), made int DEFAULT 5, price__v_old varchar(9))"
    )
    schema.query(f"INSERT INTO {at} (id, price, note, price__v_old) VALUES (1, 1.5, 'a', 'c'), (2, 2.5, 'b', 'd')")
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


@pytest.mark.parametrize("mode", ["merge", "deleteInsert"])
def test_a_key_gets_wider_and_still_finds_its_rows(spark: SparkSession, table: Schema, mode: str) -> None:
    rows = [(1, 7), (2**40, 8)]
    load(spark, table, "id BIGINT, many INT", rows, LENIENT, mode=mode, mergeKeys="id").write()
    assert table.rows(columns="id, many") == [(1, 7), (2, 3), (2**40, 8)]


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
        "missing",
    ]
    numbers = ("integer", "numeric(8,3)", "text") if table.is_postgres else ("int(11)", "decimal(8,3)", "longtext")
    after = types_of(table)
    assert (after.pop("many"), after.pop("price"), after.pop("colour")) == numbers
    assert after == {name: kind for name, kind in before.items() if name not in ("many", "price")}
    table.query(f"INSERT INTO {table.name}.t (id) VALUES (4)")
    # What only looks as if it were for prices of another type is left as it is, too.
    assert [
        tuple(map(str, row)) for row in table.rows(columns="id, many, price, note, made, colour, price__v_old")
    ] == [
        ("1", "3", "1.500", "a", "5", "None", "c"),
        ("2", "70000", "12345.678", "b", "5", "x" * 12, "d"),
        ("3", "4", "None", "None", "5", "None", "None"),
        ("4", "3", "None", "None", "5", "None", "None"),
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
        ("id INT", (5,), {}, "has columns 'price', 'note', 'price__v_old', which the frame does not have"),
        ("id DOUBLE", (5.0,), LENIENT, "'id' is double"),
        ("id INT, price DOUBLE", (5, 0.1), LENIENT, "'price' is double"),
        ("id INT, many STRING", (5, "1"), LENIENT, "'many' is string"),
        ("id INT, x VOID", (5, None), LENIENT, "'x' is null without a type"),
        (f"id INT, {'x' * 65} INT", (5, 1), LENIENT, "has 65 "),
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
    # Neither system could hold them.
    columns = "id INT, x STRUCT<y: MAP<STRING, INT>>"
    load(spark, table, columns, [(5, ({"z": 1},))], {**LENIENT, "newColumns": "ignore"}).write()
    assert list(types_of(table)) == ["id", "many", "price", "note", "made", "price__v_old"]
    policy = {**LENIENT, "newColumns": "quarantine"}
    prepared(table, frame_of(spark, [(6, ({"z": 7},))], columns), "b", schemaPolicy=policy).write()
    assert table.rows(columns="id, _rescued_data")[-2:] == [(5, None), (6, '{"x":{"y":{"z":7}}}')]
    broken = spark.sql("SELECT 7 AS id, named_struct('y', array(CAST(x'ff' AS STRING))) AS x")
    with pytest.raises(Exception, match=r"a text that is not UTF-8, which is in the column \[x\]"):
        prepared(table, broken, "c", schemaPolicy=policy).frame.collect()
    table.query(f"CREATE TABLE {table.name}.n (_rescued_data int)")
    with pytest.raises(PipelineExecutionException, match="quarantine keeps values as JSON in it"):
        prepared(table, frame_of(spark, [(6,)], "x INT"), "c", "n", schemaPolicy=policy)


def test_a_load_that_is_stopped_before_its_rows_leaves_the_rows_and_at_most_a_column_more(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = "id, many, price, note, made, price__v_old"
    before, types = table.rows(columns=known), types_of(table)
    columns = "id INT, many INT, x INT"
    append = load(spark, table, columns, [(7, 70_000, 1)], LENIENT)
    with monkeypatch.context() as patch:
        stop_before(patch, "COMMIT")
        with pytest.raises((Stopped, PipelineException)):
            append.write()
    assert table.rows(columns=known) == before
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


def test_what_another_load_has_changed_since_this_one_was_planned_is_not_rounded_nor_made_narrower(
    spark: SparkSession, table: Schema
) -> None:
    def planned(load_id: str, columns: str, *row: Any) -> Any:
        return prepared(table, frame_of(spark, [row], columns), load_id, schemaPolicy=LENIENT)

    added = planned("added", "id INT, x DECIMAL(11,4)", 6, Decimal("1.2345"))
    widened = planned("widened", "id INT, price DECIMAL(10,4)", 7, Decimal("1.2345"))
    grown = planned("grown", "id INT, note STRING", 8, "x" * 12)
    columns = "id INT, x DECIMAL(9,2), price DECIMAL(8,3), note STRING"
    planned("first", columns, 5, Decimal("1.5"), Decimal("1.5"), "x" * 20).write()
    for late in (added, widened):
        with pytest.raises(PipelineExecutionException, match="since this load was planned") as raised:
            late.write()
        assert raised.value.retryable
    grown.write()
    planned("added", "id INT, x DECIMAL(11,4)", 6, Decimal("1.2345")).write()
    assert table.rows(columns="id, x, note")[2:] == [
        (5, Decimal("1.5"), "x" * 20),
        (6, Decimal("1.2345"), None),
        (8, None, "x" * 12),
    ]
    assert "(20)" in types_of(table)["note"]


def test_columns_that_can_not_be_changed_stay_as_they_are_all_of_them(spark: SparkSession, table: Schema) -> None:
    before = types_of(table), table.rows()
    row: tuple[Any, ...] = (5, 70_000, 1, "x")
    if table.is_postgres:
        table.query(f"CREATE VIEW {table.name}.v AS SELECT many FROM {table.name}.t")
    else:
        # More than a varchar of MySQL can have.
        row = (5, 7, 1, "x" * 70_000)
    with pytest.raises(PipelineExecutionException, match="can't be changed as 'schemaPolicy' says") as raised:
        load(spark, table, "id INT, many INT, x INT, note STRING", [row], LENIENT).write()
    assert "ADD COLUMN" in (raised.value.hint or "")
    assert (types_of(table), table.rows()) == before


def test_a_view_is_refused_before_anything_is_staged(spark: SparkSession, table: Schema) -> None:
    table.query(f"CREATE VIEW {table.name}.v AS SELECT * FROM {table.name}.t")
    with pytest.raises(PipelineExecutionException, match="is a view, so its columns"):
        prepared(table, frame_of(spark, [(5, 70_000)], "id INT, many INT"), "a", "v", schemaPolicy=LENIENT)


def test_a_load_waits_for_who_reads_its_table_and_gives_up(
    spark: SparkSession, in_postgres: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = in_postgres
    table.query(f"CREATE TABLE {table.name}.t (id int)")
    monkeypatch.setattr(postgres_sink, "_LOCK_SECONDS", 1)
    with table.connect() as reader, reader.transaction():
        reader.execute(f"SELECT * FROM {table.name}.t")
        with pytest.raises(PipelineExecutionException, match="lock timeout") as raised:
            load(spark, table, "id INT, x INT", [(1, 2)], LENIENT).write()
    assert raised.value.retryable
    assert (table.rows(), table.loads()) == ([], 0)


def test_numbers_are_not_rounded_in_domains_arrays_and_unsigned_columns(spark: SparkSession, table: Schema) -> None:
    at = f"{table.name}.n"
    if table.is_postgres:
        table.query(f"CREATE DOMAIN {table.name}.price AS numeric(6,2)")
        table.query(f"CREATE TABLE {at} (p {table.name}.price, many numeric(6,2)[], days date[], k numeric(5,-2))")
        loose = {
            "many ARRAY<DECIMAL(9,4)>": [Decimal("1.2345")],
            "p DECIMAL(9,4)": Decimal("1.2345"),
            "k INT": 12_345,
        }
        for columns, value in loose.items():
            with pytest.raises(PipelineExecutionException, match=r"more than -?2 digits after the point"):
                prepared(table, frame_of(spark, [(value,)], columns), "a", "n").write()
        with pytest.raises(PipelineExecutionException, match="domain"):
            prepared(table, frame_of(spark, [(Decimal("1.2345"),)], "p DECIMAL(9,4)"), "a", "n", schemaPolicy=LENIENT)
        with pytest.raises(PipelineExecutionException, match="'days' is array<timestamp>"):
            prepared(table, frame_of(spark, [([],)], "days ARRAY<TIMESTAMP>"), "a", "n")
    else:
        table.query(f"CREATE TABLE {at} (p decimal(6,2) unsigned)")
        prepared(
            table, frame_of(spark, [(Decimal("1.2345"),)], "p DECIMAL(9,4)"), "a", "n", schemaPolicy=LENIENT
        ).write()
        assert table.rows("n") == [(Decimal("1.2345"),)]
        assert "decimal(9,4) unsigned" in table.query(f"SHOW CREATE TABLE {at}")[0][1]
    with pytest.raises(PipelineExecutionException, match="'p' is double"):
        prepared(table, frame_of(spark, [(1.2345,)], "p DOUBLE"), "b", "n", schemaPolicy=LENIENT)


def test_the_column_that_tells_partitions_apart_may_be_one_that_the_table_gets(
    spark: SparkSession, table: Schema
) -> None:
    day = PartitionRows("day", "date", date(2024, 1, 1), date(2024, 1, 2))
    frame = frame_of(spark, [(5, date(2024, 1, 1))], "id INT, day DATE")
    partition: dict[str, Any] = {"rows": day, "mode": "overwrite"}
    with pytest.raises(PipelineExecutionException, match="has no column 'day'"):
        prepared(table, frame, "a", schemaPolicy={**LENIENT, "newColumns": "ignore"}, **partition)
    prepared(table, frame, "a", schemaPolicy=LENIENT, **partition).write()
    assert table.rows(columns="id, day") == [(1, None), (2, None), (5, date(2024, 1, 1))]
