"""Patterns of dates and times in Spark's letters, and the mistakes in them that would change values in silence.

The letters are those of https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.values import Text

_LETTERS = frozenset("GyDMLdQqEFahKkHmsSVzOXxZ")
_MEANT = {
    "Y": "years are y",
    "u": "years are y",
    "e": "days of the week are E",
    "n": "fractions of a second are S",
    "T": "a letter that stands for itself is written in quotes, as 'T'",
}
# Spark writes them, and does not read them.
_WRITTEN_ONLY = frozenset("EFqQ")
_MONTHS, _HOURS = frozenset("MLDQq"), frozenset("HhKk")
_QUOTED = r"'[^']*'"
_RUN = r"([A-Za-z])\1*"


def writing_mistake(pattern: str) -> str | None:
    """What is wrong with a pattern that values are written by, as far as it shows without one; None if nothing is.

    Args:
        pattern: Of dates or of timestamps.
    """
    if pattern.count("'") % 2:
        return "a quote is not closed"
    bare = re.sub(_QUOTED, "", pattern)
    if bare.count("[") != bare.count("]"):
        return "a bracket is unmatched"
    runs = [match[1] for match in re.finditer(_RUN, bare)]
    there = {*runs}
    unknown = next((letter for letter in runs if letter not in _LETTERS), None)
    if unknown is not None:
        meant = f": {_MEANT[unknown]}" if unknown in _MEANT else ""
        return f"Spark has no letter '{unknown}'{meant}"
    if "m" in there and there & _MONTHS and not there & _HOURS:
        return "there is no hour: hours are H"
    if any(one == "y" and other == "m" for one, other in itertools.pairwise(runs)):
        return "minutes follow the year: months are M, and m are minutes"
    if any(one in _HOURS and other == "M" for one, other in itertools.pairwise(runs)):
        return "months follow the hour: minutes are m, and M are months"
    if "d" in there and not there & _MONTHS:
        return "there is no month: months are M" + (", and m are minutes" if "m" in there else "")
    if "D" in there and there & {"M", "L"}:
        return "D is the day of the year: days of a month are d"
    if there & _HOURS and "s" in there and "m" not in there:
        return "there are no minutes: minutes are m"
    if there & {"h", "K"} and "a" not in there:
        return "nothing says which half of the day it is: a is AM or PM, and the hours of a day are H"
    if "S" in there and "s" not in there:
        return "there are no seconds: seconds are s, and S are fractions of one"
    return None


def reading_mistake(pattern: str) -> str | None:
    """What is wrong with a pattern that values are read by; None if nothing is.

    Args:
        pattern: Of dates or of timestamps.
    """
    mistake = writing_mistake(pattern)
    if mistake is not None:
        return mistake
    runs = [match[1] for match in re.finditer(_RUN, re.sub(_QUOTED, "", pattern))]
    written_only = next((letter for letter in runs if letter in _WRITTEN_ONLY), None)
    if written_only is not None:
        return f"Spark writes {written_only} and can't read it: read the column as STRING, and take that part off later"
    if "z" in runs:
        return (
            "z stands for names of zones, many of which are ambiguous: read the column as STRING, and replace "
            "them later"
        )
    if "y" not in runs:
        return "there is no year, and 1970 would be taken: years are y"
    return None


def _without(mistake_in: Callable[[str], str | None]) -> AfterValidator:
    def validated(pattern: str) -> str:
        mistake = None if has_placeholder(pattern) else mistake_in(pattern)
        if mistake is not None:
            told = {"pattern": pattern, "mistake": mistake}
            raise PydanticCustomError("pattern", "the pattern '{pattern}': {mistake}", told)
        return pattern

    return AfterValidator(validated)


ReadingPattern = Annotated[Text, _without(reading_mistake)]
"""A pattern in Spark's letters that dates or times are read by, such as `dd.MM.yyyy HH:mm`."""
WritingPattern = Annotated[Text, _without(writing_mistake)]
"""A pattern in Spark's letters that dates or times are written by."""
