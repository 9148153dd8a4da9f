from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pyspark.errors import AnalysisException

from pipeline_platform.transforms.enrich_data import EnrichData
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

SALES = Table(
    "id BIGINT, amount DECIMAL(10,2), rate DOUBLE, `unit price` INT",
    [
        (1, Decimal("10.50"), 0.5, 3),
        (2, None, float("nan"), None),
        (3, Decimal("-1.25"), None, 0),
        (3, Decimal("-1.25"), None, 0),
    ],
)


def enrich(**columns: str) -> EnrichData:
    return EnrichData.model_validate({"columns": columns})


def test_a_column_may_use_those_written_before_it(spark: Any):
    step = enrich(double="amount * 2", more="double + 1", text="concat('#', cast(more AS STRING))")
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT *, amount * 2 AS double, amount * 2 + 1 AS more,
                  '#' || CAST(amount * 2 + 1 AS STRING) AS text FROM sales""",
        sales=SALES,
    )


def test_a_replaced_column_is_what_later_expressions_see_and_stays_in_its_place(spark: Any):
    step = enrich(id="id * 10", twice="id * 2", ID="id + 1", last="id", n="1", N="amount")
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT id * 10 + 1 AS "ID", amount, rate, "unit price", id * 20 AS twice, id * 10 + 1 AS last,
                  amount AS "N" FROM sales""",
        sales=SALES,
    )


def test_names_with_spaces_and_dots_are_names(spark: Any):
    step = EnrichData.model_validate({"columns": {"a.b": "`unit price` + 1", "c d": "`a.b` * 2"}})
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT *, "unit price" + 1 AS "a.b", ("unit price" + 1) * 2 AS "c d" FROM sales""",
        sales=SALES,
    )


def test_explode_may_stand_beside_other_columns_and_changes_the_number_of_rows(spark: Any):
    step = enrich(n="explode(sequence(1, `unit price`))", m="explode(array(n, 7))", s="n + m")
    table = Table("id BIGINT, `unit price` INT", [(1, 3), (2, 1)])
    assert_same_rows(
        applied(spark, step, table),
        """SELECT id, "unit price", n, m, n + m AS s FROM (
             SELECT *, unnest([n, 7]) AS m FROM (
               SELECT *, unnest(generate_series(1, "unit price")) AS n FROM t))""",
        t=table,
    )
    assert not step.traits().keeps_row_count
    assert enrich(a="id + 1", b="a").traits().keeps_row_count


def test_a_missing_column_is_named_with_what_there_is(spark: Any):
    with pytest.raises(AnalysisException, match=r"`amuont`.*Did you mean.*`amount`"):
        applied(spark, enrich(x="amuont + 1"), SALES).schema  # noqa: B018


def test_a_syntax_error_is_found_without_spark():
    [(key, message)] = mistakes(EnrichData, {"columns": {"x": "amount +"}})
    assert key == "columns"
    assert "SQL syntax" in message


def test_it_needs_a_column():
    assert [key for key, _ in mistakes(EnrichData, {"columns": {}})] == ["columns"]
    assert [key for key, _ in mistakes(EnrichData, {})] == ["columns"]


def test_lineage_goes_through_columns_of_the_same_step_to_those_of_the_input():
    step = enrich(total="price * qty", gross="total * (1 + tax.rate)", price="1", again="price", n="gross")
    columns: dict[str | None, list[str]] = {None: ["Price", "qty", "tax", "other"]}
    assert sources(step, columns, ["price", "qty", "tax", "other", "total", "gross", "again", "n"]) == {
        "price": [],
        "qty": ["qty"],
        "tax": ["tax"],
        "other": ["other"],
        "total": ["Price", "qty"],
        "gross": ["Price", "qty", "tax"],
        "again": [],
        "n": ["Price", "qty", "tax"],
    }


def test_lineage_knows_lambdas_stars_and_counts():
    step = enrich(a="transform(xs, x -> x + y)", b="struct(*)", c="count(*) OVER (PARTITION BY k)")
    columns: dict[str | None, list[str]] = {"orders": ["xs", "y", "k"]}
    found = sources(step, columns, ["a", "b", "c"])
    assert found["a"] == ["orders.xs", "orders.y"]
    assert set(found["b"]) == {"orders.xs", "orders.y", "orders.k"}
    assert found["c"] == ["orders.k"]
