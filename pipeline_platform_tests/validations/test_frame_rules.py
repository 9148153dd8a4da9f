"""Validations of the frame as a whole: its schema, its size."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_platform_tests.duckdb_rows import Table
from pipeline_platform_tests.validations.blocks import counting_jobs, outcome, planned, validation

TABLE = Table("id BIGINT, amount DECIMAL(10,2), tags STRING", [(1, None, "a"), (2, None, "b"), (3, None, None)])


def columns(*expected: tuple[str, str], **more: Any) -> Any:
    listed = [{"name": name, "type": data_type} for name, data_type in expected]
    return validation("validateSchema", expectedColumns=listed, **more)


def test_types_are_found_by_any_of_their_names_and_columns_without_regard_to_case(spark: Any):
    check = columns(("ID", "Long"), ("amount", "DECIMAL(10, 2)"), ("Tags", "string"))
    found = outcome(TABLE.frame(spark), check)
    assert [rule.rule for rule in found.rules()] == ["ID Long", "amount DECIMAL(10, 2)", "Tags string"]
    assert all(rule.passed for rule in found.rules())


@pytest.mark.parametrize(
    ("expected", "detail"),
    [
        (("idd", "bigint"), "there is no column 'idd' (did you mean 'id'?)"),
        (("id", "int"), "'id' is bigint, expected int"),
        (("amount", "decimal(12,2)"), "'amount' is decimal(10,2), expected decimal(12,2)"),
    ],
)
def test_what_differs_from_the_expected_schema_is_told(spark: Any, expected: tuple[str, str], detail: str):
    rule = outcome(TABLE.frame(spark), columns(expected)).rule
    assert (rule.violations, rule.passed, rule.detail) == (1, False, detail)


def test_other_columns_are_allowed_unless_strict(spark: Any):
    frame = TABLE.frame(spark)
    assert outcome(frame, columns(("id", "bigint"))).rule.passed
    strict = outcome(frame, columns(("id", "bigint"), strict=True)).rules()[-1]
    assert (strict.passed, strict.detail) == (False, "unexpected columns: amount, tags")


def test_a_column_that_may_be_null_is_told_where_it_may_not(spark: Any):
    frame = spark.range(1).selectExpr("id", "nullif(id, 1) AS other")
    expected = [{"name": name, "type": "bigint", "nullable": False} for name in ("id", "other")]
    found = outcome(frame, validation("validateSchema", expectedColumns=expected))
    assert [rule.passed for rule in found.rules()] == [True, False]


@pytest.mark.in_jvm
def test_a_schema_check_costs_no_spark_job(spark: Any):
    from pipeline_platform.engine.validation_run import run_block

    frame = TABLE.frame(spark)
    with counting_jobs(spark) as jobs:
        result = run_block(planned(frame, columns(("id", "bigint")), columns(("id", "int"), strict="true")))
    assert [rule.passed for rules in result.rules.values() for rule in rules] == [True, False, False]
    assert result.rows == {1: None, 2: None}
    assert jobs == [0]
    with counting_jobs(spark) as jobs:
        run_block(planned(frame, columns(("id", "bigint")), validation("validateRowCount", min=1)))
    assert jobs != [0]


@pytest.mark.parametrize(
    ("bounds", "passed"),
    [({"min": 3}, [True]), ({"min": "4"}, [False]), ({"max": 2}, [False]), ({"min": 1, "max": 3}, [True, True])],
)
def test_the_number_of_rows_is_held_against_its_bounds(spark: Any, bounds: dict[str, Any], passed: list[bool]):
    found = outcome(TABLE.frame(spark), validation("validateRowCount", **bounds))
    assert [rule.passed for rule in found.rules()] == passed
    assert found.rules()[0].detail in (
        "expected at least 3 rows, found 3",
        "expected at least 4 rows, found 3",
        "expected at most 2 rows, found 3",
        "expected at least 1 rows, found 3",
    )


def test_an_empty_frame_has_no_rows(spark: Any):
    empty = Table(TABLE.columns, []).frame(spark)
    assert not outcome(empty, validation("validateRowCount", min=1)).rule.passed
    assert outcome(empty, validation("validateRowCount", max=0)).rule.passed


def test_a_tolerance_makes_no_wrong_schema_or_size_right(spark: Any):
    frame = TABLE.frame(spark)
    assert not outcome(frame, columns(("id", "int"), tolerance=5)).rule.passed
    assert not outcome(frame, validation("validateRowCount", min=4, tolerance=0.5)).rule.passed


@pytest.mark.parametrize("config", [{"min": 1}, {"expectedColumns": [{"name": "a", "type": "int"}]}])
def test_what_looks_at_the_frame_as_a_whole_has_no_rows_to_quarantine(config: dict[str, Any]):
    method = "validateRowCount" if "min" in config else "validateSchema"
    with pytest.raises(ValidationError, match="there are no rows to quarantine"):
        validation(method, onFailure="quarantine", **config)
