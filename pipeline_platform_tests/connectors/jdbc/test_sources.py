"""Tables and queries of real databases, as psycopg and PyMySQL see them."""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pytest
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import StepValue, last_step, load, pipeline_of, run, transform
from devtools.services.postgres import Postgres
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.jdbc.postgres.database import Postgres as PostgresDatabase
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import CredentialException, PipelineException, PipelineExecutionException
from pipeline_platform_tests.connectors.databases import Schema, until
from pipeline_platform_tests.duckdb_rows import comparable, rows_of

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
    need = config.credential_request()
    from pipeline_platform.credentials.model import credentials_of

    return config.read(spark, credentials_of(need.model, need.written))


def assert_all_rows(frame: DataFrame, schema: Schema) -> None:
    assert rows_of(frame) == comparable(schema.rows())


def test_a_table_of_an_environment_is_there_once_it_was_made(spark: SparkSession, numbered: Schema) -> None:
    from pipeline_platform.credentials.model import credentials_of

    config: Any = pipeline_of([numbered.extract()]).steps[0].config.resolved()
    need = config.credential_request()
    credentials = credentials_of(need.model, need.written)
    there = config.read_from(Redirection("dev_"))
    assert (config.is_there(spark, credentials), there.is_there(spark, credentials)) == (True, False)
    numbered.query(f"CREATE TABLE {numbered.name}.dev_t (id bigint)")
    assert there.is_there(spark, credentials)


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
        ({"partitionColumn": "idd"}, "there is no column 'idd'; the columns are id, ", "did you mean 'id'"),
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

    def still_sending(batches: Iterable[Any]) -> Iterable[Any]:
        import pyarrow as pa
        import pymysql

        waiting = iter(batches)
        next(waiting)
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
        for _ in waiting:
            pass
        yield pa.RecordBatch.from_pydict({"running": [running]})

    def running(**config: Any) -> int:
        frame = read(spark, in_mysql.extract(table="big", **config))
        return frame.mapInArrow(still_sending, "running BIGINT").collect()[0][0]

    assert running() == 1
    assert running(fetchSize=0) == 0


@pytest.mark.parametrize(
    ("column", "type_"),
    [
        ("1::numeric(50,10) AS n", "numeric(50,10)"),
        ("ARRAY[1]::numeric(39,2)[] AS n", "numeric(39,2)"),
    ],
)
def test_a_number_of_more_digits_than_a_frame_has_is_refused_at_planning(
    spark: SparkSession, in_postgres: Schema, column: str, type_: str
) -> None:
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t AS SELECT {column}")
    for step in (in_postgres.extract(), in_postgres.extract(query=f"SELECT * FROM {in_postgres.name}.t")):
        with pytest.raises(
            PipelineExecutionException, match=re.escape(f"the column 'n' of the source is {type_}")
        ) as raised:
            read(spark, step)
        assert "CAST(n AS numeric(38," in (raised.value.hint or "")


def test_a_decimal_of_mysql_of_more_digits_than_a_frame_has_is_refused_at_planning(
    spark: SparkSession, in_mysql: Schema
) -> None:
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (n decimal(65,30))")
    with pytest.raises(PipelineExecutionException, match=r"the column 'n' of the source is decimal\(65,30\)") as raised:
        read(spark, in_mysql.extract())
    assert "CAST(n AS char)" in (raised.value.hint or "")


POSTGRES_CANT = (
    "1.1234567890123456789::numeric",
    "'NaN'::numeric",
    "1e20::numeric",
    "ARRAY[1, NULL, 1e-19]::numeric[]",
    "timestamp 'infinity'",
    "timestamptz '-infinity'",
    "date 'infinity'",
    "date '0044-03-15 BC'",
    "timestamptz '10000-01-01 00:00:00+00'",
    "ARRAY[timestamp 'infinity']",
    "ARRAY[date '1582-10-05']",
    "date '1582-10-14'",
    "timestamp '1582-10-14 23:59:59.999999'",
    "timestamptz '1582-10-05 00:00:00+00'",
    "time '24:00'",
    "timetz '24:00+00'",
    "timetz '01:00+02'",
    "ARRAY[time '24:00']",
)
MYSQL_CANT = (
    "CAST(1.12345678901234567890123456789 AS decimal(65,30))",
    "CAST('2024-00-10' AS date)",
    "CAST('0000-01-01' AS datetime)",
    "CAST('1582-10-05' AS date)",
    "CAST('1582-10-14 23:59:59' AS datetime)",
    "CAST('25:00:00' AS time)",
    "CAST('-00:00:01' AS time)",
)


