"""A JSON file with the place of every value in it."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pipeline_platform.config.config_error import SHOWN_WIDTH, ConfigError
from pipeline_platform.config.documents.json_positions import JsonError, LocatedValue, decode

Pointer = tuple[str | int, ...]
"""Keys and indices from the root of a document."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')
# Of a string as JSON spells it: what makes one character.
_SPELLED = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
# Of a longer line only the part around a problem is looked at, and kept.
_LONG_LINE = 10 * SHOWN_WIDTH


class DocumentError(Exception):
    """The text is not JSON."""

    def __init__(self, problem: ConfigError) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, eq=False)
class Document:
    """A parsed JSON file.

    Args:
        path: Where it was read from.
        text: Its text.
        root: The parsed value, with its place and those of all in it.
        flaws: What is wrong with it although it is JSON, such as a key that appears twice in one object.
    """

    path: Path
    text: str
    root: LocatedValue = field(repr=False)
    flaws: Sequence[JsonError] = ()
    _strings: dict[int, tuple[list[int], list[int]]] = field(default_factory=dict, repr=False)

    @property
    def value(self) -> Any:
        """The parsed value."""
        return self.root.value

    @cached_property
    def problems(self) -> tuple[ConfigError, ...]:
        """Its flaws."""

        def hint(flaw: JsonError) -> str | None:
            return None if flaw.first is None else f"first on line {self._place(flaw.first)[0]}"

        return tuple(self._problem_at(flaw.start, flaw.message, hint(flaw)) for flaw in self.flaws)

    def problem(
        self,
        pointer: Pointer,
        message: str,
        *,
        on_key: bool = False,
        hint: str | None = None,
        offset: int | None = None,
    ) -> ConfigError:
        """Make a problem that points at a value.

        Args:
            pointer: Keys and indices from the root; where it goes deeper than the file does, the
                deepest part that exists is shown.
            message: What is wrong.
            on_key: Point at the key rather than at its value.
            hint: What was probably meant.
            offset: Point at this character of a string, counted from 0, rather than at its beginning.
        """
        found, located = self._nearest(pointer)
        at = located.start
        if on_key and found == pointer and located.key_start is not None:
            at = located.key_start
        elif offset is not None and not on_key and found == pointer:
            at = self._position_in_string(located, offset)
        return self._problem_at(at, message, hint)

    def _problem_at(self, position: int, message: str, hint: str | None) -> ConfigError:
        line, column = self._place(position)
        text = self._lines[line - 1]
        start, end = self._excerpt(line, column - 1)
        return ConfigError(self.path, line, column, message, hint, text[start:end], start)

    def _place(self, position: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, position)
        return line, position - self._line_starts[line - 1] + 1

    @cached_property
    def _lines(self) -> list[str]:
        return _lines_of(self.text)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def _excerpt(self, line: int, column: int) -> tuple[int, int]:
        """The part of a line to show for a column, from 0.

        Of a long line it is what surrounds the column, as looking at all of it for each problem would take the square
        of its length. Strings are whole, and each has its key with it, so that a secret is recognized.
        """
        text = self._lines[line - 1]
        if len(text) <= _LONG_LINE:
            return 0, len(text)
        if line not in self._strings:
            found = [match.span() for match in _STRING.finditer(text)]
            self._strings[line] = [start for start, _ in found], [end for _, end in found]
        starts, ends = self._strings[line]
        first = bisect_right(starts, max(0, column - SHOWN_WIDTH)) - 1
        last = bisect_right(starts, column + SHOWN_WIDTH) - 1
        start = starts[max(0, first - 1)] if first >= 0 else 0
        return start, max(column + SHOWN_WIDTH, ends[last] if last >= 0 else 0)

    def _position_in_string(self, located: LocatedValue, offset: int) -> int:
        """Where the character of a string at an offset stands, which may be an escape."""
        if not isinstance(located.value, str):
            return located.start
        spelled = (match.end() for match in _SPELLED.finditer(self.text, located.start + 1, located.end - 1))
        at = located.start + 1
        for _ in range(offset):
            at = next(spelled, at)
        return at

    def written(self, pointer: Pointer) -> str:
        """The JSON of a value as it is written, such as a number with all its digits."""
        located = self._nearest(pointer)[1]
        return self.text[located.start : located.end]

    def position(self, pointer: Pointer) -> tuple[int, int]:
        """Line and column, both from 1, of a value."""
        return self._place(self._nearest(pointer)[1].start)

    def existing(self, pointer: Pointer) -> Pointer:
        """The part of the pointer that the document has."""
        return self._nearest(pointer)[0]

    def _nearest(self, pointer: Pointer) -> tuple[Pointer, LocatedValue]:
        located = self.root
        for depth, part in enumerate(pointer):
            parts: Any = located.parts
            try:
                located = parts[part]
            except (LookupError, TypeError):
                return pointer[:depth], located
        return pointer, located

    def at(self, pointer: Pointer) -> Any:
        """The value at a pointer, or None where the document has none."""
        value = self.value
        for part in pointer:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return value


