"""What Java's regular expressions refuse, as far as it is known without Java: it is never right in any of them."""

from __future__ import annotations

import re

_NOT_LOOKED_AT = re.compile(
    # Quotes, comments, and a bracket that may be a member of a class or its end.
    r"\\Q|\(\?[a-zA-Z-]*x|\[\^?\]"
)
_NO_ESCAPES = frozenset("gijlmoqyCEFIJKLMOTUY")
_GROUP = re.compile(r"\(\?(?:[:=!>]|<[=!]|<[a-zA-Z][a-zA-Z0-9]*>|[imsduUc-]*:)|\((?!\?)")
_FLAGS = re.compile(r"\(\?[imsduUc-]*\)")
_IN_BRACES = re.compile(r"\\[pPxN]\{[^}]*\}")
_COUNTS = re.compile(r"\{([0-9]+)(?:(,)([0-9]*))?\}")
_MOST = 2**31 - 1


def java_mistake(pattern: str) -> tuple[str, int] | None:
    """What is wrong with a regular expression of Java, and at which character, counted from 0.

    Args:
        pattern: The expression.

    Returns:
        None if nothing is, as far as is known without Java.
    """
    if _NOT_LOOKED_AT.search(pattern.replace(r"\\", "..")):
        return None
    place, is_start = 0, True
    while place < len(pattern):
        char = pattern[place]
        after = _after(pattern, place)
        if isinstance(after, str):
            return after, place
        if is_start and char in "*+?":
            return "nothing to repeat", place
        if char in "*+?{":
            # One more makes it lazy or possessive.
            after += pattern[after : after + 1] in ("?", "+")
            if pattern[after : after + 1] in ("*", "+", "?"):
                return "multiple repeat", after
        is_start = char == "|" or (char == "(" and _FLAGS.match(pattern, place) is None)
        place = after
    return None


def _after(pattern: str, place: int) -> int | str:
    """Where the next part of the expression begins, or what is wrong with the one that begins here."""
    match pattern[place]:
        case "\\":
            if pattern[place + 1 : place + 2] in _NO_ESCAPES:
                return f"Java has no \\{pattern[place + 1]}"
            in_braces = _IN_BRACES.match(pattern, place)
            is_control = pattern[place + 1 : place + 2] in ("c", "p", "P")
            return in_braces.end() if in_braces is not None else place + 2 + is_control
        case "[":
            return _after_class(pattern, place)
        case "(":
            found = _GROUP.match(pattern, place) or _FLAGS.match(pattern, place)
            return found.end() if found is not None else "Java has no such group"
        case "{":
            counts = _COUNTS.match(pattern, place)
            if counts is None:
                return "expected a count in braces, such as {2}, {2,} or {2,5}"
            least, most = int(counts[1]), int(counts[3] or (_MOST if counts[2] else counts[1]))
            if least > most or most > _MOST:
                return "no such counts"
            return counts.end()
        case _:
            return place + 1


def _after_class(pattern: str, place: int) -> int:
    depth = 0
    while place < len(pattern):
        match pattern[place]:
            case "\\":
                place += 1
            case "[":
                depth += 1
            case "]":
                depth -= 1
            case _:
                pass
        place += 1
        if depth == 0:
            break
    return place
