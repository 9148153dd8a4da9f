"""Tables of real databases, what is said of them, and the pipelines that are written for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.connectors.jdbc.catalog import CatalogColumn, CatalogTable
from pipeline_platform.connectors.jdbc.cursor_choice import cursor_of
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.connectors.databases import Schema
from pipeline_platform_tests.duckdb_rows import comparable, rows_of

POSTGRES = """
CREATE TYPE {0}.mood AS ENUM ('happy', 'sad');
CREATE TABLE {0}.customers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail varchar(90) NOT NULL,
  status varchar(9) CONSTRAINT known CHECK (status IN ('new', 'old')), balance numeric, mood {0}.mood,
  updated_at timestamptz NOT NULL DEFAULT now(), CONSTRAINT small CHECK (mail = lower(mail))
);
CREATE INDEX ON {0}.customers (updated_at);
CREATE TABLE {0}.lines ("order" int, line int, qty int NOT NULL CHECK (qty BETWEEN 1 AND 9), price numeric(9,2),
  total numeric(12,2) GENERATED ALWAYS AS (qty * price) STORED, PRIMARY KEY ("order", line));
CREATE TABLE {0}.log (line text, at timestamp);
CREATE TABLE {0}.events (id bigserial PRIMARY KEY, at timestamptz, big numeric(50,2), hundreds numeric(5,-2));
CREATE TABLE {0}."Odd ""Table"" 100%" ("Key Col" int PRIMARY KEY, "100%" int NOT NULL CHECK ("100%" >= 0), v text,
  "lastModified" timestamp NOT NULL);
