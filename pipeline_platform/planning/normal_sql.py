"""SQL in one spelling: its words and signs, never what a parser would generate of them, which may be other SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from pipeline_platform.config.placeholders import has_placeholder
from pipeline_platform.config.query_text import placed_names, tokens_of
from pipeline_platform.config.sql import parse_expression, parse_query

Names = Mapping[str, str]
"""What stands for a name, by the name in lower case."""
_SELECT = "SELECT "
_WORDS = re.compile(r"[A-Za-z_]\w*(\s+[A-Za-z_]\w*)*", re.ASCII)


def normal_sql(text: str, frames: Names, columns: Names) -> str:
    """An expression or a query of Spark SQL in one spelling; as it is where it can't be parsed.

    Spaces, comments and hints don't count, nor do upper and lower case of what Spark tells apart by nothing else. The
    name of a column or of a field of a struct has the case that is written, as someone who reads it may look at that.

    Args:
        text: The SQL.
        frames: What stands for the names of tables.
        columns: What stands for the names of columns.
    """
    if (parsed := _parsed(text)) is None:
        return text
    tree, written = parsed
    names = placed_names(tree)
    are_placed = all(
        "start" in one.meta for one in tree.find_all(exp.Identifier) if one.find_ancestor(exp.Hint) is None
    )
    tokens = [one for one in tokens_of(written) if one.token_type not in (TokenType.HINT, TokenType.SEMICOLON)]
    if written != text:
        tokens = tokens[1:]
    kinds = [*(one.token_type for one in tokens[1:]), None]
    told: list[str] = []
    for token, following in zip(tokens, kinds, strict=True):
        raw = written[token.start : token.end + 1]
        if (name := names.get(token.start)) is not None:
            told.append(_name(name, frames, columns))
        elif _WORDS.fullmatch(raw) is None or not are_placed:
            told.append(raw)
        elif token.token_type == TokenType.VAR and following != TokenType.L_PAREN:
            # Not known to be a word of SQL's own.
            told.append(raw)
        else:
            told.append(" ".join(raw.upper().split()))
    return " ".join(told)


def _name(name: exp.Identifier, frames: Names, columns: Names) -> str:
    parent = name.parent
    if isinstance(parent, exp.Table) and parent.this is name:
        return frames.get(name.name.lower(), name.name.lower())
    if isinstance(parent, (exp.Table, exp.TableAlias)):
        return name.name.lower()
    if isinstance(parent, exp.Column):
        found = _column_part(parent, name, frames, columns)
        return f"{found} AS {name.name}" if parent.this is name and _is_shown(parent, name) else found
    if isinstance(parent, exp.PropertyEQ) and _is_shown(name, name):
        return f"{columns.get(name.name.lower(), name.name.lower())} AS {name.name}"
    return name.name


def _is_shown(value: exp.Expr, name: exp.Identifier) -> bool:
    """Whether what is made of a column has the name that it is given here: a column of a query, a field of a struct."""
    parent = value.parent
    if isinstance(parent, exp.PropertyEQ):
        # Of `struct(a)` the column is the name of the field as well.
        last = list(parent.expression.find_all(exp.Identifier))
        return any(one.meta.get("start") == parent.this.meta.get("start") == name.meta.get("start") for one in last)
    return isinstance(parent, (exp.Select, exp.Struct)) and value.arg_key == "expressions"


def _column_part(column: exp.Column, name: exp.Identifier, frames: Names, columns: Names) -> str:
    """The first part that is a column is one: those before it name a frame, and those after it are fields."""
    is_field = False
    for part in column.parts:
        text = part.name.lower()
        if part is name:
            if is_field:
                return text
            return columns.get(text) or frames.get(text, text)
        is_field = is_field or text in columns
    return name.name.lower()


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[exp.Expr, str] | None:
    """What is parsed, and of which text: an expression is parsed as the only column of a query."""
    if has_placeholder(text):
        return None
    try:
        parse_expression(text)
        return parse_query(_SELECT + text), _SELECT + text
    except (SqlglotError, RecursionError):
        pass
    try:
        return parse_query(text), text
    except (SqlglotError, RecursionError):
        return None
