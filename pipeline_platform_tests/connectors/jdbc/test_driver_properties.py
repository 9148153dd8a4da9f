"""Properties reach the JDBC driver under their own names, on a Spark Connect server too: `--on-server`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import StepValue, load, pipeline_of, run
from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.jdbc.mysql.database import MySQL
from pipeline_platform.connectors.jdbc.postgres.database import Postgres
from pipeline_platform.credentials.model import credentials_of
from pipeline_platform.exceptions import PipelineException
from pipeline_platform_tests.connectors.databases import Schema

AT = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (10, 11, 12)]


def frame_of(spark: SparkSession, step: StepValue) -> DataFrame:
    """The frame of an extract alone."""
    config: Any = pipeline_of([step]).steps[0].config.resolved()
    request = config.credential_request()
    return config.read(spark, credentials_of(request.model, request.written))


@pytest.fixture
def in_mysql_far_east(in_mysql: Schema) -> Iterator[Schema]:
    """A server whose own sessions are five hours ahead of UTC, with a table of instants."""
    in_mysql.query("SET GLOBAL time_zone = '+05:00'")
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (id bigint PRIMARY KEY, at timestamp(6) NULL)")
    yield in_mysql
    in_mysql.query("SET GLOBAL time_zone = 'SYSTEM'")


def insert(schema: Schema, *ids: int) -> None:
    rows = ", ".join(f"({id_}, '{AT[id_].replace(tzinfo=None)}')" for id_ in ids)
    schema.at_utc(f"INSERT INTO {schema.name}.t VALUES {rows}")


def test_instants_are_read_at_utc_and_none_is_lost_after_the_cursor(
    spark: SparkSession, in_mysql_far_east: Schema, tmp_path: Path
) -> None:
    steps = [
        in_mysql_far_east.extract(incremental={"cursorColumn": "at"}),
        load("toDeltaLake", path=str(tmp_path / "t")),
    ]
    for new in ([0], [1], [2]):
        insert(in_mysql_far_east, *new)
        run(spark, *steps)
    rows = DeltaTable(tmp_path / "t").to_pyarrow_table().sort_by("id").to_pylist()
    assert [(row["id"], row["at"]) for row in rows] == [*enumerate(AT)]


def test_a_property_of_mysqls_driver_changes_what_is_read(spark: SparkSession, in_mysql: Schema) -> None:
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (flag tinyint(1))")
    in_mysql.query(f"INSERT INTO {in_mysql.name}.t VALUES (2)")
    found = frame_of(spark, in_mysql.extract(properties={"tinyInt1isBit": "false"}))
    assert [tuple(row) for row in found.collect()] == in_mysql.rows() == [(2,)]


def test_a_table_is_looked_for_in_the_schema_that_a_property_names(spark: SparkSession, in_postgres: Schema) -> None:
    table = f"of_{in_postgres.name}"
    in_postgres.query(f"CREATE TABLE public.{table} AS SELECT 'public' AS found")
    in_postgres.query(f"CREATE TABLE {in_postgres.name}.{table} AS SELECT 'own' AS found")
    try:
        step = in_postgres.extract(query=f"SELECT found FROM {table}", properties={"currentSchema": in_postgres.name})
        assert [row.found for row in frame_of(spark, step).collect()] == ["own"]
    finally:
        in_postgres.query(f"DROP TABLE public.{table}")


def test_a_value_of_any_characters_arrives_as_it_is(spark: SparkSession, schema: Schema) -> None:
    named = "a&b=c?d/e+f%20 #ü'"
    if schema.is_postgres:
        step = schema.extract(
            query="SELECT current_setting('application_name') AS named",
            properties={"ApplicationName": named.replace("ü", "u")},
        )
        expected = named.replace("ü", "u")
    else:
        quoted = named.replace("'", "''")
        step = schema.extract(query="SELECT @named AS named", properties={"sessionVariables": f"@named='{quoted}'"})
        expected = named
    assert [row.named for row in frame_of(spark, step).collect()] == [expected]


SECRET = "sesame & open-9%"


@pytest.mark.parametrize("mode", ["extended", "formatted"])
def test_a_plan_shows_neither_the_url_nor_a_password(
    spark: SparkSession, schema: Schema, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    properties = {"trustCertificateKeyStorePassword": SECRET, "sslpassword": SECRET}
    frame_of(spark, schema.extract(query="SELECT 1 AS one", properties=properties)).explain(mode)
    shown = capsys.readouterr().out
    assert "JDBCRelation" in shown
    for hidden in ("jdbc:", "sesame", "KeyStore", schema.server.password):
        assert hidden not in shown


def test_what_a_driver_says_of_a_property_is_redacted(spark: SparkSession, in_mysql: Schema, tmp_path: Path) -> None:
    properties = {"passwordCharacterEncoding": SECRET}
    steps = [in_mysql.extract(query="SELECT 1 AS one", properties=properties), load("toDeltaLake", path=str(tmp_path))]
    with pytest.raises(PipelineException, match=r"Unsupported character encoding '\*\*\*'") as raised:
        run(spark, *steps, retry={"maxAttempts": 1})
    assert "sesame" not in f"{raised.value}{raised.value.config}{raised.value.hint}"


def entered(system: type[MySQL] | type[Postgres], **properties: str) -> dict[str, str]:
    fields = {"host": "::1", "port": 1, "database": "a b/c", "username": "u", "password": "sesame"}
    return system(JdbcCredentials.model_validate({**fields, "properties": properties})).spark_options()


@pytest.mark.parametrize("system", [MySQL, Postgres])
def test_all_but_secrets_without_a_capital_is_in_the_url(system: type[MySQL] | type[Postgres]) -> None:
    options = entered(system, sslMode="REQUIRED", sslpassword=SECRET, keyStorePassword=SECRET, a="b&c=d +")
    assert sorted(options) == ["driver", "password", "sslpassword", "url", "user"]
    assert (options["password"], options["sslpassword"], options["user"]) == ("sesame", SECRET, "u")
    found = urlsplit(options["url"].removeprefix("jdbc:"))
    assert (found.netloc, unquote(found.path)) == ("[::1]:1", "/a b/c")
    values = parse_qs(found.query, strict_parsing=True)
    expected = {"sslMode": "REQUIRED", "keyStorePassword": SECRET, "a": "b&c=d +", "tcpKeepAlive": "true"}
    assert {name: values[name] for name in expected} == {name: [value] for name, value in expected.items()}


def test_no_property_takes_mysql_out_of_utc() -> None:
    zones = {"serverTimezone": "Asia/Tokyo", "connectionTimeZone": "LOCAL", "forceConnectionTimeZoneToSession": "no"}
    query = parse_qs(urlsplit(entered(MySQL, **zones)["url"].removeprefix("jdbc:")).query)
    assert query["connectionTimeZone"] == ["UTC"]
    assert query["forceConnectionTimeZoneToSession"] == ["true"]
    assert "serverTimezone" not in query
