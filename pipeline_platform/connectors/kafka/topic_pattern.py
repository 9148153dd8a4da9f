"""Which topics a Java regular expression means, without Java."""

from __future__ import annotations

import re

# In a class of characters: another class, or one of the operators that either language has or may have one day. The
# other reads them as characters, which no name of a topic has.
_OPERATOR_IN_CLASS = re.compile(r"(?<!\\)(?:\\\\)*\[\^?(?:[^\]\\]|\\.)*?(?:\[|&&|--|~~|\|\|)")


def topic_pattern(java: str) -> re.Pattern[str] | None:
    """The same expression for Python; None for one that Python reads in another way, or not at all.

    Args:
        java: A regular expression of Java's, which the name of a topic has to match as a whole.
    """
    if _OPERATOR_IN_CLASS.search(java) is not None:
        return None
    try:
        return re.compile(java)
    except (re.error, OverflowError, RecursionError):
        return None
