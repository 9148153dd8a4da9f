"""Which files of a listing are new, by what a sink knows of those that were loaded."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.cursor import StoredCursor
from pipeline_platform.steps.known_files import FoundFile, chosen_files

SECOND = 1_000_000
NOON = 1_704_110_400 * SECOND
"""2024-01-01 12:00:00 in UTC, in microseconds."""


def file(name: str, seconds: int = 0, content: str = "") -> FoundFile:
    return FoundFile(f"/in/{name}", NOON + seconds * SECOND, content or name)


def names(files: Any) -> list[str]:
    return [one.path.removeprefix("/in/") for one in files]


def loaded(*files: FoundFile, most: int = 100, stored: StoredCursor | None = None) -> StoredCursor:
    return chosen_files(files, stored or StoredCursor(), most).after


def test_a_file_is_new_by_its_name_whatever_its_time():
    stored = loaded(file("a", 10), file("b", 20))
    late = [file("same-time", 20), file("older", -3600), file("newer", 30)]
    choice = chosen_files([file("a", 10), file("b", 20), *late], stored)
    assert names(choice.new) == ["older", "same-time", "newer"]
    assert not choice.changed
    assert stored.position == "2024-01-01 12:00:20+00:00"
    assert choice.after.position == "2024-01-01 12:00:30+00:00"
    assert choice.after.version == 2


def test_a_file_that_is_taken_away_and_put_back_is_not_new():
    stored = loaded(file("b", 20), stored=loaded(file("a", 10)))
    choice = chosen_files([file("a", 10), file("b", 20)], stored)
    assert not choice.new
    assert choice.after.position == "2024-01-01 12:00:20+00:00"
    assert loaded(stored=stored).position == "2024-01-01 12:00:20+00:00"


def test_a_file_with_another_content_has_changed_and_one_with_another_time_alone_has_not():
    stored = loaded(file("a", 10, "one"), file("b", 20, "two"))
    choice = chosen_files([file("a", 30, "one"), file("b", 40, "other")], stored)
    assert (names(choice.new), names(choice.changed)) == ([], ["b"])
    assert not chosen_files([file("a", 30, "one"), file("b", 40, "other")], choice.after).changed


def test_files_from_before_where_somebody_has_set_it_count_as_loaded():
    put = StoredCursor(3, "2024-01-01 12:00:15+00:00", is_start=True)
    choice = chosen_files([file("a", 10), file("b", 15), file("c", 20)], put)
    assert (names(choice.passed), names(choice.new)) == (["a"], ["b", "c"])
    after = chosen_files([file("a", 10), file("late", 5)], choice.after)
    assert (names(after.passed), names(after.new)) == ([], ["late"])


def test_files_that_come_after_where_it_was_set_is_settled_are_new_however_old():
    put = StoredCursor(3, "2024-01-01 12:00:15+00:00", is_start=True)
    settled = loaded(file("a", 10), stored=put)
    assert not settled.is_start
    assert names(chosen_files([file("a", 10), file("late", -86400)], settled).new) == ["late"]
    assert names(chosen_files([file("late", -86400)], loaded(stored=put)).new) == ["late"]


def test_of_more_files_than_are_known_one_that_comes_late_is_told():
    files = [file(f"{number:02}", number) for number in range(10)]
    stored = loaded(*files, most=4)
    assert len(stored.files) == 4
    assert not chosen_files(files, stored, 4).new
    choice = chosen_files([*files, file("late", 7)], stored, 4)
    assert names(choice.new) == ["late"]
    with pytest.raises(PipelineExecutionException) as raised:
        chosen_files([*files, file("too-late", 2)], stored, 4)
    assert "7 files were modified before 2024-01-01 12:00:05+00:00, and only 6 of them were loaded" in str(raised.value)


def test_of_more_files_than_are_known_some_may_be_taken_away():
    files = [file(f"{number:02}", number) for number in range(10)]
    stored = loaded(*files, most=4)
    choice = chosen_files([*files[5:], file("new", 20)], stored, 4)
    assert names(choice.new) == ["new"]
    with pytest.raises(PipelineExecutionException, match="and only 2 of them were loaded"):
        chosen_files(files, choice.after, 4)


def test_whatever_comes_each_file_is_loaded_once_or_told():
    told = 0
    for seed in range(20):
        chance, stored, count = random.Random(seed), StoredCursor(), Counter[str]()
        there: list[FoundFile] = []
        for round_ in range(30):
            came = [file(f"{round_}-{one}", chance.randint(0, 40) + round_) for one in range(chance.randint(0, 3))]
            try:
                choice = chosen_files([*there, *came], stored, 12)
            except PipelineExecutionException:
                # Somebody takes out what came late.
                told += 1
                continue
            there += came
            count.update(one.path for one in choice.new)
            stored = StoredCursor(**asdict(choice.after))
            assert len(stored.files) <= 12
        assert count == Counter(one.path for one in there)
    assert told
