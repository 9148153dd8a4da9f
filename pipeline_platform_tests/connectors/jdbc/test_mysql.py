"""What MySQL holds after a load, value by value, as PyMySQL reads it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform_tests.connectors.databases import Schema
from pipeline_platform_tests.connectors.jdbc.test_postgres import TEXTS
from pipeline_platform_tests.connectors.jdbc.test_sinks import prepared
from pipeline_platform_tests.duckdb_rows import frame_of


def test_any_text_arrives_as_it_is(spark: SparkSession, in_mysql: Schema) -> None:
    texts = [*TEXTS, "\0", "a'b''c", "\\'", "%s %d", "),(1,'x"]
    frame = frame_of(spark, list(enumerate(texts)), "id INT, text STRING")
    prepared(in_mysql, frame, "a").write()
    assert in_mysql.rows() == list(enumerate(texts))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_every_type_arrives_as_it_is(spark: SparkSession, in_mysql: Schema, zone: str) -> None:
    in_mysql.query(
        f"CREATE TABLE {in_mysql.name}.t (id smallint, n bigint, f float, d double, x decimal(20,4), ok boolean, "
        "raw varbinary(9), day date, at timestamp(6) NULL, clock datetime(6))"
    )
    with spark_settings(spark, {"spark.sql.session.timeZone": zone}):
        frame = spark.sql(
            """
            SELECT 1S AS id, -9223372036854775808L AS n, float('1.5') AS f, double('-1e-300') AS d,
              CAST('1234567890123456.7891' AS DECIMAL(20,4)) AS x, true AS ok, X'00ff5c27' AS raw,
              DATE '1001-02-28' AS day, TIMESTAMP '2024-10-27 00:30:00.123456Z' AS at,
              TIMESTAMP_NTZ '2024-03-31 02:30:00' AS clock
            UNION ALL SELECT 2S, 0L, 0, 0, 0, false, X'', DATE '2024-02-29',
              TIMESTAMP '2024-10-27 01:30:00Z', TIMESTAMP_NTZ '1969-12-31 23:59:59.999999'
            UNION ALL SELECT 3S, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            """
        )
        prepared(in_mysql, frame, "a").write()
    with in_mysql.connect(init_command="SET time_zone = '+00:00'") as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {in_mysql.name}.t ORDER BY 1")
        one, two, three = cursor.fetchall()
    number = Decimal("1234567890123456.7891")
    assert one[:8] == (1, -(2**63), 1.5, -1e-300, number, 1, b"\0\xff\\'", date(1001, 2, 28))
    assert one[8:] == (datetime(2024, 10, 27, 0, 30, 0, 123456), datetime(2024, 3, 31, 2, 30))
    assert two[:8] == (2, 0, 0, 0, 0, 0, b"", date(2024, 2, 29))
    assert two[8:] == (datetime(2024, 10, 27, 1, 30), datetime(1969, 12, 31, 23, 59, 59, 999999))
    assert three == (3, *(None,) * 9)


def test_a_new_table_keeps_the_digits_of_a_timestamp(spark: SparkSession, in_mysql: Schema) -> None:
    frame = spark.sql("SELECT TIMESTAMP '2024-01-01 00:00:00.123456' AS at, true AS ok, 'x' AS text")
    prepared(in_mysql, frame, "a").write()
    assert in_mysql.rows() == [(datetime(2024, 1, 1, 0, 0, 0, 123456), b"\x01", "x")]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("tinyint", "300", "Out of range value for column 'v'"),
        ("varchar(3)", "'four'", "Data too long for column 'v'"),
        ("enum('a','b')", "'c'", "Data truncated for column 'v'"),
        ("decimal(4,2)", "123.45", "Out of range value for column 'v'"),
        ("timestamp", "TIMESTAMP '1900-01-01 00:00:00'", "Incorrect datetime value"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_whatever_the_servers_mode(
    spark: SparkSession, in_mysql: Schema, column: str, value: str, message: str
) -> None:
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (v {column} NULL)")
    before = in_mysql.query("SELECT @@global.sql_mode")[0][0]
    in_mysql.query("SET GLOBAL sql_mode = ''")
    try:
        load = prepared(in_mysql, spark.sql(f"SELECT {value} AS v"), "a")
        with pytest.raises(PipelineExecutionException, match=message) as raised:
            load.write()
    finally:
        in_mysql.query(f"SET GLOBAL sql_mode = '{before}'")
    assert not raised.value.retryable
    assert in_mysql.rows() == []


def test_a_table_without_transactions_is_refused(spark: SparkSession, in_mysql: Schema) -> None:
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (id bigint) ENGINE = MyISAM")
    with pytest.raises(PipelineExecutionException, match="without transactions") as raised:
        prepared(in_mysql, spark.range(3), "a")
    assert "ENGINE = InnoDB" in (raised.value.hint or "")


def test_an_array_has_no_place(spark: SparkSession, in_mysql: Schema) -> None:
    with pytest.raises(PipelineExecutionException, match="MySQL can't hold the column 'a'") as raised:
        prepared(in_mysql, spark.sql("SELECT array(1) AS a"), "a")
    assert "to_json(a)" in (raised.value.hint or "")


@pytest.mark.parametrize(("config", "statements"), [({}, 1), ({"batchSize": 100}, 10)])
def test_rows_go_in_batches(spark: SparkSession, in_mysql: Schema, config: dict[str, Any], statements: int) -> None:
    before = len(in_mysql.server.log())
    prepared(in_mysql, spark.range(0, 1000, numPartitions=1), "a", **config).write()
    received = in_mysql.server.log()[before:]
    assert received.count("VALUES (") - received.count("(load_id, target") - received.count("_parts` VALUES") == (
        statements
    )
    assert len(in_mysql.rows()) == 1000


def test_a_row_that_is_larger_than_a_piece_is_sent_alone(spark: SparkSession, in_mysql: Schema) -> None:
    lengths = [3, 2_000_000, 5, 1_500_000, 1_200_000]
    frame = frame_of(spark, list(enumerate(lengths)), "id INT, n INT").selectExpr("id", "repeat('x', n) AS text")
    prepared(in_mysql, frame.coalesce(1), "a").write()
    assert in_mysql.rows(columns="id, length(text)") == list(enumerate(lengths))