@dataclass(frozen=True)
class SourcePosition:
    """A value in a document.

    Args:
        document: The document.
        pointer: Where in it.
    """

    document: Document
    pointer: Pointer = ()

    def __truediv__(self, part: str | int) -> SourcePosition:
        return SourcePosition(self.document, (*self.pointer, part))

    def problem(
        self, message: str, *, on_key: bool = False, hint: str | None = None, offset: int | None = None
    ) -> ConfigError:
        """Make a problem that points here; see `Document.problem`."""
        return self.document.problem(self.pointer, message, on_key=on_key, hint=hint, offset=offset)

    @property
    def value(self) -> Any:
        """What stands here."""
        return self.document.at(self.pointer)

    @property
    def text(self) -> str:
        """What stands here, as it is written."""
        return self.document.written(self.pointer)


@dataclass(frozen=True)
class MergedPosition(SourcePosition):
    """An object or a list whose parts are written in several places.

    Args:
        parts: Where those are that are not written here.
        absent: Keys that are written here and don't count.
    """

    parts: Mapping[str | int, SourcePosition] = field(
        default_factory=dict[str | int, SourcePosition], compare=False, repr=False
    )
    absent: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __truediv__(self, part: str | int) -> SourcePosition:
        return self.parts[part] if part in self.parts else super().__truediv__(part)

    @property
    def value(self) -> Any:
        """What stands here and in the other places."""
        own = super().value
        if not isinstance(own, dict):
            return own
        written = {key: value for key, value in cast("dict[str, Any]", own).items() if key not in self.absent}
        return {**written, **{part: place.value for part, place in self.parts.items()}}


def read_document(path: Path, shown_as: Path | None = None) -> Document:
    """Read a JSON file.

    Args:
        path: The file.
        shown_as: Its name in errors; `path` by default.

    Raises:
        DocumentError: It can't be read, is not UTF-8, or is not JSON.
    """
    shown = shown_as or path
    return parse_document(read_text(path, shown), shown)


def read_text(path: Path, shown: Path) -> str:
    """Read the text of a file.

    Args:
        path: The file.
        shown: Its name in errors.

    Raises:
        DocumentError: It can't be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError(ConfigError(shown, 1, 1, f"the file can't be read: {reason}")) from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line_start = content.rfind(b"\n", 0, error.start) + 1
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[line_start : error.start].decode()) + 1
        message = f"the file is not UTF-8: the byte 0x{content[error.start]:02x} can't be read"
        raise DocumentError(ConfigError(shown, line, column, message)) from error


def parse_document(text: str, path: Path) -> Document:
    """Parse JSON text; `path` is only named in errors.

    Raises:
        DocumentError: It is not JSON.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise DocumentError(ConfigError(path, 1, 1, "the file is empty; expected a JSON object"))
    try:
        root, flaws = decode(text)
    except json.JSONDecodeError as error:
        hint = _syntax_hint(text, error.pos)
        source_line = _lines_of(text)[error.lineno - 1]
        at = ConfigError(path, error.lineno, error.colno, f"not JSON: {_lower_first(error.msg)}", hint, source_line)
        raise DocumentError(at) from error
    except RecursionError as error:
        raise DocumentError(ConfigError(path, 1, 1, "the JSON is nested too deeply")) from error
    return Document(path, text, root, flaws)


def json_type(value: Any) -> str:
    """What a value is in JSON, with its article."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def _syntax_hint(text: str, position: int) -> str | None:
    before, after = text[:position].rstrip(), text[position : position + 2]
    if after in ("//", "/*") or after[:1] == "#":
        return "JSON has no comments"
    if before.endswith(",") and after[:1] in ("}", "]"):
        return "remove the comma before it"
    if after[:1] == "'":
        return "write strings in double quotes"
    return None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _lines_of(text: str) -> list[str]:
    return [line.removesuffix("\r") for line in text.split("\n")]
