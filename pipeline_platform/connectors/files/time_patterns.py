"""Patterns of dates and times in Spark's letters, and the mistakes in them that would change values in silence.

The letters are those of https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.environment import has_placeholder
from pipeline_platform.config.values import Text

_LETTERS = frozenset("GyDMLdQqEFahKkHmsSVzOXx")
_MEANT = {"Y": "years are y", "e": "days of the week are E", "n": "fractions of a second are S"}
_MONTHS, _HOURS = frozenset("MLDQq"), frozenset("HhKk")
_QUOTED = r"'[^']*'"
_RUN = r"([A-Za-z])\1*"


def pattern_mistake(pattern: str) -> str | None:
    """What is wrong with a pattern, as far as it shows without a value; None if nothing is.

    Args:
        pattern: Of dates or of timestamps.
    """
    runs = [match[1] for match in re.finditer(_RUN, re.sub(_QUOTED, "", pattern))]
    there = {*runs}
    unknown = next((letter for letter in runs if letter not in _LETTERS), None)
    if unknown is not None:
        meant = f": {_MEANT[unknown]}" if unknown in _MEANT else ""
        return f"Spark has no letter '{unknown}' in patterns{meant}"
    if "d" in there and not there & _MONTHS:
        return "there is no month: months are M" + (", and m are minutes" if "m" in there else "")
    if "D" in there and there & {"M", "L"}:
        return "D is the day of the year: days of a month are d"
    if there & _HOURS and "m" not in there and ("s" in there or runs.count("M") > 1):
        return "there are no minutes: minutes are m, and M are months"
    if there & {"h", "K"} and "a" not in there:
        return "nothing says which half of the day it is: a is AM or PM, and the hours of a day are H"
    if "S" in there and "s" not in there:
        return "there are no seconds: seconds are s, and S are fractions of one"
    if "y" not in there:
        return "there is no year, and 1970 would be taken: years are y"
    return None


def _without_mistake(pattern: str) -> str:
    mistake = None if has_placeholder(pattern) else pattern_mistake(pattern)
    if mistake is not None:
        raise PydanticCustomError(
            "pattern", "the pattern '{pattern}': {mistake}", {"pattern": pattern, "mistake": mistake}
        )
    return pattern


TimePattern = Annotated[Text, AfterValidator(_without_mistake)]
"""A pattern of dates or times in Spark's letters, such as `dd.MM.yyyy HH:mm`."""
