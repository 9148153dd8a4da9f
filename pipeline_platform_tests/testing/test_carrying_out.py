"""Tests of pipelines as they are carried out: the platform's own plan, on given rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipeline_platform.config.partitions import Partition
from pipeline_platform.testing.carrying_out import TestResult, carry_out
from pipeline_platform_tests.testing.project import ORDERS, read_from

CUSTOMERS = [{"name": "Ann", "country": "NL"}, {"name": "Bo", "country": "NL"}, {"name": "Cy", "country": "BE"}]
RAW = [
    {"id": 1, "customer": "Ann", "amount": 10.25},
    {"id": 2, "customer": "Bo", "amount": 0.50},
    {"id": 3, "customer": "Cy", "amount": 7},
    {"id": 4, "amount": 8},
]
GIVEN = {"raw": RAW, "customers": CUSTOMERS}
TOTALS = [
    {"country": "BE", "total": 7.00, "orders": 1, "made": "2024-02-29"},
    {"country": "NL", "total": 10.75, "orders": 2, "made": "2024-02-29"},
]
NOW = "2024-03-01T00:30:00+01:00"


def result(spark: SparkSession, folder: Path, loads: Partition | None = None, **test: Any) -> TestResult:
    pipeline = test.pop("pipeline", ORDERS)
    (one,) = read_from(folder, {"name": "it", "given": GIVEN, "now": NOW, **test}, pipeline=pipeline)
    return carry_out(one, loads)


def test_rows_violations_a_quarantine_and_the_schema_are_as_expected(spark: SparkSession, tmp_path: Path) -> None:
    came = result(
        spark,
        tmp_path,
        expect={
            "raw": {"count": 4},
            "has_customer": {"violations": {"customer is not null": 1}, "rows": [{"id": 4, "customer": None}]},
            "is_paid": 0,
            "per_customer": {
                "rows": TOTALS,
                "schema": "country STRING, total DECIMAL(19,2), orders BIGINT, made DATE",
            },
            "totals": TOTALS,
        },
    )
    assert came.error is None
    assert [str(finding.problem) for finding in came.findings] == []
    assert {rule: count for (_, rule), count in came.rules.items()} == {"customer is not null": 1, "paid": 0}


def test_what_is_otherwise_is_told_at_its_place(spark: SparkSession, tmp_path: Path) -> None:
    for expect, messages in (
        (
            {
                "has_customer": {"violations": {"x": 1}, "rows": []},
                "per_customer": {"count": 3, "schema": "country STRING"},
                "totals": [{**TOTALS[0], "total": 7.01}, TOTALS[1]],
            },
            [
                "there is no rule 'x' (valid: customer is not null)",
                "1 rows break 'customer is not null', and 0 are expected to",
                "1 not expected; 0 are expected, and there are 1",
                "the columns are others: country STRING, total DECIMAL(19,2), orders BIGINT, made DATE",
                "'per_customer' has 2 rows, and 3 are expected",
                "1 with another value",
            ],
        ),
        (
            {"has_customer": 0, "per_customer": [{"county": "BE"}], "totals": TOTALS[:1]},
            [
                "expected 0 violations, found 1: 1 of 'customer is not null'",
                "there is no column 'county'",
                "1 not expected; 1 are expected, and there are 2",
            ],
        ),
    ):
        came = result(spark, tmp_path, expect=expect)
        assert came.error is None
        told = [finding.problem.message for finding in came.findings]
        assert len(told) == len(messages)
        assert [one for one, message in zip(told, messages, strict=True) if message.partition(" (")[0] not in one] == []
        assert {finding.problem.line for finding in came.findings} == {2}


def test_a_rule_that_stops_the_run_fails_a_test_that_does_not_expect_it(spark: SparkSession, tmp_path: Path) -> None:
    given = {**GIVEN, "raw": [*RAW, {"id": 5, "customer": "Ann", "amount": -1}]}
    came = result(spark, tmp_path, given=given, expect={"totals": TOTALS})
    assert came.error is not None
    assert "1 of 4 rows (25.00%) break 'paid'" in came.error
    fails = {"step": "is_paid", "message": "break 'paid'"}
    assert result(spark, tmp_path, given=given, expect={"is_paid": 1}, fails=fails).passed
    assert "does not fail" in str(result(spark, tmp_path, fails=fails).findings[0].problem)
    other = result(spark, tmp_path, given=given, fails={**fails, "message": "too old"})
    assert "it fails with another message" in str(other.findings[0].problem)


def test_rows_that_do_not_fit_their_columns_are_told_and_never_rounded(spark: SparkSession, tmp_path: Path) -> None:
    for row, message in (
        ({"amount": 1.005}, "'amount' does not fit DECIMAL(9,2)"),
        ({"day": "2024-02-30"}, "'day' is not DATE"),
        ({"customer": 7}, "expected a string, as the column holds text, not a number"),
        ({"costumer": "Ann"}, "there is no column 'costumer' (did you mean 'customer'?)"),
    ):
        came = result(spark, tmp_path, given={**GIVEN, "raw": [row]}, expect={"totals": []})
        assert came.error is not None
        assert message in came.error


def test_time_that_can_not_be_set_is_refused_and_never_that_of_the_clock(spark: SparkSession, tmp_path: Path) -> None:
    bare = {**ORDERS, "steps": [dict(step) for step in ORDERS["steps"]]}
    bare["steps"][4] = {**bare["steps"][4], "config": {"query": "SELECT id, current_date AS made FROM orders"}}
    came = result(spark, tmp_path, pipeline=bare, expect={"per_customer": []})
    assert came.error is not None
    assert "'now' can't set the time that 'current_date' gives" in came.error
    assert spark.sql("SELECT current_date()").collect()[0][0].year > 2024


def test_a_test_of_a_partition_loads_its_rows_alone(spark: SparkSession, tmp_path: Path) -> None:
    steps = [ORDERS["steps"][0], {**ORDERS["steps"][5], "config": {"path": "out", "mode": "overwrite"}}]
    daily = {
        "name": "daily",
        "mode": "batch",
        "partitions": {"type": "daily", "start": "2024-01-01", "column": "day"},
        "steps": steps,
    }
    rows = [{"id": 1, "day": "2024-01-01"}, {"id": 2, "day": "2024-01-02"}, {"id": 3}]
    second = Partition("day", ("2024-01-02",), datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
    came = result(
        spark,
        tmp_path,
        second,
        pipeline=daily,
        given={"raw": rows},
        partition="2024-01-02",
        expect={"totals": [{"id": 2}], "raw": {"count": 3}},
    )
    assert came.passed, (came.error, came.findings)


def test_nothing_is_read_or_written(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    local = {**ORDERS, "steps": [dict(step) for step in ORDERS["steps"]]}
    local["steps"][5] = {**local["steps"][5], "config": {"path": "lake/totals", "mode": "overwrite"}}
    came = result(spark, tmp_path, pipeline=local, expect={"totals": TOTALS, "has_customer": 1})
    assert came.passed, (came.error, came.findings)
    assert not (tmp_path / "lake").exists()


def test_each_step_is_seen_as_it_is_in_its_turn(spark: SparkSession, tmp_path: Path) -> None:
    first = {**ORDERS["steps"][5], "name": "all", "config": {"path": "s3a://nowhere/all", "input": "orders"}}
    last = {**ORDERS["steps"][5], "name": "good", "config": {"path": "s3a://nowhere/good", "input": "orders"}}
    twice = {**ORDERS, "steps": [ORDERS["steps"][0], first, ORDERS["steps"][2], last]}
    came = result(
        spark,
        tmp_path,
        pipeline=twice,
        given={"raw": RAW},
        expect={"raw": {"count": 4}, "all": {"count": 4}, "has_customer": 1, "good": {"count": 3}},
    )
    assert came.passed, (came.error, [str(finding.problem) for finding in came.findings])


def test_what_one_step_fails_at_does_not_hide_another(spark: SparkSession, tmp_path: Path) -> None:
    rules = [{"name": "even", "rule": "1 / (id - 1) > 0"}]
    divided = {**ORDERS["steps"][3], "name": "divided", "config": {"input": "orders", "rules": rules}}
    broken = {**ORDERS, "steps": [ORDERS["steps"][0], ORDERS["steps"][2], divided, ORDERS["steps"][5]]}
    fails = {"step": "divided", "message": "division by zero"}
    expect = {"has_customer": 1}
    came = result(spark, tmp_path, pipeline=broken, given={"raw": RAW}, expect=expect, fails=fails)
    assert came.passed, (came.error, [str(finding.problem) for finding in came.findings])


STREAM: dict[str, Any] = {
    "name": "visits",
    "mode": "streaming",
    "steps": [
        {
            "type": "extract",
            "method": "fromKafka",
            "name": "clicks",
            "config": {"topic": "clicks", "registerAs": "clicks", "credentialPath": "secret/data/kafka"},
        },
        {
            "type": "extract",
            "method": "fromPostgres",
            "name": "pages",
            "config": {"table": "pages", "registerAs": "pages", "credentialPath": "secret/data/postgres"},
        },
        {
            "type": "transform",
            "method": "aggregateData",
            "name": "by_minute",
            "config": {
                "input": "clicks",
                "groupBy": ["page"],
                "aggregations": {"visits": "count(*)"},
                "window": {"column": "at", "duration": "1 minute"},
                "watermark": {"column": "at", "delay": "10 seconds"},
                "registerAs": "by_minute",
            },
        },
        {
            "type": "validate",
            "method": "validateBusinessRules",
            "name": "not_many",
            "config": {
                "rules": ["visits < 3"],
                "onFailure": "quarantine",
                "quarantinePath": "q",
            },
        },
        {
            "type": "transform",
            "method": "joinDataFrames",
            "name": "titled",
            "config": {"inputDataFrames": ["by_minute", "pages"], "joinColumn": "page"},
        },
        {"type": "load", "method": "toDeltaLake", "name": "table", "config": {"path": "s3a://nowhere/table"}},
    ],
}


def clicks(*times: str, page: str = "home") -> list[dict[str, str]]:
    return [{"page": page, "at": f"2024-01-01T10:{time}Z"} for time in times]


def test_a_stream_is_run_in_its_micro_batches_with_its_watermark(spark: SparkSession, tmp_path: Path) -> None:
    late = clicks("00:30", page="late")
    # Spark holds a row against the watermark of the micro-batch before.
    batches = [
        clicks("00:05", "00:50"),
        clicks("01:15"),
        clicks("01:20"),
        late,
        clicks("01:25", "01:30"),
        clicks("05:00"),
    ]
    came = result(
        spark,
        tmp_path,
        pipeline=STREAM,
        now=None,
        given={
            "clicks": {"schema": "page STRING, at TIMESTAMP", "batches": batches},
            "pages": [{"page": "home", "title": "Home"}],
        },
        expect={
            "clicks": {"batches": batches},
            "by_minute": {"count": 2, "rows": [{"visits": 2}, {"visits": 4}]},
            "not_many": {"violations": 1, "rows": [{"visits": 4}]},
            "table": [{"page": "home", "title": "Home", "visits": 2}],
        },
    )
    assert came.passed, (came.error, [str(finding.problem) for finding in came.findings])
    assert not (tmp_path / "q").exists()
