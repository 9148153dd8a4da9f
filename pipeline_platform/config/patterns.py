"""Regular expressions in a file: what of them is wrong wherever they are read."""

from __future__ import annotations

import re
import warnings
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.java_syntax import java_mistake
from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.values import Text

# What Python and Java both refuse. The rest only Spark can tell: their expressions differ.
_REFUSED_BY_ALL = ("unterminated character set", "missing ), unterminated subpattern", "unbalanced parenthesis")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def pattern_error(pattern: str) -> tuple[str, int | None] | None:
    """What is wrong with a regular expression wherever it is read, and at which character, counted from 0.

    Args:
        pattern: The expression.

    Returns:
        None if nothing is, as far as is known without Java.
    """
    if r"\Q" in pattern:
        return None
    try:
        # Java has escapes that Python refuses, such as \z, and would say nothing of what follows them.
        with warnings.catch_warnings(action="ignore"):
            re.compile(_ESCAPE.sub(lambda escape: r"\d" if escape[1].isalpha() else escape[0], pattern))
    except re.error as error:
        is_dangling = error.msg == "nothing to repeat" and pattern[:1] in ("*", "+", "?")
        if error.msg in _REFUSED_BY_ALL or is_dangling:
            return f"no regular expression: {error.msg}", error.pos
    except (RecursionError, OverflowError):
        pass
    found = java_mistake(pattern)
    return (f"no regular expression: {found[0]}", found[1]) if found is not None else None


def _pattern(text: str) -> str:
    if not has_placeholder(text) and (found := pattern_error(text)) is not None:
        message, offset = found
        context = {"mistake": message, **({"offset": offset} if offset is not None else {})}
        raise PydanticCustomError("text", "{mistake}", context)
    return text


Pattern = Annotated[Text, AfterValidator(_pattern)]
"""A regular expression of Java."""
