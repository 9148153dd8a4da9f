"""Patterns of dates and times that would change values in silence."""

from __future__ import annotations

import pytest

from pipeline_platform.connectors.files.time_patterns import reading_mistake, writing_mistake

BOTH = [
    ("yyyy-mm-dd", "minutes follow the year: months are M"),
    ("dd.mm.yyyy", "there is no month: months are M, and m are minutes"),
    ("DD/MM/yyyy", "D is the day of the year: days of a month are d"),
    ("dd/MM/YYYY", "Spark has no letter 'Y': years are y"),
    ("uuuu-MM-dd", "Spark has no letter 'u': years are y"),
    ("yyyy-mm-dd HH:MM", "minutes follow the year"),
    ("yyyy-MM-dd HH:MM:ss", "months follow the hour: minutes are m"),
    ("dd/mm/yyyy HH:MM", "months follow the hour"),
    ("yyyy-MM-dd HH:ss", "there are no minutes: minutes are m"),
    ("dd/MM/yyyy mm:ss", "there is no hour: hours are H"),
    ("yyyy-MM-dd hh:mm", "nothing says which half of the day it is"),
    ("yyyy-MM-dd HH:mm:SS", "there are no seconds: seconds are s"),
    ("yyyy-MM-dd'T'HH:mm:ss.nnn", "Spark has no letter 'n': fractions of a second are S"),
    ("yyyy-MM-ddTHH:mm", "Spark has no letter 'T': a letter that stands for itself"),
    ("yyyy-MM-dd'T", "a quote is not closed"),
    ("yyyy-MM-dd[ HH:mm", "a bracket is unmatched"),
]
READING = [
    ("HH:mm", "there is no year, and 1970 would be taken: years are y"),
    ("dd.MM. HH 'year' mm", "there is no year, and 1970 would be taken: years are y"),
    ("EEE dd/MM/yyyy", "Spark writes E and can't read it"),
    ("yyyy-MM-dd HH:mm z", "z stands for names of zones, many of which are ambiguous"),
]


@pytest.mark.parametrize(("pattern", "told"), BOTH)
def test_a_pattern_that_would_change_values_is_told(pattern: str, told: str) -> None:
    assert (writing_mistake(pattern) or "").startswith(told)
    assert (reading_mistake(pattern) or "").startswith(told)


@pytest.mark.parametrize(("pattern", "told"), READING)
def test_a_pattern_may_be_right_for_writing_alone(pattern: str, told: str) -> None:
    assert writing_mistake(pattern) is None
    assert (reading_mistake(pattern) or "").startswith(told)


@pytest.mark.parametrize(
    "pattern",
    [
        "dd.MM.yyyy",
        "HH:mm dd.MM.yyyy",
        "d MMM yy",
        "yyyy-DDD",
        "yyyyMM",
        "yyyyMMddHHmmss",
        "MM/dd/yyyy hh:mm:ss a",
        "yyyy-MM-dd[['T'][ ]HH:mm[:ss][.SSSSSS]][XXX]",
        "dd/MMM/yyyy:HH:mm:ss Z",
        "yyyy-MM-dd'T'HH 'Uhr'",
        "G yyyy-LL-dd kk:mm",
    ],
)
def test_a_pattern_that_says_all_is_right(pattern: str) -> None:
    assert reading_mistake(pattern) is None
