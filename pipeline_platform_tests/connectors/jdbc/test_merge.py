"""Modes `merge` and `deleteInsert`, as psycopg and PyMySQL see them: by their keys, all or nothing, and once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import json_rows, last_step, run
from pipeline_platform.connectors.jdbc.database import DatabaseConnection
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform_tests.connectors.databases import Schema, until
from pipeline_platform_tests.connectors.jdbc.test_sinks import COLUMNS, Stopped, prepared, stop_before
from pipeline_platform_tests.duckdb_rows import frame_of

BY_ID: dict[str, Any] = {"mode": "merge", "mergeKeys": "id"}
BY_KIND: dict[str, Any] = {"mode": "deleteInsert", "mergeKeys": "kind"}
NINE = [(8, "eight", "old", "h"), (9, "nine", "old", "i")]


@pytest.fixture
def table(schema: Schema) -> Schema:
    """A table with a primary key, another unique key, a column that has a default, and two rows."""
    schema.query(
        f"CREATE TABLE {schema.name}.t (id bigint PRIMARY KEY, name varchar(10) NOT NULL, "
        "kind varchar(5) DEFAULT 'new', code varchar(5) UNIQUE)"
    )
    schema.query(f"INSERT INTO {schema.name}.t VALUES (8, 'eight', 'old', 'h'), (9, 'nine', 'old', 'i')")
    return schema


def named(spark: SparkSession, rows: Sequence[tuple[Any, ...]], columns: str = COLUMNS) -> DataFrame:
    return frame_of(spark, list(rows), columns)


def load(schema: Schema, frame: DataFrame, load_id: str, table: str = "t", **config: Any) -> Any:
    return prepared(schema, frame, load_id, table, **{**BY_ID, **config})


def unchanged(table: Schema) -> bool:
    return table.rows() == NINE and table.tables() == ["t"] and table.loads() == 0


def test_rows_with_known_keys_are_updated_in_the_columns_of_the_frame_and_others_are_added(
    spark: SparkSession, table: Schema, tmp_path: Path
) -> None:
    rows = [{"ID": 9, "name": "new nine"}, {"ID": 1, "name": "one"}, {"ID": 8, "name": "eight"}]
    steps = [json_rows(tmp_path / "rows.json", rows, "name STRING, ID INT"), table.load(**BY_ID)]
    metrics = last_step(run(spark, *steps, load_id="a"))
    assert metrics.rows == 3
    # The row of eight is the same as before.
    assert metrics.detail == ({} if table.is_postgres else {"inserted": 1, "updated": 2})
    merged = [(1, "one", "new", None), (8, "eight", "old", "h"), (9, "new nine", "old", "i")]
    assert (table.rows(), table.tables()) == (merged, ["t"])
    table.query(f"UPDATE {table.name}.t SET name = 'later' WHERE id = 1")
    assert "loaded it already" in (last_step(run(spark, *steps, load_id="a")).skipped or "")
    assert table.rows()[0] == (1, "later", "new", None)


@pytest.mark.parametrize(
    "rows", [[(1, "one", "a"), (8, "new", "i")], [(1, "one", "a"), (2, "two", "i")]], ids=["update", "insert"]
)
def test_a_row_that_is_in_the_way_of_another_unique_key_is_neither_updated_nor_the_load_done(
    spark: SparkSession, table: Schema, rows: list[tuple[Any, ...]]
) -> None:
    merge = load(table, named(spark, rows, "id BIGINT, name STRING, code STRING"), "a")
    with pytest.raises(PipelineExecutionException, match=r"(?i)duplicate") as raised:
        merge.write()
    assert not raised.value.retryable
    merge.clean()
    assert unchanged(table)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(1, "one"), (9, "a"), (9, "b")], "two rows of this load have the same merge keys id: 9;"),
        ([(1, "one"), (None, "a"), (None, "b")], "2 of 3 rows of this load have NULL in 'id'"),
    ],
)
@pytest.mark.parametrize("is_new", [True, False], ids=["new table", "table"])
def test_rows_that_cannot_be_told_apart_are_refused(
    spark: SparkSession, table: Schema, rows: list[tuple[Any, ...]], told: str, is_new: bool
) -> None:
    merge = load(table, named(spark, rows), "a", "new" if is_new else "t")
    with pytest.raises(PipelineExecutionException, match=told) as raised:
        merge.write()
    assert not raised.value.retryable
    merge.clean()
    assert unchanged(table)


def test_texts_are_the_same_key_if_the_tables_column_takes_them_for_the_same(
    spark: SparkSession, schema: Schema
) -> None:
    text = "varchar(9) CHARACTER SET latin1 COLLATE latin1_german1_ci"
    if schema.is_postgres:
        schema.query(
            f"CREATE COLLATION {schema.name}.\"No case\" (provider = icu, locale = 'und-u-ks-level2', "
            "deterministic = false)"
        )
        text = f'text COLLATE {schema.name}."No case"'
    schema.query(f"CREATE TABLE {schema.name}.t (name {text}, n bigint, CONSTRAINT one UNIQUE (name))")
    schema.query(f"INSERT INTO {schema.name}.t VALUES ('Ä', 1)")
    by_name = {"mergeKeys": "name"}
    with pytest.raises(PipelineExecutionException, match=r"same merge keys name: [bB];"):
        load(schema, named(spark, [("b", 2), ("B", 3)], "name STRING, n BIGINT"), "a", **by_name).write()
    load(schema, named(spark, [("ä", 2), ("b", 3)], "name STRING, n BIGINT"), "a", **by_name).write()
    # The key stays as it was written first.
    assert schema.rows(columns="n, name") == [(2, "Ä"), (3, "b")]
    replaced = load(schema, named(spark, [("B", 4)], "name STRING, n BIGINT"), "b", mode="deleteInsert", **by_name)
    assert replaced.write().detail == {"deleted": 1}
    assert schema.rows(columns="n, name") == [(2, "Ä"), (4, "B")]


def test_a_table_without_a_unique_key_over_the_merge_keys_is_refused_with_the_statement_that_makes_one(
    spark: SparkSession, table: Schema
) -> None:
    frame = named(spark, [("one", 1)], "name STRING, id BIGINT")
    with pytest.raises(
        PipelineExecutionException, match=r"over exactly the columns of 'mergeKeys', name, id; it has .*\(id\)"
    ) as raised:
        load(table, frame, "a", mergeKeys=["name", "ID"])
    statement = (raised.value.hint or "").partition(", or name")[0]
    assert statement.startswith("CREATE UNIQUE INDEX")
    table.query(statement)
    # In any order.
    assert load(table, frame, "a", mergeKeys=["id", "name"]).write().rows == 1
    with pytest.raises(PipelineExecutionException, match="'mergeKeys' names the column 'kind'"):
        load(table, frame, "b", mergeKeys="kind")


@pytest.mark.parametrize(
    "index",
    [
        "CREATE UNIQUE INDEX no ON {t} (id) WHERE id > 0",
        "CREATE UNIQUE INDEX no ON {t} ((id + 1))",
        "CREATE UNIQUE INDEX no ON {t} (id) INCLUDE (name); DROP INDEX {schema}.no",
        "ALTER TABLE {t} ADD CONSTRAINT no UNIQUE (id) DEFERRABLE",
        "CREATE INDEX no ON {t} (id)",
    ],
)
def test_an_index_that_does_not_keep_all_rows_apart_is_none(
    spark: SparkSession, in_postgres: Schema, index: str
) -> None:
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t (id bigint, name text)")
    in_postgres.query(index.format(t=f"{in_postgres.name}.t", schema=in_postgres.name))
    frame = named(spark, [(1, "one")])
    with pytest.raises(PipelineExecutionException, match="'mergeKeys', id; it has none"):
        load(in_postgres, frame, "a")
    in_postgres.query(f"CREATE UNIQUE INDEX yes ON {in_postgres.name}.t (id) INCLUDE (name)")
    if "DEFERRABLE" not in index:
        assert load(in_postgres, frame, "a").write().rows == 1


def test_an_index_of_the_beginning_of_a_text_is_none(spark: SparkSession, in_mysql: Schema) -> None:
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (id bigint, name text, UNIQUE (name(10)))")
    with pytest.raises(PipelineExecutionException, match="'mergeKeys', name; it has none"):
        load(in_mysql, named(spark, [(1, "one")]), "a", mergeKeys="name")


def test_a_view_cannot_be_merged_into(spark: SparkSession, table: Schema) -> None:
    table.query(f"CREATE VIEW {table.name}.v AS SELECT id, name FROM {table.name}.t")
    with pytest.raises(PipelineExecutionException, match="is a view, which has no unique keys") as raised:
        load(table, named(spark, [(1, "one")]), "a", "v")
    assert "the table that is beneath it" in (raised.value.hint or "")
    replace = load(table, named(spark, [(9, "new nine")]), "a", "v", mode="deleteInsert")
    assert replace.write().detail == {"deleted": 1}
    assert table.rows()[1] == (9, "new nine", "new", None)


def test_a_new_table_has_the_merge_keys_as_its_primary_key(spark: SparkSession, schema: Schema) -> None:
    columns = "name STRING, at TIMESTAMP, raw BINARY, day DATE, x DECIMAL(38,2), n BIGINT"
    keys = ["name", "at", "raw", "day", "X"]

    def merged(load_id: str, name: str, n: int) -> None:
        frame = named(spark, [(name, n)], "name STRING, n BIGINT").selectExpr(
            "name",
            "TIMESTAMP '2024-01-01 00:00:00.123456' AS at",
            "X'00ff' AS raw",
            "DATE '2024-01-01' AS day",
            "CAST(1.25 AS DECIMAL(38,2)) AS x",
            "n",
        )
        assert [field.name for field in frame.schema] == [part.split()[0] for part in columns.split(", ")]
        assert load(schema, frame, load_id, mergeKeys=keys).write().rows == 1

    merged("a", "a", 1)
    merged("b", "A", 2)
    merged("c", "a", 3)
    assert schema.rows(columns="n, name") == [(2, "A"), (3, "a")]
    found = schema.query(
        "SELECT column_name FROM information_schema.key_column_usage "
        f"WHERE table_schema = '{schema.name}' AND table_name = 't' ORDER BY ordinal_position"
    )
    assert [name for [name] in found] == ["name", "at", "raw", "day", "x"]
    # A time that the database sets by itself would be another key.
    if not schema.is_postgres:
        extra = "SELECT extra FROM information_schema.columns WHERE column_name = 'at'"
        assert schema.query(f"{extra} AND table_schema = '{schema.name}'") == [("",)]


def test_a_new_key_that_is_too_long_for_mysql_is_refused_before_anything_is_written(
    spark: SparkSession, in_mysql: Schema
) -> None:
    frame = spark.sql("SELECT 'a' AS a, 'b' AS b, 'c' AS c, 'd' AS d, 1 AS e")
    with pytest.raises(PipelineExecutionException, match="may take 4080 bytes, and MySQL allows 3072") as raised:
        load(in_mysql, frame, "a", mergeKeys=["a", "b", "c", "d"])
    assert "create the table first" in (raised.value.hint or "")
    assert load(in_mysql, frame, "a", mergeKeys=["a", "b", "c"]).write().rows == 1
    long = load(in_mysql, spark.sql("SELECT repeat('x', 256) AS a, 1 AS e"), "b", "longer", mergeKeys="a")
    with pytest.raises(PipelineExecutionException, match="Data too long for column 'a'"):
        long.write()


def test_groups_are_replaced_as_a_whole(spark: SparkSession, table: Schema, tmp_path: Path) -> None:
    table.query(f"INSERT INTO {table.name}.t VALUES (1, 'one', 'kept', NULL), (2, 'two', NULL, NULL)")
    rows = [{"id": n, "name": "x", "kind": kind} for n, kind in ((9, "old"), (10, "old"), (11, "new"))]
    columns = "id INT, name STRING, kind STRING"
    steps = [json_rows(tmp_path / "rows.json", rows, columns), table.load(**BY_KIND)]
    run(spark, *steps)
    metrics = last_step(run(spark, *steps))
    assert metrics.rows == 3
    assert metrics.detail == {"deleted": 3}
    assert table.rows() == [
        (1, "one", "kept", None),
        (2, "two", None, None),
        (9, "x", "old", None),
        (10, "x", "old", None),
        (11, "x", "new", None),
    ]
    nothing = load(table, named(spark, [(3, "three", None)], columns), "a", **BY_KIND)
    with pytest.raises(PipelineExecutionException, match="1 of 1 rows of this load have NULL in 'kind'"):
        nothing.write()
    assert len(table.rows()) == 5


def test_new_groups_make_a_table_without_a_key(spark: SparkSession, schema: Schema) -> None:
    assert load(schema, named(spark, [(1, "a"), (1, "b")]), "a", mode="deleteInsert").write().rows == 2
    assert load(schema, named(spark, [(1, "c"), (2, "d")]), "b", mode="deleteInsert").write().rows == 2
    assert schema.rows() == [(1, "c"), (2, "d")]


_MOMENTS = ["INSERT", "DELETE", "ALTER", "RENAME", "UPDATE", "COMMIT"]


@pytest.mark.parametrize("target", ["merge into t", "merge into new", "deleteInsert into t"])
@pytest.mark.parametrize("moment", _MOMENTS)
def test_a_merge_that_ends_at_any_moment_is_there_once_after_the_next_attempt(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch, moment: str, target: str
) -> None:
    mode, _, name = target.split()
    frame = named(spark, [(n, "x") for n in range(9, 60)])
    before = NINE[:] if name == "t" else []
    after = [(n, "x", "old" if n == 9 and mode == "merge" else "new") for n in range(9, 60)]
    expected = [NINE[0][:3], *after] if name == "t" else [row[:2] for row in after]

    def there() -> list[tuple[Any, ...]]:
        columns = "id, name, kind" if name == "t" else "*"
        return table.rows(name, columns) if name in table.tables() else []

    with monkeypatch.context() as patch:
        merge = load(table, frame, "a", name, mode=mode)
        stop_before(patch, moment)
        try:
            merge.write()
        except Stopped:
            assert there() in ([row[:3] for row in before], expected)
    load(table, frame, "a", name, mode=mode).write()
    assert there() == expected
    assert table.tables() == sorted({"t", name})
    table.query(f"UPDATE {table.name}.{name} SET name = 'later'")
    assert load(table, frame, "a", name, mode=mode).write().skipped
    assert there()[-1][1] == "later"


def test_a_new_table_that_was_announced_is_merged_into_the_one_that_another_load_made(
    spark: SparkSession, in_mysql: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = named(spark, [(1, "one"), (2, "two")])
    with monkeypatch.context() as patch:
        merge = load(in_mysql, frame, "a")
        stop_before(patch, "RENAME")
        with pytest.raises(Stopped):
            merge.write()
    assert load(in_mysql, named(spark, [(2, "another"), (3, "three")]), "b").write().rows == 2
    assert "committed now" in (load(in_mysql, frame, "a").write().skipped or "")
    assert in_mysql.rows() == [(1, "one"), (2, "two"), (3, "three")]


def test_loads_at_once_merge_into_one_table_that_none_of_them_found(spark: SparkSession, schema: Schema) -> None:
    loads = [
        load(schema, spark.range(n * 500, n * 500 + 1000).selectExpr("id", f"'{n}' AS name"), f"load {n}")
        for n in range(3)
    ]

    def written(one: Any) -> Any:
        try:
            return one.write().rows
        except PipelineException as error:
            return error

    with ThreadPoolExecutor(3) as side_by_side:
        done = list(side_by_side.map(written, loads))
    assert done == [1000, 1000, 1000]
    assert [row[0] for row in schema.rows()] == list(range(2000))
    assert (schema.tables(), schema.loads()) == (["t"], 3)


def test_a_row_that_somebody_else_is_writing_is_waited_for_and_updated(spark: SparkSession, table: Schema) -> None:
    merge = load(table, named(spark, [(1, "merged"), (2, "merged")]), "a")
    waits = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    if table.is_postgres:
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
    with ThreadPoolExecutor(1) as aside, closing(table.connect()) as other:
        cursor: Any = other.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"INSERT INTO {table.name}.t (id, name, kind) VALUES (1, 'other', 'kept')")
        merging = aside.submit(merge.write)
        until(lambda: bool(table.query(waits)))
        cursor.execute("COMMIT")
        assert merging.result().rows == 2
    assert table.rows()[:2] == [(1, "merged", "kept", None), (2, "merged", "new", None)]


@pytest.mark.parametrize("rows", [0, 5000], ids=["few rows", "many rows"])
def test_nobody_adds_a_key_between_the_statements_of_a_merge(
    spark: SparkSession, in_mysql: Schema, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    where = f"{in_mysql.name}.t"
    in_mysql.query(f"CREATE TABLE {where} (n bigint AUTO_INCREMENT PRIMARY KEY, id bigint UNIQUE, name varchar(9))")
    in_mysql.query(f"INSERT INTO {where} (id, name) SELECT 10 * seq, 'old' FROM mysql.seq_1_to_5000 LIMIT {rows}")
    in_mysql.query(f"ANALYZE TABLE {where}")
    merge = load(in_mysql, named(spark, [(15, "merged"), (20, "merged"), (60000, "merged")]), "a")
    execute = DatabaseConnection.execute
    kept_out: list[int] = []

    def executed(self: DatabaseConnection, sql: str, *parameters: Any) -> int:
        if sql.startswith("INSERT INTO") and "NOT EXISTS" in sql:
            with in_mysql.connect(init_command="SET innodb_lock_wait_timeout = 1") as other, other.cursor() as cursor:
                for key in (15, 60000):
                    try:
                        cursor.execute(f"INSERT INTO {where} (id, name) VALUES ({key}, 'other')")
                    except pymysql.err.OperationalError:
                        kept_out.append(key)
        return execute(self, sql, *parameters)

    monkeypatch.setattr(DatabaseConnection, "execute", executed)
    assert merge.write().rows == 3
    assert kept_out == [15, 60000]
    named_now = in_mysql.query(f"SELECT id, name FROM {where} WHERE name <> 'old' ORDER BY 1")
    assert named_now == [(15, "merged"), (20, "merged"), (60000, "merged")]


def test_loads_at_once_replace_a_group_one_after_the_other(spark: SparkSession, table: Schema) -> None:
    columns = "id INT, name STRING, kind STRING"
    if table.is_postgres:
        # A load that sees no more than was there when it began would not delete what the other one has written.
        table.query("ALTER ROLE current_user SET default_transaction_isolation = 'repeatable read'")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    if not table.is_postgres:
        waiting = (
            "SELECT (SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT') + "
            "(SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT get_lock%')"
        )
    try:
        loads = [load(table, named(spark, [(n, "x", "old")], columns), f"load {n}", **BY_KIND) for n in (1, 2)]
        with ThreadPoolExecutor(2) as side_by_side, closing(table.connect()) as other:
            cursor: Any = other.cursor()
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {table.name}.t SET name = 'other' WHERE id = 9")
            writing = [side_by_side.submit(one.write) for one in loads]
            until(lambda: table.query(waiting) == [(2,)])
            cursor.execute("ROLLBACK")
            assert [one.result().rows for one in writing] == [1, 1]
    finally:
        if table.is_postgres:
            table.query("ALTER ROLE current_user RESET default_transaction_isolation")
    assert len(table.rows()) == 1


@pytest.mark.parametrize(
    ("mode", "grants", "missing"),
    [
        ("merge", ["INSERT", "SELECT"], "UPDATE"),
        ("merge", ["INSERT", "UPDATE"], "SELECT"),
        ("deleteInsert", ["INSERT", "SELECT"], "DELETE"),
    ],
)
def test_a_right_that_is_missing_is_told_before_rows_are_read(
    spark: SparkSession, table: Schema, mode: str, grants: list[str], missing: str
) -> None:
    entering = table.make_user("merging_alone", *(f"{grant} ON {table.name}.t" for grant in grants))
    if not table.is_postgres:
        entering["database"] = table.name
    frame = named(spark, [(1, "one")])
    with pytest.raises(PipelineException, match=f"(?i){missing}") as raised:
        load(table, frame, "a", mode=mode, entering=entering)
    assert "merging_alone" in (raised.value.hint or "")
    table.query(f"GRANT {missing} ON {table.name}.t TO merging_alone")
    allowed = load(table, frame, "a", mode=mode, entering=entering)
    # In MySQL, who may make tables in a database has the right for each of them.
    if table.is_postgres:
        assert allowed.write().rows == 1


def test_keys_alone_add_what_is_not_there(spark: SparkSession, schema: Schema) -> None:
    schema.query(f"CREATE TABLE {schema.name}.t (id bigint PRIMARY KEY, n int DEFAULT 7)")
    schema.query(f"INSERT INTO {schema.name}.t VALUES (0, 1)")
    assert load(schema, spark.range(3), "a").write().rows == 3
    assert schema.rows() == [(0, 1), (1, 7), (2, 7)]
    assert load(schema, spark.range(0), "b").write().rows == 0


def test_micro_batches_are_merged_once_each(spark: SparkSession, table: Schema) -> None:
    for batch in (0, 1, 1, 2):
        rows = [(9, f"batch {batch}"), (100 + batch, "x")]
        load(table, named(spark, rows), "stream", batch=batch).write()
    assert [row[:2] for row in table.rows()] == [(8, "eight"), (9, "batch 2"), *((n, "x") for n in (100, 101, 102))]
    assert table.loads() == 1


def test_names_that_need_quotes_are_merged_as_they_are(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    quote = '"' if schema.is_postgres else "`"
    odd = f"{quote}Odd.{quote * 2}Order%s{quote}"
    for name in ("first", "second"):
        rows = json_rows(tmp_path / "rows.json", [{"the Key%s": 1, "GROUP": name}], "`the Key%s` INT, `GROUP` STRING")
        run(spark, rows, schema.load(odd, mode="merge", mergeKeys="the key%s"))
    assert schema.rows(odd) == [(1, "second")]


def test_what_the_database_computes_is_left_to_it(spark: SparkSession, schema: Schema) -> None:
    number = "GENERATED ALWAYS AS IDENTITY" if schema.is_postgres else "AUTO_INCREMENT"
    schema.query(
        f"CREATE TABLE {schema.name}.t (code varchar(5) NOT NULL UNIQUE, number int {number} PRIMARY KEY, n int, "
        "twice int GENERATED ALWAYS AS (n * 2) STORED)"
    )
    for load_id, n in (("a", 1), ("b", 2)):
        load(schema, named(spark, [(n, "x")], "n INT, code STRING"), load_id, mergeKeys="code").write()
    assert schema.rows() == [("x", 1, 2, 4)]
