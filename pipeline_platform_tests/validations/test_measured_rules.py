"""Rules about whole columns: statistics against those of DuckDB, ages, and totals of two frames."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from devtools.pipelines import extract, load, run, validate, wrote_nothing
from pipeline_platform.exceptions import PipelineException, ValidationException
from pipeline_platform.testing.fixed_time import session_at
from pipeline_platform_tests.duckdb_rows import Table, duckdb_rows
from pipeline_platform_tests.validations.blocks import outcome, planned, validation

NAN = float("nan")
LARGE = Decimal("12345678901234567890123456789.01")
SALES = Table(
    "id BIGINT, amount DECIMAL(38,2), rate DOUBLE, code STRING, zero DOUBLE",
    [
        (2**62, LARGE, 0.5, "a", 0.0),
        (2**62, Decimal("0.02"), 0.25, "b", -0.0),
        (3, None, None, "b", NAN),
        (-7, Decimal("-1.00"), 1.25, None, NAN),
        (None, Decimal("2.00"), 10.0, None, 1.0),
    ],
)
EMPTY = Table(SALES.columns, [])

STATISTICS = [
    ("id", "nullShare", "count(*) FILTER (id IS NULL) / count(*)"),
    ("ID", "distinctShare", "count(DISTINCT id) / count(id)"),
    ("code", "distinctCount", "count(DISTINCT code)"),
    ("zero", "distinctCount", "count(DISTINCT zero)"),
    ("id", "min", "min(id)"),
    ("amount", "max", "max(amount)"),
    ("id", "mean", "sum(id::HUGEINT) / count(id)"),
    ("amount", "mean", "sum(amount) / count(amount)"),
    ("rate", "mean", "avg(rate)"),
    ("id", "sum", "sum(id::HUGEINT)"),
    ("rate", "sum", "sum(rate)"),
    ("rate", "stddev", "stddev_samp(rate)"),
]


def test_every_statistic_is_that_of_duckdb(spark: Any):
    anything = {"max": 10**37}
    asked: dict[str, dict[str, Any]] = {}
    for column, statistic, _ in STATISTICS:
        asked.setdefault(column, {})[statistic] = anything
    asked["rate"]["quantiles"] = {"0.5": anything, "1": anything}
    rules = outcome(SALES.frame(spark), validation("validateStatistics", columns=asked)).rules()
    found = {rule.measure: rule.value for rule in rules}
    words = {
        "nullShare": "share of NULL",
        "distinctShare": "share of distinct values",
        "distinctCount": "number of distinct values",
        "min": "minimum",
        "max": "maximum",
        "stddev": "standard deviation",
    }
    for column, statistic, sql in STATISTICS:
        [(expected,)] = duckdb_rows(f"SELECT ({sql})::DOUBLE FROM sales", sales=SALES)
        assert found[f"{column}: {words.get(statistic, statistic)}"] == pytest.approx(expected, rel=1e-9), statistic
    quantiles = duckdb_rows("SELECT quantile_disc(rate, 0.5), quantile_disc(rate, 1) FROM sales", sales=SALES)
    assert [(found["rate: 0.5-quantile"], found["rate: 1-quantile"])] == quantiles


EXACT = [
    ("amount", {"sum": {"max": "12345678901234567890123456790.03"}}, True),
    ("amount", {"sum": {"max": "12345678901234567890123456790.02"}}, False),
    ("id", {"sum": {"min": 2**63 - 4, "max": 2**63 - 4}}, True),
    ("id", {"sum": {"min": 2**63 - 3}}, False),
    ("id", {"nullShare": {"max": 0.2}}, True),
    ("id", {"nullShare": {"max": 0.19}}, False),
    ("rate", {"min": {"min": "0.25"}}, True),
    ("zero", {"max": {"max": 100}}, False),
    ("zero", {"mean": {"min": 0}}, False),
    ("code", {"distinctShare": {"min": 0.66, "max": 0.67}}, True),
]


@pytest.mark.parametrize(("column", "bounds", "passed"), EXACT)
def test_bounds_are_inclusive_and_compared_without_rounding_and_nan_lies_within_none(
    spark: Any, column: str, bounds: dict[str, Any], passed: bool
):
    rule = outcome(SALES.frame(spark), validation("validateStatistics", columns={column: bounds})).rule
    assert (rule.passed, rule.violations, rule.rows) == (passed, int(not passed), 5)


def test_rows_that_went_to_quarantine_before_are_not_measured(spark: Any):
    found = outcome(
        SALES.frame(spark),
        validation("validateRanges", ranges={"id": {"min": 0}}, onFailure="quarantine"),
        validation("validateStatistics", columns={"code": {"nullShare": {"max": 0.25}, "distinctCount": {"min": 2}}}),
        validation("validateStatistics", columns={"rate": {"mean": {"min": 0}}}),
        validation("validateTotals", referencedDataFrame="all", rows=True),
        named={"all": SALES.frame(spark)},
    )
    kept = "SELECT count(*) FILTER (code IS NULL) / count(*), count(DISTINCT code), avg(rate) FROM sales WHERE id >= 0"
    kept = kept.replace("id >= 0", "coalesce(id >= 0, true)")
    [expected] = duckdb_rows(kept, sales=SALES)
    assert [rule.value for check in (2, 3) for rule in found.rules(check)] == pytest.approx(expected)
    assert found.rules(4)[0].detail == "expected 5 rows, as 'all' has, found 4"


def test_a_value_that_a_row_in_quarantine_had_first_is_still_one_of_the_rows_that_are_left(spark: Any):
    frame = Table("id BIGINT, code STRING", [(-1, "a"), (1, "a"), (2, "b")]).frame(spark)
    found = outcome(
        frame,
        validation("validateRanges", ranges={"id": {"min": 0}}, onFailure="quarantine"),
        validation("validateStatistics", columns={"code": {"distinctCount": {"min": 2}, "distinctShare": {"min": 1}}}),
    )
    assert [rule.value for rule in found.rules(2)] == [1, 2]


def test_where_there_is_no_value_only_a_sum_and_a_count_are_0(spark: Any):
    below = {"max": -1}
    asked = dict.fromkeys(("nullShare", "distinctShare", "distinctCount", "min", "mean", "sum", "stddev"), below)
    rules = outcome(EMPTY.frame(spark), validation("validateStatistics", columns={"id": asked})).rules()
    assert [rule.measure for rule in rules if not rule.passed] == ["id: number of distinct values", "id: sum"]
    assert rules[0].detail == "there is no row, so there is no share of NULL"


def test_a_broken_statistic_stops_the_run_before_anything_is_loaded_and_says_what_was_found(spark: Any, tmp_path: Path):
    SALES.frame(spark).write.parquet(str(tmp_path / "sales"))
    steps = [
        extract("fromFiles", path=str(tmp_path / "sales"), format="parquet"),
        validate("validateNulls", notNullColumns=["zero"]),
        validate("validateStatistics", columns={"code": {"nullShare": {"max": 0.3}}}),
        load("toDeltaLake", path=str(tmp_path / "out")),
    ]
    with pytest.raises(ValidationException, match="expected the share of NULL of 'code' to be at most"):
        run(spark, *steps)
    assert wrote_nothing(tmp_path / "out")


def test_no_result_shows_a_value_of_a_sensitive_column(spark: Any):
    asked = {"max": {"max": 1}, "mean": {"max": 1}, "nullShare": {"max": 0.1}}
    check = validation("validateStatistics", columns={"rate": asked}, sensitiveColumns="RATE")
    rules = outcome(SALES.frame(spark), check).rules()
    assert [rule.value for rule in rules] == [0.2, None, None]
    assert all((rule.detail or "").endswith("found ***") for rule in rules[1:])


def ages(spark: Any, column: str = "at", age: str = "1 day", **more: Any) -> Any:
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [(now - timedelta(hours=30), (now - timedelta(days=3)).date()), (datetime(9999, 12, 31), None), (None, None)]
    frame = Table("at TIMESTAMP, day DATE", rows).frame(spark)
    frame = frame.selectExpr("*", "CAST(at AS TIMESTAMP_NTZ) AS there", "CAST(NULL AS DATE) AS never")
    return outcome(frame, validation("validateFreshness", column=column, maxAge=age, **more)).rule


AGES = [
    ("at", "29 hours", False), ("AT", "31 hours", True), ("there", "1 Day", False), ("there", "2 days", True),
    ("day", "2 days", False), ("day", "4 days", True), ("at", "1 week", True),
]  # fmt: skip


@pytest.mark.parametrize(("column", "age", "passed"), AGES)
def test_the_newest_time_that_is_not_far_ahead_says_how_old_a_frame_is(spark: Any, column: str, age: str, passed: bool):
    assert ages(spark, column, age).passed is passed


def test_an_age_is_told_and_without_any_time_nothing_is_fresh(spark: Any):
    rule = ages(spark)
    assert rule.detail == "expected the newest 'at' to be at most 1 day old, found it 1 day 6 hours old"
    assert rule.value == pytest.approx(30, abs=0.1)
    assert ages(spark, "never").detail == "expected a value of 'never' at most 1 day old, found none"
    assert ages(spark, "never", allowEmpty=True).passed


@pytest.mark.in_jvm
def test_a_test_with_a_time_of_its_own_gives_the_age_at_that_time(spark: Any):
    frame = session_at(spark, "2026-03-01T12:00:00Z").sql("SELECT TIMESTAMP '2026-03-01 09:00:00Z' AS at")
    assert outcome(frame, validation("validateFreshness", column="at", maxAge="3 hours")).rule.value == 3.0
    assert not outcome(frame, validation("validateFreshness", column="at", maxAge="2 hours")).rule.passed


PAID = Table(
    "number BIGINT, total DECIMAL(20,4), shown DOUBLE",
    [(1, Decimal("12345678901234567890123456789.01") % 10**10, 0.1), (2, None, 0.2), (3, Decimal("0.0050"), None)],
)
BILLED = Table(
    "number INT, amount DECIMAL(38,2), shown DOUBLE, note STRING",
    [(1, Decimal("12345678901234567890123456789.01") % 10**10, 0.2, ""), (5, Decimal("0.00"), 0.1000001, "")],
)

TOTALS: list[tuple[dict[str, Any], list[bool]]] = [
    ({"sums": {"number": "NUMBER"}, "rows": True}, [True, False]),
    ({"sums": {"total": "amount"}}, [False]),
    ({"sums": {"total": "amount"}, "maxDifference": "0.0049"}, [False]),
    ({"sums": {"total": "amount"}, "maxDifference": 0.005}, [True]),
    ({"sums": {"shown": "shown"}, "maxDifference": 1e-6}, [True]),
    ({"sums": {"shown": "shown", "number": "number"}, "maxDifference": 1e-8}, [False, True]),
]


@pytest.mark.parametrize(("config", "passed"), TOTALS)
def test_sums_of_two_frames_are_compared_exactly_or_up_to_a_difference(
    spark: Any, config: dict[str, Any], passed: list[bool]
):
    check = validation("validateTotals", referencedDataFrame="billed", **config)
    found = outcome(PAID.frame(spark), check, named={"billed": BILLED.frame(spark)})
    assert [rule.passed for rule in found.rules()] == passed
    [(total, amount)] = duckdb_rows("SELECT (SELECT sum(total) FROM paid), (SELECT sum(amount) FROM billed)",
                                    paid=PAID, billed=BILLED)  # fmt: skip
    if "total" in config["sums"]:
        assert found.rule.value == float(total - amount)


def test_a_frame_without_rows_has_the_sum_0(spark: Any):
    check = validation("validateTotals", referencedDataFrame="billed", sums={"number": "number"}, rows=True)
    none = Table(PAID.columns, []).frame(spark)
    found = outcome(none, check, named={"billed": BILLED.frame(spark)}).rules()
    assert found[0].detail == "expected the sum of 'number' to be 6, that of 'number' in 'billed', found 0"
    assert [rule.passed for rule in outcome(none, check, named={"billed": none}).rules()] == [True, True]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("validateTotals", {"sums": {"shown": "shown"}}, "the sum of 'shown' is one of floating-point numbers"),
    ("validateTotals", {"sums": {"number": "note"}}, "'note' of 'billed' is string, and only numbers have a sum"),
    ("validateTotals", {"sums": {"number": "nubmer"}}, "no column 'nubmer' in 'billed'"),
    ("validateStatistics", {"columns": {"day": {"mean": {"min": 1}}}}, "'day' is date, and min, max, mean"),
    ("validateStatistics", {"columns": {"tags": {"distinctCount": {"min": 1}}}}, "does not tell two values of 'tags'"),
    ("validateFreshness", {"column": "number", "maxAge": "1 day"}, "'number' is bigint, and only dates and timestamps"),
]


@pytest.mark.parametrize(("method", "config", "told"), REFUSED)
def test_what_can_not_be_measured_is_told_before_anything_runs(
    spark: Any, method: str, config: dict[str, Any], told: str
):
    if method == "validateTotals":
        config = {"referencedDataFrame": "billed", **config}
    frame = PAID.frame(spark).selectExpr("*", "DATE '2026-01-01' AS day", "map('a', 1) AS tags")
    with pytest.raises(PipelineException, match=told):
        planned(frame, validation(method, **config), named={"billed": BILLED.frame(spark)})


def test_dates_are_counted_from_their_first_moment(spark: Any):
    frame = session_at(spark, "2026-03-02T08:00:00Z").createDataFrame([(date(2026, 3, 1),)], "day DATE")
    assert outcome(frame, validation("validateFreshness", column="day", maxAge="1 day")).rule.value == 32.0
