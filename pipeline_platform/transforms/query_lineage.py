"""Column lineage of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.sql import DIALECT
from pipeline_platform.frames.columns import find_column
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource

if TYPE_CHECKING:
    from sqlglot.lineage import Node


def query_lineage(query: exp.Expr, columns: Mapping[str, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
    """Which columns of its tables each output column of a query is derived from.

    A column whose origin sqlglot can't tell has an empty list.

    Args:
        query: The parsed query.
        columns: Columns of its tables, by table name.
        output: Columns of its result, as Spark names them.
    """
    from sqlglot.lineage import lineage  # pyright: ignore[reportUnknownVariableType]

    schema = {table: dict.fromkeys(names, "string") for table, names in columns.items()}
    unknown: ColumnLineage = {name: [] for name in output}
    try:
        found = lineage(None, query, schema, dialect=DIALECT)
    # sqlglot also fails with KeyError, AttributeError and others on queries beyond its optimizer.
    except (SqlglotError, RecursionError, LookupError, AttributeError, ValueError, TypeError):
        return unknown
    # Spark names an expression without alias in its own way, so the place counts, not the name.
    if len(found) != len(output):
        return unknown
    return {name: _sources(node, columns) for name, node in zip(output, found.values(), strict=True)}


def _sources(node: Node, columns: Mapping[str, Sequence[str]]) -> list[ColumnSource]:
    frames = {name.lower(): name for name in columns}
    sources: dict[ColumnSource, None] = {}
    for leaf in node.walk():
        if leaf.downstream or not isinstance(leaf.expression, exp.Table):
            continue
        frame = frames.get(leaf.expression.name.lower())
        column = find_column(columns[frame], exp.to_column(leaf.name, dialect=DIALECT).name) if frame else None
        if column is not None:
            sources[ColumnSource(frame, column)] = None
    return list(sources)
