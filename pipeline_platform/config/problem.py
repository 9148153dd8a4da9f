"""One mistake in a pipeline file, and how it is shown."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.redaction import redact

# Longer source lines are shown in part, around the mistake.
SHOWN_WIDTH = 120
# With more valid names than this, and none of them near, a list would hide the message.
LISTED_NAMES = 12


@dataclass(frozen=True)
class Problem:
    """A mistake with its place.

    Args:
        file: The file it is in.
        line: Line, from 1.
        column: Column, from 1, in characters.
        message: What is wrong and what was expected.
        hint: What was probably meant.
        source_line: The text of that line.
    """

    file: Path
    line: int
    column: int
    message: str
    hint: str | None = None
    source_line: str | None = None

    def __str__(self) -> str:
        said = f"{self.message} ({self.hint})" if self.hint else self.message
        escaped = "".join(character if character.isprintable() else repr(character)[1:-1] for character in redact(said))
        head = f"{self.file}:{self.line}:{self.column}: {escaped}"
        if self.source_line is None:
            return head
        # The two sides are redacted apart, so that a mask before the mistake moves the caret with it.
        before = redact(self.source_line[: self.column - 1])
        shown = _printable(redact(before + redact(self.source_line[self.column - 1 :])))
        start = max(0, len(before) - SHOWN_WIDTH // 2) if len(shown) > SHOWN_WIDTH else 0
        caret = " " * _cells(shown[start : len(before)]) + "^"
        return f"{head}\n    {shown[start : start + SHOWN_WIDTH].rstrip()}\n    {caret}"


def did_you_mean(name: str, valid: Iterable[str]) -> str | None:
    """The nearest valid name as a hint, or all of them when they are few and none is near."""
    names = sorted(set(valid))
    folded = {candidate.casefold(): candidate for candidate in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    return f"valid: {', '.join(names)}" if 0 < len(names) <= LISTED_NAMES else None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
