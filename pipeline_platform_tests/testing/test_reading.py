"""Files of tests: each mistake is told at its place, before Spark starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform.testing.reading import files_of_tests, read_tests
from pipeline_platform_tests.testing.project import ORDERS, read_from, write_tests

GIVEN = {"raw": [{"id": 1}], "customers": [{"name": "Ann", "country": "NL"}]}
EXPECT = {"totals": [{"country": "NL", "total": 1}]}


def problems(folder: Path, *tests: Any, pipeline: Any = ORDERS) -> list[str]:
    with pytest.raises(PipelineConfigurationException) as refused:
        read_from(folder, *tests, pipeline=pipeline)
    return [str(problem) for problem in refused.value.problems]


def test_a_test_has_its_pipeline_with_its_own_variables(tmp_path: Path) -> None:
    plain, other = read_from(
        tmp_path,
        {"name": "plain", "given": GIVEN, "expect": EXPECT},
        {"name": "other", "given": GIVEN, "expect": {"per_customer": []}, "variables": {"least": 5}},
    )
    assert plain.pipeline.values == {"least": 0}
    assert other.pipeline.values == {"least": 5}
    assert [step.name for step in other.wanted] == ["per_customer"]


@pytest.mark.parametrize(
    ("changes", "message", "at"),
    [
        ({"expect": {"total": []}}, "the pipeline has no step 'total' (did you mean 'totals'?)", '"total"'),
        ({"given": {**GIVEN, "rwa": []}}, "the pipeline has no step 'rwa'", '"rwa"'),
        ({"given": {**GIVEN, "totals": []}}, "'totals' is a load (rows are given for extracts: customers, raw)", None),
        ({"given": {"raw": [{"id": 1}]}}, "no rows are given for the extract 'customers'", '"given"'),
        ({"expect": {"has_customer": {"count": 1}}}, "'has_customer' is a validation", '"has_customer"'),
        ({"expect": {"is_paid": []}}, "'is_paid' puts no rows into quarantine", '"is_paid"'),
        ({"expect": {"totals": 2}}, "'totals' is a load, which no row violates", '"totals"'),
        ({"expect": {"totals": {}}}, "says nothing", "{}"),
        ({"expect": {"totals": [{}]}}, "this expected row names no column", "{}"),
        ({"expect": {}}, "expects nothing", None),
        ({"variables": {"most": 1}}, "the pipeline has no variable 'most'", '"most"'),
        ({"variables": {"least": "much"}}, "expected a number", '"much"'),
        ({"partition": "2024-01-01"}, "the pipeline has no partitions", '"2024-01-01"'),
        ({"now": "2024-01-01"}, "expected a time with its zone", '"2024-01-01"'),
        ({"given": {**GIVEN, "raw": [1]}}, "expected an object", "1]"),
        (
            {"warnOnly": ["is_payed"]},
            "has no validation 'is_payed' (did you mean 'is_paid'?)",
            '"is_payed"',
        ),
        ({"given": {**GIVEN, "raw": {"batches": [[]]}}}, "'raw' is no stream: expected 'rows'", '"batches"'),
        ({"given": {**GIVEN, "raw": {}}}, "expected either 'rows' or 'batches'", "{}"),
        ({"expect": {"totals": {"batches": []}}}, "the pipeline is no stream: expected 'rows'", '"batches"'),
        ({"expects": {}}, "unknown key 'expects' (did you mean 'expect'?)", '"expects"'),
        ({"fails": {"step": "x", "message": "y"}}, "the pipeline has no step 'x'", '"x"'),
    ],
)
def test_a_mistake_is_told_at_its_place(changes: dict[str, Any], message: str, at: str | None, tmp_path: Path) -> None:
    told = problems(tmp_path, {"name": "it", "given": GIVEN, "expect": EXPECT, **changes})
    (found,) = [one for one in told if message in one]
    assert f"{tmp_path / 'tests' / 'orders.json'}:2:" in found
    if at is not None:
        _, shown, caret = found.split("\n")
        assert shown[caret.index("^") :].startswith(at)


def test_expected_rows_that_name_different_columns_are_a_mistake_of_the_row(tmp_path: Path) -> None:
    rows = [{"country": "NL", "total": 1}, {"country": "BE"}]
    (told,) = problems(tmp_path, {"name": "it", "given": GIVEN, "expect": {"totals": rows}})
    _, shown, caret = told.split("\n")
    assert "differ in total" in told
    assert shown[caret.index("^") :].startswith('{"country": "BE"}')


def test_two_tests_of_a_file_have_two_names(tmp_path: Path) -> None:
    test = {"name": "it", "given": GIVEN, "expect": EXPECT}
    (told,) = problems(tmp_path, test, test)
    assert "two tests are called 'it'" in told


def test_a_pipeline_with_partitions_is_tested_with_one(tmp_path: Path) -> None:
    daily = {**ORDERS, "partitions": {"type": "daily", "start": "2024-01-01", "column": "day"}}
    (told,) = problems(tmp_path, {"name": "it", "given": GIVEN, "expect": EXPECT}, pipeline=daily)
    assert "the pipeline has partitions (say which one the test is about, in 'partition')" in told


def test_a_pipeline_that_is_not_there_or_not_right_is_told(tmp_path: Path) -> None:
    file = write_tests(tmp_path, {"name": "it", "given": GIVEN, "expect": EXPECT})
    (tmp_path / "orders.json").write_text('{"name": "orders", "steps": [{}]}')
    with pytest.raises(PipelineConfigurationException) as refused:
        read_tests(file, method_registry())
    assert {problem.file.name for problem in refused.value.problems} == {"orders.json"}
    (tmp_path / "orders.json").unlink()
    with pytest.raises(PipelineConfigurationException, match=r"there is no file .*orders\.json"):
        read_tests(file, method_registry())


def test_the_tests_of_a_folder_are_in_its_folder_tests(tmp_path: Path) -> None:
    file = write_tests(tmp_path, {"name": "it", "given": GIVEN, "expect": EXPECT})
    assert files_of_tests(tmp_path) == files_of_tests(tmp_path / "tests") == files_of_tests(file) == [file]
