"""How many rows a load has beside those before, as the table's log has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from devtools.pipelines import extract, load, run, transform, validate
from pipeline_platform.exceptions import ValidationException
from pipeline_platform_tests.config.reading import extract as reading
from pipeline_platform_tests.config.reading import load as loading
from pipeline_platform_tests.config.reading import pipeline, problems_of
from pipeline_platform_tests.config.reading import validate as validating
from pipeline_platform_tests.validations.blocks import validation

BOUNDS = {"maxDecrease": 0.5, "maxIncrease": 1}


def results(rows: int, past: list[int], **config: Any) -> list[tuple[bool, str | None]]:
    found = validation("validateRowCountChange", **{**BOUNDS, **config}).history_results(rows, past)
    return [(not one.violations, one.detail) for one in found]


CHANGES: list[tuple[int, list[int], list[bool]]] = [
    (50, [100], [True, True]), (49, [100], [False, True]), (200, [100], [True, True]), (201, [100], [True, False]),
    (0, [0], [True, True]), (1, [0], [True, False]), (100, [1, 100, 10_000], [True, True]),
    (75, [100, 200], [True, True]), (74, [100, 200], [False, True]),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "past", "kept"), CHANGES)
def test_rows_are_compared_with_the_median_of_the_loads_before(rows: int, past: list[int], kept: list[bool]):
    assert [is_kept for is_kept, _ in results(rows, past)] == kept


def test_what_was_found_is_told_with_what_it_was_compared_with():
    assert results(49, [100, 120, 80])[0] == (
        False, "expected at least 50 rows, as the last 3 loads had 100, found 49"
    )  # fmt: skip
    assert results(5, [], maxIncrease=None) == [(True, "there is no load before to compare with")]
    told = validation("validateRowCountChange", maxIncrease=0.29).history_results(130, [100])
    assert [(one.rule, one.value) for one in told] == [("rows at most 29% more than before", 1.3)]


def loads(spark: Any, path: Path, rows: int, name: str = "daily", **config: Any) -> Any:
    """What comes of the rule in a run that loads so many rows."""
    steps = [
        extract("fromRate", rowsPerSecond=1),
        transform("filterRows", condition=f"value < {rows}"),
        validate("validateRowCountChange", **BOUNDS),
        {**load("toDeltaLake", path=str(path), **config), "name": name},
    ]
    [found] = [step for step in run(spark, *steps).steps if step.type == "validate"]
    return found.rules[0].detail


def test_the_loads_before_stand_in_the_log_of_the_table_whatever_mode_they_had(spark: Any, tmp_path: Path):
    path = tmp_path / "t"
    assert loads(spark, path, 10, mode="overwrite") == "there is no load before to compare with"
    assert loads(spark, path, 20, mode="append") == "expected at least 5 rows, as the load before had 10, found 20"
    merge: Any = {"mode": "merge", "mergeKeys": ["value"]}
    assert loads(spark, path, 16, **merge) == "expected at least 7.5 rows, as the last 2 loads had 15, found 16"
    # What others do to the table is no load of the step.
    DeltaTable(str(path)).delete("value > 5")
    assert loads(spark, path, 12, name="other", mode="append") == "there is no load before to compare with"
    assert loads(spark, path, 15, **merge) == "expected at least 8 rows, as the last 3 loads had 16, found 15"
    with pytest.raises(ValidationException, match="as the last 4 loads had 15"):
        loads(spark, path, 7, mode="append")
    assert DeltaTable(str(path)).version() == 5


def test_a_retry_is_not_compared_with_what_it_has_loaded_itself(spark: Any, tmp_path: Path):
    steps = [
        extract("fromRate", rowsPerSecond=1),
        validate("validateRowCountChange", **BOUNDS),
        load("toDeltaLake", path=str(tmp_path / "t")),
    ]
    for _ in range(2):
        done = run(spark, *steps, load_id="one")
        assert done.steps[1].rules[0].detail == "there is no load before to compare with"


REMEMBERED_NOWHERE = [
    [validating("validateRowCountChange", **BOUNDS)],
    [validating("validateRowCountChange", **BOUNDS), loading("toFiles", path="out", format="csv")],
    [
        validating("validateRowCountChange", **BOUNDS),
        {"type": "transform", "method": "filterRows", "config": {"condition": "a > 1"}},
        loading(),
    ],
]


@pytest.mark.parametrize("steps", REMEMBERED_NOWHERE)
def test_check_refuses_a_comparison_with_loads_that_nothing_remembers(steps: list[Any]):
    [found] = problems_of(pipeline(reading(), *steps))
    assert found.message.startswith("how many rows the loads before had is what a Delta table remembers")
