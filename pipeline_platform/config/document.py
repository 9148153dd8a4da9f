"""A JSON file with the place of every value in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from json_source_map import handle, types

from pipeline_platform.config.problem import Problem

Pointer = tuple[str | int, ...]
"""Keys and indices from the root of a document."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


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
        problems: What is wrong with it although it is JSON, such as a key that stands twice in one object.
    """

    path: Path
    text: str
    value: Any
    problems: tuple[Problem, ...]
    _entries: dict[Pointer, types.Entry] = field(repr=False)

    def problem(self, pointer: Pointer, message: str, *, on_key: bool = False, hint: str | None = None) -> Problem:
        """Make a problem that points at a value.

        Args:
            pointer: Keys and indices from the root; where it goes deeper than the file does, the
                deepest part that exists is shown.
            message: What is wrong.
            on_key: Point at the key rather than at its value.
            hint: What was probably meant.
        """
        line, column = self.position(pointer, on_key=on_key)
        return Problem(self.path, line, column, message, hint, _line_of(self.text, line))

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
class Place:
    """A value in a document.

    Args:
        document: The document.
        pointer: Where in it.
    """

    document: Document
    pointer: Pointer = ()

    def __truediv__(self, part: str | int) -> Place:
        return Place(self.document, (*self.pointer, part))

    def problem(self, message: str, *, on_key: bool = False, hint: str | None = None) -> Problem:
        """Make a problem that points here."""
        return self.document.problem(self.pointer, message, on_key=on_key, hint=hint)

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
        source_line = _line_of(text, error.lineno)
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
        return clean(value, pointer) if isinstance(value, str) else value

    def clean(value: str, pointer: Pointer) -> str:
        if _LONE_SURROGATE.search(value):
            surrogates.append(pointer)
        return _LONE_SURROGATE.sub("\ufffd", value)

    value = walk(parsed, ())
    document = Document(path, text, value, (), entries)
    problems = [_repeated_key(document, *repetition) for repetition in repeated]
    message = "a string holds half of a surrogate pair, which is no character"
    problems.extend(document.problem(pointer, message) for pointer in surrogates)
    return Document(path, text, value, tuple(problems), entries)


def _repeated_key(document: Document, key: str, first: types.Entry, second: types.Entry) -> Problem:
    start, before = second.key_start or second.value_start, first.key_start or first.value_start
    message = f"the key '{key}' stands twice in one object"
    hint = f"first on line {before.line + 1}"
    source_line = _line_of(document.text, start.line + 1)
    return Problem(document.path, start.line + 1, start.column + 1, message, hint, source_line)


def _syntax_hint(text: str, position: int) -> str | None:
    before, after = text[:position].rstrip(), text[position : position + 2]
    if after in ("//", "/*") or after[:1] == "#":
        return "JSON has no comments"
    if before.endswith(",") and after[:1] in ("}", "]"):
        return "remove the comma before it"
    if after[:1] == "'":
        return "strings stand in double quotes"
    return None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _line_of(text: str, line: int) -> str | None:
    lines: Sequence[str] = text.split("\n")
    return lines[line - 1].removesuffix("\r") if 0 < line <= len(lines) else None
