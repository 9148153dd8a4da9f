"""Columns that are sensitive by their own name, or by the name of a field that is nested in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from pipeline_platform.redaction import looks_secret

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


def sensitive_columns(columns: StructType, marked: Collection[str]) -> set[str]:
    """Names of the columns that are marked, look like secrets, or have a field in them that is or does.

    Args:
        columns: The columns.
        marked: Names in lower case; `s.email` is the field of a struct, of each struct in an array, or of each value of
            a map, whose keys are named in the same way.
    """
    return {
        column.name
        for column in columns.fields
        for name, path in [("", column.name), *_fields(column.dataType, column.name)]
        if looks_secret(name or path) or _is_marked(path.lower(), marked)
    }


def unfound_names(schemas: Iterable[StructType], names: Iterable[str]) -> list[str]:
    """The names that are of no column, and of no field of one.

    Args:
        schemas: The columns of each frame.
        names: As `marked` of `sensitive_columns`, as they are written.
    """
    paths = {
        path.lower()
        for columns in schemas
        for column in columns.fields
        for path in (column.name, *(path for _, path in _fields(column.dataType, column.name)))
    }
    return [
        name
        for name in dict.fromkeys(names)
        if name.lower() not in paths and not any(_is_marked(one, [name.lower()]) for one in paths if _is_map(one))
    ]


_ENTRY = ".*"
"""After the path of a map: it has fields that only its rows tell."""


def _is_map(path: str) -> bool:
    return path.endswith(_ENTRY)


def _is_marked(path: str, marked: Collection[str]) -> bool:
    return path in marked or (_is_map(path) and any(one.startswith(path.removesuffix("*")) for one in marked))


def _fields(kind: DataType, path: str) -> Iterator[tuple[str, str]]:
    """The names of the fields in a type, each with its path."""
    from pyspark.sql import types as T

    match kind:
        case T.StructType():
            for field in kind.fields:
                inner = f"{path}.{field.name}"
                yield field.name, inner
                yield from _fields(field.dataType, inner)
        case T.ArrayType():
            yield from _fields(kind.elementType, path)
        case T.MapType():
            yield "*", f"{path}{_ENTRY}"
            yield from _fields(kind.keyType, path)
            yield from _fields(kind.valueType, path)
        case _:
            return
