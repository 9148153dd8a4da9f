"""SQL in the strings of a pipeline, parsed without a database or Spark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.parsers.spark import SparkParser

from pipeline_platform.config.placeholders import has_placeholder


class _SparkWithVariants(Spark):
    """Spark's SQL as of Spark 4, which takes fields out of a variant: `parse_json(text):user.id::int`."""

    class Parser(SparkParser):
        COLON_IS_VARIANT_EXTRACT = True
        COLON_CHAIN_IS_SINGLE_EXTRACT = False


DIALECT: type[Dialect] = _SparkWithVariants
_SELECT = "SELECT "


@dataclass(frozen=True)
class SqlMistake:
    """What is wrong with an SQL text.

    Args:
        message: In words.
        offset: At which character, counted from 0, if that is known.
    """

    message: str
    offset: int | None = None


def parse_expression(text: str) -> exp.Expr:
    """Parse one Spark SQL expression.

    Raises:
        SqlglotError: It is not one.
    """
    try:
        statement = _statement(_SELECT + text, DIALECT)
    except ParseError as error:
        for detail in error.errors:
            if detail.get("line") == 1 and detail.get("col") is not None:
                detail["col"] -= len(_SELECT)
        raise
    if not isinstance(statement, exp.Select) or len(statement.expressions) != 1 or _has_clauses(statement):
        raise ParseError("expected one expression")
    return statement.expressions[0]


def parse_query(text: str, dialect: str | type[Dialect] = DIALECT) -> exp.Expr:
    """Parse one SQL query, by default Spark's.

    Raises:
        SqlglotError: It is not one, or it is another kind of statement.
    """
    statement = _statement(text, dialect)
    if not isinstance(statement, (exp.Query, exp.Values)):
        raise ParseError("expected a SELECT; other statements are not allowed")
    return statement


def checked_expression(text: str) -> exp.Expr | SqlMistake | None:
    """A Spark SQL expression, or what is wrong with it; None if a placeholder keeps it from being parsed."""
    return _checked(parse_expression, text, len(_SELECT))


def checked_query(text: str, dialect: str | type[Dialect] = DIALECT) -> exp.Expr | SqlMistake | None:
    """A query, by default of Spark SQL, or what is wrong with it; None if a placeholder keeps it from being parsed."""
    return _checked(lambda query: parse_query(query, dialect), text)


def put_in_mistake(text: str, values: Iterable[str], dialect: str | None = None) -> str | None:
    """Why a value that was put into an SQL text would be more there than a text, a number or a part of a name.

    With quotes, a backslash or an operator in it, it could be SQL of its own; None if each is read as what it is.

    Args:
        text: The SQL, with the values in it.
        values: The values.
        dialect: By default Spark's.
    """
    present = [value for value in values if value in text]
    if not present:
        return None
    try:
        tokens = Dialect.get_or_raise(dialect or DIALECT).tokenize(text)
    except SqlglotError:
        tokens = []
    for value in present:
        places = (match.start() for match in re.finditer(f"(?={re.escape(value)})", text))
        for place in places:
            last = place + len(value) - 1
            if not any(token.start <= place and last <= token.end and value in token.text for token in tokens):
                return (
                    f"'{value}' of the partition would not be one text, number or name in this SQL: put the "
                    "placeholder in quotes; a key with quotes or backslashes can't stand there"
                )
    return None


def ddl_mistake(text: str) -> str | None:
    """What is wrong with a schema in Spark DDL such as `id BIGINT, name STRING`; None when it is right."""
    if has_placeholder(text):
        return None
    for spelled in (f"CREATE TABLE t ({text})", f"SELECT CAST(NULL AS STRUCT<{text}>)", f"SELECT CAST(NULL AS {text})"):
        try:
            statement = _statement(spelled, DIALECT)
        except (SqlglotError, RecursionError):
            continue
        unknown = [found.sql(DIALECT) for found in statement.find_all(exp.DataType) if _is_unknown(found)]
        return f"'{unknown[0]}' is not a Spark type" if unknown else None
    return "expected a schema in Spark DDL, such as 'id BIGINT, name STRING'"


def date_columns(text: str) -> frozenset[str]:
    """The columns of a schema in Spark DDL that are dates, in lower case; none of one that can't be parsed."""
    try:
        statement = _statement(f"CREATE TABLE t ({text})", DIALECT)
    except (SqlglotError, RecursionError):
        return frozenset()
    columns = statement.this.expressions if isinstance(statement.this, exp.Schema) else []
    kinds = {column.name.lower(): column.args.get("kind") for column in columns}
    return frozenset(name for name, kind in kinds.items() if kind is not None and kind.this == exp.DataType.Type.DATE)


