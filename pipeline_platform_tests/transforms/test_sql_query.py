from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from pyspark.errors import AnalysisException

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.sql_query import SqlQueryTransform
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows, rows_of
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

USERS = Table("id BIGINT, name STRING, boss BIGINT", [(1, "Ada", None), (2, "Bob", 1), (3, None, 1), (3, None, 1)])
ORDERS = Table(
    "user_id BIGINT, amount DECIMAL(10,2), `the note` STRING",
    [(1, Decimal("1.10"), "a{b}"), (1, None, "{}"), (2, Decimal("3.00"), None), (9, Decimal("4"), "--")],
)
NAMED: dict[str, Any] = {"users": USERS, "my-orders": ORDERS}


def query(text: str) -> SqlQueryTransform:
    return SqlQueryTransform.model_validate({"query": text})


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        (
            """SELECT u.name, count(o.amount) AS n, sum(amount) AS total FROM users u
               LEFT JOIN `my-orders` o ON u.id = o.user_id GROUP BY u.name""",
            """SELECT u.name, count(o.amount) AS n, sum(amount) AS total FROM users u
               LEFT JOIN "my-orders" o ON u.id = o.user_id GROUP BY u.name""",
        ),
        (
            "SELECT users.id, u2.name FROM users JOIN users AS u2 ON users.boss = u2.id;",
            "SELECT users.id, u2.name FROM users JOIN users AS u2 ON users.boss = u2.id",
        ),
        (
            """WITH users AS (SELECT id, upper(name) AS name FROM users WHERE id < 3),
                    few AS (SELECT * FROM users)
               SELECT few.*, `the note` FROM few JOIN `my-orders` m ON m.user_id = few.id -- to the end""",
            """WITH u AS (SELECT id, upper(name) AS name FROM users WHERE id < 3)
               SELECT u.*, "the note" FROM u JOIN "my-orders" m ON m.user_id = u.id""",
        ),
        (
            "SELECT id FROM users UNION ALL (SELECT user_id FROM `my-orders` EXCEPT SELECT id FROM users)",
            """SELECT id FROM users UNION ALL (SELECT user_id FROM "my-orders" EXCEPT SELECT id FROM users)""",
        ),
        (
            "SELECT *, '{frame_0}' AS `{x}` FROM `my-orders` WHERE `the note` LIKE '%{%' OR `the note` = '--'",
            """SELECT *, '{frame_0}' AS "{x}" FROM "my-orders" WHERE "the note" LIKE '%{%' OR "the note" = '--'""",
        ),
        (
            """SELECT id, (SELECT max(amount) FROM `my-orders` o WHERE o.user_id = users.id) AS most FROM users
               WHERE id IN (SELECT user_id FROM `my-orders`)
               OR NOT EXISTS (SELECT 1 FROM users u WHERE u.boss = users.id)""",
            """SELECT id, (SELECT max(amount) FROM "my-orders" o WHERE o.user_id = users.id) AS most FROM users
               WHERE id IN (SELECT user_id FROM "my-orders")
               OR NOT EXISTS (SELECT 1 FROM users u WHERE u.boss = users.id)""",
        ),
        ("FROM USERS SELECT ID", 'SELECT id AS "ID" FROM users'),
        (
            "SELECT id, letter FROM users LATERAL VIEW explode(split(name, '')) t AS letter WHERE letter <> 'A'",
            "SELECT id, unnest(string_split(replace(name, 'A', ''), '')) AS letter FROM users WHERE name IS NOT NULL",
        ),
        (
            "SELECT n, label FROM range(2) r(n), (VALUES (0, 'zero'), (1, 'one')) AS v(k, label) WHERE n = k",
            "VALUES (0, 'zero'), (1, 'one')",
        ),
    ],
)
def test_it_reads_registered_frames_by_name(spark: Any, text: str, sql: str):
    step = query(text)
    named = {
        name: next(table for key, table in NAMED.items() if key == name.lower()) for _, name in step.referenced_frames()
    }
    if sql.startswith("VALUES"):
        sql = f"SELECT col0 AS n, col1 AS label FROM ({sql})"
    assert_same_rows(applied(spark, step, **named), sql, **NAMED)


def test_the_order_of_the_query_is_kept(spark: Any):
    frame = applied(spark, query("SELECT amount FROM o ORDER BY amount DESC NULLS LAST LIMIT 3"), o=ORDERS)
    assert [row[0] for row in frame.collect()] == [Decimal("4.00"), Decimal("3.00"), Decimal("1.10")]


def test_no_view_is_left_behind_even_when_the_query_is_wrong(spark: Any):
    before = {table.name for table in spark.catalog.listTables()}
    frame = applied(spark, query("SELECT * FROM users"), users=USERS)
    with pytest.raises(AnalysisException, match="nmae"):
        applied(spark, query("SELECT nmae FROM users"), users=USERS).schema  # noqa: B018
    assert {table.name for table in spark.catalog.listTables()} == before
    assert len(rows_of(frame)) == 4


def test_a_view_of_the_same_name_is_neither_read_nor_replaced(spark: Any):
    spark.range(1).createOrReplaceTempView("users")
    try:
        assert len(rows_of(applied(spark, query("SELECT name FROM users"), users=USERS))) == 4
        assert spark.table("users").columns == ["id"]
    finally:
        spark.catalog.dropTempView("users")


