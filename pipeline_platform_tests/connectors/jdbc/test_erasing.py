"""A person's rows in a table of a database: found and deleted as they are written, whatever the column's collation."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.jdbc.erasing import DatabaseErasure
from pipeline_platform.connectors.jdbc.mysql.sink import ToMySQL
from pipeline_platform.connectors.jdbc.postgres.sink import ToPostgres
from pipeline_platform.credentials.model import credentials_of
from pipeline_platform.steps.erasing import Order, Wanted
from pipeline_platform_tests.connectors.databases import Schema


def _erasure(schema: Schema) -> DatabaseErasure:
    method = ToPostgres if schema.is_postgres else ToMySQL
    step = method.model_validate({"table": f"{schema.name}.t", **schema.credentials()})
    return step.erasure(credentials_of(JdbcCredentials, schema.credentials()))


def _no_spark() -> SparkSession:
    raise AssertionError("no session is needed")


@pytest.mark.parametrize(
    ("column", "value", "left"),
    [
        ("id", "47", [1, 2, 3, 5]),
        ("id", "47abc", [1, 2, 3, 4, 5]),
        ("name", "Ann", [2, 3, 4, 5]),
        ("name", "4' OR '1'='1", [1, 2, 3, 4, 5]),
        ("id", "47.0", [1, 2, 3, 5]),
        ("price", "47.50", [1, 2, 3, 4]),
        ("price", "47.5", [1, 2, 3, 4]),
        ("day", "2026-1-31", [2, 3, 4, 5]),
        ("day", "2026-01-31", [2, 3, 4, 5]),
        ("Missing", "47", [1, 2, 3, 4, 5]),
    ],
)
def test_rows_are_deleted_by_the_very_value(schema: Schema, column: str, value: str, left: list[int]):
    schema.query(f"CREATE TABLE {schema.name}.t (n int, id bigint, name varchar(20), price decimal(9,2), day date)")
    schema.query(
        f"INSERT INTO {schema.name}.t VALUES (1, 1, 'Ann', 1, '2026-01-31'), (2, 470, 'ann', 2, '2026-01-01'), "
        "(3, NULL, 'Ann ', NULL, NULL), (4, 47, NULL, 4, '2026-02-01'), (5, -47, '47', 47.5, '2026-02-01')"
    )
    erasure, wanted = _erasure(schema), Wanted({column: frozenset({value})})
    assert erasure.columns() == ["n", "id", "name", "price", "day"]
    assert erasure.found(wanted, "erase/1").rows == 5 - len(left)
    assert erasure.erase(wanted, Order("erase/1", _no_spark)).rows == 5 - len(left)
    assert [number for [number] in schema.rows(columns="n")] == left
    assert erasure.found(wanted, "erase/1").rows == 0


def test_what_can_not_be_looked_for_is_told(schema: Schema):
    blob = "bytea" if schema.is_postgres else "blob"
    schema.query(f"CREATE TABLE {schema.name}.t (id bigint, share double precision, said {blob}, at timestamp NULL)")
    schema.query(f"INSERT INTO {schema.name}.t VALUES (1, 47, NULL, '2026-01-05 00:00:00')")
    erasure = _erasure(schema)

    def found(column: str, *values: str) -> tuple[int, int]:
        looked = erasure.found(Wanted({column: frozenset(values)}), "erase/1")
        return looked.rows, len(looked.unsearched)

    assert found("id", "1", "abc") == (1, 1)
    assert found("share", "47.0") == (1, 0)
    assert found("at", "2026-01-05T00:00:00") == (1, 0)
    assert found("said", "1") == (0, 1)


def test_a_table_that_is_not_there_holds_nothing(schema: Schema):
    assert _erasure(schema).columns() is None
