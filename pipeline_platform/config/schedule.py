"""Cron strings and time zones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.values import Location

_FIELDS = 5
_LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def cron_mistake(text: str) -> str | None:
    """What is wrong with a cron string, judged as Dagster does; None when it is right.

    Dagster's own check can't be used: it takes an import of Dagster.
    """
    from croniter import CroniterError, croniter

    try:
        expanded = croniter.expand(text)[0]
    except (CroniterError, ValueError, KeyError, TypeError, OverflowError) as error:
        return f"not a cron string: {error}"
    if len(expanded) != _FIELDS:
        return f"expected a cron string of five fields, such as '0 6 * * *', not {len(expanded)}"
    _, _, days, months, weekdays = expanded
    if weekdays == ["*"] and not _some_day_exists(days, months):
        return "no month of this cron string has such a day"
    return None


def _some_day_exists(days: Sequence[int | str], months: Sequence[int | str]) -> bool:
    first = min((day for day in days if isinstance(day, int)), default=1)
    longest = (_LONGEST_MONTHS.get(month, 31) if isinstance(month, int) else 31 for month in months)
    return any(first <= length for length in longest)


def timezone_mistake(name: str) -> str | None:
    """What is wrong with the name of a time zone; None when there is one."""
    try:
        ZoneInfo(name)
    # Of a name that is a folder, a path or no text, it says so as the file system does.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"there is no time zone '{name}'; expected a name such as 'UTC' or 'Europe/Berlin'"
    return None


def _cron(value: str) -> str:
    mistake = cron_mistake(value)
    if mistake is not None:
        raise PydanticCustomError("cron", "{mistake}", {"mistake": mistake})
    return value


def _timezone(value: str) -> str:
    mistake = timezone_mistake(value)
    if mistake is not None:
        raise PydanticCustomError("timezone", "{mistake}", {"mistake": mistake})
    return value


Cron = Annotated[Location, AfterValidator(_cron)]
"""A cron string of five fields."""

TimeZone = Annotated[Location, AfterValidator(_timezone)]
"""The name of a time zone, such as `Europe/Berlin`."""