CREATE TABLE {0}.by_day (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE {0}.by_day_2024 PARTITION OF {0}.by_day FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE VIEW {0}.happy AS SELECT * FROM {0}.customers WHERE mood = 'happy';
INSERT INTO {0}."Odd ""Table"" 100%" VALUES (1, 7, 'ß', '2024-01-01'), (2, 0, NULL, '2024-01-01 10:00:00.5');
INSERT INTO {0}.by_day SELECT n, '2024-01-01' FROM generate_series(1, 40) n;
ANALYZE
"""
MYSQL = """
CREATE TABLE {0}.customers (
  id bigint unsigned AUTO_INCREMENT PRIMARY KEY, mail varchar(90) NOT NULL CHECK (char_length(mail) > 2),
  active tinyint(1) NOT NULL, j json, seen timestamp NOT NULL DEFAULT now() ON UPDATE now(),
  CONSTRAINT spelled CHECK (mail <> 'x'), UNIQUE (mail(10))
);
CREATE TABLE {0}.`odd ``t`` 100%` (`a b` int NOT NULL, `100%` int NOT NULL CHECK (`100%` <= 100), big decimal(60,3),
  hidden int INVISIBLE, twice int AS (`a b` * 2) STORED, UNIQUE (`a b`, `100%`));
CREATE TABLE {0}.plain (x int, y varchar(20) NOT NULL, UNIQUE (y(5)));
CREATE VIEW {0}.looked_at AS SELECT * FROM {0}.plain
"""


def environment_of(schema: Schema) -> dict[str, str]:
    """The variables of its user."""
    entry: dict[str, Any] = schema.server.credentials()
    names = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")
    if not schema.is_postgres:
        names = ("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD")
        entry["database"] = schema.name
    return dict(zip(names, map(str, entry.values()), strict=True))


def discover(schema: Schema, *options: str, **variables: str) -> Result:
    """Ask the database that the schema is in; its tables alone, as a pattern says."""
    environment = environment_of(schema) | variables
    system = "postgres" if schema.is_postgres else "mysql"
    return CliRunner().invoke(app, ["discover", system, *options], env=environment)


def found(schema: Schema, *options: str) -> dict[str, dict[str, Any]]:
    result = discover(schema, "--json", *options)
    assert result.exit_code == 0, result.output
    return {table["table"]: table for table in json.loads(result.stdout)}


def step(table: dict[str, Any], method: str) -> dict[str, Any]:
    return next((one["config"] for one in table["pipeline"]["steps"] if one["method"] == method), {})


def test_postgres_tells_keys_cursors_checks_and_types(in_postgres: Schema):
    in_postgres.query(POSTGRES.format(in_postgres.name))
    name = in_postgres.name
    tables = found(in_postgres, "--tables", f"{name}.*")
    odd = 'Odd "Table" 100%'
    # Partitions are parts of their table.
    assert set(tables) == {"customers", "lines", "log", "events", odd, "by_day", "happy"}
    assert {table: told["key"] for table, told in tables.items() if told["key"]} == {
        "customers": ["id"],
        "lines": ["order", "line"],
        "events": ["id"],
        odd: ["Key Col"],
        "by_day": ["id", "day"],
    }
    assert tables["customers"]["cursor"] == {
        "column": "updated_at",
        "lag": "1 hour",
        "why": "timestamp with time zone, never NULL, indexed",
    }
    assert tables[odd]["cursor"]["column"] == "lastModified"
    assert {"of": "Key Col", "kind": "name of a column"}.items() <= tables[odd]["care"][-1].items()
    assert tables["events"]["cursor"] == {"column": None, "lag": None, "why": "or id, if rows are only ever added"}
    assert tables["by_day"]["rows"] == 40
    assert [care["kind"] for care in tables["customers"]["care"]] == ["numeric", f"{name}.mood", "CHECK small"]
    assert step(tables["customers"], "validateNulls") == {"notNullColumns": ["id", "mail", "updated_at"]}
    assert step(tables["customers"], "validateBusinessRules") == {
        "rules": [{"name": "known", "rule": "status IN ('new', 'old')"}]
    }
    merged, replaced = step(tables["customers"], "toDeltaLake"), step(tables["lines"], "toDeltaLake")
    assert merged["mergeKeys"] == ["id"]
    # A column that is new in the source stops neither.
    assert merged["schemaPolicy"] == {"newColumns": "add", "typeChanges": "widen"}
    assert replaced == {"path": f"lake/{name}_lines", "mode": "overwrite", "overwriteSchema": True}
    assert 'CAST("big" AS text)' in step(tables["events"], "fromPostgres")["query"]
    assert tables["happy"]["pipeline"] is None


def test_mysql_tells_keys_cursors_checks_and_types(in_mysql: Schema):
    for statement in MYSQL.format(in_mysql.name).split(";"):
        in_mysql.query(statement)
    tables = found(in_mysql)
    assert {table: told["key"] for table, told in tables.items()} == {
        "customers": ["id"],
        "odd `t` 100%": ["a b", "100%"],
        "plain": [],
        "looked_at": [],
    }
    assert tables["customers"]["cursor"]["column"] == "seen"
    cared_for = {care["of"]: care["kind"] for care in tables["customers"]["care"]}
    assert cared_for == {"id": "bigint(20) unsigned", "active": "tinyint(1)", "j": "json", None: "CHECK spelled"}
    assert step(tables["customers"], "validateBusinessRules")["rules"][0]["rule"] == "LENGTH(`mail`) > 2"
    odd = tables["odd `t` 100%"]
    assert [column["name"] for column in odd["columns"]] == ["a b", "100%", "big", "twice"]
    assert step(odd, "validateBusinessRules")["rules"][0]["rule"] == "`100%` <= 100"


def test_a_column_that_may_become_null_is_not_validated_for_it(schema: Schema):
    if schema.is_postgres:
        odd, day, more = "timestamp NOT NULL", "date NOT NULL", "clock time NOT NULL"
    else:
        odd, day, more = "datetime NOT NULL DEFAULT '0000-00-00'", "date NOT NULL", "clock time NOT NULL"
    schema.query(
        ("" if schema.is_postgres else "SET STATEMENT sql_mode = '' FOR ")
        + f"CREATE TABLE {schema.name}.t (id int NOT NULL, odd {odd}, day {day}, {more})"
    )
    if schema.is_postgres:
        schema.query(
            f"INSERT INTO {schema.name}.t SELECT 1, 'infinity', '2024-01-01', '12:00' FROM generate_series(1, 9)"
        )
        schema.query(f"ANALYZE {schema.name}.t")
    pattern = ("--tables", f"{schema.name}.*")
    table = found(schema, *pattern)["t"]
    assert step(table, "validateNulls") == {"notNullColumns": ["id", "day", "clock"]}
    assert "validateNulls leaves it out" in next(care["note"] for care in table["care"] if care["of"] == "odd")
    told = found(schema, *pattern, "--config", "invalidDates=null")["t"]
    assert step(told, "validateNulls") == {"notNullColumns": ["id"]}


@pytest.mark.parametrize("grows", [False, True], ids=["as they are", "with one that only grows"])
def test_check_accepts_what_is_written_and_no_file_is_replaced_unasked(schema: Schema, tmp_path: Path, grows: bool):
    options = ("--append-only", "events" if schema.is_postgres else "customers") if grows else ()
    for statement in (POSTGRES if schema.is_postgres else MYSQL).format(schema.name).split(";"):
        schema.query(statement)
    folder = tmp_path / "pipelines"
    arguments = ("--tables", f"{schema.name}.*", "--write", str(folder), *options)
    result = discover(schema, *arguments)
    assert result.exit_code == 0, result.output
    assert len([*folder.iterdir()]) == result.stderr.count("created") == (6 if schema.is_postgres else 3)
    assert CliRunner().invoke(app, ["check", str(folder)]).output == ""
    written = {path: path.read_text() for path in folder.iterdir()}
    if schema.is_postgres:
        events = json.loads(written[folder / f"{schema.name}_events.json"])["steps"][0]["config"]
        assert ("incremental" in events) == grows
    edited = next(iter(written))
    edited.write_text("{}")
    assert f"kept     {edited}" in discover(schema, *arguments).stderr
    assert edited.read_text() == "{}"
    discover(schema, *arguments, "--overwrite")
    assert {path: path.read_text() for path in folder.iterdir()} == written


def test_a_discovered_table_is_copied_as_it_is(
    spark: SparkSession, in_postgres: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    in_postgres.query(POSTGRES.format(in_postgres.name))
    file, table = tmp_path / "odd.json", f'{in_postgres.name}."Odd ""Table"" 100%"'
    lake = tmp_path / "lake"
    result = discover(in_postgres, "--tables", f"{in_postgres.name}.odd*", "--write", str(file), "--lake", str(lake))
    assert result.exit_code == 0, result.output
    for name, value in environment_of(in_postgres).items():
        monkeypatch.setenv(name, value)
    for change in ("SELECT 1", f"UPDATE {table} SET v = 'new', \"lastModified\" = '2024-02-01' WHERE \"Key Col\" = 2"):
        in_postgres.query(change)
        BatchRun(load_pipeline(file, method_registry()), spark).run()
        [folder] = lake.iterdir()
        # delta-rs reads no table whose columns have other names in its files.
        assert rows_of(spark.read.format("delta").load(str(folder))) == comparable(
            in_postgres.at_utc(f"SELECT * FROM {table}")
        )


@pytest.mark.parametrize(
    ("options", "variables", "said"),
    [
        ((), {"PGPASSWORD": "not-the-password", "MYSQL_PASSWORD": "not-the-password"}, "check the user name"),
        ((), {"PGDATABASE": "nowhere", "MYSQL_DATABASE": "nowhere"}, "check 'database'"),
        (("--tables", "nothing*"), {}, "no tables match nothing*"),
        (("--append-only", "nothing*"), {}, "no table matches --append-only nothing*"),
        ((), {"PGPORT": "1", "MYSQL_TCP_PORT": "1"}, "check that the server is up"),
        (("--config", "hots=x"), {}, "unknown key 'hots'"),
    ],
    ids=["password", "database", "no match", "none that grows", "away", "unknown key"],
)
def test_a_mistake_is_told_in_a_line_and_what_to_do_in_another(
    schema: Schema, options: tuple[str, ...], variables: dict[str, str], said: str
):
    schema.query(f"CREATE TABLE {schema.name}.t (id int)")
    result = discover(schema, *options, **variables)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "not-the-password" not in result.output
    assert len(result.stderr.splitlines()) <= 2


def test_a_password_is_not_taken_from_the_command_line(in_postgres: Schema):
    result = discover(in_postgres, "--config", "password=from-the-command-line")
    assert result.exit_code == 2
    assert "from-the-command-line" not in result.output


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("updated_at", True),
        ("lastModified", True),
        ("LAST_UPDATE", True),
        ("order_modified", True),
        ("modification_date", True),
        ("password_changed_at", False),
        ("created_at", False),
        ("update", False),
    ],
)
def test_a_cursor_is_the_time_at_which_the_row_itself_was_changed(name: str, expected: bool):
    columns = [CatalogColumn("id", "int", "integer", False), CatalogColumn(name, "timestamp", "timestamp", False)]
    assert (cursor_of(CatalogTable("s", "orders", "table", columns, key=["id"])).column is not None) == expected


def test_a_column_that_may_be_null_is_no_cursor():
    columns = [
        CatalogColumn("id", "int", "integer", False),
        CatalogColumn("updated_at", "timestamp", "timestamp", True),
    ]
    choice = cursor_of(CatalogTable("s", "orders", "table", columns, key=["id"]))
    assert str(choice) == "none: updated_at may be NULL"