def test_a_value_that_a_frame_cannot_hold_is_an_error_that_names_the_column(
    spark: SparkSession, schema: Schema, tmp_path: Path
) -> None:
    cases = POSTGRES_CANT if schema.is_postgres else MYSQL_CANT
    if not schema.is_postgres:
        schema.query(f"CREATE TABLE {schema.name}.t (v date, y year)")
        schema.query(f"SET STATEMENT sql_mode = '' FOR INSERT INTO {schema.name}.t VALUES ('0000-00-00', 0)")
        cases = (*cases, f"(SELECT v FROM {schema.name}.t)", f"(SELECT y FROM {schema.name}.t)")
    for value in cases:
        # Not a constant, which would be looked at before there is a row.
        query = f"SELECT id, CASE WHEN id = 2 THEN {value} END AS odd FROM (SELECT 1 AS id UNION ALL SELECT 2) ids"
        error, attempts = failed(spark, schema.extract(query=query), tmp_path / "out")
        number = any(kind in value for kind in ("numeric", "decimal"))
        what = (
            "number" if number else "time" if "time '" in value or "AS time)" in value or "timetz" in value else "date"
        )
        assert error.message == f"a {what} that a frame cannot hold, in the column [odd] of the source", value
        assert ("'invalidDates'" in (error.hint or "")) == (not number)
        assert "as text, CAST(" in (error.hint or "")
        assert attempts == 1
        if not number:
            frame = read(spark, schema.extract(query=query, invalidDates="null"))
            found = frame.collect()
            assert [row[0] for row in found] == [1, 2]
            assert [row[1] for row in found] in ([None, None], [None, [None]]), value


@pytest.mark.parametrize(("type_", "invalid"), [("time", "fail"), ("time", "null"), ("date", "null")], ids=str)
def test_arrays_of_arrays_do_not_become_one_array_of_all_their_elements(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path, type_: str, invalid: str
) -> None:
    value = "12:00" if type_ == "time" else "2024-01-01"
    query = f"SELECT ARRAY[ARRAY[{type_} '{value}'], ARRAY[{type_} '{value}']] AS odd"
    error, _ = failed(spark, in_postgres.extract(query=query, invalidDates=invalid), tmp_path / "out")
    assert error.message == "a nested array that a frame cannot hold, in the column [odd] of the source"
    assert "as text" in (error.hint or "")


def test_a_value_that_a_frame_cannot_hold_is_no_bound_of_the_partitions(
    spark: SparkSession, schema: Schema, tmp_path: Path
) -> None:
    kinds = ("timestamp", "numeric") if schema.is_postgres else ("datetime", "int")
    odd = ("infinity", "NaN") if schema.is_postgres else ("0000-00-00", "4")
    schema.query(f"CREATE TABLE {schema.name}.t (id int, at {kinds[0]} NULL, day date, n {kinds[1]})")
    days = ["2024-01-01", odd[0], "2024-03-01"]
    values = ", ".join(f"({n}, '{day}', '{day}', '{n}')" for n, day in enumerate(days))
    insert = f"INSERT INTO {schema.name}.t VALUES {values}, (3, NULL, NULL, '{odd[1]}')"
    schema.query(insert if schema.is_postgres else f"SET STATEMENT sql_mode = '' FOR {insert}")
    for column in ("at", "day"):
        dated = f"SELECT id, {column} FROM {schema.name}.t"
        config: dict[str, Any] = {"query": dated, "partitionColumn": column, "numPartitions": 2}
        frame = read(spark, schema.extract(**config, invalidDates="null"))
        assert frame.rdd.getNumPartitions() == 2
        found = [(row[0], row[1] and str(row[1])[:10]) for row in frame.sort("id").collect()]
        assert found == [(0, days[0]), (1, None), (2, days[2]), (3, None)]
    error, _ = failed(spark, schema.extract(**config), tmp_path / "out")
    assert error.message == "a date that a frame cannot hold, in the column [day] of the source"
    assert "'invalidDates'" in (error.hint or "")
    config = {"query": f"SELECT id, n FROM {schema.name}.t", "partitionColumn": "n", "numPartitions": 2}
    if schema.is_postgres:
        error, _ = failed(spark, schema.extract(**config), tmp_path / "out")
        assert error.message == "a number that a frame cannot hold, in the column [n] of the source"
        return
    forgiving = {"zeroDateTimeBehavior": "CONVERT_TO_NULL"}
    found = schema.extract(properties=forgiving, partitionColumn="at", numPartitions=2)
    assert read(spark, found).count() == 4


