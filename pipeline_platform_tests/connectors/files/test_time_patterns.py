"""Patterns of dates and times that would change values in silence."""

from __future__ import annotations

import pytest

from pipeline_platform.connectors.files.time_patterns import pattern_mistake


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("yyyy-mm-dd", "there is no month: months are M, and m are minutes"),
        ("DD/MM/yyyy", "D is the day of the year: days of a month are d"),
        ("dd/MM/YYYY", "Spark has no letter 'Y' in patterns: years are y"),
        ("yyyy-MM-dd HH:MM:ss", "there are no minutes: minutes are m, and M are months"),
        ("yyyy-MM-dd HH:MM", "there are no minutes: minutes are m, and M are months"),
        (
            "yyyy-MM-dd hh:mm",
            "nothing says which half of the day it is: a is AM or PM, and the hours of a day are H",
        ),
        ("yyyy-MM-dd HH:mm:SS", "there are no seconds: seconds are s, and S are fractions of one"),
        ("HH:mm", "there is no year, and 1970 would be taken: years are y"),
        ("dd.MM. HH 'year' mm", "there is no year, and 1970 would be taken: years are y"),
        ("yyyy-MM-dd'T'HH:mm:ss.nnn", "Spark has no letter 'n' in patterns: fractions of a second are S"),
    ],
)
def test_a_pattern_that_would_change_values_is_told(pattern: str, told: str) -> None:
    assert (pattern_mistake(pattern) or "").startswith(told)


@pytest.mark.parametrize(
    "pattern",
    [
        "dd.MM.yyyy",
        "d MMM yy",
        "yyyy-DDD",
        "yyyyMM",
        "MM/dd/yyyy hh:mm:ss a",
        "yyyy-MM-dd[['T'][ ]HH:mm[:ss][.SSSSSS]][XXX]",
        "EEE MMM dd HH:mm:ss zzz yyyy",
        "yyyy-MM-dd'T'HH 'Uhr'",
        "G yyyy-LL-dd kk:mm",
    ],
)
def test_a_pattern_that_says_all_is_right(pattern: str) -> None:
    assert pattern_mistake(pattern) is None
