"""The parts of a query as they are written: what sqlglot generates of a query is not always the same query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from pipeline_platform.config.sql import DIALECT

_OPEN = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSE = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)


@dataclass(frozen=True)
class SelectText:
    """The text of a SELECT.

    Args:
        before: What comes before its columns, such as common table expressions.
        columns: How each column is computed, without its name, in their order.
        after: What comes after them, from FROM on.
    """

    before: str
    columns: Sequence[str]
    after: str


def tokens_of(text: str) -> list[Token]:
    """The words and signs of an SQL text, without comments.

    Raises:
        SqlglotError: It has none.
    """
    found: dict[int, Token] = {}
    for token in Dialect.get_or_raise(DIALECT).tokenize(text):
        # A number with a suffix is several at one place.
        found.setdefault(token.start, token)
    return list(found.values())


def placed_names(parsed: exp.Expr) -> Mapping[int, exp.Identifier]:
    """The names in a parsed text, by the character at which each begins."""
    return {
        int(identifier.meta["start"]): identifier
        for identifier in parsed.find_all(exp.Identifier)
        # Within a hint, it is counted from there.
        if "start" in identifier.meta and identifier.find_ancestor(exp.Hint) is None
    }


def select_text(query: exp.Expr, text: str) -> SelectText | None:
    """The parts of a SELECT with a FROM; None where they can't be told apart.

    Args:
        query: The parsed query.
        text: What it was parsed from.
    """
    try:
        tokens = tokens_of(text)
    except SqlglotError:
        return None
    found = _columns(tokens)
    if not isinstance(query, exp.Select) or found is None:
        return None
    begin, end, columns = found
    if len(columns) != len(query.expressions) or not all(columns):
        return None
    names = placed_names(query)
    texts: list[str] = []
    for column, one in zip(query.expressions, columns, strict=True):
        if isinstance(column, exp.Alias):
            if len(one) < 2 or names.get(one[-1].start) is not column.args["alias"]:
                return None
            one = one[: -2 if one[-2].token_type == TokenType.ALIAS else -1]
        if not one:
            return None
        texts.append(text[one[0].start : one[-1].end + 1])
    return SelectText(text[: tokens[begin].end + 1], texts, text[tokens[end].start :])


def _columns(tokens: Sequence[Token]) -> tuple[int, int, list[list[Token]]] | None:
    """Where SELECT and FROM are, and what is between them and their commas."""
    depth, begin = 0, None
    columns: list[list[Token]] = [[]]
    for place, token in enumerate(tokens):
        kind = token.token_type
        if kind in _CLOSE:
            depth -= 1
        if depth == 0 and begin is not None and kind == TokenType.FROM:
            return begin, place, columns
        if depth == 0 and kind == TokenType.COMMA:
            columns.append([])
        elif begin is not None and kind != TokenType.HINT:
            columns[-1].append(token)
        if begin is None and depth == 0 and kind == TokenType.SELECT:
            begin = place
            columns.clear()
            columns.append([])
        if kind in _OPEN:
            depth += 1
    return None
