"""Every validation of rows against the rows that DuckDB finds."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform_tests.duckdb_rows import Table, duckdb_rows
from pipeline_platform_tests.validations.blocks import Outcome, outcome, planned, validation

NAN = float("nan")
SALES = Table(
    "id BIGINT, amount DECIMAL(10,2), rate DOUBLE, small FLOAT, day DATE, moment TIMESTAMP, code STRING, "
    "`unit.price` INT, `net weight` INT",
    [
        (1, Decimal("10.50"), 0.5, 0.1, date(2024, 1, 1), datetime(2024, 1, 1, 12), "a", 1, 10),
        (2, Decimal("10.51"), NAN, NAN, date(2024, 2, 1), datetime(2024, 1, 1, 12, 0, 1), "b", None, 11),
        (3, None, None, None, None, None, None, 3, None),
        (3, Decimal("-1.25"), float("inf"), -0.1, date(2023, 12, 31), datetime(2024, 1, 1, 11, 59, 59), "B", 3, -1),
        (3, Decimal("-1.25"), float("inf"), -0.1, date(2023, 12, 31), datetime(2024, 1, 1, 11, 59, 59), "B", 3, -1),
        (None, Decimal("0.00"), -0.0, 0.0, date(2024, 1, 1), datetime(2024, 1, 1), "", 5, 0),
        (None, Decimal("0.00"), 0.0, 0.0, date(2024, 1, 1), datetime(2024, 1, 1), "", 5, 0),
    ],
)
EMPTY = Table(SALES.columns, [])


def assert_breaks(found: Outcome, condition: str, table: Table = SALES, **tables: Table) -> None:
    """The rows in quarantine are those for which a DuckDB condition holds; the others are let through."""
    broken = duckdb_rows(f"SELECT * FROM sales WHERE coalesce({condition}, false)", sales=table, **tables)
    kept = duckdb_rows(f"SELECT * FROM sales WHERE NOT coalesce({condition}, false)", sales=table, **tables)
    assert found.quarantined == broken
    assert found.passed == kept
    assert found.rule.violations == len(broken)
    assert found.rule.rows == len(table.rows)


NULLS = [
    ("amount", "amount IS NULL"),
    ("RATE", "rate IS NULL"),
    ("unit.price", '"unit.price" IS NULL'),
    ("net weight", '"net weight" IS NULL'),
]


@pytest.mark.parametrize(("column", "condition"), NULLS)
def test_a_null_breaks_validate_nulls_and_nan_does_not(spark: Any, column: str, condition: str):
    check = validation("validateNulls", notNullColumns=column, onFailure="quarantine")
    assert_breaks(outcome(SALES.frame(spark), check), condition)


RANGES: list[tuple[str, dict[str, Any], str]] = [
    ("id", {"min": 2}, "id < 2"),
    ("id", {"min": 1.5, "max": "2"}, "id < 1.5 OR id > 2"),
    ("amount", {"min": 0, "max": 10.5}, "amount < 0 OR amount > 10.50"),
    ("AMOUNT", {"max": "10.505"}, "amount > 10.505"),
    ("rate", {"max": 0.5}, "rate > 0.5"),
    ("rate", {"min": 0}, "rate < 0 OR isnan(rate)"),
    ("small", {"max": 0.1}, "small > 0.1::FLOAT"),
    ("small", {"min": "-0.1"}, "small < -0.1::FLOAT OR isnan(small)"),
    ("day", {"min": "2024-01-01", "max": "2024-01-31"}, "day < DATE '2024-01-01' OR day > DATE '2024-01-31'"),
    ("moment", {"max": "2024-01-01 12:00:00"}, "moment > TIMESTAMP '2024-01-01 12:00:00'"),
    ("moment", {"min": "2024-01-01T13:00:00+01:00"}, "moment < TIMESTAMP '2024-01-01 12:00:00'"),
    ("code", {"min": "a"}, "code < 'a'"),
    ("unit.price", {"min": 2, "max": 4}, '"unit.price" < 2 OR "unit.price" > 4'),
    ("net weight", {"min": 0}, '"net weight" < 0'),
]


@pytest.mark.parametrize(("column", "bounds", "condition"), RANGES)
def test_bounds_are_inclusive_and_nan_lies_within_none(spark: Any, column: str, bounds: dict[str, Any], condition: str):
    check = validation("validateRanges", ranges={column: bounds}, onFailure="quarantine")
    assert_breaks(outcome(SALES.frame(spark), check), condition)


def test_a_decimal_is_not_rounded_to_be_compared(spark: Any):
    table = Table(
        "amount DECIMAL(38,2)", [(Decimal("12345678901234567890.01"),), (Decimal("12345678901234567890.02"),)]
    )
    check = validation("validateRanges", ranges={"amount": {"max": "12345678901234567890.01"}}, onFailure="quarantine")
    assert outcome(table.frame(spark), check).rule.violations == 1


@pytest.mark.parametrize(
    ("column", "bound", "message"),
    [
        ("day", 20240101, "the bound 20240101 is a number, but 'day' is date"),
        ("day", "January", "'January' is not a date, but 'day' is one"),
        ("day", "20240101", "but 'day' is one\n  next: write it as in '2024-01-31'"),
        ("day", "2024-W01-1", "'2024-W01-1' is not a date"),
        (
            "moment",
            "20240101T000000",
            "is not a timestamp, but 'moment' is one\n  next: write it as in '2024-01-31 18:30:00'",
        ),
        ("id", "NaN", "'NaN' is not a number"),
        ("moment", "noon", "'noon' is not a timestamp"),
        (
            "shown",
            "2024-01-01T13:00:00+01:00",
            "01:00' is not a timestamp_ntz, but 'shown' is one",
        ),
        ("id", "many", "'many' is not a number, but 'id' is long"),
        ("code", 5, "the bound 5 is a number, but 'code' is string"),
    ],
)
def test_a_bound_that_does_not_go_with_its_column_is_found_before_anything_runs(
    spark: Any, column: str, bound: Any, message: str
):
    frame = SALES.frame(spark).selectExpr("*", "CAST(moment AS TIMESTAMP_NTZ) AS shown")
    with pytest.raises(PipelineException, match=message):
        planned(frame, validation("validateRanges", ranges={column: {"min": bound}}))


def test_no_rule_is_kept_by_what_spark_makes_null_without_ansi(spark: Any):
    nines = "9" * 38
    frame = spark.sql(
        f"SELECT {nines} AS d, DATE '2023-12-31' AS day, TIMESTAMP '2024-01-01 00:00:00' AS at, 'maybe' AS told "
        f"UNION ALL SELECT {nines}, DATE '2024-06-01', TIMESTAMP '2024-01-02 00:00:00', 'true'"
    )
    other = spark.sql("SELECT 0BD AS z UNION ALL SELECT 0BD")
    both = {"sum": {"min": 0}, "mean": {"min": 0}}
    checks = [
        validation("validateRanges", ranges={"d": {"max": 0.5}}, onFailure="warn"),
        validation("validateValues", values={"day": {"forbidden": ["20240601"]}}, onFailure="warn"),
        validation("validateValues", values={"at": ["2024-01-02T23:30:00+23:30"]}, onFailure="warn"),
        validation("validateBusinessRules", rules=["told"], onFailure="warn"),
        validation("validateStatistics", columns={"d": both}, onFailure="warn"),
        validation("validateTotals", referencedDataFrame="z", sums={"d": "z"}, onFailure="warn"),
    ]
    with spark_settings(spark, {"spark.sql.ansi.enabled": "false"}):
        found = outcome(frame, *checks, named={"z": other})
    rules = [rule for results in found.result.rules.values() for rule in results]
    assert [rule.violations for rule in rules] == [2, 1, 1, 1, 1, 1, 1]
    assert "found a sum too large for a decimal of 38 digits" in (rules[4].detail or "")
    assert "to be 0, that of 'z' in 'z', found too large for a decimal of 38 digits" in (rules[6].detail or "")


UNIQUE = [
    (["id"], "id IS NOT NULL", "id"),
    (["rate"], "rate IS NOT NULL", "rate"),
    (["ID", "code"], "id IS NOT NULL AND code IS NOT NULL", "id, code"),
    (
        ["unit.price", "net weight"],
        '"unit.price" IS NOT NULL AND "net weight" IS NOT NULL',
        '"unit.price", "net weight"',
    ),
]


@pytest.mark.parametrize(("columns", "complete", "key"), UNIQUE)
def test_every_row_of_a_group_of_equals_breaks_uniqueness(spark: Any, columns: list[str], complete: str, key: str):
    found = outcome(SALES.frame(spark), validation("validateUnique", columns=columns, onFailure="quarantine"))
    assert_breaks_query(found, f"SELECT *, {complete} AND count(*) OVER (PARTITION BY {key}) > 1 AS broken FROM sales")


def assert_breaks_query(found: Outcome, query: str, **tables: Table) -> None:
    broken = duckdb_rows(f"SELECT * EXCLUDE broken FROM ({query}) WHERE coalesce(broken, false)", sales=SALES, **tables)
    kept = duckdb_rows(
        f"SELECT * EXCLUDE broken FROM ({query}) WHERE NOT coalesce(broken, false)", sales=SALES, **tables
    )
    assert (found.quarantined, found.passed) == (broken, kept)
    assert found.rule.violations == len(broken)


REFERENCES = [
    ("code", Table("key STRING", [("a",), ("a",), (None,), ("b",)]), "code NOT IN ('a', 'b')"),
    ("id", Table("key INT", [(1,), (3,), (3,)]), "id NOT IN (1, 3)"),
    ("id", Table("key DECIMAL(20,1)", [(Decimal("1.0"),), (Decimal("2.5"),), (Decimal("3.0"),)]), "id NOT IN (1, 3)"),
    ("net weight", Table("key DOUBLE", [(10.0,), (-1.0,), (11.5,)]), '"net weight" NOT IN (10, -1)'),
    ("unit.price", Table("key BIGINT", [(2**40 + 1,), (5,)]), '"unit.price" <> 5'),
    ("CODE", Table("key STRING", []), "code IS NOT NULL"),
    ("day", Table("key DATE", [(date(2024, 1, 1),)]), "day <> DATE '2024-01-01'"),
]


@pytest.mark.parametrize(("foreign", "referenced", "condition"), REFERENCES)
def test_a_value_that_the_other_frame_does_not_have_breaks_referential_integrity(
    spark: Any, foreign: str, referenced: Table, condition: str
):
    check = validation(
        "validateReferentialIntegrity",
        foreignKey=foreign,
        referencedDataFrame="keys",
        referencedColumn="KEY",
        onFailure="quarantine",
    )
    found = outcome(SALES.frame(spark), check, named={"keys": referenced.frame(spark)})
    assert_breaks(found, condition)


REFUSED_REFERENCES = [
    (
        "net weight",
        Table("key STRING", [("010",)]),
        "'sales' has the column 'net weight' as int, and 'keys' has 'key' as",
    ),
    ("id", Table("key DOUBLE", [(2.0**53,)]), "'sales' has the column 'id' as bigint, and 'keys' has 'key' as double"),
    ("code", Table("key INT", [(1,)]), "'sales' has the column 'code' as string, and 'keys' has 'key' as int"),
    ("day", Table("key STRING", []), "'sales' has the column 'day' as date, and 'keys' has 'key' as string"),
]


@pytest.mark.parametrize(("foreign", "referenced", "told"), REFUSED_REFERENCES)
def test_a_reference_between_types_that_spark_would_convert_is_refused_before_anything_runs(
    spark: Any, foreign: str, referenced: Table, told: str
):
    check = validation(
        "validateReferentialIntegrity",
        input="sales",
        foreignKey=foreign,
        referencedDataFrame="keys",
        referencedColumn="key",
    )
    with pytest.raises(PipelineException, match=told) as raised:
        planned(SALES.frame(spark), check, named={"keys": referenced.frame(spark)})
    assert "step 2 (validate validateReferentialIntegrity), checks.json:10" in str(raised.value)
    assert "cast one of them first" in (raised.value.hint or "")


def test_a_frame_may_refer_to_itself(spark: Any):
    frame = SALES.frame(spark)
    check = validation(
        "validateReferentialIntegrity",
        foreignKey="unit.price",
        referencedDataFrame="sales",
        referencedColumn="id",
        onFailure="quarantine",
    )
    assert_breaks(outcome(frame, check, named={"sales": frame}), '"unit.price" NOT IN (1, 2, 3)')


RULES: list[tuple[Any, str, str]] = [
    ("amount >= 0", "amount >= 0", "amount >= 0"),
    ({"name": "not negative", "rule": "AMOUNT >= 0"}, "not negative", "amount >= 0"),
    ("`unit.price` < `net weight`", "`unit.price` < `net weight`", '"unit.price" < "net weight"'),
    ("code IN ('a', 'b') OR id = 3", "code IN ('a', 'b') OR id = 3", "code IN ('a', 'b') OR id = 3"),
    (
        "exists(array(id, `unit.price`), x -> x > 2)",
        "exists(array(id, `unit.price`), x -> x > 2)",
        'id > 2 OR "unit.price" > 2',
    ),
]


@pytest.mark.parametrize(("rule", "name", "condition"), RULES)
def test_a_row_for_which_a_rule_is_false_breaks_it_and_one_for_which_it_is_null_does_not(
    spark: Any, rule: Any, name: str, condition: str
):
    found = outcome(SALES.frame(spark), validation("validateBusinessRules", rules=[rule], onFailure="quarantine"))
    assert_breaks(found, f"NOT ({condition})")
    assert found.rule.rule == name


def test_a_rule_may_look_into_a_structure_and_its_samples_show_the_structure(spark: Any):
    frame = spark.sql("SELECT named_struct('city', 'Oslo') AS place UNION ALL SELECT named_struct('city', '')")
    found = outcome(frame, validation("validateBusinessRules", rules=["place.city <> ''"]))
    assert found.rule.violations == 1
    assert found.rule.samples == [{"place": {"city": ""}}]


CHECKS = [
    validation("validateNulls", notNullColumns=["id", "code"], onFailure="quarantine"),
    validation("validateRanges", ranges={"rate": {"min": 0}}, onFailure="quarantine"),
    validation("validatePatterns", patterns={"code": "a"}, onFailure="quarantine"),
    validation("validateLengths", lengths={"code": {"min": 1}}, onFailure="quarantine"),
    validation("validateValues", values={"id": [1], "code": {"forbidden": [""]}}, onFailure="quarantine"),
    validation("validateUnique", columns="id", onFailure="quarantine"),
    validation("validateBusinessRules", rules=["amount > 0"], onFailure="quarantine"),
    validation(
        "validateReferentialIntegrity",
        foreignKey="id",
        referencedDataFrame="sales",
        referencedColumn="unit.price",
        onFailure="quarantine",
    ),
]


@pytest.mark.parametrize("on_failure", ["fail", "quarantine"])
def test_an_empty_frame_keeps_every_rule(spark: Any, on_failure: str):
    frame = EMPTY.frame(spark)
    checks = [check.model_copy(update={"on_failure": on_failure}) for check in CHECKS]
    found = outcome(frame, *checks, named={"sales": frame})
    rules = [rule for results in found.result.rules.values() for rule in results]
    assert [(rule.violations, rule.rows, rule.passed, rule.samples) for rule in rules] == [(0, 0, True, [])] * 10
    assert (found.passed, found.quarantined) == ([], [])


MISSING = [
    validation("validateNulls", notNullColumns=["amuont"]),
    validation("validatePatterns", patterns={"amuont": "a"}),
    validation("validateLengths", lengths={"amuont": {"min": 1}}),
    validation("validateValues", values={"amuont": [1]}),
    validation("validateFreshness", column="amuont", maxAge="1 day"),
    validation("validateStatistics", columns={"amuont": {"nullShare": {"max": 0}}}),
    validation("validateTotals", referencedDataFrame="sales", sums={"amuont": "amount"}),
    validation("validateRanges", ranges={"amuont": {"min": 0}}),
    validation("validateUnique", columns=["id", "amuont"]),
    validation("validateReferentialIntegrity", foreignKey="amuont", referencedDataFrame="sales", referencedColumn="id"),
    validation("validateReferentialIntegrity", foreignKey="id", referencedDataFrame="sales", referencedColumn="amuont"),
    validation("validateBusinessRules", rules=["amuont > 0"]),
]


@pytest.mark.parametrize("check", MISSING, ids=lambda check: check.method)
def test_a_missing_column_is_an_error_with_step_and_line_and_the_right_name(spark: Any, check: Any):
    frame = SALES.frame(spark)
    first = validation("validateNulls", notNullColumns="id")
    with pytest.raises(PipelineException) as raised:
        planned(frame, first, check, named={"sales": frame})
    text = str(raised.value)
    assert f"step 3 (validate {check.method}), checks.json:11" in text
    assert "amuont" in text
    assert "amount" in text
