"""Tables and queries of real databases, as psycopg and PyMySQL see them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import CredentialException, PipelineException, PipelineExecutionException
from pipeline_platform_tests.duckdb_rows import comparable, rows_of
from pipeline_platform_tests.methods.databases import Schema, until
from pipeline_platform_tests.runs import StepValue, last_step, load, pipeline_of, run, transform
from pipeline_platform_tests.services.postgres import Postgres

ROWS = 50


@pytest.fixture
def numbered(schema: Schema) -> Schema:
    """A table of fifty rows, one of them without a key, in both systems."""
    schema.query(
        f"CREATE TABLE {schema.name}.t (id bigint, Name varchar(20), day date, at timestamp NULL, amount numeric(12,2))"
    )
    values = ", ".join(
        f"({n - 20}, 'name {n}', '2024-01-{1 + n % 28:02}', '2024-01-01 00:{n:02}:30.5', {n}.25)" for n in range(ROWS)
    )
    schema.query(f"INSERT INTO {schema.name}.t VALUES {values}, (NULL, NULL, NULL, NULL, NULL)")
    return schema


def read(spark: SparkSession, step: StepValue) -> DataFrame:
    """The frame of an extract alone."""
    config: Any = pipeline_of([step]).steps[0].config.resolved()
    need = config.credential_need()
    from pipeline_platform.credentials.model import credentials_of

    return config.read(spark, credentials_of(need.credential_type, need.written))


def assert_all_rows(frame: DataFrame, schema: Schema) -> None:
    assert rows_of(frame) == comparable(schema.rows())


def test_a_table_is_read_in_one_partition_unless_told_otherwise(spark: SparkSession, numbered: Schema) -> None:
    frame = read(spark, numbered.extract())
    assert frame.columns[0] == "id"
    assert frame.rdd.getNumPartitions() == 1
    assert_all_rows(frame, numbered)


@pytest.mark.parametrize(
    "config",
    [
        {"partitionColumn": "id"},
        {"partitionColumn": "ID", "numPartitions": 3},
        {"partitionColumn": "amount", "numPartitions": 4},
        {"partitionColumn": "day", "numPartitions": 4},
        {"partitionColumn": "at", "numPartitions": 4},
        {"partitionColumn": "id", "lowerBound": 0},
        {"partitionColumn": "id", "upperBound": "10"},
        {"partitionColumn": "id", "lowerBound": 5.5, "upperBound": 7.5},
        {"partitionColumn": "day", "lowerBound": "2024-01-05", "upperBound": "2024-01-10"},
        {"partitionColumn": "at", "upperBound": "2024-01-01 00:20:00"},
    ],
    ids=str,
)
def test_every_row_is_read_once_whatever_the_partitions(
    spark: SparkSession, numbered: Schema, config: dict[str, Any]
) -> None:
    frame = read(spark, numbered.extract(**config))
    assert frame.rdd.getNumPartitions() > 1
    assert_all_rows(frame, numbered)


@pytest.mark.parametrize(
    "config", [{"lowerBound": 100}, {"upperBound": -100}, {"lowerBound": 0.2, "upperBound": 0.7}], ids=str
)
def test_bounds_that_leave_no_range_make_one_partition(
    spark: SparkSession, numbered: Schema, config: dict[str, Any]
) -> None:
    frame = read(spark, numbered.extract(partitionColumn="id", **config))
    assert frame.rdd.getNumPartitions() == 1
    assert_all_rows(frame, numbered)


@pytest.mark.parametrize("condition", ["id < -100", "id IS NULL", "id = 7"], ids=["no rows", "nulls", "one value"])
def test_a_source_without_a_range_is_one_partition(spark: SparkSession, numbered: Schema, condition: str) -> None:
    query = f"SELECT * FROM {numbered.name}.t WHERE {condition}"
    frame = read(spark, numbered.extract(query=query, partitionColumn="id"))
    assert frame.rdd.getNumPartitions() == 1
    assert rows_of(frame) == comparable(numbered.query(query))


def test_a_query_is_split_by_its_partition_column(spark: SparkSession, numbered: Schema) -> None:
    query = f"WITH chosen AS (SELECT id + 1 AS k, amount FROM {numbered.name}.t) SELECT * FROM chosen -- all of them"
    frame = read(spark, numbered.extract(query=query, partitionColumn="k", numPartitions=5))
    assert frame.rdd.getNumPartitions() == 5
    assert rows_of(frame) == comparable(numbered.query(query))


def test_bounds_that_were_left_out_are_asked_in_one_query(spark: SparkSession, numbered: Schema) -> None:
    before = len(numbered.server.log())
    read(spark, numbered.extract(partitionColumn="id"))
    received = numbered.server.log()[before:]
    assert received.count("min(") == received.count("max(") == 1


def test_a_filter_is_carried_out_by_the_server(spark: SparkSession, numbered: Schema, tmp_path: Path) -> None:
    before = len(numbered.server.log())
    metrics = run(
        spark,
        numbered.extract(partitionColumn="id", numPartitions=2),
        transform("filterRows", condition="amount > 40 AND Name IS NOT NULL"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    )
    assert last_step(metrics).rows == 10
    quote = '"' if numbered.is_postgres else "`"
    queries = [line for line in numbered.server.log()[before:].splitlines() if f"{quote}amount{quote} > " in line]
    assert len(queries) >= 2


def test_a_name_that_needs_quotes_is_found(spark: SparkSession, schema: Schema) -> None:
    quote = '"' if schema.is_postgres else "`"
    table = f"{quote}Odd.{quote * 2}Order{quote}"
    schema.query(f"CREATE TABLE {schema.name}.{table} ({quote}the Key{quote} int)")
    schema.query(f"INSERT INTO {schema.name}.{table} VALUES (1), (2), (3)")
    frame = read(spark, schema.extract(table=table, partitionColumn="the Key", numPartitions=2))
    assert rows_of(frame) == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"table": "nowhere"}, "table own_\\d+.nowhere: .*nowhere", "check the table's name"),
        ({"query": "SELECT nothing FROM {0}.t"}, "query: .*nothing", "use one of the columns"),
        ({"partitionColumn": "Name"}, "'[Nn]ame', which is (string|varchar.*); its values have no ranges", "numeric"),
        ({"partitionColumn": "idd"}, "there is no column 'idd'; there are id, ", "did you mean 'id'"),
        ({"partitionColumn": "id", "lowerBound": "low"}, "the bound low .* is not a number", "as a number"),
        ({"partitionColumn": "day", "upperBound": "late"}, "the bound late .* is not a date", "as a date"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(
    spark: SparkSession, numbered: Schema, tmp_path: Path, config: dict[str, Any], message: str, hint: str
) -> None:
    config = {key: value.format(numbered.name) if key == "query" else value for key, value in config.items()}
    steps = [numbered.extract(**config), load("toDeltaLake", path=str(tmp_path / "out"))]
    planned = BatchRun(pipeline_of(steps), spark)
    with pytest.raises(PipelineExecutionException, match=message) as raised:
        planned.run()
    assert hint in (raised.value.hint or "")
    assert planned.record.attempts == 1
    assert not (tmp_path / "out").exists()


def failed(spark: SparkSession, step: StepValue, path: Path, **retry: Any) -> tuple[PipelineException, int]:
    """The error of a run, and how often it was tried."""
    steps = [step, load("toDeltaLake", path=str(path))]
    planned = BatchRun(pipeline_of(steps, retry={"delaySeconds": 0, **retry}), spark)
    with pytest.raises(PipelineException) as raised:
        planned.run()
    return raised.value, planned.record.attempts


def test_a_wrong_password_is_told_once_and_never_shown(spark: SparkSession, numbered: Schema, tmp_path: Path) -> None:
    entering = numbered.credentials(password="sesame-wrong-1")
    error, attempts = failed(spark, numbered.extract(entering=entering), tmp_path / "out")
    assert isinstance(error, CredentialException)
    assert error.outcome == "refused"
    assert f"{numbered.server.host}:{numbered.server.port}/{numbered.server.database}" in str(error)
    assert "sesame" not in f"{error}{error.__cause__!r}{error.config}"
    assert attempts == 1


def test_a_database_that_is_not_there_is_told_once(spark: SparkSession, numbered: Schema, tmp_path: Path) -> None:
    error, attempts = failed(spark, numbered.extract(entering=numbered.credentials(database="no_such")), tmp_path / "o")
    assert "no_such" in error.message
    assert "check 'database'" in (error.hint or "")
    assert attempts == 1


def test_a_server_that_does_not_answer_is_tried_again(spark: SparkSession, numbered: Schema, tmp_path: Path) -> None:
    error, attempts = failed(spark, numbered.extract(entering=numbered.credentials(port=1)), tmp_path / "out")
    assert f"{numbered.server.host}:1/" in error.message
    assert attempts == 3


def test_a_table_without_the_right_to_read_it_is_told(spark: SparkSession, numbered: Schema, tmp_path: Path) -> None:
    entering = numbered.make_user("nobody_in_particular")
    if not numbered.is_postgres:
        # Without any right MySQL does not let a user into a database at all.
        numbered.query(f"CREATE TABLE {numbered.name}.other (id int)")
        numbered.query(f"GRANT SELECT ON {numbered.name}.other TO nobody_in_particular")
        entering["database"] = numbered.name
    error, attempts = failed(spark, numbered.extract(entering=entering), tmp_path / "out")
    assert "denied" in error.message
    assert "nobody_in_particular" in (error.hint or "")
    assert attempts == 1


def test_postgres_rows_come_in_pieces_of_the_fetch_size(spark: SparkSession, in_postgres: Schema) -> None:
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t AS SELECT generate_series(1, 1000) AS id")
    before = len(in_postgres.server.log())
    assert read(spark, in_postgres.extract(fetchSize=100)).filter("id > 0").count() == 1000
    received = in_postgres.server.log()[before:]
    assert received.count("execute fetch from") >= 9


def test_mysql_streams_a_table_so_that_it_need_not_fit_into_memory(spark: SparkSession, in_mysql: Schema) -> None:
    table = f"{in_mysql.name}.big"
    # Far more than what the sockets' buffers hold.
    in_mysql.query(f"CREATE TABLE {table} AS SELECT seq AS id, repeat('x', 400) AS text FROM seq_1_to_100000")
    entering = in_mysql.server.credentials()

    def still_sending(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa
        import pymysql

        next(batches)
        with (
            pymysql.connect(
                host=entering["host"], port=entering["port"], user=entering["username"], password=entering["password"]
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "SELECT count(*) FROM information_schema.processlist "
                "WHERE command = 'Query' AND id <> connection_id() AND info LIKE '%big%'"
            )
            running = cursor.fetchall()[0][0]
        for _ in batches:
            pass
        yield pa.RecordBatch.from_pydict({"running": [running]})

    def running(**config: Any) -> int:
        frame = read(spark, in_mysql.extract(table="big", **config))
        return frame.mapInArrow(still_sending, "running BIGINT").collect()[0][0]

    assert running() == 1
    assert running(fetchSize=0) == 0


def test_a_database_that_is_stopped_in_the_middle_is_read_in_full_when_it_is_back(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path
) -> None:
    server = in_postgres.server
    assert isinstance(server, Postgres)
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t AS SELECT generate_series(1, 5000) AS id")
    in_postgres.query(
        f"CREATE FUNCTION {in_postgres.name}.wait(id int) RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN IF id = 4000 THEN PERFORM pg_advisory_lock(4000); END IF; RETURN id; END $$"
    )
    holder = server.connect()
    holder.execute("SELECT pg_advisory_lock(4000)")

    query = f"SELECT {in_postgres.name}.wait(id) AS id FROM {in_postgres.name}.t"
    steps = in_postgres.extract(query=query, fetchSize=100), load("toDeltaLake", path=str(tmp_path / "out"))
    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(run, spark, *steps, retry={"maxAttempts": 30, "delaySeconds": 1})
        until(lambda: bool(server.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")))
        # The lock is gone with the server.
        server.server.kill()
        server.server.start()
        metrics = running.result()
    assert metrics.attempts > 1
    ids = spark.read.format("delta").load(str(tmp_path / "out"))
    assert rows_of(ids) == [(id_,) for id_ in range(1, 5001)]
