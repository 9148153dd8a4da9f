"""Variables of a pipeline: declared in its file, given to a run, checked before anything begins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.variables import VariableType, VariableValue, typed
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import (
    Json,
    extract,
    load,
    messages_of,
    pipeline,
    problems_of,
    read,
    transform,
)

LIMIT = {"limit": {"type": "integer", "default": 5, "description": "Rows per second."}}


def with_values(value: Json, **values: VariableValue) -> PipelineConfig:
    return parse_pipeline(json.dumps(value, indent=2), method_registry(), values=values)


def wrong(value: Json, **values: VariableValue) -> list[str]:
    with pytest.raises(PipelineConfigurationException) as refused:
        with_values(value, **values)
    return [str(problem).splitlines()[0] for problem in refused.value.problems]


def rate(rows: Any, **keys: Any) -> Json:
    return pipeline(extract("fromRate", rowsPerSecond=rows), load(), **keys)


def test_a_variable_stands_in_any_key_with_its_own_type():
    value = rate("${var:limit}", variables=LIMIT)
    assert read(value).steps[0].config.model_dump()["rows_per_second"] == 5
    assert with_values(value, limit=7).steps[0].config.model_dump()["rows_per_second"] == 7


def test_a_variable_stands_within_a_text_a_path_and_a_setting_of_spark():
    value = pipeline(
        extract(),
        transform("filterRows", condition="origin = '${var:origin}' AND late = ${var:late}"),
        load(path="lake/${var:origin}"),
        sparkConf={"spark.app.origin": "${var:origin}"},
        variables={"origin": {"default": "JFK"}, "late": {"type": "boolean", "default": True}},
    )
    found = with_values(value, origin="EWR")
    assert found.steps[1].config.model_dump()["condition"] == "origin = 'EWR' AND late = true"
    assert found.steps[2].config.model_dump()["path"] == "lake/EWR"
    assert found.spark_settings() == {"spark.app.origin": "EWR"}
    assert found.values == {"origin": "EWR", "late": True}


def test_a_value_is_checked_as_if_it_stood_in_the_file():
    value = pipeline(
        extract(), transform("filterRows", condition="${var:rule}"), load(), variables={"rule": {"default": "true"}}
    )
    (message,) = wrong(value, rule="a >")
    assert "SQL syntax" in message


def test_a_negative_number_begins_no_comment():
    variables = {"less": {"type": "integer", "default": 2}}
    value = pipeline(extract(), transform("filterRows", condition="a -${var:less} > 5"), load(), variables=variables)
    assert with_values(value, less=2).steps[1].config.as_config() == {"condition": "a -2 > 5"}
    assert "would begin a comment in SQL" in wrong(value, less=-2)[0]


@pytest.mark.parametrize("digits", [309, 400])
def test_a_number_that_no_number_comes_near_to_is_told(digits: int):
    value = rate(1, variables={"n": {"type": "number", "default": 10**digits}})
    assert "number" in messages_of(value)[0]


def test_what_is_no_variable_is_told_at_its_place():
    value = pipeline(extract(), load(path="out/${var:limt}"), variables=LIMIT)
    assert messages_of(value) == ["there is no variable 'limt' (did you mean 'limit'?)"]
    assert messages_of(pipeline(extract(), load(path="${var:x}"))) == [
        "there is no variable 'x' (declare it under 'variables')"
    ]


def test_a_value_of_another_type_or_for_no_variable_is_refused():
    value = rate("${var:limit}", variables=LIMIT)
    assert "the value of the variable 'limit': expected an integer, not 'many'" in wrong(value, limit="many")[0]
    assert "there is no variable 'limmit' (did you mean 'limit'?)" in wrong(value, limmit=1)[0]


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"type": "integer", "default": "x"}, "expected an integer, not 'x'"),
        ({"type": "integer", "default": True}, "expected an integer, not true"),
        ({"type": "date", "default": "2024-02-30"}, "expected a date, such as '2024-01-31', not '2024-02-30'"),
        ({"type": "date", "default": "20240131"}, "expected a date, such as '2024-01-31', not '20240131'"),
        ({"type": "string", "default": 7}, "expected a string, not 7"),
        ({"default": "x${var:y}"}, "a default is not looked at for placeholders but '${env:…}', and holds '${var:y}'"),
        ({"default": "${partition:key}"}, "and holds '${partition:key}'"),
        ({"type": "int"}, "'integer'"),
        ({"typ": "integer"}, "unknown key 'typ'"),
    ],
)
def test_a_declaration_that_is_none_is_told(variable: Json, message: str):
    value = pipeline(extract(), load(), variables={"w": {}, "v": variable})
    (problem,) = problems_of(value)
    assert message in str(problem)
    lines = json.dumps(value, indent=2).splitlines()
    assert f'"{[*variable][-1]}": ' in lines[problem.line - 1]


@pytest.mark.parametrize("name", ["a-b", "9", "", "größe", "a\n", "a b"])
def test_a_name_is_one_that_dagster_takes_and_another_is_told_at_its_line(name: str):
    value = pipeline(extract(), load(), variables={"right_1": {}, name: {"type": "integer", "default": 1}})
    (problem,) = problems_of(value)
    assert problem.message == (
        f"'{name}' is no name of a variable: it has to be letters of a to z, digits and '_', with no digit first"
    )
    assert f"{json.dumps(name)}: {{" in json.dumps(value, indent=2).splitlines()[problem.line - 1]


def test_a_default_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP", "north")
    value = pipeline(extract(), load(path="lake/${var:shop}"), variables={"shop": {"default": "${env:SHOP}"}})
    assert read(value).steps[1].config.model_dump()["path"] == "lake/north"


def test_a_variable_without_a_default_has_to_be_given():
    value = pipeline(extract(), load(path="lake/${var:origin}"), variables={"origin": {}})
    with pytest.raises(PipelineConfigurationException, match=r"no value for the variable origin[\s\S]*--var origin="):
        read(value).require_ready()
    with_values(value, origin="JFK").require_ready()


def test_a_number_can_not_wait_for_its_value():
    assert messages_of(rate("${var:limit}", variables={"limit": {"type": "integer"}})) == [
        "expected an integer (a variable in this key needs a default of its type)"
    ]


def test_what_starts_by_itself_needs_defaults():
    value = pipeline(extract(), load(), variables={"origin": {}}, schedule="0 6 * * *")
    assert messages_of(value) == [
        "the variable 'origin' needs a default: the schedule that starts the pipeline gives it no value"
    ]


def test_a_variable_is_no_place_for_a_secret():
    keys = {"accessKeyId": "id", "secretAccessKey": "${var:key}"}
    step = extract("fromS3", bucket="b", path="p", format="csv", **keys)
    found = messages_of(pipeline(step, load(), variables={"key": {"default": "x"}}))
    assert any("is a secret, and variables are shown in Dagster" in message for message in found)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "7", "7"),
        ("integer", "7", 7),
        ("number", "7", 7),
        ("number", "7.5", 7.5),
        ("boolean", "True", True),
        ("date", "2024-01-31", "2024-01-31"),
        ("timestamp", "2024-01-31T10:00:00+01:00", "2024-01-31T10:00:00+01:00"),
        ("timestamp", "2024-01-31T10:00:00.123456Z", "2024-01-31T10:00:00.123456Z"),
    ],
)
def test_a_text_of_the_command_line_becomes_a_value(kind: VariableType, text: str, value: VariableValue):
    assert typed(kind, text) == value
    assert type(typed(kind, text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "7.5"),
        ("number", "nan"),
        ("number", "inf"),
        ("boolean", "yes"),
        ("date", "x"),
        ("date", "20240131"),
        ("date", "2024-W05-3"),
        ("date", "2024-1-31"),
        ("date", "2024-01-31\n"),
        ("timestamp", ""),
        ("timestamp", "2024-01-31"),
        ("timestamp", "20240131T120000"),
        ("timestamp", "2024-01-31 12:00:00"),
        ("timestamp", "2024-01-31T12:00"),
        ("timestamp", "2024-01-31T12:00:00+0100"),
        ("timestamp", "2024-01-31T12:00:00,5"),
        ("timestamp", "2024-01-31T25:00:00"),
    ],
)
def test_a_text_that_stands_for_no_value_is_refused(kind: VariableType, text: str):
    with pytest.raises(ValueError, match="expected"):
        typed(kind, text)


def test_a_value_is_not_looked_at_for_placeholders():
    value = pipeline(extract(), load(path="${var:place}"), variables={"place": {"default": "out"}})
    assert "the value of the variable 'place' must not hold '${'" in wrong(value, place="${env:HOME}")[0]