def test_queries_that_use_the_same_name_do_not_meet(spark: Any):
    def run(number: int) -> list[int]:
        frame = applied(spark, query("SELECT id FROM t"), t=spark.range(number, number + 1))
        return [row[0] for row in frame.collect()]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(12))) == [[number] for number in range(12)]


def test_a_frame_that_was_not_handed_over_is_named(spark: Any):
    with pytest.raises(PipelineExecutionException, match="reads users"):
        applied(spark, query("SELECT * FROM users"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT * FROM a JOIN b USING (k) JOIN a AS c USING (k)", ["a", "b"]),
        ("WITH x AS (SELECT * FROM a), y AS (SELECT * FROM x) SELECT * FROM y, X", ["a"]),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", ["a"]),
        ("WITH x AS (WITH b AS (SELECT 1) SELECT * FROM b) SELECT * FROM b JOIN x", ["b"]),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT * FROM t JOIN u", ["u"]),
        ("SELECT * FROM (SELECT * FROM `a b`) q WHERE EXISTS (SELECT 1 FROM c WHERE c.k = q.k)", ["a b", "c"]),
        ("SELECT 1 IN (SELECT k FROM d) FROM range(3)", ["d"]),
        ("SELECT * FROM a TABLESAMPLE (10 PERCENT) WHERE x = '${env:WHERE_X}' LIMIT ${env:MOST:-3}", ["a"]),
        ("(SELECT k FROM a INTERSECT SELECT k FROM b) ORDER BY 1", ["a", "b"]),
    ],
)
def test_the_frames_it_reads_are_the_tables_that_are_not_its_own(text: str, names: list[str]):
    step = query(text)
    assert sorted(step.referenced_frames()) == [("query", name) for name in names]
    assert not step.reads_primary()


@pytest.mark.parametrize(
    ("text", "early"),
    [
        ("SELECT * FROM a", False),
        ("SELECT max(x) OVER (ORDER BY y ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM a WHERE x IN (1, 2)", False),
        ("SELECT * FROM a LIMIT 3", True),
        ("SELECT * FROM (SELECT * FROM a ORDER BY x LIMIT 3) JOIN b", True),
        ("SELECT * FROM a OFFSET 3", True),
        ("SELECT * FROM a TABLESAMPLE (10 PERCENT)", True),
        ("SELECT * FROM a FETCH FIRST 3 ROWS ONLY", True),
        ("WITH x AS (SELECT * FROM a LIMIT 1) SELECT * FROM x", True),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b)", True),
        ("SELECT * FROM a WHERE NOT EXISTS (SELECT 1 FROM b)", True),
        ("SELECT * FROM a WHERE k NOT IN (SELECT k FROM b)", True),
    ],
)
def test_it_says_whether_rows_may_stay_unread(text: str, early: bool):
    assert query(text).traits().has_limit is early


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({}, "query", "required"),
        ({"query": "SELEC 1"}, "query", ""),
        ({"query": "SELECT * FROM a WHERE"}, "query", "SQL"),
        ({"query": "DROP TABLE a"}, "query", "SELECT"),
        ({"query": "INSERT INTO a SELECT * FROM b"}, "query", "SELECT"),
        ({"query": "SELECT 1; SELECT 2"}, "query", ""),
        ({"query": "SELECT * FROM delta.`/data/t`"}, "query", "not a registered name"),
        ({"query": "SELECT * FROM ${env:TABLE_OF_MINE}"}, "query", "only stand for a value"),
        ({"query": "SELECT * FROM a", "input": "a"}, "input", "the frames it names"),
    ],
)
def test_a_wrong_query_is_a_config_error_at_its_key(config: dict[str, Any], key: str, message: str):
    found = mistakes(SqlQueryTransform, config)
    assert [where for where, _ in found] == [key]
    assert message in found[0][1]


COLUMNS: dict[str | None, list[str]] = {"users": ["Id", "name", "info"], "my-orders": ["user_id", "Amount"]}


@pytest.mark.parametrize(
    ("text", "lineage"),
    [
        (
            "SELECT u.id, upper(name) x, sum(o.amount) FROM users u JOIN `my-orders` o ON id = user_id GROUP BY 1, 2",
            {"Id": ["users.Id"], "x": ["users.name"], "sum(amount)": ["my-orders.Amount"]},
        ),
        ("SELECT * FROM users", {"Id": ["users.Id"], "name": ["users.name"], "info": ["users.info"]}),
        ("WITH users AS (SELECT id AS k FROM users) SELECT k, count(*) AS n FROM users", {"k": ["users.Id"], "n": []}),
        ("SELECT id FROM users UNION SELECT user_id FROM `my-orders`", {"Id": ["users.Id", "my-orders.user_id"]}),
        ("SELECT info.city, 1 AS one FROM users", {"city": ["users.info"], "one": []}),
        ("SELECT e FROM users LATERAL VIEW explode(info) t AS e", {"e": ["users.info"]}),
        ("SELECT (SELECT max(amount) FROM `my-orders`) AS m FROM users", {"m": ["my-orders.Amount"]}),
        ("SELECT a FROM VALUES (1) AS t(a), users", {"a": []}),
    ],
)
def test_lineage_is_read_from_the_query(text: str, lineage: dict[str, list[str]]):
    assert sources(query(text), COLUMNS, list(lineage)) == lineage


def test_a_query_beyond_sqlglot_has_no_lineage_rather_than_a_guess():
    step = query("SELECT id, id FROM users")
    assert sources(step, COLUMNS, ["id", "id"]) == {"id": []}
