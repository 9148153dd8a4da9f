"""One mistake in a pipeline file, and how it is shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.credentials.redaction import redact

# Longer source lines are shown in part, around the mistake.
SHOWN_WIDTH = 120


@dataclass(frozen=True, order=True)
class Problem:
    """A mistake with its place.

    Args:
        file: The file it is in.
        line: Line, from 1.
        column: Column, from 1.
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
        head = f"{self.file}:{self.line}:{self.column}: {redact(self.message)}"
        if self.hint:
            head += f" ({self.hint})"
        if self.source_line is None:
            return head
        start = max(0, self.column - 1 - SHOWN_WIDTH // 2) if len(self.source_line) > SHOWN_WIDTH else 0
        shown = self.source_line[start : start + SHOWN_WIDTH].replace("\t", " ").rstrip()
        return f"{head}\n    {redact(shown)}\n    {' ' * (self.column - 1 - start)}^"


def did_you_mean(name: str, valid: Iterable[str]) -> str | None:
    """The nearest valid name as a hint, or all of them when they are few and none is near."""
    names = sorted(set(valid))
    folded = {candidate.casefold(): candidate for candidate in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    return f"valid: {', '.join(names)}" if 0 < len(names) <= 12 else None
