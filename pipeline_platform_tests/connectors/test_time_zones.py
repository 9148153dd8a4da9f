"""The machine's time zone never matters: the same times through every system, in its own zone and in others.

What was written is read with each system's own client: psycopg, PyMySQL, deltalake, pyarrow and DuckDB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, transform
from pipeline_platform_tests.connectors import time_cases
from pipeline_platform_tests.connectors.databases import Schema

# What clocks show, among it what no clock in Berlin or New York ever did: summer time begins there.
CLOCKS = [
    datetime(2024, 7, 1, 12, 0),
    datetime(2024, 3, 31, 2, 30),
    datetime(2024, 3, 10, 2, 30),
    datetime(2024, 10, 27, 2, 30, 0, 123000),
    datetime(1969, 12, 31, 23, 59, 59, 999000),
    datetime(1600, 1, 1, 0, 0),
    datetime(9999, 12, 31, 23, 59, 59, 999000),
]
INSTANTS = [clock.replace(tzinfo=UTC) for clock in CLOCKS]
IDS = range(len(CLOCKS))
# MySQL's TIMESTAMP begins in 1970 and ends in 2038.
IN_MYSQL = [instant if 1970 <= instant.year < 2038 else None for instant in INSTANTS]
FILES = ("parquet", "csv", "json")
COLUMNS = ["id", "clock", "instant", "day", "local", "zoned"]


def fill(schema: Schema) -> None:
    """A table of these times, which the system's own client writes in a session at UTC."""
    kind = "timestamp" if schema.is_postgres else "datetime(6)"
    instant = "timestamptz" if schema.is_postgres else "timestamp(6)"
    schema.query(f"CREATE TABLE {schema.name}.source (id int, clock {kind} NULL, instant {instant} NULL, day date)")
    offset = "+00" if schema.is_postgres else ""
    instants = [
        f"'{at.replace(tzinfo=None)}{offset}'" if at is not None else "NULL"
        for at in (INSTANTS if schema.is_postgres else IN_MYSQL)
    ]
    rows = [f"({id_}, '{clock}', {at}, '{clock.date()}')" for id_, clock, at in zip(IDS, CLOCKS, instants, strict=True)]
    schema.at_utc(f"INSERT INTO {schema.name}.source VALUES {', '.join(rows)}")
    # What has no zone is read at UTC where the column has one; MySQL's would not reach far enough.
    zoned = instant if schema.is_postgres else kind
    columns = f"id int, clock {kind} NULL, instant {instant} NULL, day date, local {kind} NULL, zoned {zoned} NULL"
    for table in ("there", "elsewhere"):
        schema.query(f"CREATE TABLE {schema.name}.{table} ({columns})")


@pytest.fixture
def servers_far_east(in_postgres: Schema, in_mysql: Schema) -> Iterator[None]:
    """Servers whose own sessions are in a zone of theirs."""
    user = in_postgres.server.username
    in_postgres.query(f"ALTER ROLE {user} SET TimeZone = 'Asia/Tokyo'")
    in_mysql.query("SET GLOBAL time_zone = '+09:00'")
    yield
    in_mysql.query("SET GLOBAL time_zone = 'SYSTEM'")
    in_postgres.query(f"ALTER ROLE {user} RESET TimeZone")


def pipelines_of(schema: Schema, folder: Path) -> list[dict[str, Any]]:
    """From the schema to every kind of sink; partitioned by a timestamp under another zone of Spark's, and back."""
    read = [schema.extract(table="source"), with_clocks("CAST(clock AS TIMESTAMP_NTZ)")]
    filtered = [
        transform("filterRows", condition="clock > TIMESTAMP '2024-07-01 11:59:59' AND id < 6"),
        load("toFiles", path=f"{folder}/filtered", format="parquet"),
    ]
    # What a cast shows is the clock of the session's zone.
    in_utc_again = "convert_timezone('America/Los_Angeles', 'UTC', CAST(clock AS TIMESTAMP_NTZ))"
    read_in_the_west = [schema.extract(table="source"), with_clocks(in_utc_again)]
    in_the_west = {"spark.sql.session.timeZone": "America/Los_Angeles"}
    if not schema.is_postgres:
        parquet = load("toFiles", path=f"{folder}/parquet", format="parquet")
        return [
            {"steps": [*read, parquet, schema.load("there"), *filtered]},
            {"steps": [*read_in_the_west, schema.load("elsewhere")], "sparkConf": in_the_west},
        ]
    files = [load("toFiles", path=f"{folder}/{format_}", format=format_) for format_ in FILES]
    by_clock = f"{folder}/by_clock"
    partitioned = load("toDeltaLake", path=by_clock, partitionBy=["clock"])
    again = load("toFiles", path=f"{folder}/from_partitions", format="parquet")
    return [
        {"steps": [*read, *files, schema.load("there"), schema.load("new"), *filtered]},
        {"steps": [*read_in_the_west, partitioned, schema.load("elsewhere")], "sparkConf": in_the_west},
        {"steps": [extract("fromDeltaLake", path=by_clock), again]},
    ]


