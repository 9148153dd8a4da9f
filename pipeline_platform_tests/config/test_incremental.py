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
