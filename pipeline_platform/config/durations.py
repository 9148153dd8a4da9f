"""Durations as people write them, such as `7 days`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.values import Text

_SCHEMA = {"type": "string", "examples": ["7 days", "90 days"]}
_DURATION = re.compile(r"(\d{1,6}) (minute|hour|day|week)s?", re.ASCII)
EXPECTED = "expected a duration, such as '7 days': a number of minutes, hours, days or weeks"


def _duration(value: str) -> str:
    try:
        duration_of(value)
    except ValueError:
        raise PydanticCustomError(
            "duration", "{expected}, not '{value}'", {"expected": EXPECTED, "value": value}
        ) from None
    return value


def duration_of(text: str) -> timedelta:
    """A duration, of what people write.

    Args:
        text: Such as `7 days`.

    Raises:
        ValueError: It is no duration.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(EXPECTED)
    return timedelta(**{f"{found[2]}s": int(found[1])})


Duration = Annotated[
    Text,
    AfterValidator(_duration),
    WithJsonSchema(_SCHEMA),
]
"""A duration, at least a minute."""