def test_numbers_that_fit_are_read_however_wide_their_type_is(spark: SparkSession, schema: Schema) -> None:
    wide = "numeric" if schema.is_postgres else "decimal(65,30)"
    query = f"SELECT CAST(12345678901234567890.5 AS {wide}) AS a, sum(n) AS b FROM (SELECT 9223372036854775807 AS n) s"
    if not schema.is_postgres:
        query = query.replace("12345678901234567890.5", "12345678901234567890")
    frame = read(spark, schema.extract(query=query))
    expected = schema.query(query)
    assert [tuple(row) for row in frame.collect()] == expected


def test_bits_and_floats_of_mysql_are_what_they_are(spark: SparkSession, in_mysql: Schema) -> None:
    in_mysql.query(
        f"CREATE TABLE {in_mysql.name}.t (id int, b bit(8), w bit(16), one bit(1), flag tinyint(1), f float)"
    )
    in_mysql.query(
        f"INSERT INTO {in_mysql.name}.t VALUES (1, b'10101010', b'1010101011111111', 1, 2, 16777217), "
        "(2, 0, 1, 0, -1, 1.1), (3, NULL, NULL, NULL, NULL, NULL)"
    )
    frame = read(spark, in_mysql.extract())
    assert frame.dtypes[-1] == ("f", "float")
    rows = [tuple(row) for row in frame.orderBy("id").collect()]
    assert [row[:5] for row in rows] == [
        (1, b"\xaa", b"\xaa\xff", True, True),
        (2, b"\0", b"\0\x01", False, True),
        (3, None, None, None, None),
    ]
    # As single precision has them.
    assert [row[5] for row in rows] == [16777216.0, struct.unpack("f", struct.pack("f", 1.1))[0], None]
    number = read(spark, in_mysql.extract(properties={"tinyInt1isBit": "false"}))
    assert [row.flag for row in number.orderBy("id").collect()] == [2, -1, None]


def test_a_time_keeps_its_microseconds(spark: SparkSession, schema: Schema) -> None:
    clock, last = "12:34:56.789012", "23:59:59.999999"
    columns = ("a time, b time(3), c timetz, d time[]") if schema.is_postgres else ("a time(6), b time(3)")
    others = (f", '{clock}+02', '{{NULL,{clock}}}'", ", '00:00-00', NULL") if schema.is_postgres else ("", "")
    schema.query(f"CREATE TABLE {schema.name}.t (id int, {columns})")
    schema.query(
        f"INSERT INTO {schema.name}.t VALUES (1, '{clock}', '{clock}'{others[0]}), (2, '{last}', '00:00'{others[1]})"
    )
    frame = read(spark, schema.extract())
    assert all(type_.endswith("timestamp") or type_ == "array<timestamp>" for _, type_ in frame.dtypes[1:])
    shown = frame.sort("id").selectExpr(*[f"CAST({name} AS string)" for name in frame.columns[1:]]).collect()
    at = "1970-01-01 12:34:56.789"
    expected = [(f"{at}012", at), (f"1970-01-01 {last}", "1970-01-01 00:00:00")]
    more = [("1970-01-01 10:34:56.789012", f"[null, {at}012]"), ("1970-01-01 00:00:00", None)]
    if schema.is_postgres:
        expected = [(*one, *other) for one, other in zip(expected, more, strict=True)]
    assert [tuple(row) for row in shown] == expected
    # The server carries out the filter.
    assert frame.filter(f"a = TIMESTAMP '{at}012' AND b > TIMESTAMP '1970-01-01 00:00:01'").count() == 1


def test_days_next_to_those_that_the_calendar_of_the_driver_lacks_stay_as_they_are(
    spark: SparkSession, schema: Schema
) -> None:
    type_ = "timestamp" if schema.is_postgres else "datetime(6)"
    schema.query(f"CREATE TABLE {schema.name}.t (day date, at {type_})")
    days = [
        ("0001-01-01", "0001-01-01 00:00:00"),
        ("1582-10-04", "1582-10-04 23:59:59.999999"),
        ("1582-10-15", "1582-10-15 00:00:00"),
    ]
    schema.query(f"INSERT INTO {schema.name}.t VALUES {str(days)[1:-1]}")
    shown = read(spark, schema.extract()).sort("day").selectExpr("CAST(day AS string)", "CAST(at AS string)")
    assert [tuple(row) for row in shown.collect()] == days