def with_clocks(expression: str) -> dict[str, Any]:
    """Two columns of this expression; one of them goes into a column with a zone."""
    return transform("enrichData", columns={"local": expression, "zoned": expression})


@pytest.mark.usefixtures("servers_far_east")
@pytest.mark.parametrize(
    "zone", [None, *(pytest.param(zone, marks=pytest.mark.in_jvm) for zone in ("America/New_York", "Asia/Kolkata"))]
)
def test_times_are_the_same_whatever_the_zone_of_the_machine(
    in_postgres: Schema, in_mysql: Schema, tmp_path: Path, spark: SparkSession, zone: str | None
) -> None:
    schemas = {"postgres": in_postgres, "mysql": in_mysql}
    for schema in schemas.values():
        fill(schema)
    pipelines = [one for name, schema in schemas.items() for one in pipelines_of(schema, tmp_path / name)]
    file = tmp_path / "pipelines.json"
    file.write_text(json.dumps(pipelines))
    if zone is None:
        time_cases.carried_out(file, spark)
    else:
        command = [sys.executable, "-m", time_cases.__name__, str(file)]
        done = subprocess.run(command, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    for name, schema in schemas.items():
        instants = INSTANTS if schema.is_postgres else IN_MYSQL
        expected = [(id_, INSTANTS[id_], instants[id_], CLOCKS[id_].date(), CLOCKS[id_], CLOCKS[id_]) for id_ in IDS]
        for folder in (*FILES, "from_partitions") if schema.is_postgres else ("parquet",):
            format_ = folder if folder in FILES else "parquet"
            assert by_duckdb(tmp_path / name / folder, format_) == expected, folder
        assert [row[0] for row in by_duckdb(tmp_path / name / "filtered", "parquet")] == [0, 3]
        for table in ("there", "elsewhere", *(("new",) if schema.is_postgres else ())):
            found = schema.at_utc(f"SELECT {', '.join(COLUMNS)} FROM {schema.name}.{table} ORDER BY id")
            assert [at_utc(row) for row in found] == [at_utc(row) for row in expected], table
        parquet = ds.dataset(tmp_path / name / "parquet", format="parquet").to_table(columns=COLUMNS)
        found = [parquet]
        if schema.is_postgres:
            found.append(DeltaTable(tmp_path / name / "by_clock").to_pyarrow_table(columns=COLUMNS))
        for table in found:
            assert [tuple(row.values()) for row in table.sort_by("id").to_pylist()] == expected


def by_duckdb(folder: Path, format_: str) -> list[tuple[Any, ...]]:
    """The rows of files, each value of the type it was written in."""
    columns = "{id: 'INT', clock: 'VARCHAR', instant: 'VARCHAR', day: 'VARCHAR', local: 'VARCHAR', zoned: 'VARCHAR'}"
    options = {"csv": ", all_varchar = true", "json": f", columns = {columns}"}.get(format_, "")
    kinds = "id::INT, clock::TIMESTAMPTZ, instant::TIMESTAMPTZ, day::DATE, local::TIMESTAMP, zoned::TIMESTAMP"
    with duckdb.connect() as connection:
        query = f"SELECT {kinds} FROM read_{format_}('{folder}/*.{format_}'{options}) ORDER BY 1"
        rows = connection.execute(query).fetchall()
    return [tuple(in_utc(value) for value in row) for row in rows]


def in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


def at_utc(row: tuple[Any, ...]) -> list[Any]:
    """What clocks at UTC show, of times with a zone and of those without."""
    return [value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in map(in_utc, row)]
