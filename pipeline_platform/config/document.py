"""A JSON file with the place of every value in it."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from json_source_map import handle, types

from pipeline_platform.config.problem import SHOWN_WIDTH, Problem

Pointer = tuple[str | int, ...]
"""Keys and indices from the root of a document."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')
# Of a string as JSON spells it: what makes one character.
_SPELLED = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
# Of a longer line only the part around a problem is looked at, and kept.
_LONG_LINE = 10 * SHOWN_WIDTH


class DocumentError(Exception):
    """The text is not JSON."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, eq=False)
class Document:
    """A parsed JSON file.

    Args:
        path: Where it was read from.
        text: Its text.
        value: The parsed value.
        problems: What is wrong with it although it is JSON, such as a key that appears twice in one object.
    """

    path: Path
    text: str
    value: Any
    problems: tuple[Problem, ...]
    _entries: dict[Pointer, types.Entry] = field(repr=False)
    _strings: dict[int, tuple[list[int], list[int]]] = field(default_factory=dict, repr=False)

    def problem(
        self,
        pointer: Pointer,
        message: str,
        *,
        on_key: bool = False,
        hint: str | None = None,
        offset: int | None = None,
    ) -> Problem:
        """Make a problem that points at a value.

        Args:
            pointer: Keys and indices from the root; where it goes deeper than the file does, the
                deepest part that exists is shown.
            message: What is wrong.
            on_key: Point at the key rather than at its value.
            hint: What was probably meant.
            offset: Point at this character of a string, counted from 0, rather than at its beginning.
        """
        line, column = self.position(pointer, on_key=on_key)
        if offset is not None and not on_key:
            column += self._width_in_file(pointer, offset)
        return self._problem_at(line, column, message, hint)

    def repeated_key(self, key: str, first: types.Entry, second: types.Entry) -> Problem:
        """The problem of a key that appears twice in one object, whose entries these are."""
        start, before = second.key_start or second.value_start, first.key_start or first.value_start
        message = f"the key '{key}' appears twice in one object"
        return self._problem_at(start.line + 1, start.column + 1, message, f"first on line {before.line + 1}")

    def _problem_at(self, line: int, column: int, message: str, hint: str | None) -> Problem:
        text = self._lines[line - 1]
        start, end = self._excerpt(line, column - 1)
        return Problem(self.path, line, column, message, hint, text[start:end], start)

    @cached_property
    def _lines(self) -> list[str]:
        return _lines_of(self.text)

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

    def _width_in_file(self, pointer: Pointer, offset: int) -> int:
        """Columns from the quote that opens a string to its character at an offset, which may be an escape."""
        existing = self.existing(pointer)
        start, end = self._entries[existing].value_start.position, self._entries[existing].value_end.position
        if existing != pointer or self.text[start : start + 1] != '"':
            return 0
        spelled = (match.end() for match in _SPELLED.finditer(self.text, start + 1, end - 1))
        at = start + 1
        for _ in range(offset):
            at = next(spelled, at)
        return at - start

    def position(self, pointer: Pointer, *, on_key: bool = False) -> tuple[int, int]:
        """Line and column, both from 1, of a value or of its key."""
        existing = self.existing(pointer)
        entry = self._entries[existing]
        start = entry.key_start if on_key and entry.key_start and existing == pointer else entry.value_start
        return start.line + 1, start.column + 1

    def existing(self, pointer: Pointer) -> Pointer:
        """The part of the pointer that the document has."""
        length = len(pointer)
        while pointer[:length] not in self._entries:
            length -= 1
        return pointer[:length]

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
    ) -> Problem:
        """Make a problem that points here; see `Document.problem`."""
        return self.document.problem(self.pointer, message, on_key=on_key, hint=hint, offset=offset)

    @property
    def value(self) -> Any:
        """What stands here."""
        return self.document.at(self.pointer)


def read_document(path: Path, shown_as: Path | None = None) -> Document:
    """Read a JSON file.

    Args:
        path: The file.
        shown_as: Its name in errors; `path` by default.

    Raises:
        DocumentError: It can't be read, is not UTF-8, or is not JSON.
    """
    shown = shown_as or path
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError(Problem(shown, 1, 1, f"the file can't be read: {reason}")) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line_start = content.rfind(b"\n", 0, error.start) + 1
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[line_start : error.start].decode()) + 1
        message = f"the file is not UTF-8: the byte 0x{content[error.start]:02x} can't be read"
        raise DocumentError(Problem(shown, line, column, message)) from error
    return parse_document(text, shown)


def parse_document(text: str, path: Path) -> Document:
    """Parse JSON text; `path` is only named in errors.

    Raises:
        DocumentError: It is not JSON.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise DocumentError(Problem(path, 1, 1, "the file is empty; expected a JSON object"))
    try:
        parsed = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_int=_integer)
        entries = handle.value(source=text, current_location=types.Location(0, 0, 0))
        return _located(parsed, (entry for _, entry in entries), text, path)
    except json.JSONDecodeError as error:
        hint = _syntax_hint(text, error.pos)
        source_line = _lines_of(text)[error.lineno - 1]
        at = Problem(path, error.lineno, error.colno, f"not JSON: {_lower_first(error.msg)}", hint, source_line)
        raise DocumentError(at) from error
    except RecursionError as error:
        raise DocumentError(Problem(path, 1, 1, "the JSON is nested too deeply")) from error
    except ValueError as error:
        raise DocumentError(Problem(path, 1, 1, f"not JSON: {error}")) from error


def json_type(value: Any) -> str:
    """What a value is in JSON, with its article."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, those that stand twice included."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise ValueError(f"a number has {len(digits)} digits") from error


def _located(parsed: Any, found: Iterator[types.Entry], text: str, path: Path) -> Document:
    """Walk the value and its entries together: both are in the order of the text.

    The library's own pointers can't serve: they hold keys as spelled, escapes and slashes included, and a key that
    stands twice is there once.
    """
    entries: dict[Pointer, types.Entry] = {}
    repeated: list[tuple[str, types.Entry, types.Entry]] = []
    surrogates: list[Pointer] = []
    infinite: list[Pointer] = []

    def walk(value: Any, pointer: Pointer) -> Any:
        entry = next(found)
        if pointer in entries:
            repeated.append((str(pointer[-1]), entries[pointer], entry))
        entries[pointer] = entry
        if isinstance(value, _Pairs):
            pairs = [(clean(key, pointer), item) for key, item in value]
            return {key: walk(item, (*pointer, key)) for key, item in pairs}
        if isinstance(value, list):
            return [walk(item, (*pointer, index)) for index, item in enumerate(cast("list[Any]", value))]
        if isinstance(value, float) and math.isinf(value):
            infinite.append(pointer)
        return clean(value, pointer) if isinstance(value, str) else value

    def clean(value: str, pointer: Pointer) -> str:
        if _LONE_SURROGATE.search(value):
            surrogates.append(pointer)
        return _LONE_SURROGATE.sub("\ufffd", value)

    value = walk(parsed, ())
    document = Document(path, text, value, (), entries)
    problems = [document.repeated_key(*repetition) for repetition in repeated]
    message = "a string holds half of a surrogate pair, which is not a character"
    problems.extend(document.problem(pointer, message) for pointer in surrogates)
    message = "the number is too large; write it as a string if it has to be exact"
    problems.extend(document.problem(pointer, message) for pointer in infinite)
    return Document(path, text, value, tuple(problems), entries)


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
