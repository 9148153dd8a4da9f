"""What PostgreSQL holds after a load, value by value, as psycopg reads it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import json_rows, last_step, run
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform_tests.connectors.databases import Schema, until
from pipeline_platform_tests.connectors.jdbc.test_sinks import COLUMNS, THREE, prepared
from pipeline_platform_tests.duckdb_rows import frame_of

TEXTS = [
    None,
    "",
    " ",
    '"',
    '""',
    ",",
    "a,b",
    "\n",
    "\r\n",
    "\\",
    "\\N",
    "\\.",
    "line\n\\.\nline",
    "NULL",
    "'; DROP TABLE t; --",
    "tab\t",
    "ünïcode ✓ 𝄞",
    "{1,2}",
    "x" * 100_000,
]


def test_any_text_arrives_as_it_is(spark: SparkSession, in_postgres: Schema) -> None:
    frame = frame_of(spark, list(enumerate(TEXTS)), "id INT, text STRING")
    prepared(in_postgres, frame, "a").write()
    assert in_postgres.rows() == list(enumerate(TEXTS))


@pytest.mark.parametrize("text", [None, "", "a\nb"])
def test_a_table_of_one_column_has_a_row_for_every_row(spark: SparkSession, in_postgres: Schema, text: Any) -> None:
    prepared(in_postgres, frame_of(spark, [(text,), (text,)], "text STRING"), "a").write()
    assert in_postgres.rows() == [(text,), (text,)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new table", "table"])
def test_every_type_arrives_as_it_is(spark: SparkSession, in_postgres: Schema, zone: str, is_new: bool) -> None:
    if not is_new:
        in_postgres.query(
            f"CREATE TABLE {in_postgres.name}.t (id smallint, n bigint, f real, d double precision, x numeric(20,4), "
            "ok boolean, raw bytea, day date, at timestamptz, clock timestamp, numbers int[], texts text[])"
        )
    with spark_settings(spark, {"spark.sql.session.timeZone": zone}):
        frame = spark.sql(
            """
            SELECT 1S AS id, -9223372036854775808L AS n, float('1.1') AS f, double('-1e-300') AS d,
              CAST('1234567890123456.7891' AS DECIMAL(20,4)) AS x, true AS ok, X'00ff5c' AS raw,
              DATE '0101-02-28' AS day, TIMESTAMP '2024-10-27 00:30:00.123456Z' AS at,
              TIMESTAMP_NTZ '2024-03-31 02:30:00' AS clock, array(1, NULL, -3) AS numbers,
              array('a,b', '', NULL, '"{\\\\}"', 'NULL') AS texts
            UNION ALL SELECT 2S, 0L, float('NaN'), double('-Infinity'), 0, false, X'', DATE '2024-02-29',
              TIMESTAMP '2024-10-27 01:30:00Z', TIMESTAMP_NTZ '1969-12-31 23:59:59.999999', array(), array()
            UNION ALL SELECT 3S, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            """
        )
        prepared(in_postgres, frame, "a").write()
    one, two, three = in_postgres.rows()
    number = Decimal("1234567890123456.7891")
    assert one[:8] == (1, -(2**63), pytest.approx(1.1, rel=1e-6), -1e-300, number, True, b"\0\xff\\", date(101, 2, 28))
    assert one[8].astimezone(UTC) == datetime(2024, 10, 27, 0, 30, 0, 123456, tzinfo=UTC)
    assert one[9] == datetime(2024, 3, 31, 2, 30)
    assert one[10:] == ([1, None, -3], ["a,b", "", None, '"{\\}"', "NULL"])
    assert math.isnan(two[2])
    assert two[3:8] == (-math.inf, 0, False, b"", date(2024, 2, 29))
    assert two[8].astimezone(UTC) == datetime(2024, 10, 27, 1, 30, tzinfo=UTC)
    assert two[9:] == (datetime(1969, 12, 31, 23, 59, 59, 999999), [], [])
    assert three == (3, *(None,) * 11)


def test_types_that_spark_does_not_have_take_text(spark: SparkSession, in_postgres: Schema) -> None:
    in_postgres.query(f"CREATE TYPE {in_postgres.name}.mood AS ENUM ('glad', 'sad')")
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t (u uuid, j jsonb, m {in_postgres.name}.mood, i inet)")
    frame = spark.sql(
        "SELECT '6c1d1bd5-4c2c-4f3c-9b5c-0a5d6a1f0f11' AS u, '{\"a\": [1]}' AS j, 'sad' AS m, '10.0.0.1' AS i"
    )
    prepared(in_postgres, frame, "a").write()
    assert in_postgres.rows(columns="u::text, j->'a'->>0, m::text, host(i)") == [
        ("6c1d1bd5-4c2c-4f3c-9b5c-0a5d6a1f0f11", "1", "sad", "10.0.0.1")
    ]
    with pytest.raises(PipelineExecutionException, match=r"invalid input value for enum .*mood.* \(column m\)"):
        prepared(in_postgres, frame.selectExpr("u", "'cross' AS m"), "b").write()


def test_numbers_that_the_database_hands_out_are_left_to_it(spark: SparkSession, in_postgres: Schema) -> None:
    in_postgres.query(
        f"CREATE TABLE {in_postgres.name}.t (id int GENERATED ALWAYS AS IDENTITY, n int NOT NULL, "
        "twice int GENERATED ALWAYS AS (n * 2) STORED)"
    )
    prepared(in_postgres, spark.sql("SELECT 21 AS n"), "a").write()
    assert in_postgres.rows() == [(1, 21, 42)]
    with pytest.raises(PipelineExecutionException, match=r"'twice' .* is computed by the database"):
        prepared(in_postgres, spark.sql("SELECT 21 AS n, 1 AS twice"), "b")


def test_a_user_who_may_only_insert_can_load(spark: SparkSession, in_postgres: Schema, tmp_path: Path) -> None:
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t (id bigint, name text)")
    entering = in_postgres.make_user("writer_alone", f"INSERT ON {in_postgres.name}.t")
    rows = json_rows(tmp_path / "rows.json", THREE, COLUMNS)
    assert last_step(run(spark, rows, in_postgres.load(entering=entering))).rows == 1
    with pytest.raises(PipelineExecutionException, match="no right to DELETE"):
        run(spark, rows, in_postgres.load(entering=entering, mode="overwrite"))


def test_a_connection_that_is_cut_while_rows_are_copied_is_made_again(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path
) -> None:
    where = in_postgres.name
    in_postgres.query(f"CREATE SEQUENCE {where}.cuts")
    in_postgres.query(
        f"CREATE FUNCTION {where}.passes(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
        f"IF id = 2500 AND nextval('{where}.cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); "
        "END IF; RETURN true; END $$"
    )
    # The staging table has the types of the target, their checks included.
    in_postgres.query(f"CREATE DOMAIN {where}.key AS bigint CHECK ({where}.passes(VALUE))")
    in_postgres.query(f"CREATE TABLE {where}.t (id {where}.key, name text)")
    rows = [{"id": n, "name": "many"} for n in range(3000)]
    steps = json_rows(tmp_path / "rows.json", rows, COLUMNS), in_postgres.load()
    metrics = run(spark, *steps, retry={"delaySeconds": 0})
    assert metrics.attempts == 2
    assert [row[0] for row in in_postgres.rows()] == list(range(3000))
    assert in_postgres.tables() == ["t"]


def test_a_server_that_falls_silent_while_rows_are_copied_is_given_up(spark: SparkSession, in_postgres: Schema) -> None:
    where = in_postgres.name
    in_postgres.query(
        f"CREATE FUNCTION {where}.passes(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
        "IF id = 2500 THEN PERFORM pg_sleep(4); END IF; RETURN true; END $$"
    )
    in_postgres.query(f"CREATE DOMAIN {where}.key AS bigint CHECK ({where}.passes(VALUE))")
    in_postgres.query(f"CREATE TABLE {where}.t (id {where}.key)")
    in_postgres.query(f"INSERT INTO {where}.t VALUES (9)")
    load = prepared(in_postgres, spark.range(0, 3000, numPartitions=1), "a", timeoutSeconds=1, mode="overwrite")
    with pytest.raises(PipelineExecutionException, match=r"the server was silent for 1 s; 'timeoutSeconds'") as raised:
        load.write()
    assert raised.value.retryable
    assert in_postgres.rows() == [(9,)]


def test_rows_that_a_crash_took_out_of_staging_are_loaded_again(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path
) -> None:
    server, gate = in_postgres.server, tmp_path / "open"
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t (id bigint)")

    def wait(batches: Iterable[Any]) -> Iterable[Any]:
        from pyspark import TaskContext

        context = TaskContext.get()
        while context is not None and context.partitionId() > 0 and not gate.exists():
            time.sleep(0.05)
        yield from batches

    frame = spark.range(0, 60, numPartitions=4).mapInArrow(wait, "id BIGINT")
    load = prepared(in_postgres, frame, "a")

    def is_noted() -> bool:
        parts = [name for name in in_postgres.tables() if name.endswith("_parts")]
        return bool(parts and in_postgres.rows(parts[0]))

    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(load.write)
        until(is_noted)
        # At its recovery the server empties what is unlogged.
        server.server.kill()
        server.server.start()
        gate.touch()
        with pytest.raises(PipelineExecutionException, match="60 rows were staged, and the server has 45") as raised:
            running.result()
    assert raised.value.retryable
    assert in_postgres.rows() == []
    assert prepared(in_postgres, frame, "a").write().rows == 60
    assert in_postgres.rows() == [(n,) for n in range(60)]
    assert in_postgres.tables() == ["t"]


@pytest.mark.parametrize(("config", "connections"), [({}, 4), ({"numPartitions": 2}, 2)])
def test_no_more_connections_write_than_are_allowed(
    spark: SparkSession, in_postgres: Schema, config: dict[str, Any], connections: int
) -> None:
    before = len(in_postgres.server.log())
    prepared(in_postgres, spark.range(0, 1000, numPartitions=4), "a", **config).write()
    assert in_postgres.server.log()[before:].count(" COPY ") == connections
    assert len(in_postgres.rows()) == 1000


def test_a_load_is_not_seen_before_it_is_whole(spark: SparkSession, in_postgres: Schema) -> None:
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.t (id bigint)")
    in_postgres.query(f"INSERT INTO {in_postgres.name}.t VALUES (-1)")
    seen: list[int] = []
    load = prepared(in_postgres, spark.range(1000), "a", mode="overwrite")
    publish = type(load).publish

    def looked_at(self: Any, *arguments: Any) -> Any:
        seen.append(len(in_postgres.rows()))
        written = publish(self, *arguments)
        seen.append(len(in_postgres.rows()))
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(load), "publish", looked_at)
        load.write()
    assert seen == [1, 1000]
