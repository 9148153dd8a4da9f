"""CHECK constraints as rules: true of the same rows, or left out."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import pipeline_of
from pipeline_platform.connectors.jdbc.catalog import Kind
from pipeline_platform.connectors.jdbc.check_rules import Untranslatable, spark_rule
from pipeline_platform.credentials.model import credentials_of
from pipeline_platform_tests.connectors.databases import Schema

KINDS: dict[str, Kind] = {
    "n": "integer",
    "price": "decimal",
    "day": "date",
    "at": "timestamp",
    "name": "text",
    "ok": "boolean",
    "Odd Name": "integer",
    "mood": "other",
}
WRITTEN = [
    "n > 0 AND (price > 0 OR ok)",
    "name IN ('it''s', 'back\\slash', 'ünï')",
    "name NOT IN ('it''s', 'b')",
    "name LIKE 'b%' OR name NOT LIKE '%s'",
    "NOT ok OR n IS NULL",
    "ok IS NOT TRUE",
    "name IS NOT NULL",
    "day >= '2024-02-01' AND day IS NOT NULL",
    "at < '2024-01-02 00:00:00+00'",
    "n NOT BETWEEN -1 AND 5",
    "n IS DISTINCT FROM 5",
    "char_length(name) <= 4",
    "price < n",
    "n + 1 < 6",
    '"Odd Name" = ANY (ARRAY[1, -1])',
    "n <> -1 AND price <> 0.5",
    "ok OR false",
]


def test_a_rule_of_a_pipeline_is_true_of_the_rows_that_postgres_accepts(spark: SparkSession, in_postgres: Schema):
    table = f"{in_postgres.name}.t"
    in_postgres.query(
        f"CREATE TABLE {table} (id int, n int, price numeric(10,2), day date, at timestamptz, name text, ok boolean, "
        '"Odd Name" int)'
    )
    in_postgres.query(
        f"INSERT INTO {table} VALUES (1, 5, 0.5, '2024-02-01', '2024-01-01 23:59:59Z', 'it''s', true, 1), "
        "(2, -1, -0.5, '2024-01-31', '2024-01-02 00:00Z', 'back\\slash', false, -1), "
        "(3, 6, 7, '2025-01-01', '2025-01-01Z', 'ünï', NULL, 2), (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL), "
        "(5, 0, 0, '2024-01-01', '2020-01-01Z', 'b', false, 0)"
    )
    step: Any = pipeline_of([in_postgres.extract()]).steps[0].config.resolved()
    need = step.credential_request()
    frame = step.read(spark, credentials_of(need.model, need.written)).cache()
    for condition in WRITTEN:
        # As the catalog has it once it is a constraint.
        in_postgres.query(f"ALTER TABLE {table} ADD CONSTRAINT c CHECK ({condition}) NOT VALID")
        [(kept,)] = in_postgres.query(
            f"SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conrelid = '{table}'::regclass"
        )
        in_postgres.query(f"ALTER TABLE {table} DROP CONSTRAINT c")
        accepted = in_postgres.query(f"SELECT id FROM {table} WHERE ({condition}) IS NOT FALSE ORDER BY id")
        rule = spark_rule(kept, "postgres", KINDS)
        rows = frame.where(f"coalesce(({rule}), true)").select("id").orderBy("id").collect()
        assert [tuple(row) for row in rows] == accepted, rule


@pytest.mark.parametrize(
    ("dialect", "condition", "reason"),
    [
        ("postgres", "((name)::text ~ '^a'::text)", "~"),
        ("postgres", "(lower(name) = name)", "LOWER"),
        ("postgres", "(name > 'a'::text)", "text by a collation"),
        ("postgres", "(name LIKE 'a!%' ESCAPE '!')", "ESCAPE"),
        ("postgres", "((name)::text ~~ 'a\\_'::text)", "LIKE"),
        ("postgres", "(mood = 'sad'::mood)", "mood"),
        ("postgres", "((n / 2) = 1)", "n / 2"),
        ("postgres", "((name)::character varying(2) = 'ab'::text)", "VARCHAR"),
        ("postgres", "(name <> '${env:HOME}'::text)", "something else in a pipeline"),
        ("postgres", "n BETWEEN SYMMETRIC 5 AND 1", "SYMMETRIC"),
        ("postgres", "(other = 1)", "column other"),
        ("postgres", "(n >", "parsed"),
        ("mysql", "`name` in (_utf8mb4'a')", "_utf8mb4"),
        ("mysql", "`name` <> 'a'", "text by a collation"),
        ("mysql", "length(`name`) > 1", "LENGTH"),
        ("mysql", "`at` >= '2024-01-01'", "text and timestamp"),
        ("mysql", "`day` >= '2024-01-01 10:00:00'", "the time"),
        ("mysql", "`ok` in (0,1)", "boolean and integer"),
    ],
)
def test_what_spark_might_see_otherwise_is_left_out(dialect: Literal["postgres", "mysql"], condition: str, reason: str):
    with pytest.raises(Untranslatable, match=re.escape(reason)):
        spark_rule(condition, dialect, KINDS)


def test_mysql_has_times_as_texts():
    assert spark_rule("`day` >= '2024-01-01'", "mysql", KINDS) == "`day` >= CAST('2024-01-01' AS DATE)"
