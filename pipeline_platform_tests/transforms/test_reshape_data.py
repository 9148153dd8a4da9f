from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.reshape_data import ReshapeData
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

SALES = Table(
    "shop STRING, `the quarter` STRING, amount DECIMAL(10,2), year BIGINT, day DATE",
    [
        ("a", "q1", Decimal("1.50"), 2023, date(2024, 1, 1)),
        ("a", "q1", Decimal("2.25"), 2024, date(2024, 1, 1)),
        ("a", "q2", None, 2024, date(2024, 1, 2)),
        ("b", "q2", Decimal("4.00"), 2024, None),
        (None, "q1", Decimal("8.00"), 2024, date(2024, 1, 2)),
        ("b", None, Decimal("16.00"), 2024, date(2024, 1, 2)),
    ],
)
SCORES = Table(
    "id INT, `first.half` DOUBLE, `second half` DOUBLE, name STRING",
    [(1, 1.5, float("nan"), "a"), (2, None, 0.5, None), (2, None, 0.5, None)],
)


def reshape(**config: Any) -> ReshapeData:
    return ReshapeData.model_validate(config)


def test_pivot_sums_a_column_for_each_value_found(spark: Any):
    step = reshape(operation="pivot", pivotColumn="the quarter", groupByColumns=["shop"], aggregateColumn="amount")
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT shop, sum(amount) FILTER ("the quarter" IS NULL) AS "null",
                  sum(amount) FILTER ("the quarter" = 'q1') AS q1, sum(amount) FILTER ("the quarter" = 'q2') AS q2
           FROM sales GROUP BY shop""",
        sales=SALES,
    )


def test_pivot_counts_rows_when_it_has_no_column_to_sum(spark: Any):
    step = reshape(
        operation="Pivot", pivotColumn="the quarter", groupByColumns=["shop", "year"], pivotValues=["q2", "q1", "q9"]
    )
    assert_same_rows(
        applied(spark, step, SALES),
        """SELECT shop, year, nullif(count(*) FILTER ("the quarter" = 'q2'), 0) AS q2,
                  nullif(count(*) FILTER ("the quarter" = 'q1'), 0) AS q1, NULL::BIGINT AS q9
           FROM sales GROUP BY shop, year""",
        sales=SALES,
    )


def test_pivot_values_take_the_type_of_the_column(spark: Any):
    years = reshape(
        operation="pivot", pivotColumn="year", groupByColumns="shop", aggregateColumn="amount", pivotValues=[2024, 2023]
    )
    assert_same_rows(
        applied(spark, years, SALES),
        """SELECT shop, sum(amount) FILTER (year = 2024) AS "2024", sum(amount) FILTER (year = 2023) AS "2023"
           FROM sales GROUP BY shop""",
        sales=SALES,
    )
    days = reshape(operation="pivot", pivotColumn="day", groupByColumns="shop", pivotValues=["2024-01-02"])
    assert_same_rows(
        applied(spark, days, SALES),
        """SELECT shop, nullif(count(*) FILTER (day = DATE '2024-01-02'), 0) AS "2024-01-02"
           FROM sales GROUP BY shop""",
        sales=SALES,
    )


@pytest.mark.in_jvm
def test_pivot_values_save_the_pass_that_finds_them(spark: Any):
    spark.sparkContext.setJobGroup("pivot", "pivot")
    config: dict[str, Any] = {"operation": "pivot", "pivotColumn": "year", "groupByColumns": "shop"}
    applied(spark, reshape(**config, pivotValues=[2024]), SALES)
    assert not spark.sparkContext.statusTracker().getJobIdsForGroup("pivot")
    applied(spark, reshape(**config), SALES)
    assert spark.sparkContext.statusTracker().getJobIdsForGroup("pivot")


def test_unpivot_makes_a_row_of_each_value(spark: Any):
    step = reshape(
        operation="unpivot",
        valueCols=["first.half", "second half"],
        variableColName="which half",
        valueColName="score",
    )
    assert_same_rows(
        applied(spark, step, SCORES),
        """SELECT id, name, 'first.half' AS "which half", "first.half" AS score FROM scores
           UNION ALL SELECT id, name, 'second half', "second half" FROM scores""",
        scores=SCORES,
    )


@pytest.mark.parametrize(("ids", "kept"), [(["name"], "name, "), ([], "")])
def test_unpivot_keeps_the_id_columns_named(spark: Any, ids: list[str], kept: str):
    step = reshape(
        operation="unpivot",
        valueCols=["first.half", "second half"],
        idCols=ids,
        variableColName="half",
        valueColName="score",
    )
    assert_same_rows(
        applied(spark, step, SCORES),
        f"""SELECT {kept}'first.half' AS half, "first.half" AS score FROM scores
            UNION ALL SELECT {kept}'second half', "second half" FROM scores""",
        scores=SCORES,
    )


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("a BIGINT, b DOUBLE", "'sold' has the column 'a' as bigint, and 'sold' has 'b' as double"),
        ("a SMALLINT, b BIGINT, c FLOAT", "'sold' has the column 'b' as bigint, and 'sold' has 'c' as float"),
        ("a INT, b DATE", "'sold' has the column 'a' as int, and 'sold' has 'b' as date"),
        ("a INT, b DOUBLE, c SMALLINT", None),
    ],
)
def test_unpivot_takes_columns_that_become_one_type_with_their_values(spark: Any, schema: str, told: str | None):
    frame = spark.createDataFrame([], schema)
    config = {"valueCols": frame.columns, "variableColName": "v", "valueColName": "x", "idCols": []}
    step = reshape(operation="unpivot", input="sold", **config)
    if told is None:
        assert applied(spark, step, frame).schema["x"].dataType.simpleString() == "double"
        return
    with pytest.raises(PipelineExecutionException, match=told) as raised:
        applied(spark, step, frame)
    assert "cast one of them first" in (raised.value.hint or "")


PIVOT_VALUES = [
    ("INT", [7, "-8", 9.0, "0"], [1.5, "007", "7.5", "x", True, "+7", "7 "]),
    ("DOUBLE", [7, 1.5, "1.25"], ["1e3", "01.5", True, 2**53 + 1]),
    ("DECIMAL(5,2)", [1.5, "1.25", 3], [1.255, "1.255", "01", False]),
    ("BOOLEAN", [True, "false"], ["yes", 1, 0, "1"]),
    ("DATE", ["2024-01-02"], [20240102, True]),
    ("STRING", ["007", 7], []),
]


@pytest.mark.parametrize(("kind", "values", "others"), PIVOT_VALUES, ids=lambda value: str(value))
def test_a_pivot_value_that_would_become_another_in_the_column_is_refused(
    spark: Any, kind: str, values: list[Any], others: list[Any]
):
    frame = spark.createDataFrame([], f"g INT, p {kind}")
    config = {"operation": "pivot", "pivotColumn": "P", "groupByColumns": "g"}
    assert applied(spark, reshape(**config, pivotValues=values), frame).columns[0] == "g"
    for value in others:
        with pytest.raises(PipelineExecutionException, match="is not one that the column 'p' can have") as raised:
            applied(spark, reshape(**config, pivotValues=[value]), frame)
        assert repr(value) in raised.value.message


@pytest.mark.parametrize(
    "config",
    [
        {"operation": "pivot", "pivotColumn": "shpo", "groupByColumns": "year"},
        {"operation": "pivot", "pivotColumn": "year", "groupByColumns": ["shpo"]},
        {"operation": "pivot", "pivotColumn": "year", "groupByColumns": "shop", "aggregateColumn": "shpo"},
        {"operation": "unpivot", "valueCols": "shpo", "variableColName": "v", "valueColName": "x"},
        {"operation": "unpivot", "valueCols": "shop", "variableColName": "v", "valueColName": "x", "idCols": "shpo"},
    ],
)
def test_a_missing_column_is_named_with_a_hint(spark: Any, config: dict[str, Any]):
    with pytest.raises(
        PipelineExecutionException, match="no column 'shpo'; the columns are shop, the quarter"
    ) as raised:
        applied(spark, reshape(**config), SALES)
    assert raised.value.hint == "did you mean 'shop'?"


def test_a_value_that_is_also_the_name_of_a_group_column_is_an_error(spark: Any):
    table = Table("shop STRING, n INT", [("shop", 1)])
    with pytest.raises(PipelineExecutionException, match="more than one column shop"):
        applied(spark, reshape(operation="pivot", pivotColumn="shop", groupByColumns="shop"), table)


def test_a_stream_needs_the_pivot_values():
    step = reshape(operation="pivot", pivotColumn="value", groupByColumns="timestamp")
    [(key, message)] = step.mode_errors("streaming")
    assert key == "pivotColumn"
    assert "pivotValues" in message


PIVOT: dict[str, Any] = {"operation": "pivot", "pivotColumn": "p", "groupByColumns": ["g"]}
UNPIVOT: dict[str, Any] = {"operation": "unpivot", "valueCols": ["a"], "variableColName": "v", "valueColName": "x"}


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({}, "operation", "required"),
        ({"operation": "melt"}, "operation", "'pivot' or 'unpivot'"),
        ({"operation": "pivot", "groupByColumns": ["g"]}, "operation", "needs 'pivotColumn'"),
        ({"operation": "pivot", "pivotColumn": "p"}, "operation", "needs 'groupByColumns'"),
        ({"operation": "unpivot", "valueCols": ["a"], "valueColName": "x"}, "operation", "needs 'variableColName'"),
        ({**PIVOT, "valueCols": ["a"]}, "valueCols", "belongs to 'unpivot'"),
        ({**UNPIVOT, "pivotValues": ["a"]}, "pivotValues", "belongs to 'pivot'"),
        ({**PIVOT, "pivotValues": ["a", "b", "a"]}, "pivotValues", "listed twice: a"),
        ({**PIVOT, "pivotValues": []}, "pivotValues", "at least 1"),
        ({**UNPIVOT, "valueColName": "v"}, "variableColName", "more than one column v"),
    ],
)
def test_keys_that_do_not_fit_the_operation_are_config_errors(config: dict[str, Any], key: str, message: str):
    found = mistakes(ReshapeData, config)
    assert {where.split(".")[0] for where, _ in found} == {key}
    assert message in found[0][1]


def test_pivot_values_keep_their_json_types():
    step = reshape(**PIVOT, pivotValues=[True, 1.5, "x", 7])
    assert [type(value) for value in step.pivot_values or ()] == [bool, float, str, int]


def test_lineage_of_a_pivot_and_of_an_unpivot():
    columns: dict[str | None, list[str]] = {None: ["g", "p", "amount", "id"]}
    assert sources(reshape(**PIVOT, aggregateColumn="amount"), columns, ["g", "q1", "q2"]) == {
        "g": ["g"],
        "q1": ["amount", "p"],
        "q2": ["amount", "p"],
    }
    step = reshape(operation="unpivot", valueCols=["p", "amount"], variableColName="v", valueColName="x")
    assert sources(step, columns, ["g", "id", "v", "x"]) == {"g": ["g"], "id": ["id"], "v": [], "x": ["p", "amount"]}
