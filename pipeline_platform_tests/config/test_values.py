"""The spellings that old files have, and those that no file may have."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pipeline_platform.config.sql import SqlMistake, checked_expression, ddl_mistake
from pipeline_platform_tests.config.reading import extract, load, messages_of, pipeline, read, read_step, validate


@pytest.mark.parametrize(("value", "result"), [(True, True), ("true", True), ("TRUE", True), (" false ", False)])
def test_a_flag_may_be_a_string(value: Any, result: bool):
    assert read_step(extract(path="in", format="csv", cache=value)).cache is result


@pytest.mark.parametrize("value", [1, 0, "yes", "1", "", None, []])
def test_nothing_else_is_a_flag(value: Any):
    assert messages_of(pipeline(extract(path="in", format="csv", cache=value))) == [
        'expected true or false, or "true" or "false"',
    ]


@pytest.mark.parametrize("value", [100000, "100000", " 100000 ", "+100000", 1e5])
def test_an_integer_may_be_a_string(value: Any):
    assert read_step(extract("fromRate", rowsPerSecond=value)).rows_per_second == 100000


@pytest.mark.parametrize("value", ["1_000", "1e5", "1.5", 1.5, "٣", "", True, None, [1], "9" * 5000])
def test_nothing_else_is_an_integer(value: Any):
    (message,) = messages_of(pipeline(extract("fromRate", rowsPerSecond=value)))
    assert message.startswith("expected an integer")


@pytest.mark.parametrize(("value", "result"), [(0.1, 0.1), ("0.1", 0.1), (3, 3), ("3", 3)])
def test_a_tolerance_is_a_count_or_a_fraction_and_may_be_a_string(value: Any, result: float):
    assert read_step(validate("validateNulls", notNullColumns="a", tolerance=value)).tolerance == result


@pytest.mark.parametrize("value", [1.5, -1, "inf", "nan", "many", True])
def test_nothing_else_is_a_tolerance(value: Any):
    assert messages_of(pipeline(extract(), validate("validateNulls", notNullColumns="a", tolerance=value)))


@pytest.mark.parametrize("value", ["append", "APPEND", "Append"])
def test_a_choice_may_be_written_in_any_case(value: str):
    assert read_step(load(path="out", mode=value)).mode == "append"


@pytest.mark.parametrize(
    ("level", "result"),
    [("disk_only", "DISK_ONLY"), ("MEMORY_AND_DISK_SER", "MEMORY_AND_DISK"), ("OFF_HEAP", "OFF_HEAP")],
)
def test_every_storage_level_of_spark_is_one(level: str, result: str):
    assert read_step(extract(path="in", format="csv", cacheStorageLevel=level)).cache_storage_level == result


@pytest.mark.parametrize(
    "trigger", ["5 seconds", "processingTime=5 seconds", "1 minute", "once", "continuous=1 second"]
)
def test_a_trigger_may_be_any_of_sparks(trigger: str):
    assert read_step(load(path="out", trigger=trigger)).trigger == trigger


@pytest.mark.parametrize(
    "expression",
    [
        "a <=> b AND NOT c RLIKE 'x'",
        "transform(xs, x -> x + 1)",
        "aggregate(xs, 0, (acc, x) -> acc + x)",
        "count(*) FILTER (WHERE a > 1)",
        "ts - INTERVAL '5' DAY",
        "row_number() OVER (PARTITION BY a ORDER BY b DESC NULLS LAST)",
        "`a column`.field[0]['key']",
        "CAST(a AS DECIMAL(10, 2)) -- in euros",
        "a IN (SELECT id FROM users)",
        'carrier = "UA"',
    ],
)
def test_an_expression_may_be_any_of_sparks(expression: str):
    assert not isinstance(checked_expression(expression), SqlMistake)


@pytest.mark.parametrize(
    "ddl",
    ["id BIGINT, name STRING", "id: INT", "a ARRAY<STRUCT<b: INT>> NOT NULL COMMENT 'x'", "STRUCT<a: INT>", "a LONG"],
)
def test_a_schema_may_be_written_as_spark_reads_it(ddl: str):
    assert ddl_mistake(ddl) is None


def test_null_is_a_value_only_where_a_key_may_be_left_out():
    assert read_step(extract(path="in", format="csv", registerAs=None)).register_as is None
    assert messages_of(pipeline(extract(path=None, format="csv"))) == ["expected a string, not null"]


def test_a_config_is_shown_as_it_is_written():
    config: dict[str, Any] = {"path": "in", "format": "csv", "header": False}
    assert read_step(extract(**config)).as_config() == config


def test_a_pipeline_can_be_sent_to_another_process():
    read_pipeline = read(pipeline(extract("fromKafka", topic="a", **{"ssl.key.password": "sesame"}), load()))
    assert pickle.loads(pickle.dumps(read_pipeline)).steps == read_pipeline.steps
