"""Steps of one pipeline that write one table: which pairs lose rows, and are told at their line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, problems_of, read, validate

ALL = {"path": "out", "mode": "overwrite"}
APPEND = {"path": "out"}
MERGE = {"path": "out", "mode": "merge", "mergeKeys": ["id"]}
CHANGES: Json = {"path": "out", "mode": "applyChanges", "changes": {"keys": ["id"], "sequenceBy": "at"}}
SNAPSHOT = {"path": "out", "mode": "applyChanges", "changes": {"snapshotKeys": ["id"]}}
TRUNCATED = {**CHANGES, "changes": {**CHANGES["changes"], "truncateWhen": "op = 't'"}}
PRESENT = {**ALL, "partitionBy": ["k"], "partitionOverwrite": "dynamic"}
KEYS = {"type": "static", "keys": ["a", "b c"], "column": "k"}
BY_KEY = {**ALL, "path": "out/${partition:key}"}
QUARANTINE = validate("validateNulls", notNullColumns=["id"], onFailure="quarantine")


def where(condition: str) -> Json:
    return {**ALL, "replaceWhere": condition}


def quarantined(path: str) -> Json:
    return validate("validateNulls", notNullColumns=["id"], onFailure="quarantine", quarantinePath=path)


LOSSES: list[tuple[Any, Any, str]] = [
    (ALL, ALL, "this load replaces all rows, and with them those that step 2 (toDeltaLake) writes to the same table"),
    (ALL, {**ALL, "path": "./out/"}, "this load replaces all rows"),
    (APPEND, ALL, "this load replaces all rows"),
    (ALL, APPEND, "step 2 (toDeltaLake) replaces all rows, and with them those that this load writes"),
    (ALL, MERGE, "step 2 (toDeltaLake) replaces all rows"),
    (CHANGES, ALL, "this load replaces all rows"),
    (APPEND, SNAPSHOT, "this load deletes all rows that its snapshot lacks"),
    (TRUNCATED, MERGE, "step 2 (toDeltaLake) deletes all rows by its 'truncateWhen'"),
    (APPEND, PRESENT, "this load replaces the partitions that it has rows for"),
    (where("k = 'de'"), APPEND, "step 2 (toDeltaLake) replaces the rows of its 'replaceWhere'"),
    (where("k = 'de'"), where("k IN ('fr', 'DE')"), "this load replaces the rows of its 'replaceWhere'"),
    # Of a column of numbers, these are the same rows.
    (where("k = '1'"), where("k = '01'"), "this load replaces the rows of its 'replaceWhere'"),
    (where("k = 1"), where("j = 2"), "this load replaces the rows of its 'replaceWhere'"),
    (where("day < '2024'"), where("day >= '2024'"), "this load replaces the rows of its 'replaceWhere'"),
    (load("toFiles", path="out", format="csv"), ALL, "this load replaces all rows"),
    (quarantined("out"), ALL, "this load replaces all rows, and with them those that the quarantine of step 2"),
    (
        ALL,
        quarantined("out"),
        "step 2 (toDeltaLake) replaces all rows, and with them those that the quarantine",
    ),
]
NO_LOSSES: list[tuple[Any, Any]] = [
    (APPEND, APPEND),
    (MERGE, APPEND),
    (MERGE, CHANGES),
    (ALL, {**ALL, "path": "other"}),
    (where("k = 'de'"), where("K in ('fr', 'it')")),
    (where("k = 1"), where("k = 2")),
    (quarantined("bad"), quarantined("bad")),
    (APPEND, quarantined("out")),
    (load("toKafka", topic="t", credentialPath="secret/k"), load("toKafka", topic="t", credentialPath="secret/k")),
]


def of_two(one: Any, other: Any, **keys: Any) -> Json:
    """A pipeline of two steps that write, each a step or the config of a `toDeltaLake`."""
    steps = (step if "type" in step else load(**step) for step in (one, other))
    return pipeline(extract(), *steps, load(path="last", mode="overwrite"), **keys)


@pytest.mark.parametrize(("one", "other", "message"), LOSSES)
def test_a_load_that_takes_away_rows_of_another_step_is_told_at_its_line(one: Any, other: Any, message: str):
    value = of_two(one, other)
    (problem,) = problems_of(value)
    assert message in problem.message
    assert "table" in (problem.hint or "")
    starts = [number for number, line in enumerate(source_of(value), 1) if line == "    {"]
    assert starts[2] <= problem.line < starts[3]


def source_of(value: Json) -> list[str]:
    return json.dumps(value, indent=2).splitlines()


@pytest.mark.parametrize(("one", "other"), NO_LOSSES)
def test_steps_that_leave_each_other_s_rows_may_write_one_table(one: Any, other: Any):
    read(of_two(one, other))


def test_the_quarantine_of_a_step_that_names_none_is_the_one_beside_the_first_sink():
    beside = load(**{**ALL, "path": "rows_quarantine"})
    (problem,) = problems_of(pipeline(extract(), QUARANTINE, load(path="rows"), beside))
    assert "those that the quarantine of step 2 (validateNulls) writes" in problem.message


@pytest.mark.parametrize("place", ["out/${partition:key}", "out/a", "out/b c"])
def test_each_partition_s_own_table_is_one_table_too_also_where_its_key_is_spelled_out(place: str):
    (problem,) = problems_of(of_two(BY_KEY, {**MERGE, "path": place}, partitions=KEYS))
    assert "replaces all rows of the table of a partition, and with them those that this load writes" in problem.message
    read(of_two(BY_KEY, {**MERGE, "path": "out/c"}, partitions=KEYS))


def test_places_by_variables_that_have_no_value_yet_are_not_taken_for_one():
    one, other = ({**ALL, "path": f"out/${{var:{name}}}/${{partition:key}}"} for name in ("a", "b"))
    read(of_two(one, other, partitions=KEYS, variables={"a": {}, "b": {}}))


def test_loads_of_one_partition_that_replace_its_rows_are_told():
    (problem,) = problems_of(of_two(ALL, ALL, partitions=KEYS))
    assert problem.message.startswith("this load replaces all rows of a partition, and with them those that step 2 ")
    assert "unionDataFrames" in (problem.hint or "")


class ToElsewhere(Load):
    """A method of another package that says nothing of what it replaces."""

    method: ClassVar[str] = "toElsewhere"

    def dataset(self) -> Dataset:
        return Dataset("elsewhere", "elsewhere://table")


class AddsElsewhere(ToElsewhere):
    """One that says so."""

    method: ClassVar[str] = "addsElsewhere"

    def replaces(self) -> None:
        return None


class BrokenElsewhere(ToElsewhere):
    """One that fails."""

    method: ClassVar[str] = "breaksElsewhere"

    def dataset(self) -> Dataset:
        raise ValueError("oops")


def test_a_load_of_another_package_that_says_nothing_is_taken_for_one_that_may_replace_any_rows():
    known = method_registry()
    others = {one.method: one for one in (ToElsewhere, AddsElsewhere, BrokenElsewhere)}
    registry = replace(known, methods={**known.methods, "load": {**known["load"], **others}})

    def parse(method: str) -> None:
        steps = [extract(), *[{"type": "load", "method": method}] * 2]
        parse_pipeline("\n".join(source_of(pipeline(*steps))), registry)

    with pytest.raises(PipelineConfigurationException) as refused:
        parse("toElsewhere")
    assert "may replace any rows" in str(refused.value)
    assert "'toElsewhere' can say in 'replaces' that rows of others stay" in str(refused.value)
    parse("addsElsewhere")
    # The project tells that the method fails.
    parse("breaksElsewhere")
