"""Loads of real databases, as psycopg and PyMySQL see them: all or nothing, once, and what does not fit is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import json_rows, last_step, pipeline_of, run, transform, validate
from pipeline_platform.connectors.jdbc.database import DatabaseConnection
from pipeline_platform.connectors.jdbc.mysql.sink import MySQLWrite
from pipeline_platform.connectors.jdbc.sink import DatabaseWrite
from pipeline_platform.credentials.model import credentials_of
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import (
    CredentialException,
    PipelineException,
    PipelineExecutionException,
    ValidationException,
)
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.steps.load import LoadResult, LoadRun
from pipeline_platform_tests.connectors.databases import Schema, until

COLUMNS = "id BIGINT, name STRING"
ONE_AND_TWO = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
THREE = [{"id": 3, "name": "three"}]

Rows = Sequence[Mapping[str, Any]]
Write = Callable[..., StepMetrics]


@pytest.fixture
def write(spark: SparkSession, schema: Schema, tmp_path: Path) -> Write:
    """Run a pipeline that loads these rows into the schema."""

    def once(rows: Rows, columns: str = COLUMNS, load_id: str | None = None, **config: Any) -> StepMetrics:
        steps = [json_rows(tmp_path / "rows.json", rows, columns), schema.load(**config)]
        return last_step(run(spark, *steps, load_id=load_id))

    return once


@pytest.fixture
def table(schema: Schema) -> Schema:
    """A table that has rules of its own, and one row."""
    schema.query(
        f"CREATE TABLE {schema.name}.t "
        "(id bigint PRIMARY KEY, name varchar(10) NOT NULL, kind varchar(5) DEFAULT 'new')"
    )
    schema.query(f"INSERT INTO {schema.name}.t VALUES (9, 'nine', 'old')")
    return schema


def prepared(
    schema: Schema,
    frame: DataFrame,
    load_id: str,
    table: str = "t",
    batch: int | None = None,
    rows: PartitionRows | None = None,
    **config: Any,
) -> Any:
    """A load that is planned, without a run around it."""
    step: Any = (
        pipeline_of(
            [{"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}}, schema.load(table, **config)]
        )
        .steps[1]
        .config
    )
    need = step.credential_request()
    credentials = credentials_of(need.model, need.written)
    return step.prepare(frame, LoadRun(load_id, "q", credentials, "r", batch, rows))


def test_a_table_that_is_not_there_is_made(write: Write, schema: Schema) -> None:
    metrics = write(ONE_AND_TWO)
    assert schema.rows() == [(1, "one"), (2, "two")]
    assert metrics.rows == 2
    assert schema.tables() == ["t"]
    assert schema.query(f"SELECT row_count FROM {schema.name}.pipeline_platform_loads") == [(2,)]


def test_rows_are_appended_beside_those_that_are_there(write: Write, table: Schema) -> None:
    assert write(ONE_AND_TWO).rows == 2
    assert table.rows() == [(1, "one", "new"), (2, "two", "new"), (9, "nine", "old")]
    assert table.tables() == ["t"]


def test_rows_are_replaced_and_the_tables_rules_stay(write: Write, table: Schema) -> None:
    assert write(ONE_AND_TWO, mode="overwrite").rows == 2
    assert table.rows() == [(1, "one", "new"), (2, "two", "new")]
    with pytest.raises(PipelineExecutionException, match=r"(?i)duplicate"):
        write(ONE_AND_TWO)


def test_rows_that_others_refer_to_are_replaced_if_they_may_be(write: Write, table: Schema) -> None:
    table.query(f"CREATE TABLE {table.name}.u (t_id bigint, FOREIGN KEY (t_id) REFERENCES {table.name}.t (id))")
    write(ONE_AND_TWO, mode="overwrite")
    assert [row[0] for row in table.rows()] == [1, 2]
    table.query(f"INSERT INTO {table.name}.u VALUES (2)")
    with pytest.raises(PipelineExecutionException, match="foreign key"):
        write(THREE, mode="overwrite")
    assert [row[0] for row in table.rows()] == [1, 2]


def test_mode_error_if_exists_loads_only_a_new_table(spark: SparkSession, write: Write, schema: Schema) -> None:
    assert write(ONE_AND_TWO, mode="errorIfExists", load_id="a").rows == 2
    with pytest.raises(PipelineExecutionException, match=f"there is a table {schema.name}.t .*errorIfExists"):
        write(THREE, mode="errorIfExists", load_id="b")
    # Before anything is written to another sink.
    with pytest.raises(PipelineExecutionException, match="errorIfExists"):
        prepared(schema, spark.range(1), "c", mode="errorIfExists").checked()
    assert write(ONE_AND_TWO, mode="errorIfExists", load_id="a").skipped
    assert schema.rows() == [(1, "one"), (2, "two")]


def test_mode_ignore_leaves_a_table_that_is_there(write: Write, schema: Schema) -> None:
    assert write(ONE_AND_TWO, mode="ignore").rows == 2
    assert "ignore" in (write(THREE, mode="ignore").skipped or "")
    assert schema.rows() == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_retried_load_leaves_every_row_once(write: Write, schema: Schema, mode: str) -> None:
    write(ONE_AND_TWO, mode=mode, load_id="a")
    again = write(ONE_AND_TWO, mode=mode, load_id="a")
    assert "loaded it already" in (again.skipped or "")
    write(THREE, load_id="b")
    write(ONE_AND_TWO, mode=mode, load_id="a")
    assert schema.rows() == [(1, "one"), (2, "two"), (3, "three")]


def test_a_load_id_of_any_length_is_known_again(write: Write, schema: Schema) -> None:
    long = "x" * 500
    write(ONE_AND_TWO, load_id=long)
    assert write(ONE_AND_TWO, load_id=long).skipped
    assert write(THREE, load_id=long.upper()).rows == 1


def test_names_that_need_quotes_are_written_as_they_are(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    quote = '"' if schema.is_postgres else "`"
    odd = f"{quote}Odd.{quote * 2}Order%s{quote}"
    for _ in range(2):
        rows = json_rows(tmp_path / "rows.json", [{"the Key%s": 1, "GROUP": "a"}], "`the Key%s` INT, `GROUP` STRING")
        run(spark, rows, schema.load(odd))
    assert schema.query(f"SELECT {quote}the Key%s{quote}, {quote}GROUP{quote} FROM {schema.name}.{odd}") == [
        (1, "a"),
        (1, "a"),
    ]


def test_columns_are_found_whatever_their_case_and_order(write: Write, table: Schema) -> None:
    write([{"NAME": "one", "Id": 1}], "NAME STRING, Id INT")
    assert table.rows()[0] == (1, "one", "new")


@pytest.mark.parametrize(
    ("columns", "row", "message", "hint"),
    [
        ("id BIGINT, name STRING, nam STRING", {}, "has no column 'nam'; it has id, name, kind", "did you mean 'name'"),
        ("id BIGINT", {}, "the column 'name' NOT NULL without a default", "add it with enrichData"),
        ("id STRING, name STRING", {}, "the column 'id' is string, and the table .* has it as bigint", "cast it"),
        ("id BIGINT, name MAP<STRING,INT>", {}, "can't hold the column 'name', map", "to_json(name)"),
        ("id BIGINT, name STRUCT<a: INT>", {}, "can't hold the column 'name', struct", "to_json(name)"),
        ("id BIGINT, name BINARY", {}, "the column 'name' is binary", "cast it"),
        ("id DOUBLE, name STRING", {}, "the column 'id' is double", "cast it"),
    ],
)
def test_a_frame_that_does_not_fit_is_told_before_anything_is_written(
    write: Write, table: Schema, columns: str, row: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(PipelineExecutionException, match=message) as raised:
        write([row], columns)
    assert hint in (raised.value.hint or "")
    assert table.tables() == ["t"]
    assert table.loads() == 0


def test_a_column_of_nulls_alone_needs_a_table_that_is_there(spark: SparkSession, table: Schema) -> None:
    frame = spark.sql("SELECT 1L AS id, 'one' AS name, NULL AS kind")
    with pytest.raises(PipelineExecutionException, match="'kind' is null without a type") as raised:
        prepared(table, frame, "a", "new")
    assert "CAST(kind AS STRING)" in (raised.value.hint or "")
    prepared(table, frame, "b").write()
    assert table.rows()[0] == (1, "one", None)


def test_a_schema_that_is_not_there_is_told(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    step = schema.load()
    step["config"]["table"] = "no_such_schema.t"
    with pytest.raises(PipelineExecutionException, match="no_such_schema") as raised:
        run(spark, json_rows(tmp_path / "rows.json", THREE, COLUMNS), step)
    assert "check the schema" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "bad",
    [{"id": 2, "name": "far too long for it"}, {"id": 9, "name": "nine"}, {"id": 2, "name": None}],
    ids=["too long", "repeated key", "null"],
)
def test_a_value_that_fails_late_leaves_the_table_as_it_was(
    spark: SparkSession, write: Write, table: Schema, tmp_path: Path, bad: dict[str, Any]
) -> None:
    rows = [{"id": n, "name": "many"} for n in range(100, 3000)]
    steps = [json_rows(tmp_path / "rows.json", [*rows, bad], COLUMNS), table.load(mode="overwrite")]
    if bad["id"] == 9:
        steps[1] = table.load()
    failing = BatchRun(pipeline_of(steps), spark, load_id="a")
    with pytest.raises(PipelineExecutionException) as raised:
        failing.run()
    assert failing.record.attempts == 1
    assert f"table {table.name}.t" in raised.value.message
    assert raised.value.hint
    assert table.rows() == [(9, "nine", "old")]
    assert table.tables() == ["t"]
    assert table.loads() == 0
    assert write(rows, load_id="a").rows == len(rows)


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_rule_that_the_load_finds_broken_leaves_the_database_as_it_was(
    spark: SparkSession, write: Write, schema: Schema, tmp_path: Path, mode: str
) -> None:
    def checked(limit: int) -> None:
        rule = validate("validateBusinessRules", rules=[f"id < {limit}"])
        run(spark, json_rows(tmp_path / "new.json", [*THREE, *ONE_AND_TWO], COLUMNS), rule, schema.load(mode=mode))

    with pytest.raises(ValidationException, match=r"1 of 3 rows .* break 'id < 3'"):
        checked(3)
    assert schema.tables() == []
    write([{"id": 9, "name": "nine"}])
    with pytest.raises(ValidationException, match=r"1 of 3 rows .* break 'id < 3'"):
        checked(3)
    assert (schema.rows(), schema.tables()) == ([(9, "nine")], ["t"])
    checked(4)
    kept = [] if mode == "overwrite" else [(9, "nine")]
    assert schema.rows() == [(1, "one"), (2, "two"), (3, "three"), *kept]


def test_a_value_that_fails_leaves_no_new_table(spark: SparkSession, schema: Schema) -> None:
    bad = "'a\\u0000b'" if schema.is_postgres else "double('NaN')"
    load = prepared(schema, spark.sql(f"SELECT 1 AS id, {bad} AS value"), "a")
    with pytest.raises(
        PipelineExecutionException, match=r"can't hold (a text with the character NUL|NaN or an infinity), .*\[value\]"
    ) as raised:
        load.write()
    assert "fix the text" in (raised.value.hint or "") or "nullif" in (raised.value.hint or "")
    load.clean()
    assert schema.tables() == []


def test_a_wrong_password_is_told_once_and_never_shown(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    entering = schema.credentials(password="sesame-wrong-1")
    steps = [json_rows(tmp_path / "rows.json", THREE, COLUMNS), schema.load(entering=entering)]
    refused = BatchRun(pipeline_of(steps, retry={"delaySeconds": 0}), spark)
    with pytest.raises(CredentialException) as raised:
        refused.run()
    assert refused.record.attempts == 1
    assert "sesame" not in f"{raised.value}{raised.value.__cause__!r}{raised.value.config}"


def test_a_table_without_the_right_to_write_it_is_told_before_rows_are_read(
    spark: SparkSession, table: Schema, tmp_path: Path
) -> None:
    entering = table.make_user("reader_alone", f"SELECT ON {table.name}.t")
    if not table.is_postgres:
        entering["database"] = table.name
    steps = [json_rows(tmp_path / "rows.json", THREE, COLUMNS), table.load(entering=entering)]
    with pytest.raises(PipelineException, match=r"(?i)insert") as raised:
        run(spark, *steps)
    assert "reader_alone" in (raised.value.hint or "")
    assert table.rows() == [(9, "nine", "old")]


def test_loads_at_once_into_a_table_that_is_not_there_are_both_in_it(spark: SparkSession, schema: Schema) -> None:
    loads = [prepared(schema, spark.range(n * 1000, n * 1000 + 1000, numPartitions=2), f"load {n}") for n in range(3)]
    with ThreadPoolExecutor(3) as side_by_side:
        written = list(side_by_side.map(lambda load: load.write().rows, loads))
    assert written == [1000, 1000, 1000]
    assert schema.rows() == [(n,) for n in range(3000)]
    assert schema.tables() == ["t"]
    assert schema.loads() == 3


def test_one_load_written_by_two_at_once_is_there_once(spark: SparkSession, table: Schema) -> None:
    frame = spark.range(100, 1100, numPartitions=2).selectExpr("id", "'x' AS name")
    loads = [prepared(table, frame, "the same") for _ in range(2)]

    def written(load: DatabaseWrite) -> LoadResult | PipelineException:
        try:
            return load.write()
        except PipelineException as error:
            # The other one dropped its staging table.
            return error

    with ThreadPoolExecutor(2) as side_by_side:
        done = list(side_by_side.map(written, loads))
    assert any(isinstance(one, LoadResult) and one.rows == 1000 for one in done)
    assert len(table.rows()) == 1001


def test_the_micro_batches_of_a_stream_are_written_once_and_leave_one_row_in_the_ledger(
    spark: SparkSession, table: Schema
) -> None:
    before = table.loads()
    for batch in (0, 1, 1, 2, 2):
        frame = spark.range(100 + 10 * batch, 110 + 10 * batch).selectExpr("id", "'x' AS name")
        prepared(table, frame, "stream", batch=batch).write()
    assert sorted(row[0] for row in table.rows() if row[0] >= 100) == list(range(100, 130))
    assert table.loads() == before + 1


def test_a_load_that_another_attempt_ends_meanwhile_is_not_repeated(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = spark.range(100, 200).selectExpr("id", "'x' AS name")
    prepared(table, frame, "a").write()
    late = prepared(table, frame, "a", mode="overwrite")
    # It looked before the other one was done.
    monkeypatch.setattr(type(late), "finished", lambda *_: None)
    assert late.write().skipped
    assert len(table.rows()) == 101
    assert table.tables() == ["t"]


def test_a_partition_that_spark_writes_twice_is_staged_once(spark: SparkSession, table: Schema) -> None:
    load = prepared(table, spark.range(100, 1100, numPartitions=4).selectExpr("id", "'x' AS name"), "a")
    fills = DatabaseWrite._fill

    def twice(self: DatabaseWrite, *arguments: Any) -> int:
        fills(self, *arguments)
        return fills(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseWrite, "_fill", twice)
        assert load.write().rows == 1000
    assert len(table.rows()) == 1001


def test_a_frame_without_rows_is_loaded(spark: SparkSession, table: Schema) -> None:
    assert prepared(table, spark.range(0).selectExpr("id", "'x' AS name"), "a", mode="overwrite").write().rows == 0
    assert table.rows() == []
    prepared(table, spark.range(0), "b", "new").write()
    assert table.tables() == ["new", "t"]


class Stopped(BaseException):
    """The process ends here."""


def stop_before(patch: pytest.MonkeyPatch, statement: str) -> None:
    """End the process, as far as a test can, before the first statement that begins so."""
    execute = DatabaseConnection.execute
    stopped: list[str] = []

    def executed(self: DatabaseConnection, sql: str, *parameters: Any) -> int:
        if sql.startswith(statement) and not stopped:
            stopped.append(sql)
        if stopped:
            raise Stopped
        return execute(self, sql, *parameters)

    patch.setattr(DatabaseConnection, "execute", executed)


_MOMENTS = ["CREATE", "BEGIN", "INSERT", "ALTER", "RENAME", "UPDATE", "COMMIT", "DROP"]


@pytest.mark.parametrize("is_new", [True, False], ids=["new table", "table"])
@pytest.mark.parametrize("moment", _MOMENTS)
def test_a_load_that_ends_at_any_moment_is_there_once_after_the_next_attempt(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch, moment: str, is_new: bool
) -> None:
    name = "new" if is_new else "t"
    frame = spark.range(100, 200).selectExpr("id", "'x' AS name")
    before = [] if is_new else [9]

    def keys() -> list[int]:
        return [row[0] for row in table.rows(name)] if name in table.tables() else []

    with monkeypatch.context() as patch:
        load = prepared(table, frame, "a", name)
        stop_before(patch, moment)
        try:
            load.write()
        except Stopped:
            assert keys() in (before, sorted([*before, *range(100, 200)]))
    prepared(table, frame, "a", name).write()
    assert keys() == sorted([*before, *range(100, 200)])
    assert table.tables() == sorted({"t", name})
    assert prepared(table, frame, "a", name).write().skipped


def test_a_new_table_that_was_announced_stays_what_it_is_to_become(
    spark: SparkSession, in_mysql: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        load = prepared(in_mysql, spark.range(5), "a", mode="errorIfExists")
        stop_before(patch, "RENAME")
        with pytest.raises(Stopped):
            load.write()
    load.clean()
    # Another load makes the table before the attempt is made again.
    prepared(in_mysql, spark.range(5, 7), "b").write()
    again = prepared(in_mysql, spark.range(5), "a", mode="errorIfExists").write()
    assert "committed now" in (again.skipped or "")
    assert in_mysql.rows() == [(n,) for n in range(7)]
    assert isinstance(load, MySQLWrite)


def test_a_connection_that_is_cut_in_the_middle_of_a_load_is_made_again(
    spark: SparkSession, table: Schema, tmp_path: Path
) -> None:
    cut_once(table, 2500)
    rows = [{"id": n, "name": "many"} for n in range(100, 3000)]
    steps = [json_rows(tmp_path / "rows.json", rows, COLUMNS), table.load()]
    metrics = run(spark, *steps, retry={"delaySeconds": 0})
    assert metrics.attempts == 2
    assert [row[0] for row in table.rows()] == [9, *range(100, 3000)]
    assert table.tables() == ["t"]


def cut_once(table: Schema, key: int) -> None:
    """Have the server end the connection that writes this key into the table, the first time."""
    where = table.name
    table.query(f"CREATE SEQUENCE {where}.cuts")
    if table.is_postgres:
        table.query(
            f"CREATE FUNCTION {where}.cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.id = {key} AND nextval('{where}.cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); "
            "END IF; RETURN NEW; END $$"
        )
        table.query(f"CREATE TRIGGER cut BEFORE INSERT ON {where}.t FOR EACH ROW EXECUTE FUNCTION {where}.cut()")
    else:
        table.query(
            f"CREATE TRIGGER {where}.cut BEFORE INSERT ON {where}.t FOR EACH ROW "
            f"IF NEW.id = {key} AND nextval({where}.cuts) = 1 THEN KILL CONNECTION_ID(); END IF"
        )


# A server that recovers empties both tables at once. Were it the rows alone, a new table would not be counted.
@pytest.mark.parametrize(("lost", "is_new"), [("rows and note", True), ("rows and note", False), ("rows", False)])
def test_what_the_server_lost_of_the_staged_rows_is_noticed_before_it_is_committed(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch, lost: str, is_new: bool
) -> None:
    name = "new" if is_new else "t"
    frame = spark.range(100, 160, numPartitions=4).selectExpr("id", "'x' AS name")
    load = prepared(table, frame, "a", name, mode="overwrite")
    publish = type(load).publish

    def publish_what_is_left(self: Any, session: Any, place: Any, staging: Any, *others: Any) -> Any:
        if lost == "rows and note":
            table.query(f"DELETE FROM {table.name}.{staging.name}_parts WHERE number = 2")
        table.query(f"DELETE FROM {table.name}.{staging.name} WHERE id BETWEEN 130 AND 144")
        return publish(self, session, place, staging, *others)

    with monkeypatch.context() as patch:
        patch.setattr(type(load), "publish", publish_what_is_left)
        with pytest.raises(PipelineExecutionException, match="60 rows were staged, and the server has 45") as raised:
            load.write()
    assert raised.value.retryable
    assert table.rows() == [(9, "nine", "old")]
    assert table.loads() == 0
    assert prepared(table, frame, "a", name, mode="overwrite").write().rows == 60
    assert [row[0] for row in table.rows(name)] == list(range(100, 160))


def test_a_trigger_may_leave_out_rows(spark: SparkSession, in_postgres: Schema) -> None:
    where = in_postgres.name
    in_postgres.query(f"CREATE TABLE {where}.t (id bigint)")
    in_postgres.query(
        f"CREATE FUNCTION {where}.even() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN CASE WHEN NEW.id % 2 = 0 THEN NEW END; END $$"
    )
    in_postgres.query(f"CREATE TRIGGER even BEFORE INSERT ON {where}.t FOR EACH ROW EXECUTE FUNCTION {where}.even()")
    assert prepared(in_postgres, spark.range(10), "a").write().rows == 5


def test_what_dead_loads_left_is_swept_and_what_living_ones_use_is_not(
    spark: SparkSession, table: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = spark.range(100, 110).selectExpr("id", "'x' AS name")

    def die(*_: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        dead = prepared(table, frame, "dead")
        patch.setattr(type(dead), "publish", die)
        with pytest.raises(Stopped):
            dead.write()
    left = [name for name in table.tables() if "staging" in name]
    assert len(left) == 2
    before_locks = "pipeline_platform_staging_0123456789ab_01234567"
    living = "pipeline_platform_staging_0123456789ab_0123456789ab"
    for name in (before_locks, living, f"{living}_parts"):
        table.query(f"CREATE TABLE {table.name}.{name} (id bigint)")
    with dead.database.session() as owner:
        dead.database.hold(owner, living)
        prepared(table, frame, "another", mode="overwrite").write()
        assert table.tables() == sorted(["t", before_locks, living, f"{living}_parts"])
    prepared(table, frame, "a third", mode="overwrite").write()
    assert table.tables() == sorted(["t", before_locks])


def test_a_server_that_falls_silent_while_rows_become_the_tables_is_given_up(
    spark: SparkSession, table: Schema
) -> None:
    slow_inserts(table)
    load = prepared(table, spark.sql("SELECT 1L AS id, 'one' AS name"), "a", timeoutSeconds=1)
    with pytest.raises(PipelineExecutionException, match=r"silent for 1 s|timed out") as raised:
        load.write()
    assert raised.value.retryable
    assert table.rows() == [(9, "nine", "old")]


def slow_inserts(table: Schema) -> None:
    """Have each row that is inserted into the table take its time."""
    where = table.name
    if table.is_postgres:
        table.query(
            f"CREATE FUNCTION {where}.slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(4); RETURN NEW; END $$"
        )
        table.query(f"CREATE TRIGGER slow BEFORE INSERT ON {where}.t FOR EACH ROW EXECUTE FUNCTION {where}.slow()")
    else:
        table.query(f"CREATE TRIGGER {where}.slow BEFORE INSERT ON {where}.t FOR EACH ROW SET @slept = sleep(4)")


UNHELD_TEXTS = (
    "SELECT id, text FROM VALUES (1, 'ok'), (2, 'a\\u0000b'), (3, CAST(X'ff41' AS STRING)), (4, NULL) AS t(id, text)"
)


def test_a_text_that_the_system_cannot_hold_is_named_made_null_or_put_in_quarantine(
    spark: SparkSession, schema: Schema, tmp_path: Path
) -> None:
    source = json_rows(tmp_path / "one.json", [{"x": 1}], "x INT"), transform("sqlQuery", query=UNHELD_TEXTS)
    unheld = [2, 3] if schema.is_postgres else [3]
    with pytest.raises(PipelineExecutionException, match=r"can't hold a text .* in the column \[text\]") as raised:
        run(spark, *source, schema.load("failed"))
    assert "onMalformed" in (raised.value.hint or "")
    assert schema.tables() == []
    nulls = last_step(run(spark, *source, schema.load("nulls", onMalformed="null")))
    assert (nulls.rows, nulls.malformed, nulls.quarantined) == (4, len(unheld), None)
    texts = {1: "ok", 2: "a\0b", 3: None, 4: None}
    assert schema.rows("nulls") == [(id_, None if id_ in unheld else text) for id_, text in texts.items()]
    path = str(tmp_path / "quarantine")
    kept = run(spark, *source, schema.load("kept", onMalformed="quarantine", quarantinePath=path))
    last = last_step(kept)
    assert (last.rows, last.malformed, last.quarantined) == (4 - len(unheld), len(unheld), len(unheld))
    assert [step.rows for step in kept.steps] == [1, 4, 4 - len(unheld)]
    assert [row[0] for row in schema.rows("kept")] == [id_ for id_ in texts if id_ not in unheld]
    aside = sorted(DeltaTable(path).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])
    assert [(row["id"], row["text"]) for row in aside] == [(2, "a\0b"), (3, "\ufffdA")][-len(unheld) :]
    assert all("in the column [text]" in row["reason"] for row in aside)


def test_a_text_within_an_array_that_postgresql_cannot_hold_is_put_in_quarantine(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path
) -> None:
    texts = [["ok", None, ""], ["ok", "a\0b"], None, []]
    arrays = "VALUES (1, array('ok', NULL, '')), (2, array('ok', 'a\\u0000b')), (3, NULL), (4, array()) AS t(id, texts)"
    source = (
        json_rows(tmp_path / "one.json", [{"x": 1}], "x INT"),
        transform("sqlQuery", query=f"SELECT * FROM {arrays}"),
    )
    path = str(tmp_path / "quarantine")
    kept = last_step(run(spark, *source, in_postgres.load(onMalformed="quarantine", quarantinePath=path)))
    assert (kept.rows, kept.malformed, kept.quarantined) == (3, 1, 1)
    assert in_postgres.rows() == [(id_, texts[id_ - 1]) for id_ in (1, 3, 4)]
    [aside] = DeltaTable(path).to_pyarrow_table().to_pylist()
    assert (aside["id"], aside["texts"]) == (2, texts[1])
    assert aside["reason"] == "PostgreSQL can't hold a text with the character NUL, which is in the column [texts]"


def test_a_decimal_is_not_rounded_to_the_digits_of_the_tables_column(spark: SparkSession, schema: Schema) -> None:
    schema.query(f"CREATE TABLE {schema.name}.t (id int, n decimal(6,2), whole decimal(6,0))")
    fits = spark.sql("SELECT 1 AS id, CAST(1.25 AS DECIMAL(38,18)) AS n, CAST(7.0 AS DECIMAL(9,1)) AS whole")
    assert prepared(schema, fits, "a").write().rows == 1
    for column, value, digits in (("n", "1.256", 2), ("whole", "7.5", 0)):
        load = prepared(schema, spark.sql(f"SELECT 2 AS id, {value} AS {column}"), "b")
        told = rf"more than {digits} digits after the point, which is in the column \[{column}\]"
        with pytest.raises(PipelineExecutionException, match=told) as raised:
            load.write()
        load.clean()
        assert f"round({column}, {digits})" in (raised.value.hint or "")
    assert schema.rows() == [(1, Decimal("1.25"), Decimal(7))]


# The type of a column, a value that the database would change and say nothing, and what is told of it.
_SECONDS, _WHOLE = "more than {} digits of a second", "a whole number with more digits"
CHANGED = [
    ("double precision", "9007199254740993L", _WHOLE, "type for whole numbers"),
]
CHANGED_BY_POSTGRES = [
    ("timestamp(0)", "TIMESTAMP '2026-01-31 23:59:59.5'", _SECONDS.format(0), "date_trunc('second', v)"),
    ("timestamp(3)", "TIMESTAMP_NTZ '2026-01-31 00:00:00.0001'", _SECONDS.format(3), "date_trunc('millisecond', v)"),
    ("timestamptz(2)[]", "array(TIMESTAMP '1969-12-31 23:59:59.999')", _SECONDS.format(2), "timestamp(6)"),
    ("real", "-16777217", _WHOLE, "type for whole numbers"),
]
CHANGED_BY_MYSQL = [
    ("datetime", "TIMESTAMP '2026-01-31 23:59:59.5'", _SECONDS.format(0), "date_trunc('second', v)"),
    ("timestamp NULL", "TIMESTAMP '2026-01-31 23:59:59.000001'", _SECONDS.format(0), "datetime(6)"),
    ("datetime(5)", "TIMESTAMP_NTZ '1969-12-31 23:59:59.999999'", _SECONDS.format(5), "date_trunc('millisecond', v)"),
    ("float", "CAST(16777217 AS DECIMAL(10))", _WHOLE, "type for whole numbers"),
    ("year", "5", "a year from 1 to 99", "2005"),
]


def test_a_value_that_the_tables_column_would_change_is_refused(spark: SparkSession, schema: Schema) -> None:
    for kind, value, told, hint in [*CHANGED, *(CHANGED_BY_POSTGRES if schema.is_postgres else CHANGED_BY_MYSQL)]:
        schema.query(f"DROP TABLE IF EXISTS {schema.name}.t")
        schema.query(f"CREATE TABLE {schema.name}.t (id int, v {kind})")
        load = prepared(schema, spark.sql(f"SELECT 1 AS id, {value} AS v"), "a")
        with pytest.raises(PipelineExecutionException, match=rf"hold {told}.*, which is in the column \[v\]") as raised:
            load.write()
        load.clean()
        assert hint in (raised.value.hint or "")
        assert schema.rows() == []


def test_a_value_that_the_tables_column_keeps_is_loaded(spark: SparkSession, schema: Schema) -> None:
    time = "timestamp(3)" if schema.is_postgres else "datetime(3)"
    schema.query(f"CREATE TABLE {schema.name}.t (at {time}, whole double precision, price double precision)")
    at, price = datetime(1969, 12, 31, 23, 59, 59, 999000), Decimal("0.1")
    row = f"SELECT TIMESTAMP '{at}' AS at, {-(2**53)}L AS whole, {price}BD AS price"
    prepared(schema, spark.sql(f"{row} UNION ALL SELECT NULL, NULL, NULL"), "a").write()
    found = [(kept and kept.replace(tzinfo=None), *rest) for kept, *rest in schema.rows(columns="at, whole, price")]
    assert sorted(found, key=str) == [(None, None, None), (at, -(2.0**53), 0.1)]


def test_a_deadlock_is_tried_again(spark: SparkSession, table: Schema, tmp_path: Path) -> None:
    rows = [{"id": n, "name": "many"} for n in (1, 2)]
    steps = [json_rows(tmp_path / "rows.json", rows, COLUMNS), table.load()]
    other = table.server.connect()
    cursor: Any = other.cursor()
    cursor.execute("BEGIN")
    if table.is_postgres:
        # The load's session is the one that looks first, and so the one that gives up.
        cursor.execute("SET deadlock_timeout = '10min'")
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
    else:
        # The session that has done less gives up.
        values = ", ".join(f"({n}, 'other')" for n in range(100, 1100))
        cursor.execute(f"INSERT INTO {table.name}.t (id, name) VALUES {values}")
        waits = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    cursor.execute(f"INSERT INTO {table.name}.t (id, name) VALUES (2, 'other')")
    with ThreadPoolExecutor(1) as aside, closing(other):
        loading = aside.submit(run, spark, *steps, retry={"delaySeconds": 0})
        until(lambda: bool(table.query(waits)))
        cursor.execute(f"INSERT INTO {table.name}.t (id, name) VALUES (1, 'other')")
        cursor.execute("ROLLBACK")
        metrics = loading.result()
    assert metrics.attempts > 1
    assert [row[:2] for row in table.rows()] == [(1, "many"), (2, "many"), (9, "nine")]
