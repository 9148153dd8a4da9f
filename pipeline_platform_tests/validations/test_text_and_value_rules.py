"""Patterns, lengths and lists of values against the rows that DuckDB finds."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_platform.config.patterns import pattern_error
from pipeline_platform.exceptions import PipelineException
from pipeline_platform_tests.config.reading import extract, load, pipeline, problems_of, validate
from pipeline_platform_tests.duckdb_rows import Table
from pipeline_platform_tests.validations.blocks import outcome, planned, validation
from pipeline_platform_tests.validations.test_row_rules import NAN, assert_breaks

GOODS = Table(
    "id BIGINT, code STRING, `net price` DECIMAL(10,2), rate DOUBLE, small FLOAT, day DATE, moment TIMESTAMP, "
    "ok BOOLEAN",
    [
        (1, "AB12", Decimal("1.50"), 0.5, 0.1, date(2026, 1, 1), datetime(2026, 1, 1, 12), True),
        (2, "xAB12", Decimal("2.00"), -0.0, -0.5, date(2026, 1, 2), datetime(2026, 1, 1, 13), False),
        (3, "AB12\n", Decimal("99999999.99"), NAN, NAN, None, None, None),
        (4, "", None, None, None, date(2026, 1, 1), datetime(2026, 1, 1, 12), True),
        (5, "Ünïcødé 🎉", Decimal("0.00"), 7.0, 7.0, date(1900, 1, 1), datetime(2026, 1, 1, 12, 0, 0, 1), False),
        (None, None, None, None, None, None, None, None),
    ],
)

PATTERNS = [
    ("code", "[A-Z]{2}[0-9]{2}", "NOT regexp_matches(code, '[A-Z]{2}[0-9]{2}')"),
    ("CODE", r"^[A-Z]{2}[0-9]{2}\z", "NOT regexp_full_match(code, '[A-Z]{2}[0-9]{2}')"),
    ("code", "^$", "code <> ''"),
]


@pytest.mark.parametrize(("column", "pattern", "condition"), PATTERNS)
def test_a_text_breaks_a_pattern_that_no_part_of_it_matches(spark: Any, column: str, pattern: str, condition: str):
    check = validation("validatePatterns", patterns={column: pattern}, onFailure="quarantine")
    assert_breaks(outcome(GOODS.frame(spark), check), condition, GOODS)


LENGTHS = [({"min": 1}, "length(code) < 1"), ({"min": 4, "max": 5}, "length(code) < 4 OR length(code) > 5")]


@pytest.mark.parametrize(("length", "condition"), LENGTHS)
def test_a_length_is_counted_in_characters_and_not_in_bytes(spark: Any, length: dict[str, int], condition: str):
    check = validation("validateLengths", lengths={"code": length}, onFailure="quarantine")
    assert_breaks(outcome(GOODS.frame(spark), check), condition, GOODS)


MANY = list(range(100, 120))
VALUES: list[tuple[str, Any, str]] = [
    ("id", [1, 2.5, "3", 10**30], "id NOT IN (1, 3)"),
    ("id", {"forbidden": [1, 3]}, "id IN (1, 3)"),
    ("code", ["AB12", "", "ab12"], "code NOT IN ('AB12', '')"),
    ("net price", [1.5, "99999999.99", 0, 1.501], "\"net price\" NOT IN (1.5, 99999999.99, 0)"),
    ("rate", [0.5, 0, *MANY], "rate NOT IN (0.5, 0) OR isnan(rate)"),
    ("rate", {"forbidden": [0, *MANY]}, "rate = 0"),
    ("small", [0.1, "-0.5"], "small NOT IN (0.1::FLOAT, -0.5::FLOAT) OR isnan(small)"),
    ("day", ["2026-01-01", "1900-01-01"], "day NOT IN (DATE '2026-01-01', DATE '1900-01-01')"),
    ("moment", ["2026-01-01T13:00:00+01:00"], "moment <> TIMESTAMP '2026-01-01 12:00:00'"),
    ("OK", [True], "NOT ok"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "listed", "condition"), VALUES)
def test_a_listed_value_is_one_of_the_type_of_its_column(spark: Any, column: str, listed: Any, condition: str):
    check = validation("validateValues", values={column: listed}, onFailure="quarantine")
    assert_breaks(outcome(GOODS.frame(spark), check), condition, GOODS)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("validatePatterns", {"patterns": {"code": "(?<n>a)(?<n>b)"}}, "no regular expression of Java: Named capturing"),
    ("validatePatterns", {"patterns": {"id": "1"}}, "'id' is bigint, and a pattern is held against texts"),
    ("validateLengths", {"lengths": {"day": {"min": 1}}}, "'day' is date, and a length is one of texts"),
    ("validateValues", {"values": {"code": [1]}}, "'code' is string: expected a string, not a number"),
    ("validateValues", {"values": {"id": ["one"]}}, "'id' is bigint: expected a number, not 'one'"),
    ("validateValues", {"values": {"day": ["noon"]}}, "'day' is date: expected a date as ISO 8601 writes it"),
    ("validateValues", {"values": {"list": [1]}}, "values of 'list' can't be listed: it is array<int>"),
    ("validateLengths", {"lengths": {"cood": {"min": 1}}}, "no column 'cood'"),
]


@pytest.mark.parametrize(("method", "config", "told"), REFUSED)
def test_what_does_not_go_with_a_column_is_told_before_anything_runs(
    spark: Any, method: str, config: dict[str, Any], told: str
):
    frame = GOODS.frame(spark).selectExpr("*", "array(1) AS list")
    with pytest.raises(PipelineException, match=told):
        planned(frame, validation(method, **config))


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("validateValues", {"values": {"a": [None]}}, "null is in no list: use validateNulls"),
    ("validateValues", {"values": {"a": {"allowed": [1], "forbidden": [2]}}}, "either 'allowed' or 'forbidden'"),
    ("validateLengths", {"lengths": {"a": {"min": 3, "max": 2}}}, "no text has at least 3 characters and at most 2"),
    ("validateStatistics", {"columns": {"a": {"mean": {"min": 2, "max": "1.9"}}}}, "no number is at least 2"),
    ("validateStatistics", {"columns": {"a": {"quantiles": {"95": {"max": 1}}}}}, "a fraction from 0 to 1"),
    ("validateStatistics", {"columns": {"a": {}}}, "expected at least one of nullShare"),
    ("validateFreshness", {"column": "a", "maxAge": "1 month"}, "'1 month' is not an age; write '1 day'"),
    ("validateTotals", {"referencedDataFrame": "a"}, "expected 'sums', or 'rows': true"),
    ("validateTotals", {"referencedDataFrame": "a", "rows": True, "maxDifference": -1}, "must be 0 or more"),
    ("validateFreshness", {"column": "a", "maxAge": "1 day", "onFailure": "quarantine"}, "no rows to quarantine"),
]


@pytest.mark.parametrize(("method", "config", "told"), WRONG)
def test_a_rule_that_nothing_could_keep_is_refused(method: str, config: dict[str, Any], told: str):
    with pytest.raises(ValidationError, match=told):
        validation(method, **config)


@pytest.mark.parametrize(("pattern", "rest"), [("^ab[0-9", "[0-9"), ("(ab", "(ab"), ("ab)", ")"), ("*a", "*a")])
def test_check_points_at_the_character_that_is_wrong_in_a_pattern(pattern: str, rest: str):
    steps = pipeline(extract(), validate("validatePatterns", patterns={"code": pattern}), load())
    [found] = problems_of(steps)
    assert found.message.startswith("no regular expression: ")
    assert found.source_line is not None
    assert found.source_line[found.column - 1 :] == f'{rest}"'


@pytest.mark.parametrize(
    ("pattern", "is_wrong"),
    [
        (r"\p{L}\z[0-9", True), (r"\p{L}+[\p{Lu}&&[^A]]\z", False), (r"\\z[", True), (r"\\\[\h\R\z", False),
        (r"\Q[(\E", False), (r"(?<n>a)\k<n>", False), (r"\x{1F389}\G", False), (r"\z)", True),
    ],
)  # fmt: skip
def test_escapes_that_only_java_has_hide_no_mistake_and_are_none(pattern: str, is_wrong: bool):
    assert (pattern_error(pattern) is not None) is is_wrong


# Each as Pattern.compile of Java 17 told.
ONLY_JAVA_REFUSES = [
    *["(?P<n>a)", "a{,3}", "x{99999999999}", r"\d{2,1}", "a|*", "(?:+a)", "a**", "a*?+", "a{2}+*", "a{1", "a{1, 2}"],
    *[r"\y", r"a\E", "(?#c)", "(?'n'a)", "a{2147483648}", "{"],
]
JAVA_TAKES = [
    *["^*", "a{2}{3}", "a}", "{2}", "[{*+?(]", "[a[*]]*+", "(?i-s:a)+?", "(?<n>a){2,}", "[]a]", "[^]a]", "(?x)a #{,}"],
    *[
        r"\N{DIGIT ONE}",
        r"\p{L}*",
        r"\pL+",
        r"\c*+",
        r"\{,3}",
        r"\Q{,3}\E",
        r"\\{2}",
        r"a\|*",
        "(?<=a)b*?",
        "a{2147483647}",
    ],
]


def test_what_java_refuses_is_found_without_it_and_what_it_takes_is_never_refused():
    assert [pattern for pattern in ONLY_JAVA_REFUSES if pattern_error(pattern) is None] == []
    assert [pattern for pattern in JAVA_TAKES if pattern_error(pattern) is not None] == []


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("validateFreshness", {"column": "at", "maxAge": "1 day"}),
        ("validateTotals", {"referencedDataFrame": "plans", "rows": True}),
    ],
)
def test_what_makes_no_sense_of_a_micro_batch_is_refused_in_a_stream(method: str, config: dict[str, Any]):
    frames = [extract(path="plans", format="parquet", registerAs="plans"), extract("fromKafka", topic="a")]
    [found] = problems_of(pipeline(*frames, validate(method, **config), load(), mode="streaming"))
    assert found.message.startswith("a micro-batch ")
