"""A JSON file with the place of every value in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import json_source_map

from pipeline_platform.config.problem import Problem

Pointer = tuple[str | int, ...]


class DocumentError(Exception):
    """The text is not JSON, or is JSON that means two things at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Document:
    """A parsed JSON file.

    Args:
        path: Where it was read from.
        text: Its text.
        value: The parsed value.
    """

    path: Path
    text: str
    value: Any
    _positions: dict[str, Any] = field(repr=False)

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
        for length in range(len(pointer), -1, -1):
            entry = self._positions.get(_json_pointer(pointer[:length]))
            if entry is not None:
                place = entry.key_start if on_key and length == len(pointer) and entry.key_start else entry.value_start
                return place.line + 1, place.column + 1
        return 1, 1


def read_document(path: Path) -> Document:
    """Read a JSON file.

    Raises:
        DocumentError: It can't be read, is not UTF-8, is not JSON, or names a key twice in one object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DocumentError([Problem(path, 1, 1, f"the file can't be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise DocumentError([Problem(path, 1, 1, f"the file is not UTF-8: byte {error.start}")]) from error
    return parse_document(text, path)


def parse_document(text: str, path: Path) -> Document:
    """Parse JSON text; `path` is only named in errors.

    Raises:
        DocumentError: As `read_document`.
    """
    duplicates: list[str] = []

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        duplicates.extend(_repeated(key for key, _ in pairs))
        return dict(pairs)

    def refuse_constant(name: str) -> None:
        raise ValueError(f"{name} is not a JSON value")

    try:
        value = json.loads(text, object_pairs_hook=to_object, parse_constant=refuse_constant)
        positions = dict(json_source_map.calculate(text))
    except json.JSONDecodeError as error:
        at = Problem(path, error.lineno, error.colno, f"not JSON: {error.msg}", None, _line_of(text, error.lineno))
        raise DocumentError([at]) from error
    except RecursionError as error:
        raise DocumentError([Problem(path, 1, 1, "the JSON is nested too deeply")]) from error
    except ValueError as error:
        raise DocumentError([Problem(path, 1, 1, f"not JSON: {error}")]) from error
    if duplicates:
        raise DocumentError([_duplicate_key(path, text, key) for key in duplicates])
    return Document(path, text, value, positions)


def _duplicate_key(path: Path, text: str, key: str) -> Problem:
    # The parser keeps no place for a key that a later one replaced, so the last spelling is shown.
    spelled = json.dumps(key)
    offset = max(text.rfind(spelled), text.rfind(json.dumps(key, ensure_ascii=False)), 0)
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return Problem(path, line, column, f"the key {spelled} stands twice in one object", None, _line_of(text, line))


def _repeated(keys: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    repeated: list[str] = []
    for key in keys:
        if key in seen:
            repeated.append(key)
        seen.add(key)
    return repeated


def _json_pointer(pointer: Pointer) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)


def _line_of(text: str, line: int) -> str | None:
    lines = text.split("\n")
    return lines[line - 1] if 0 < line <= len(lines) else None