def sql_text(text: str) -> str:
    """A text as a literal of Spark SQL.

    Args:
        text: Any text.
    """
    return exp.Literal.string(text).sql(dialect="spark")


def number_in(node: exp.Expr) -> float | None:
    """The number that is written in an expression: of its units in an interval; None for what has to be computed."""
    if isinstance(node, (exp.Neg, exp.Paren, exp.Interval)):
        inner = number_in(node.this) if isinstance(node.this, exp.Expr) else None
        return -inner if inner is not None and isinstance(node, exp.Neg) else inner
    if isinstance(node, exp.Mul):
        left, right = number_in(node.this), number_in(node.expression)
        return left * right if left is not None and right is not None else None
    try:
        return float(node.name) if isinstance(node, exp.Literal) else None
    except ValueError:
        return None


def _is_unknown(data_type: exp.DataType) -> bool:
    return data_type.this == exp.DataType.Type.USERDEFINED


def _checked(parse: Callable[[str], exp.Expr], text: str, before: int = 0) -> exp.Expr | SqlMistake | None:
    """A text that is parsed with some characters before it."""
    if not text.strip():
        return SqlMistake("the SQL is empty")
    if has_placeholder(text):
        # Its value is known at run time only; Spark reports what is wrong with it then.
        return None
    try:
        return parse(text)
    except SqlglotError as error:
        return SqlMistake(f"SQL syntax: {_reason(error)}", _offset(error, text, before))
    except RecursionError:
        return SqlMistake("SQL syntax: nested too deeply")


def _reason(error: SqlglotError) -> str:
    details = error.errors if isinstance(error, ParseError) else []
    if not details:
        unclosed = re.match(r"Missing (.+) from \d+:\d+$", str(error.__cause__), re.DOTALL)
        reason = str(error).splitlines()[0].replace(f"'{_SELECT}", "'", 1)
        return f"{reason}: {unclosed[1]} is missing at the end of what begins here" if unclosed else reason
    first = details[0]
    description = re.sub(r" for <class '[^']*'>", "", str(first.get("description", ""))).rstrip(".")
    description = re.sub(r" but got <Token .*>$", "", description, flags=re.DOTALL)
    highlight = str(first.get("highlight") or "")
    near = f" near '{highlight}'" if highlight else ""
    return f"{description}{near}{_place(first, highlight)}"


def _place(detail: Mapping[str, Any], highlight: str) -> str:
    # sqlglot counts to the end of the token.
    line, column = detail.get("line"), detail.get("col")
    if line is None or column is None:
        return ""
    start = max(1, column - max(len(highlight), 1) + 1)
    return f", column {start}" if line == 1 else f", line {line}, column {start}"


def _offset(error: SqlglotError, text: str, before: int) -> int | None:
    """The character that an error is about, if sqlglot says so and it stands there."""
    first = error.errors[0] if isinstance(error, ParseError) and error.errors else None
    # What is wrong with a token stands in the error's cause only.
    unclosed = re.search(r"Missing (.+) from (\d+):(\d+)$", str(error.__cause__), re.DOTALL)
    lines = text.split("\n")
    if first is not None and first.get("line") is not None and first.get("col") is not None:
        line, end, wanted = int(first["line"]), int(first["col"]), str(first.get("highlight") or "")
    elif unclosed is not None:
        # The column is counted from 0 in the first line, and from 1 in others.
        wanted, line, end = unclosed[1], int(unclosed[2]), int(unclosed[3]) + 1
        end -= before if line == 1 else 0
    else:
        return None
    # sqlglot counts to the end of the token.
    start = lines[line - 1].rfind(wanted, 0, max(end, 1)) if line <= len(lines) else -1
    return sum(len(other) + 1 for other in lines[: line - 1]) + start if start >= 0 and wanted else None


def _statement(text: str, dialect: str | type[Dialect]) -> exp.Expr:
    try:
        statements = [statement for statement in sqlglot.parse(text, dialect=dialect) if statement is not None]
    except (SqlglotError, RecursionError):
        raise
    except Exception as error:
        # sqlglot trips over some malformed input with errors of Python's own.
        raise ParseError(f"can't be parsed: {error}") from error
    if len(statements) != 1:
        raise ParseError(f"expected one statement, not {len(statements)}")
    return statements[0]


def _has_clauses(statement: exp.Select) -> bool:
    return any(value for key, value in statement.args.items() if key not in ("expressions", "kind", "hint"))