def test_texts_of_mysql_are_as_the_server_gives_them_and_compared_by_character(
    spark: SparkSession, in_mysql: Schema
) -> None:
    in_mysql.query(
        f"CREATE TABLE {in_mysql.name}.t (id int, size enum('small','extra large','m'), c char(10), s set('aa','b'), "
        "i inet4, u uuid, `o.``d'd {0}` varchar(9) CHARACTER SET latin1, v varchar(9), "
        "l longtext CHARACTER SET utf16)"
    )
    in_mysql.query(
        f"INSERT INTO {in_mysql.name}.t VALUES "
        "(1, 'm', 'ab', 'b', '10.0.0.1', '123e4567-e89b-12d3-a456-426655440000', 'é', 'Ada ', '𝄞é'), "
        "(2, 'small', '', 'aa,b', '9.0.0.1', NULL, 'e', 'ada', ' '), "
        "(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    expected = in_mysql.rows()
    frames = [read(spark, in_mysql.extract(properties=one)) for one in ({}, {"characterEncoding": "latin1"})]
    for frame in frames:
        assert {type_ for _, type_ in frame.dtypes[1:]} == {"string"}
        assert [tuple(row) for row in frame.sort("id").collect()] == expected
    before = len(in_mysql.server.log())
    frame = frames[0]
    rows = pandas.DataFrame(expected, columns=frame.columns)
    for condition in (
        "size = 'm'",
        "size > 'b'",
        "c = 'AB'",
        "c = 'ab '",
        "c <> 'AB'",
        "s = 'b'",
        "i > '9.0.0.0'",
        "i = 'x'",
        "u = '123E4567-e89b-12d3-a456-426655440000'",
        "v = 'ada'",
        "v IN ('ADA', 'ada ')",
        "v > 'a'",
        "v LIKE 'A%'",
        "l = ''",
        "`o.``d'd {0}` = 'é'",
    ):
        alone = duckdb.from_df(rows).filter(condition.replace("`o.``d'd {0}`", '"o.`d\'d {0}"'))
        kept = [row[0] for row in alone.order("id").fetchall()]
        assert [row.id for row in frame.filter(condition).sort("id").collect()] == kept, condition
    assert "= 'ada'" in in_mysql.server.log()[before:]


def test_a_text_that_grows_beyond_a_packet_of_mysql_does_not_become_null(spark: SparkSession, in_mysql: Schema) -> None:
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (id int, v longtext CHARACTER SET latin1)")
    in_mysql.query(f"INSERT INTO {in_mysql.name}.t VALUES (1, repeat('é', 600000))")
    [[before]] = in_mysql.query("SELECT @@GLOBAL.max_allowed_packet")
    in_mysql.query("SET GLOBAL max_allowed_packet = 1048576")
    try:
        # In UTF-8 it takes twice the bytes.
        assert read(spark, in_mysql.extract()).filter("v IS NULL").count() == 0
        with pytest.raises(Exception, match="You can change this value on the server"):
            read(spark, in_mysql.extract()).collect()
    finally:
        in_mysql.query(f"SET GLOBAL max_allowed_packet = {before}")


def test_what_is_text_for_spark_alone_is_compared_as_text(spark: SparkSession, in_postgres: Schema) -> None:
    name = in_postgres.name
    in_postgres.query(f"CREATE TYPE {name}.mood AS ENUM ('sad', 'ok', 'happy')")
    in_postgres.query(
        f"CREATE TABLE {name}.t AS SELECT 1 AS id, 'sad'::{name}.mood AS m, inet '10.0.0.1' AS i, "
        """jsonb '{"a":1}' AS j, interval '24:00:00' AS n, money '12' AS c, xml '<a/>' AS x"""
    )
    rows = pandas.DataFrame(
        in_postgres.rows(columns=", ".join(["id", *(f"{column}::text" for column in "mijncx")])),
        columns=["id", *"mijncx"],
    )
    frame = read(spark, in_postgres.extract())
    assert [tuple(row) for row in frame.collect()] == [tuple(row) for row in rows.itertuples(index=False)]
    for condition in (
        "m > 'ok'",
        "m = 'other'",
        "i > '9.0.0.1'",
        "i LIKE '10.%'",
        """j = '{"a":1}'""",
        """j = '{"a": 1}'""",
        "n = '1 day'",
        "c = '12'",
        "x = '<a/>'",
    ):
        assert frame.filter(condition).count() == len(duckdb.from_df(rows).filter(condition)), condition


def test_bits_of_postgres_are_the_text_of_them(spark: SparkSession, in_postgres: Schema) -> None:
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t AS SELECT b'1010'::bit(4) AS b, b'1'::bit(1) AS one")
    assert [tuple(row) for row in read(spark, in_postgres.extract()).collect()] == [("1010", True)]


def test_a_filter_of_a_guarded_source_uses_the_index(spark: SparkSession, in_postgres: Schema) -> None:
    in_postgres.query(
        f"CREATE TABLE {in_postgres.name}.t AS SELECT i AS id, timestamp '2024-01-01' + i * interval '1 min' AS at "
        "FROM generate_series(1, 20000) i"
    )
    in_postgres.query(f"CREATE INDEX ON {in_postgres.name}.t (at)")
    in_postgres.query(f"ANALYZE {in_postgres.name}.t")
    before = len(in_postgres.server.log())
    condition = "at > TIMESTAMP '2024-01-14 21:19:30'"
    assert read(spark, in_postgres.extract()).filter(condition).count() == 1
    asked = re.findall(r"(SELECT [^\n]*WHERE[^\n]*21:19:30[^\n]*)", in_postgres.server.log()[before:])
    assert "Index" in str(in_postgres.query(f"EXPLAIN {asked[0]}"))


def test_timestamps_are_not_read_by_a_jvm_in_another_zone(spark: SparkSession, schema: Schema) -> None:
    jvm: Any = spark._jvm
    zones = jvm.java.util.TimeZone
    before = zones.getDefault()
    zones.setDefault(zones.getTimeZone("Europe/Berlin"))
    try:
        with pytest.raises(PipelineExecutionException, match="in the time zone Europe/Berlin") as raised:
            read(
                spark,
                schema.extract(
                    query="SELECT 1 AS id, CAST('2024-07-01 12:00:00' AS %s) AS at"
                    % ("timestamp" if schema.is_postgres else "datetime")
                ),
            )
        assert read(spark, schema.extract(query="SELECT 1 AS id")).collect()[0][0] == 1
    finally:
        zones.setDefault(before)
    assert "-Duser.timezone=UTC" in (raised.value.hint or "")


def test_a_server_that_falls_silent_is_given_up(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    query = "SELECT 1 AS id, CAST(%s AS char(9)) AS waited" % ("pg_sleep(20)" if schema.is_postgres else "sleep(20)")
    began = time.monotonic()
    error, attempts = failed(spark, schema.extract(query=query, timeoutSeconds=1), tmp_path / "out", maxAttempts=2)
    assert attempts == 2
    assert time.monotonic() - began < 15
    assert "can be reached" in (error.hint or "")


def test_a_session_of_a_server_that_stands_still_is_cut(postgres: Postgres) -> None:
    database = PostgresDatabase(JdbcCredentials.model_validate(postgres.credentials()), silence_seconds=1)

    def ask_who_stands_still() -> None:
        with database.session("table t") as session:
            [[backend]] = session.rows("SELECT pg_backend_pid()")
            os.kill(backend, signal.SIGSTOP)
            try:
                session.rows("SELECT 1")
            finally:
                os.kill(backend, signal.SIGCONT)

    with pytest.raises(PipelineExecutionException, match="silent for 1 s; 'timeoutSeconds'") as raised:
        ask_who_stands_still()
    assert raised.value.retryable


def test_a_schema_with_a_percent_sign_is_read_and_written(spark: SparkSession, schema: Schema, tmp_path: Path) -> None:
    quote = '"' if schema.is_postgres else "`"
    name = f"{quote}50%_{schema.name}%s{quote}"
    schema.query(f"CREATE SCHEMA {name}")
    try:
        for load_id in ("a", "a", "b"):
            step = schema.load()
            step["config"]["table"] = f"{name}.t"
            run(spark, schema.extract(query="SELECT 1 AS id"), step, load_id=load_id)
        extract = schema.extract()
        extract["config"]["table"] = f"{name}.t"
        assert rows_of(read(spark, extract)) == schema.query(f"SELECT id FROM {name}.t") == [(1,), (1,)]
    finally:
        schema.query(f"DROP SCHEMA {name}{' CASCADE' if schema.is_postgres else ''}")


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
