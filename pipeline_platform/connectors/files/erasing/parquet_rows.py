"""Finds rows in single Parquet files by pyarrow, whatever table they belong to, or to none any more."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.erasing.key_values import fields_within, not_searched, value_as
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.connectors.storage.folders import is_hidden

if TYPE_CHECKING:
    from upath import UPath

ColumnPath = tuple[str, ...]
"""A column, or a field within one."""


@dataclass(frozen=True)
class RowsIn:
    """Rows of a file.

    Args:
        rows: Those that have one of the values.
        alike: Those whose value is another one only in case, or in blanks around it.
        within_text: Those that hold a value within a text.
        unsearched: Why there may be more that were not found.
        doubts: What else may have the key, as far as a person has not said by which column rows are found.
    """

    rows: int = 0
    alike: int = 0
    within_text: int = 0
    unsearched: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()


def rows_in(
    file: UPath,
    columns: Mapping[ColumnPath, frozenset[str]],
    texts: frozenset[str],
    keep: Sequence[bool] | None = None,
) -> RowsIn:
    """How many rows of a Parquet file have one of the values.

    Args:
        file: The file.
        columns: By column, the values as text; a column that the file does not have has none.
        texts: What is looked for within all its texts; none to leave that out.
        keep: Of its rows from the first on, whether they are there; those that follow are.
    """
    ds = arrow("dataset")
    fs = arrow("fs")

    format_: Any = ds.ParquetFileFormat()
    store: Any = fs.PyFileSystem(fs.FSSpecHandler(file.fs))
    fragment: Any = format_.make_fragment(file.path, filesystem=store)
    schema = fragment.physical_schema
    found = matching(schema, columns)
    alike = _alike(schema, columns)
    texts_of = [(name,) for name in schema.names if is_text(schema.field(name).type)]
    within = _within(texts_of, texts) if texts else None
    count = _counting(fragment, columns, keep)
    counted = [0 if condition is None else count(condition) for condition in (found, alike, within)]
    if found is not None and within is not None:
        counted[2] = count(within & ~found)
    names = {path[-1]: (type_at(schema, path), values) for path, values in columns.items()}
    reasons = (not_searched(name, kind, values) for name, (kind, values) in names.items() if kind is not None)
    return RowsIn(
        *counted,
        unsearched=frozenset(reason for reason in reasons if reason is not None),
        doubts=frozenset(fields_within(schema, list(names))),
    )


def _counting(
    fragment: Any, columns: Mapping[ColumnPath, frozenset[str]], keep: Sequence[bool] | None
) -> Callable[[Any], int]:
    """How rows of a file are counted by a condition."""
    types: Any = arrow().types
    kinds = [type_at(fragment.physical_schema, path) for path in columns]
    if keep is None and not any(kind is not None and types.is_floating(kind) for kind in kinds):
        return lambda condition: int(fragment.count_rows(filter=condition))
    # Where the smallest value is the largest one, pyarrow takes all rows for equal, and a NaN is neither.
    rows: Any = fragment.to_table()
    if keep is not None:
        rows = rows.filter(arrow().array([*keep, *[True] * (rows.num_rows - len(keep))]))
    return lambda condition: int(rows.filter(condition).num_rows)


def matching(schema: Any, columns: Mapping[ColumnPath, frozenset[str]]) -> Any:
    """A condition of pyarrow's for the rows that have one of the values; None if none can.

    Args:
        schema: pyarrow's, of the rows.
        columns: By column, the values as text.
    """
    pc = arrow("compute")

    found: Any = None
    for path, values in columns.items():
        kind = type_at(schema, path)
        wanted = typed_values(kind, values) if kind is not None else None
        if wanted is None:
            continue
        field: Any = pc.field(*path)
        # The Arrow of some versions can't compare a dictionary's values.
        condition = (pc.cast(field, wanted.type) if kind != wanted.type else field).isin(wanted)
        found = condition if found is None else found | condition
    return found


def typed_values(kind: Any, values: frozenset[str]) -> Any:
    """Those of the values that are some of a type, as an array of it; None if none is.

    Args:
        kind: pyarrow's type of the column.
        values: The values as text.
    """
    pa = arrow()

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    found: list[Any] = [value for text in sorted(values) if (value := value_as(kind, text)) is not None]
    if pa.types.is_floating(kind) and 0.0 in found:
        # It is the same number, and not the same bits.
        found.append(-0.0)
    return pa.array(found, kind) if found else None


def type_at(schema: Any, path: ColumnPath) -> Any:
    """The type of a column, or of a field within one; None if there is none.

    Args:
        schema: pyarrow's.
        path: The column.
    """
    pa = arrow()

    if schema.get_field_index(path[0]) < 0:
        return None
    kind: Any = schema.field(path[0]).type
    for name in path[1:]:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def is_text(kind: Any) -> bool:
    """Whether a type of pyarrow's holds text."""
    pa = arrow()

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _alike(schema: Any, columns: Mapping[ColumnPath, frozenset[str]]) -> Any:
    pa = arrow()
    pc = arrow("compute")

    found: Any = None
    for path, values in columns.items():
        kind = type_at(schema, path)
        if kind is None or not is_text(kind):
            continue
        field: Any = pc.field(*path)
        folded: Any = pc.utf8_lower(pc.utf8_trim_whitespace(field))
        lower = pa.array(sorted({value.strip().lower() for value in values}), kind)
        condition: Any = folded.isin(lower) & ~field.isin(pa.array(sorted(values), kind))
        found = condition if found is None else found | condition
    return found


def _within(columns: Sequence[ColumnPath], texts: frozenset[str]) -> Any:
    pc = arrow("compute")

    found: Any = None
    for path in columns:
        condition: Any = pc.match_substring_regex(pc.field(*path), text_pattern(texts))
        found = condition if found is None else found | condition
    return found


def text_pattern(texts: frozenset[str]) -> str:
    """A pattern for a text that holds one of these as a word, as RE2 and Java read it.

    Args:
        texts: What is looked for.
    """
    one_of = "|".join(re.sub(r"([^0-9A-Za-z_\s])", r"\\\1", text) for text in sorted(texts))
    return f"(^|[^0-9A-Za-z_])({one_of})($|[^0-9A-Za-z_])"


def partition_values(name: str) -> dict[str, str]:
    """The values in the names of a file's folders, by column.

    Args:
        name: Its path in the folder of the data.
    """
    from urllib.parse import unquote

    parts = (part.partition("=") for part in name.split("/")[:-1] if "=" in part)
    return {unquote(column): unquote(value) for column, _, value in parts}


def is_data(name: str) -> bool:
    """Whether a file of a folder is one that readers take for data.

    Args:
        name: Its path in the folder.
    """
    return not is_hidden(name)
