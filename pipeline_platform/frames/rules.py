"""What a failure means, and what to do about it: rows of a table that connectors and the engine fill.

Text is looked at only within a class that has nothing else to tell its errors apart by, and never in a class whose text
repeats values of the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline_platform.frames.causes import Cause

UNREACHABLE = "check that the other system is up and can be reached"
"""What to do about a system that does not answer."""
MAKE_FIRST = "check the path; if another pipeline creates it, run that one first"
"""What to do about a path that is not there."""


@dataclass(frozen=True)
class Rule:
    """What a cause means, if it is any of these.

    Args:
        hint: What to do next.
        transient: Whether the same run may succeed when tried again unchanged.
        conditions: Error conditions of Spark and Delta, with their subclasses.
        states: SQL states, or how they begin.
        classes: Classes by their full names, with those that extend them.
        codes: Of those, only causes with one of these codes.
        says: Of those, only causes whose message matches this; a regular expression.
    """

    hint: str
    transient: bool = False
    conditions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    codes: frozenset[int | str] | None = None
    says: str | None = None
    is_maintenance: bool = False
    """Whether it was maintenance that came first: the same run is tried again at once, which counts as no attempt."""
    quotes: bool = False
    """Whether what `says` matches is all that is told: the platform's own words, in what the system made of them."""

    def message(self, cause: Cause) -> str | None:
        """What to say of the cause; None for its own message."""
        found = re.search(self.says, cause.message) if self.quotes and self.says is not None else None
        return found[0] if found is not None else None

    def fits(self, cause: Cause) -> bool:
        """Whether the rule is about this cause."""
        if not (cause.has_condition(*self.conditions) or cause.has_state(*self.states) or cause.is_a(*self.classes)):
            return False
        if self.codes is not None and cause.code not in self.codes:
            return False
        return self.says is None or re.search(self.says, cause.message) is not None


def raised(words: str, hint: str) -> Rule:
    """The rule for what an expression of the platform's raises.

    Args:
        words: What the text begins with that it raises.
        hint: What to do next.
    """
    return Rule(hint, conditions=("USER_RAISED_EXCEPTION",), says=rf"^(\[\w+\] )?{re.escape(words)}")
