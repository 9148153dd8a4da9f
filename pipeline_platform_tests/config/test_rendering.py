"""A problem as people and editors see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_platform.config.config_error import SHOWN_WIDTH, ConfigError, did_you_mean
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import remember_secret
from pipeline_platform_tests.config.reading import problems_of
from pipeline_platform_tests.config.test_mistakes import FIVE_MISTAKES

FILE = Path("pipelines/flights.json")


def test_the_five_mistakes_as_they_are_shown():
    assert "\n".join(map(str, problems_of(FIVE_MISTAKES))) == (
        """\
pipeline.json:3:11: expected 'batch' or 'streaming', not 'bach' (did you mean 'batch'?)
      "mode": "bach",
              ^
pipeline.json:5:90: unknown key 'headr' (did you mean 'header'?)
        {"type": "extract", "method": "fromFiles", "config": {"path": "in", "format": "csv", "headr": true}},
                                                                                             ^
pipeline.json:6:37: unknown method 'filterRow' (did you mean 'filterRows'?)
        {"type": "transform", "method": "filterRow", "config": {"condition": "a > 1"}},
                                        ^
pipeline.json:7:78: SQL syntax: Required keyword: 'expression' missing near '>', column 3
        {"type": "transform", "method": "filterRows", "config": {"condition": "a > "}},
                                                                                 ^
pipeline.json:8:95: there is no registered frame 'flihgts' before this step (no frame is registered so far)
     {"type": "validate", "method": "validateNulls", "config": {"notNullColumns": ["a"], "input": "flihgts"}},
                                                                                                  ^"""
    )


def test_the_exception_says_what_its_problems_say():
    problem = ConfigError(FILE, 3, 1, "expected a list")
    error = PipelineConfigurationException(str(problem), problems=[problem])
    assert str(error) == "pipelines/flights.json:3:1: expected a list"


def caret_below(problem: ConfigError) -> str:
    """What stands above the caret, up to the end of the line."""
    _, shown, caret = str(problem).splitlines()
    return shown[caret.index("^") :]


def test_the_caret_stands_below_the_mistake_after_tabs():
    assert caret_below(ConfigError(FILE, 1, 4, "wrong", None, '\t\t\t"mode"')) == '"mode"'


def test_the_caret_stands_below_the_mistake_in_a_long_line():
    line = " " * 500 + '"mode": "bach"' + " " * 500
    shown = str(ConfigError(FILE, 1, 509, "wrong", None, line)).splitlines()[1]
    assert caret_below(ConfigError(FILE, 1, 509, "wrong", None, line)).startswith('"bach"')
    assert len(shown) <= SHOWN_WIDTH + 4


@pytest.mark.parametrize(
    ("before", "cells"), [("漢字", 4), ("e\u0301", 1), ("漢字e\u0301", 5), ("\U0001f44d\U0001f3fd", 2), ("ก\u0e31", 1)]
)
def test_the_caret_stands_below_the_mistake_after_wide_and_combining_characters(before: str, cells: int):
    _, _, caret = str(ConfigError(FILE, 1, len(before) + 1, "wrong", None, f"{before}x")).splitlines()
    assert caret == "    " + " " * cells + "^"


def test_the_caret_stands_below_the_mistake_after_a_masked_secret():
    problem = ConfigError(FILE, 1, 27, "wrong", None, '{"password": "hunter22", "x": 1}')
    assert "hunter22" not in str(problem)
    assert caret_below(problem).startswith('x": 1')


def test_a_known_secret_is_in_no_part_of_a_problem():
    remember_secret("correct-horse")
    problem = ConfigError(FILE, 1, 1, "wrong: correct-horse", "not correct-horse", '"query": "correct-horse"')
    assert "correct-horse" not in str(problem)


def test_a_password_is_masked_when_its_string_does_not_end():
    (problem,) = problems_of('{"password": "hunter22\n}')
    assert "hunter22" not in str(problem)


def test_control_characters_reach_no_terminal():
    problem = ConfigError(FILE, 1, 1, "unknown key '\x1b[31m\n'", None, "\x1b[31mred")
    assert "\x1b" not in str(problem)
    assert len(str(problem).splitlines()) == 3


def test_a_name_that_is_near_is_offered_whatever_its_case():
    assert did_you_mean("FORMFILES", ["fromFiles", "fromRate"]) == "did you mean 'fromFiles'?"


def test_names_are_listed_when_they_are_few_and_none_is_near():
    assert did_you_mean("x", ["beta", "alpha"]) == "valid: alpha, beta"
    assert did_you_mean("x", [f"name{number}" for number in range(20)]) is None
    assert did_you_mean("x", []) is None
