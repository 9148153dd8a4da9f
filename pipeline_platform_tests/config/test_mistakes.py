"""Every mistake in a file is reported at once, at its place, with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_platform_tests.config.reading import (
    extract,
    load,
    messages_of,
    pipeline,
    problems_of,
    transform,
    validate,
)

FIVE_MISTAKES = """\
{
  "name": "flights",
  "mode": "bach",
  "steps": [
    {"type": "extract", "method": "fromFiles", "config": {"path": "in", "format": "csv", "heading": true}},
    {"type": "transform", "method": "filterRow", "config": {"condition": "a > 1"}},
    {"type": "transform", "method": "filterRows", "config": {"condition": "a > "}},
\t{"type": "validate", "method": "validateNulls", "config": {"notNullColumns": ["a"], "input": "flihgts"}},
    {"type": "load", "method": "toDeltaLake", "config": {"path": "out"}}
  ]
}
"""


def test_five_different_mistakes_are_reported_together_each_at_its_place():
    found = [(problem.line, problem.column, problem.message) for problem in problems_of(FIVE_MISTAKES)]
    assert found == [
        (3, 11, "expected 'batch' or 'streaming', not 'bach'"),
        (5, 90, "unknown key 'heading'"),
        (6, 37, "unknown method 'filterRow'"),
        (7, 78, "SQL syntax: Required keyword: 'expression' missing near '>', column 3"),
        (8, 95, "there is no registered frame 'flihgts' before this step"),
    ]


def test_the_nearest_valid_name_is_offered():
    hints = [problem.hint for problem in problems_of(FIVE_MISTAKES)]
    assert hints[:3] == ["did you mean 'batch'?", "did you mean 'header'?", "did you mean 'filterRows'?"]


def test_all_mistakes_of_one_step_are_reported():
    wrong = extract(path="", format="cvs", header=3, cacheStorageLevel="RAM", cache="maybe")
    assert len(problems_of(pipeline(wrong))) == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected a pipeline object, not a list"),
        ("3", "expected a pipeline object, not a number"),
        ({"mode": "batch", "steps": [extract()]}, "the key 'name' is missing"),
        ({"name": "a", "steps": [extract()]}, "the key 'mode' is missing"),
        (pipeline(), "expected 'steps', a list of at least one step"),
        ({"name": "a", "mode": "batch"}, "expected 'steps', a list of at least one step"),
        (pipeline(extract(), name="a b"), "must match ^[A-Za-z0-9_-]+$"),
        (pipeline(extract(), name=3), "expected a string, not a number"),
        (pipeline(extract(), descripton="x"), "unknown key 'descripton' (did you mean 'description'?)"),
        (pipeline(extract(), retry={"attempts": 3}), "unknown key 'attempts' (did you mean 'maxAttempts'?)"),
        (pipeline(extract(), retry={"maxAttempts": 0}), "must be greater than 0"),
        (pipeline(extract(), retry={"maxAttempts": "three"}), "expected an integer, not a string"),
        (pipeline(extract(), retry={"maxAttempts": True}), "expected an integer, not a boolean"),
        (pipeline(extract(), retry={"delaySeconds": -1}), "must be 0 or more"),
        (pipeline(extract(), retry=[]), "expected an object, not a list"),
        (pipeline(extract(), metadata={"tags": "x"}), "expected a list, not a string"),
        (pipeline(3), "expected a step object, not a number"),
        (pipeline({**extract(), "configs": {}}), "unknown key 'configs' (did you mean 'config'?)"),
        (pipeline({**extract(), "config": []}), "expected 'config' to be an object, not a list"),
        (
            pipeline({"method": "fromFiles", "config": {}}),
            "the key 'type' is missing (valid: extract, transform, validate, load)",
        ),
        (pipeline({**extract(), "type": "extrac"}), "unknown type 'extrac' (did you mean 'extract'?)"),
        (pipeline({**extract(), "type": ["extract"]}), "expected a string, not a list"),
        (pipeline({**extract(), "method": None}), "expected a string, not null"),
        (pipeline({**extract(), "method": "fromDelta"}), "unknown method 'fromDelta' (did you mean 'fromDeltaLake'?)"),
        (pipeline(extract(path="in")), "the key 'format' is missing"),
        (pipeline({"type": "extract", "method": "fromRate"}), "the key 'rowsPerSecond' is missing"),
        (
            pipeline(extract(), validate("validateRanges", ranges={"a": {"min": [], "max": 1}})),
            "expected an integer or a number or a string",
        ),
        (
            pipeline(extract(), validate("validateRanges", ranges={"a": {"minimum": 1, "max": 1}})),
            "unknown key 'minimum' (did you mean 'min'?)",
        ),
        (
            pipeline(extract(), validate("validateSchema", expectedColumns=[{"name": "a"}])),
            "the key 'type' is missing",
        ),
        (pipeline(extract(), load(path="out", mode="replace")), "expected 'append', 'overwrite'"),
        (pipeline(extract(), load(path="out", mode="merge")), "mode merge needs 'mergeKeys'"),
        (pipeline(extract(), load(path="out", trigger="5 sex")), "unknown trigger '5 sex'"),
        (pipeline(extract(), load(path="a\0b")), "must not hold a NUL character"),
        (pipeline(extract(), transform("filterRows", condition=" ")), "the SQL is empty"),
        (pipeline(extract(), transform("filterRows", condition="a; DROP TABLE b")), "expected one statement, not 2"),
        (pipeline(extract(), transform("filterRows", condition="a, b")), "expected one expression"),
        (pipeline(extract(), transform("filterRows", condition="a FROM t")), "expected one expression"),
        (pipeline(extract(), transform("filterRows", condition="a = 'x")), "Error tokenizing"),
        (pipeline(extract(), transform("filterRows", condition="(" * 9999)), "nested too deeply"),
        (pipeline(extract(), transform("filterRows", condition="a\n = = 1")), "line 2, column 4"),
        (pipeline(extract(), transform("sqlQuery", query="DROP TABLE flights")), "expected a SELECT"),
        (pipeline(extract(path="in", format="csv", schema="id BIGIN")), "expected a schema in Spark DDL"),
    ],
)
def test_a_mistake_is_said_in_the_words_of_the_format(value: object, message: str):
    found = messages_of(value)
    assert len(found) == 1, found
    assert message in found[0]


def test_a_model_that_finds_a_mistake_says_which_key_it_is():
    both = pipeline(extract("fromDeltaLake", path="t", version=3, timestamp="2026-01-01"))
    (problem,) = problems_of(both)
    assert problem.source_line == '        "timestamp": "2026-01-01"'


def test_a_missing_key_is_reported_where_it_should_stand():
    (problem,) = problems_of('{"name": "a", "mode": "batch", "steps": [\n{"type": "extract", "method": "fromRate"}]}')
    assert (problem.line, problem.column) == (2, 1)


def test_whatever_a_method_of_another_package_raises_is_a_mistake_in_the_file():
    from typing import ClassVar

    from pydantic import model_validator

    from pipeline_platform.config.loader import parse_pipeline
    from pipeline_platform.exceptions import PipelineConfigurationException
    from pipeline_platform.methods.extract.base import Extract

    class FromNowhere(Extract):
        method: ClassVar[str] = "fromNowhere"

        @model_validator(mode="after")
        def _fails(self) -> FromNowhere:
            raise RuntimeError("no such place")

    text = '{"name": "a", "mode": "batch", "steps": [{"type": "extract", "method": "fromNowhere"}]}'
    methods = {"extract": {"fromNowhere": FromNowhere}, "transform": {}, "validate": {}, "load": {}}
    with pytest.raises(PipelineConfigurationException, match="no such place"):
        parse_pipeline(text, methods, Path("x.json"))
