"""A page of the documentation as what a reader does with it: files to write, commands to run, and what they print.

A fence with a title is a file, as in `json title="pipelines/orders.json"`. A fence of the language `console` is a
terminal: lines that begin with `$` are commands, those that begin with `>` go on with one, `^C` is a key, and all the
rest is what is printed, with `...` for what differs from time to time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

INTERRUPT = "^C"
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class PageFile:
    """A file that the reader writes.

    Args:
        line: Where it stands on the page.
        path: Relative to the reader's folder.
        text: What is in it.
    """

    line: int
    path: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that the reader gives.

    Args:
        line: Where it stands on the page.
        text: The command, perhaps of several lines.
        printed: What the page says that it prints; empty where the page does not say.
        interrupted: The reader presses Ctrl-C once that was printed.
        printed_after: What is printed after Ctrl-C.
    """

    line: int
    text: str
    printed: str = ""
    interrupted: bool = False
    printed_after: str = ""


@dataclass(frozen=True)
class Fence:
    """A block of code on a page.

    Args:
        line: Where its text begins.
        language: Its first word; empty where there is none.
        title: The path of the file that it is.
        text: What is in it.
    """

    line: int
    language: str
    title: str | None
    text: str


def fences(page: Path) -> list[Fence]:
    """Every block of code of a page."""
    found: list[Fence] = []
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence":
            assert token.map is not None
            title = _TITLE.search(token.info)
            language = token.info.split()[0] if token.info.split() else ""
            found.append(Fence(token.map[0] + 2, language, title[1] if title else None, token.content))
    return found


def acts(page: Path) -> Iterator[PageFile | Command]:
    """What a reader of a page does, in order."""
    for fence in fences(page):
        if fence.title is not None:
            yield PageFile(fence.line, fence.title, fence.text)
        elif fence.language == "console":
            yield from _commands(fence)


def _commands(fence: Fence) -> Iterator[Command]:
    # Each command with all that follows it, up to the next.
    for part in re.finditer(r"^\$ (.*(?:\n> .*)*)\n((?:(?!\$ ).*\n)*)", fence.text, re.MULTILINE):
        printed, interrupt, after = part[2].partition(f"{INTERRUPT}\n")
        yield Command(
            fence.line + fence.text[: part.start()].count("\n"),
            part[1].replace("\n> ", "\n"),
            printed.strip("\n"),
            interrupted=bool(interrupt),
            printed_after=after.strip("\n"),
        )
