from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.aggregate_data import AggregateData
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows, rows_of
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

SALES = Table(
    "region STRING, shop INT, amount DECIMAL(10,2), qty INT, `unit.price` DOUBLE, `sold at` TIMESTAMP",
    [
        ("eu", 1, Decimal("10.50"), 2, 1.5, datetime(2024, 1, 1, 0, 3)),
        ("eu", 1, None, 3, None, datetime(2024, 1, 1, 0, 14, 59)),
        ("eu", 2, Decimal("-3.25"), None, 2.5, datetime(2024, 1, 1, 0, 15)),
        ("us", 1, None, None, 0.1, datetime(2024, 1, 1, 0, 15)),
        (None, None, Decimal("7.00"), 4, 0.2, datetime(2024, 1, 2, 23, 59, 59)),
        (None, None, Decimal("7.00"), 4, 0.2, None),
    ],
)


def aggregate(**config: Any) -> AggregateData:
    return AggregateData.model_validate(config)


def test_a_function_makes_a_column_named_after_column_and_function(spark: Any):
    step = aggregate(
        groupBy=["region", "shop"],
        aggregations={"amount": "sum", "qty": "Mean", "unit.price": "max", "sold at": "MIN", "shop": "count"},
    )
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT region, shop, sum(amount) AS amount_sum, avg(qty) AS qty_avg,
                  max("unit.price") AS "unit.price_max", min("sold at") AS "sold at_min", count(shop) AS shop_count
           FROM sales GROUP BY ALL""",
        sales=SALES,
    )


def test_both_forms_may_be_mixed(spark: Any):
    step = aggregate(
        groupBy="region",
        aggregations={
            "total": "sum(amount * qty)",
            "n": "count(*)",
            "amount": "avg",
            "shops": "count(DISTINCT shop)",
            "dear": "sum(amount) FILTER (WHERE amount > 0)",
            "most": "max(`unit.price`) + 1",
        },
    )
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT region, sum(amount * qty) AS total, count(*) AS n, avg(amount) AS amount_avg,
                  count(DISTINCT shop) AS shops, sum(amount) FILTER (amount > 0) AS dear, max("unit.price") + 1 AS most
           FROM sales GROUP BY region""",
        sales=SALES,
    )


@pytest.mark.parametrize("config", [{}, {"groupBy": []}])
def test_without_a_group_there_is_one_row_even_for_an_empty_frame(spark: Any, config: dict[str, Any]):
    step = aggregate(aggregations={"qty": "sum", "n": "count(*)"}, **config)
    for table in (SALES, Table(SALES.columns, [])):
        assert_same_rows(applied(spark, step, table), "SELECT sum(qty) AS qty_sum, count(*) AS n FROM t", t=table)


def test_group_columns_may_have_dots_and_spaces(spark: Any):
    step = aggregate(groupBy=["unit.price", "sold at"], aggregations={"qty": "sum"})
    assert_same_rows(
        applied(spark, step, SALES),
        'SELECT "unit.price", "sold at", sum(qty) AS qty_sum FROM sales GROUP BY ALL',
        sales=SALES,
    )


def test_nan_and_negative_zero_make_one_group_each(spark: Any):
    table = Table("x DOUBLE, n INT", [(float("nan"), 1), (float("nan"), 2), (0.0, 3), (-0.0, 4), (None, 5)])
    frame = applied(spark, aggregate(groupBy="x", aggregations={"n": "sum"}), table)
    assert_same_rows(frame, "SELECT x + 0 AS x, sum(n) AS n_sum FROM t GROUP BY 1", t=table)


def test_a_window_groups_by_time_span(spark: Any):
    step = aggregate(
        groupBy=["region"],
        aggregations={"qty": "sum"},
        window={"column": "sold at", "duration": "15 minutes"},
        watermark={"column": "sold at", "delay": "1 hour"},
    )
    frame = applied(spark, step, SALES)
    assert frame.columns == ["window", "region", "qty_sum"]
    assert_same_rows(
        frame.selectExpr("window.start AS start", "window.end AS stop", "region", "qty_sum"),
        """SELECT time_bucket(INTERVAL '15 minutes', "sold at") AS start, start + INTERVAL '15 minutes' AS stop,
                  region, sum(qty) AS qty_sum FROM sales WHERE "sold at" IS NOT NULL GROUP BY ALL""",
        sales=SALES,
    )


def test_sliding_windows_hold_a_row_more_than_once(spark: Any):
    step = aggregate(
        aggregations={"n": "count(*)"}, window={"column": "sold at", "duration": "10 minutes", "slide": "5 minutes"}
    )
    assert_same_rows(
        applied(spark, step, SALES).selectExpr("window.start AS start", "n"),
        """SELECT time_bucket(INTERVAL '5 minutes', "sold at") - offs * INTERVAL '5 minutes' AS start, count(*) AS n
           FROM sales, (VALUES (0), (1)) o(offs) WHERE "sold at" IS NOT NULL GROUP BY ALL""",
        sales=SALES,
    )


