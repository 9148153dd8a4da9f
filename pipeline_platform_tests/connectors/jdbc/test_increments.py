"""What is new in a table of a real database, loaded into Delta."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import StepValue, extract, last_step, load, pipeline_of, run, transform
from pipeline_platform.connectors.jdbc.cursor import DatabaseCursor
from pipeline_platform.connectors.jdbc.database import DatabaseConnection
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.plan import plan
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.cursor import CursorMove, StoredCursor
from pipeline_platform_tests.connectors.databases import Schema


@pytest.fixture
def orders(schema: Schema) -> Schema:
    """A table of three orders, the last two of the same instant."""
    schema.query(f"CREATE TABLE {schema.name}.t (id bigint PRIMARY KEY, at timestamp(6) NULL, note varchar(20))")
    order(schema, 1, "10:00:00")
    order(schema, 2, "10:05:00.000001")
    order(schema, 3, "10:05:00.000001")
    return schema


def order(schema: Schema, number: int, at: str) -> None:
    with schema.connect() as connection:
        insert(schema, connection, number, at)
        connection.commit()


def insert(schema: Schema, connection: Any, number: int, at: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {schema.name}.t VALUES ({number}, '2024-01-01 {at}', '100%s')")


def incremental(schema: Schema, **keys: Any) -> StepValue:
    return schema.extract(incremental={"cursorColumn": "at", **keys}, registerAs="orders")


def loaded(table: Path) -> list[int]:
    found = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT id FROM t ORDER BY id").read_all()
    return found.column("id").to_numpy().tolist()


def test_each_run_loads_what_is_new_and_rows_of_the_last_instant_once(
    spark: SparkSession, orders: Schema, tmp_path: Path
):
    steps = [incremental(orders), load("toDeltaLake", path=str(tmp_path / "t"))]
    first = last_step(run(spark, *steps))
    assert (first.rows, first.cursor) == (3, "2024-01-01 10:05:00.000001+00:00")
    order(orders, 4, "10:05:00.000001")
    order(orders, 5, "10:06:00")
    assert last_step(run(spark, *steps)).rows == 2
    assert loaded(tmp_path / "t") == [1, 2, 3, 4, 5]
    version = DeltaTable(tmp_path / "t").version()
    assert last_step(run(spark, *steps)).rows == 0
    assert DeltaTable(tmp_path / "t").version() == version


def test_a_transaction_that_stays_open_is_loaded_when_it_is_committed(
    spark: SparkSession, orders: Schema, tmp_path: Path
):
    # What people write by hand, as this project's own example was.
    by_hand = [
        orders.extract(registerAs="source"),
        extract("fromDeltaLake", path=str(tmp_path / "by hand"), registerAs="loaded"),
        transform("sqlQuery", query="SELECT * FROM source WHERE at > (SELECT max(at) FROM loaded)"),
        load("toDeltaLake", path=str(tmp_path / "by hand")),
    ]
    steps = [incremental(orders, lag="10 minutes"), load("toDeltaLake", path=str(tmp_path / "t"))]
    run(spark, orders.extract(), load("toDeltaLake", path=str(tmp_path / "by hand")))
    with orders.connect() as connection:
        connection.cursor().execute("BEGIN")
        insert(orders, connection, 4, "10:06:00")
        order(orders, 5, "10:07:00")
        for pipeline in (by_hand, steps):
            run(spark, *pipeline)
        connection.cursor().execute("COMMIT")
    for pipeline in (by_hand, steps):
        run(spark, *pipeline)
    assert loaded(tmp_path / "by hand") == [1, 2, 3, 5]
    assert loaded(tmp_path / "t") == [1, 2, 3, 4, 5]


@pytest.fixture
def mirror(orders: Schema) -> list[StepValue]:
    """A pipeline from one table of a database to another, which is not there yet."""
    return [incremental(orders, lag="10 minutes"), orders.load("mirror", mode="merge", mergeKeys=["id"])]


class Killed(BaseException):
    """What stands for a SIGKILL."""


def test_a_database_remembers_where_it_has_come_with_the_rows_or_not_at_all(
    spark: SparkSession, orders: Schema, mirror: list[StepValue], monkeypatch: pytest.MonkeyPatch
):
    move = DatabaseCursor.move

    def killed(*arguments: Any) -> None:
        move(*arguments)
        raise Killed

    for number in (4, 5):
        with monkeypatch.context() as patch:
            patch.setattr(DatabaseCursor, "move", killed)
            with pytest.raises(Killed):
                run(spark, *mirror)
        run(spark, *mirror)
        assert orders.rows("mirror", "id, note") == orders.rows(columns="id, note")
        order(orders, number, f"10:0{number + 2}:00")
        order(orders, number + 10, "10:00:30")
    orders.query(f"UPDATE {orders.name}.t SET note = 'changed', at = '2024-01-01 10:09:00' WHERE id = 1")
    run(spark, *mirror)
    assert orders.rows("mirror", "id, note") == orders.rows(columns="id, note")


def test_of_two_runs_that_fill_a_database_one_loads_what_is_new(
    spark: SparkSession, orders: Schema, monkeypatch: pytest.MonkeyPatch
):
    by_id = {"incremental": {"cursorColumn": "id", "boundary": "exclusive"}}
    steps = [orders.extract(**by_id), orders.load("copy")]
    publish = DatabaseCursor.move

    def overtaken(cursor: DatabaseCursor, session: DatabaseConnection, place: TableName, move: CursorMove) -> None:
        monkeypatch.setattr(DatabaseCursor, "move", publish)
        publish(cursor, session, place, replace(move, before=StoredCursor(7)))

    run(spark, *steps)
    order(orders, 4, "10:06:00")
    monkeypatch.setattr(DatabaseCursor, "move", overtaken)
    with pytest.raises(PipelineExecutionException, match="another run has loaded what was new in the meantime"):
        run(spark, *steps, retry={"maxAttempts": 1})
    assert len(orders.rows("copy")) == 3
    run(spark, *steps)
    assert last_step(run(spark, *steps)).skipped == "there is nothing new in the source"
    assert orders.rows("copy", "id, note") == orders.rows(columns="id, note")


def test_a_cursor_is_of_the_database_that_was_entered_whoever_names_it(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    entered, other = in_postgres.credentials(), f"{in_postgres.name}_other"
    for name in ("host", "port", "database", "password"):
        monkeypatch.setenv(f"PG{name.upper()}", str(entered[name]))
    monkeypatch.setenv("PGUSER", entered["username"])
    table = "CREATE TABLE public.moved AS SELECT 1 AS id"
    in_postgres.query(table)
    in_postgres.query(f"CREATE DATABASE {other}")
    try:
        with in_postgres.connect(dbname=other) as connection:
            connection.execute(table)
        source = extract("fromPostgres", table="moved", incremental={"cursorColumn": "id"})
        steps = [source, load("toDeltaLake", path=str(tmp_path / "t"))]
        run(spark, *steps)
        monkeypatch.setenv("PGDATABASE", other)
        with pytest.raises(PipelineExecutionException, match=rf"of the database {entered['database']}, .*{other}"):
            run(spark, *steps)
    finally:
        in_postgres.query(f"DROP DATABASE {other}")
        in_postgres.query("DROP TABLE public.moved")


@pytest.mark.parametrize("column", ["id", "day", "amount", "at"])
def test_the_database_is_asked_for_what_is_new_alone(spark: SparkSession, schema: Schema, tmp_path: Path, column: str):
    columns = "id bigint, day date, amount numeric(9,2), at timestamp NULL"
    schema.query(f"CREATE TABLE {schema.name}.t ({columns})")
    rows = ", ".join(f"({n}, '2024-01-{n:02}', {n}.5, '2024-01-{n:02} 10:00:00')" for n in range(1, 10))
    schema.query(f"INSERT INTO {schema.name}.t VALUES {rows}")
    steps = [
        schema.extract(incremental={"cursorColumn": column, "boundary": "exclusive"}),
        load("toDeltaLake", path=str(tmp_path / "t")),
    ]
    run(spark, *steps)
    schema.query(f"INSERT INTO {schema.name}.t VALUES (10, '2024-01-10', 10.5, '2024-01-10 10:00:00')")
    pipeline = pipeline_of(steps).resolve()
    with closing(RunCredentials.from_environment("plan", pipeline.location)) as credentials:
        planned = plan(pipeline, spark, "load", credentials)
        with planned.persisted:
            assert len(pushed_down(planned.frames[0].frame)) == 2
            assert planned.frames[0].frame.count() == 1


def pushed_down(frame: DataFrame) -> list[str]:
    """The conditions that the source carries out."""
    java_frame: Any = frame._jdf
    text: str = java_frame.queryExecution().executedPlan().toString()
    [filters] = re.findall(r"PushedFilters: \[([^]]*)\]", text)
    return re.findall(r"\*(?:GreaterThan|LessThanOrEqual)\(", filters)


def test_a_value_that_a_frame_cannot_hold_is_not_passed_over(spark: SparkSession, in_postgres: Schema, tmp_path: Path):
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t (id int, at timestamptz)")
    in_postgres.query(f"INSERT INTO {in_postgres.name}.t VALUES (1, '2024-01-01Z'), (2, 'infinity')")
    steps = [incremental(in_postgres), load("toDeltaLake", path=str(tmp_path / "t"))]
    with pytest.raises(PipelineExecutionException, match="has NULL in some rows, or a value that a frame can't hold"):
        run(spark, *steps)


def test_another_table_is_loaded_from_the_beginning_and_one_that_is_gone_is_told(spark: SparkSession, orders: Schema):
    source = orders.extract(incremental={"cursorColumn": "id", "boundary": "exclusive"})
    run(spark, source, orders.load("one"))
    run(spark, source, orders.load("two"))
    assert len(orders.rows("two")) == 3
    orders.query(f"DROP TABLE {orders.name}.one")
    with pytest.raises(PipelineExecutionException, match=r"is gone, of which the cursor 'tested/.*' says"):
        run(spark, source, orders.load("one"))


def test_a_database_remembers_which_files_are_loaded_with_the_rows_or_not_at_all(
    spark: SparkSession, schema: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    move, inbox = DatabaseCursor.move, tmp_path / "in"
    inbox.mkdir()
    # As it was before there were files.
    columns = "id varchar(190) PRIMARY KEY, name text NOT NULL, target text NOT NULL, state text NOT NULL"
    schema.query(f"CREATE TABLE {schema.name}.pipeline_platform_cursors ({columns})")
    steps = [
        extract("fromFiles", path=str(inbox), format="csv", schema="id BIGINT", incremental={}),
        schema.load("copy", mode="append"),
    ]

    def killed(*arguments: Any) -> None:
        move(*arguments)
        raise Killed

    for number in (1, 2):
        (inbox / f"{number}.csv").write_text(f"id\n{number}\n")
        with monkeypatch.context() as patch:
            patch.setattr(DatabaseCursor, "move", killed)
            with pytest.raises(Killed):
                run(spark, *steps)
        run(spark, *steps)
        assert last_step(run(spark, *steps)).skipped == "there is nothing new in the source"
    assert schema.rows("copy", "id") == [(1,), (2,)]
    types = "SELECT data_type FROM information_schema.columns WHERE table_name = 'pipeline_platform_cursors' AND "
    [(kind,)] = schema.query(f"{types} table_schema = '{schema.name}' AND column_name = 'state'")
    assert kind == ("text" if schema.is_postgres else "longtext")
