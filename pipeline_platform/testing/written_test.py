"""The text of a test, as a person would write it, and its place in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_platform.config.documents.document import Document

_INDENT = "  "


def text_of_test(
    heading: Mapping[str, Any],
    given: Mapping[str, tuple[str, Sequence[str]]],
    expect: Mapping[str, Sequence[str] | str],
) -> str:
    """A test as JSON, each row in a line of its own.

    Args:
        heading: What stands before `given`: the name, and what the run is given.
        given: By the name of an extract its schema and its rows, as JSON.
        expect: By the name of a step its rows as JSON, or all that is expected of it.
    """
    members = {key: _text(value) for key, value in heading.items()}
    extracts = {name: _object({"schema": _text(schema), "rows": _list(rows)}) for name, (schema, rows) in given.items()}
    steps = {name: one if isinstance(one, str) else _list(one) for name, one in expect.items()}
    return _object({**members, "given": _object(extracts), "expect": _object(steps)})


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(rows: Sequence[str]) -> str:
    return _block("[", rows, "]")


def _object(members: Mapping[str, str]) -> str:
    return _block("{", [f"{_text(name)}: {value}" for name, value in members.items()], "}")


def _block(opened: str, parts: Sequence[str], closed: str) -> str:
    if not parts:
        return f"{opened}{closed}"
    within = _indented(",\n".join(parts), _INDENT)
    return f"{opened}\n{within}\n{closed}"


def _indented(text: str, indent: str) -> str:
    # No text of JSON goes over a line.
    return "\n".join(f"{indent}{line}" for line in text.split("\n"))


def new_file(pipeline: str, test: str, schema: str | None) -> str:
    """A file with one test.

    Args:
        pipeline: Path of the pipeline from the folder of the file.
        test: The test.
        schema: Path of the JSON Schema from there; None if there is none.
    """
    members = {} if schema is None else {"$schema": _text(schema)}
    return _object({**members, "pipeline": _text(pipeline), "tests": _list([test])}) + "\n"


def with_test(document: Document, test: str) -> str:
    """The text of a file with one more test at its end; the rest stays as it is.

    Args:
        document: The file, which has tests.
        test: The test.
    """
    root: Any = document.root
    last = root.parts["tests"].parts[-1]
    before = document.text[: last.start]
    line = before.rpartition("\n")[2]
    indent = line if not line.strip() else _INDENT * 2
    added = _indented(test, indent)
    return f"{document.text[: last.end]},\n{added}{document.text[last.end :]}"
