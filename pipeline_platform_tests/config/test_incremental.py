"""What a file may say of reading only what is new."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeline_platform.config.incremental import lag_of
from pipeline_platform_tests.config.reading import Json, extract, load, messages_of, pipeline, read, transform


def incremental(**keys: Any) -> Json:
    return extract("fromPostgres", table="orders", incremental={"cursorColumn": "at", **keys})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lag": "soon"}, "expected a duration, such as '10 minutes', or, where the column holds numbers, a number"),
        ({"lag": -1}, "expected a duration"),
        ({"lag": True}, "expected a duration or a number, not a boolean"),
        ({"lag": "5 minutes", "boundary": "exclusive"}, "'boundary' has to be inclusive"),
        ({"key": "id", "boundary": "exclusive"}, "'boundary' has to be inclusive"),
        ({"boundary": "half"}, "expected 'inclusive' or 'exclusive', not 'half'"),
        ({"initialValue": " "}, "must not be blank"),
        ({"cursor": "at"}, "unknown key 'cursor'"),
    ],
    ids=str,
)
def test_a_key_that_makes_no_sense_is_refused(keys: dict[str, Any], message: str):
    [found] = messages_of(pipeline(incremental(**keys), load()))
    assert message in found


@pytest.mark.parametrize("written", ["10 minutes", "1 day", 100, "0.5", 1.5, "${env:LAG}"], ids=str)
def test_a_lag_is_a_duration_or_a_number(written: str | float):
    read(pipeline(incremental(lag=written), load()))


def test_a_lag_is_subtracted_as_what_it_is():
    assert lag_of("2 hours") == timedelta(hours=2)
    assert lag_of("1.50") == Decimal("1.5")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([incremental(), transform("coalesce", numPartitions=1)], "they go to no load"),
        ([incremental(), load(), load(path="other")], "is remembered by the load of its rows, and they go to 2 loads"),
        ([incremental(), load(path="out", mode="overwrite")], "with mode overwrite a load of what is new would not"),
        ([incremental(), load("toMySQL", table="t")], "rows that are looked at again would be there twice: use merge"),
        (
            [incremental(boundary="exclusive"), load("toMySQL", table="t", mode="deleteInsert", mergeKeys="id")],
            "with mode deleteInsert a load of what is new would not",
        ),
        (
            [incremental(), load("toFiles", path="out", format="csv")],
            "'toFiles' can't remember where it has come in its source; step 1 is incremental",
        ),
        (
            [
                {**incremental(), "config": {**incremental()["config"], "registerAs": "one"}},
                {**incremental(), "config": {**incremental()["config"], "registerAs": "two"}},
                transform("unionDataFrames", inputDataFrames=["one", "two"]),
                load(),
            ],
            "a load can remember where it has come in one source, and steps 1 and 2 are incremental",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_load_remembers_where_it_has_come(steps: list[Json], message: str):
    [found] = messages_of(pipeline(*steps))
    assert message in found


def test_a_stream_reads_what_is_new_by_itself():
    messages = messages_of(pipeline(incremental(), load(), mode="streaming"))
    assert "a stream reads what is new by itself; use mode batch, or leave out 'incremental'" in messages


def new_files(method: str = "fromFiles", **keys: Any) -> Json:
    return extract(method, **{"path": "in", "format": "csv", "schema": "id INT", "incremental": {}, **keys})


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [new_files(incremental={"changedFiles": "load"}), load()],
            "rows of a file that is loaded again would be there twice, as step 2 does not merge them",
        ),
        ([new_files(incremental={"changedFiles": "skip"}), load()], "expected 'fail', 'ignore' or 'load', not 'skip'"),
        ([new_files(incremental={"cursorColumn": "id"}), load()], "unknown key 'cursorColumn'"),
        (
            [new_files(options={"ignoreMissingFiles": True}), load()],
            "with 'incremental', a file that 'ignoreMissingFiles' leaves out would count as loaded",
        ),
        ([new_files(), load(path="out", mode="overwrite")], "with mode overwrite a load of what is new would not"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_go_with_new_files_is_told_at_its_line(steps: list[Json], message: str):
    [found] = messages_of(pipeline(*steps))
    assert message in found


def test_new_files_go_to_any_load_that_adds_or_merges():
    read(pipeline(new_files("fromS3", bucket="shop"), load("toMySQL", table="t")))
    read(pipeline(new_files(incremental={"changedFiles": "load"}), load(path="out", mode="merge", mergeKeys="id")))


def test_a_stream_of_files_remembers_by_itself_what_it_has_read():
    messages = messages_of(pipeline(new_files(), load(), mode="streaming"))
    assert any("a stream reads what is new by itself" in message for message in messages)
