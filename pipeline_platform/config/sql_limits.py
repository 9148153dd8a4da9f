"""What SQL of a pipeline may not do by default: run code, and read what no step has read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.permissions import how_to_allow, is_allowed
from pipeline_platform.config.sql import (
    DIALECT,
    SqlMistake,
    checked_expression,
    checked_query,
    parse_expression,
    parse_query,
)

CODE_FUNCTIONS = ("reflect", "java_method", "try_reflect")
"""Functions of Spark that call any method of any Java class."""
# Functions that make a table of their arguments alone. Delta's `table_changes_by_path` and the like are not here.
_TABLE_FUNCTIONS = frozenset(
    {
        *("explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "inline_outer", "stack", "range"),
        *("json_tuple", "variant_explode", "variant_explode_outer", "sql_keywords", "collations"),
    }
)
_PLACEHOLDER = re.compile(r"\$\{env:[^}]*\}")


def expression_mistake(text: str) -> SqlMistake | str | None:
    """What is wrong with an expression, or what it does that it may not; None if there is nothing.

    Args:
        text: A Spark SQL expression.
    """
    return _mistake(text, checked_expression(text), parse_expression, registered=False)


def query_mistake(text: str) -> SqlMistake | str | None:
    """What is wrong with a query, or what it does that it may not; None if there is nothing.

    Args:
        text: A Spark SQL query; its named tables are the registered frames.
    """
    return _mistake(text, checked_query(text), parse_query, registered=True)


def _mistake(
    text: str, checked: exp.Expr | SqlMistake | None, parse: Callable[[str], exp.Expr], *, registered: bool
) -> SqlMistake | str | None:
    if isinstance(checked, SqlMistake):
        return checked
    if checked is None:
        try:
            checked = parse(_PLACEHOLDER.sub("1", text))
        except (SqlglotError, RecursionError):
            return None
    return _code(checked) or _other_tables(checked, registered=registered)


def tables_read(node: exp.Expr, known: frozenset[str] = frozenset()) -> Iterator[exp.Table]:
    """The tables a query reads that are not its own common table expressions, functions that make one included.

    Args:
        node: The query, or a part of it.
        known: Folded names of the common table expressions in scope.
    """
    with_ = node.args.get("with_")
    if isinstance(with_, exp.With):
        for expression in with_.expressions:
            name = expression.alias.lower()
            inside = known | {name} if with_.recursive else known
            yield from tables_read(expression.this, inside)
            known = known | {name}
    if isinstance(node, exp.Table) and not (node.args.get("db") is None and node.name.lower() in known):
        yield node
    for child in node.iter_expressions():
        if child is not with_:
            yield from tables_read(child, known)


def _code(parsed: exp.Expr) -> str | None:
    if is_allowed("sql-code"):
        return None
    for function in parsed.find_all(exp.Func):
        if (name := _name(function)) in CODE_FUNCTIONS:
            return f"'{name}' runs any Java code, which a pipeline may not do; {how_to_allow('sql-code')}"
    if parsed.find(exp.QueryTransform) is not None:
        return f"'TRANSFORM' runs a program, which a pipeline may not do; {how_to_allow('sql-code')}"
    return None


def _other_tables(parsed: exp.Expr, *, registered: bool) -> str | None:
    if is_allowed("sql-tables"):
        return None
    for table in tables_read(parsed):
        if isinstance(table.this, exp.Identifier):
            if registered and table.args.get("db") is None:
                continue
            name = table.copy()
            name.set("alias", None)
            way_out = "read it with an extract and name that" if registered else "join the frame, or use 'sqlQuery'"
            return _unregistered(f"'{name.sql(dialect=DIALECT)}' is not a registered name", way_out)
        if not isinstance(table.this, exp.Func) or _name(table.this) not in _TABLE_FUNCTIONS:
            return _unregistered(f"'{table.this.sql(dialect=DIALECT)}' is not a registered name", "use an extract")
    for lateral in parsed.find_all(exp.Lateral):
        if isinstance(lateral.this, exp.Func) and _name(lateral.this) not in _TABLE_FUNCTIONS:
            return _unregistered(f"'{lateral.this.sql(dialect=DIALECT)}' is not a registered name", "use an extract")
    return None


def _unregistered(what: str, way_out: str) -> str:
    return f"{what}; {way_out}, as SQL may only read what a step has registered; {how_to_allow('sql-tables')}"


def _name(function: exp.Func) -> str:
    return (function.name if isinstance(function, exp.Anonymous) else function.sql_name()).lower()