def test_a_watermark_has_no_effect_in_batch(spark: Any):
    config: dict[str, Any] = {"groupBy": ["sold at"], "aggregations": {"qty": "sum"}}
    with_it = applied(spark, aggregate(watermark={"column": "sold at", "delay": "1 second"}, **config), SALES)
    without = applied(spark, aggregate(**config), SALES)
    assert with_it.schema == without.schema
    assert [field.metadata for field in with_it.schema] == [{}, {}]
    assert_same_rows(with_it, 'SELECT "sold at", sum(qty) AS qty_sum FROM sales GROUP BY ALL', sales=SALES)


def test_a_stream_is_aggregated_with_a_watermark(spark: Any, tmp_path: Path):
    source = tmp_path / "in"
    SALES.frame(spark).withColumnRenamed("sold at", "at").coalesce(1).write.parquet(str(source))
    files = spark.readStream.schema("region STRING, qty INT, at TIMESTAMP").parquet(str(source))
    step = aggregate(
        groupBy="region",
        aggregations={"qty": "sum"},
        watermark={"column": "at", "delay": "1 minute"},
        window={"column": "at", "duration": "15 minutes"},
    )
    query = (
        applied(spark, step, files)
        .writeStream.outputMode("update")
        .format("memory")
        .queryName("aggregated_stream")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    assert query.awaitTermination(120)
    assert query.lastProgress is not None
    assert "watermark" in query.lastProgress["eventTime"]
    assert_same_rows(
        spark.table("aggregated_stream").selectExpr("window.start AS start", "region", "qty_sum"),
        """SELECT time_bucket(INTERVAL '15 minutes', "sold at") AS start, region, sum(qty) AS qty_sum
           FROM sales WHERE "sold at" IS NOT NULL GROUP BY ALL""",
        sales=SALES,
    )
    spark.catalog.dropTempView("aggregated_stream")


@pytest.mark.parametrize(
    "config",
    [
        {"groupBy": "regoin", "aggregations": {"qty": "sum"}},
        {"groupBy": "region", "aggregations": {"regoin": "sum"}},
        {"aggregations": {"qty": "sum"}, "window": {"column": "regoin", "duration": "1 day"}},
        {"aggregations": {"qty": "sum"}, "watermark": {"column": "regoin", "delay": "1 day"}},
    ],
)
def test_a_missing_column_is_named_with_a_hint(spark: Any, config: dict[str, Any]):
    with pytest.raises(PipelineExecutionException, match="no column 'regoin'; the columns are region, shop") as raised:
        applied(spark, aggregate(**config), SALES)
    assert raised.value.hint == "did you mean 'region'?"


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({"aggregations": {"qty": "summ"}}, "aggregations", "did you mean 'sum'?"),
        ({"aggregations": {"qty": "sum of it"}}, "aggregations", "neither one of sum, avg"),
        ({"aggregations": {}}, "aggregations", "at least 1"),
        ({"groupBy": "x"}, "aggregations", "required"),
        ({"aggregations": {"x": "avg", "x_avg": "avg(y)"}}, "aggregations", "more than one column x_avg"),
        ({"groupBy": ["n"], "aggregations": {"N": "count(*)"}}, "aggregations", "more than one column"),
        (
            {"groupBy": ["window"], "aggregations": {"n": "count(*)"}, "window": {"column": "t", "duration": "1 day"}},
            "aggregations",
            "more than one column window",
        ),
        ({"aggregations": {"n": "count(*)"}, "window": {"column": "t", "duration": "1 month"}}, "window", "duration"),
        ({"aggregations": {"n": "count(*)"}, "watermark": {"column": "t", "delay": "soon"}}, "watermark", "duration"),
        ({"aggregations": {"n": "count(*)"}, "watermark": {"delay": "1 day"}}, "watermark", "required"),
    ],
)
def test_what_can_not_be_is_a_config_error_at_its_key(config: dict[str, Any], key: str, message: str):
    found = mistakes(AggregateData, config)
    assert [where for where, _ in found] == [key]
    assert message in found[0][1]


def test_lineage_names_the_aggregated_columns_and_the_groups():
    step = aggregate(
        groupBy="region",
        aggregations={"qty": "mean", "total": "sum(amount * unit)", "n": "count(*)"},
        window={"column": "at", "duration": "1 day"},
    )
    columns: dict[str | None, list[str]] = {None: ["Region", "qty", "amount", "unit", "at"]}
    assert sources(step, columns, ["window", "Region", "qty_avg", "total", "n"]) == {
        "window": ["at"],
        "Region": ["Region"],
        "qty_avg": ["qty"],
        "total": ["amount", "unit"],
        "n": [],
    }


def test_the_rows_compared_are_not_none(spark: Any):
    assert len(rows_of(applied(spark, aggregate(groupBy="region", aggregations={"qty": "sum"}), SALES))) == 3
