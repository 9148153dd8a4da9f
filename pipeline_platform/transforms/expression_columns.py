"""Which columns an SQL expression reads, for column lineage."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.sql import parse_expression
from pipeline_platform.frames.columns import find_column


def columns_read(expression: str, columns: Sequence[str]) -> list[str]:
    """The columns an expression reads, as the frame spells them, each once.

    An expression that sqlglot can't read yields none: Spark's dialect is larger than its grammar.

    Args:
        expression: A Spark SQL expression.
        columns: The columns there are.
    """
    try:
        parsed = parse_expression(expression)
    except (SqlglotError, RecursionError):
        return []
    found: dict[str, None] = {}
    for star in parsed.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            found.update(dict.fromkeys(columns))
    for node in parsed.find_all(exp.Column):
        # `a.b` may be field b of column a, or column b of a frame whose alias is a.
        for part in node.parts:
            if (name := find_column(columns, part.name)) is not None:
                found[name] = None
                break
    return list(found)


def reads_other_rows(expression: str) -> bool:
    """Whether an expression reads other rows than its own, as a window or a subquery does; False if it can't be read.

    Args:
        expression: A Spark SQL expression.
    """
    try:
        parsed = parse_expression(expression)
    except (SqlglotError, RecursionError):
        return False
    return parsed.find(exp.Window, exp.AggFunc, exp.Subquery, exp.Exists) is not None
