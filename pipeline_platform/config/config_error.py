"""One mistake in a pipeline file, and how it is shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import redact

# Longer source lines are shown in part, around the mistake.
SHOWN_WIDTH = 120
# With more valid names than this, and none of them near, a list would hide the message.
LISTED_NAMES = 12

_FIRST_WORD = re.compile(r"[a-z]+(?=[A-Z])")


@dataclass(frozen=True)
class ConfigError:
    """A mistake with its place.

    Args:
        file: The file it is in.
        line: Line, from 1.
        column: Column, from 1, in characters.
        message: What is wrong and what was expected.
        hint: What was probably meant.
        source_line: The text of that line, or the part of a long one that surrounds the mistake.
        source_start: Where in its line that part begins, in characters.
    """

    file: Path
    line: int
    column: int
    message: str
    hint: str | None = None
    source_line: str | None = None
    source_start: int = 0

    def __str__(self) -> str:
        said = f"{self.message} ({self.hint})" if self.hint else self.message
        escaped = "".join(character if character.isprintable() else repr(character)[1:-1] for character in redact(said))
        head = f"{self.file}:{self.line}:{self.column}: {escaped}"
        if self.source_line is None:
            return head
        # The two sides are redacted apart, so that a mask before the mistake moves the caret with it.
        column = self.column - 1 - self.source_start
        before = redact(self.source_line[:column])
        shown = _printable(redact(before + redact(self.source_line[column:])))
        start = max(0, len(before) - SHOWN_WIDTH // 2) if len(shown) > SHOWN_WIDTH else 0
        caret = " " * cell_len(shown[start : len(before)]) + "^"
        return f"{head}\n    {shown[start : start + SHOWN_WIDTH].rstrip()}\n    {caret}"


def in_order(path: Path, problems: Iterable[ConfigError]) -> list[ConfigError]:
    """Each problem once, those of a file first and in the order of its lines.

    Args:
        path: The file.
        problems: What is wrong, in it and in those that it refers to.
    """

    def place(problem: ConfigError) -> tuple[bool, str, int, int, str]:
        return problem.file != path, str(problem.file), problem.line, problem.column, problem.message

    return sorted(set(problems), key=place)


def refused(problems: Iterable[ConfigError], hint: str | None = None) -> PipelineConfigurationException:
    """What is raised for the mistakes of a file.

    Args:
        problems: The mistakes.
        hint: What to do about them.
    """
    told = list(problems)
    return PipelineConfigurationException("\n".join(map(str, told)), problems=told, hint=hint)


def did_you_mean(name: str, valid: Iterable[str]) -> str | None:
    """The nearest valid name as a hint, or all of them when they are few and none is near."""
    names = sorted(set(valid))
    listed = f"valid: {', '.join(names)}" if 0 < len(names) <= LISTED_NAMES else None
    return nearest(name, names) or listed


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The nearest valid name as a hint, for a message that lists them all itself; None when none is near."""
    folded = {candidate.lower(): candidate for candidate in sorted(set(valid))}
    # A word that all of them begin with says nothing: `fromCsv` is not near `fromS3`.
    common = _common_word(folded.values())
    if not name.lower().startswith(common):
        common = ""
    rests = {candidate.removeprefix(common): spelled for candidate, spelled in folded.items()}
    near = difflib.get_close_matches(name.lower().removeprefix(common), rests, n=1, cutoff=0.6)
    return f"did you mean '{rests[near[0]]}'?" if near else None


def _common_word(names: Collection[str]) -> str:
    """The word in lower case that several names in camelCase all begin with; an empty string if there is none."""
    words = {_FIRST_WORD.match(name) for name in names}
    starts = {match[0] if match is not None else "" for match in words}
    return starts.pop() if len(names) > 1 and len(starts) == 1 else ""


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
