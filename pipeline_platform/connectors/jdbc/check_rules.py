"""CHECK constraints as conditions of Spark SQL, where these are true and false for the same rows.

What is only similar is left out: a rule that a row breaks though the database accepts it would keep the row, or all of
them, from being loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.sql import SqlMistake, checked_expression
from pipeline_platform.connectors.jdbc.catalog import NUMBERS, TIMES, Kind

Dialect = Literal["postgres", "mysql"]

_ARGUMENTS = frozenset({"this", "expression", "expressions", "low", "high", "to", "is_string"})
_NEGATABLE = (exp.Is, exp.Like)
_ORDERED = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_EQUAL = (exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ)
_TYPES: Mapping[Any, Kind] = {
    exp.DType.TEXT: "text",
    exp.DType.VARCHAR: "text",
    exp.DType.SMALLINT: "integer",
    exp.DType.INT: "integer",
    exp.DType.BIGINT: "integer",
    exp.DType.DECIMAL: "decimal",
    exp.DType.DOUBLE: "float",
    exp.DType.DATE: "date",
    exp.DType.TIMESTAMP: "local_timestamp",
    exp.DType.TIMESTAMPTZ: "timestamp",
}


_DAY = r"\d{4}-\d\d-\d\d"
_MOMENT = rf"{_DAY}( \d\d:\d\d:\d\d(\.\d{{1,6}})?)?"
# What Spark reads as the databases do.
_WRITTEN_TIMES: Mapping[Kind, re.Pattern[str]] = {
    "date": re.compile(_DAY),
    "local_timestamp": re.compile(_MOMENT),
    "timestamp": re.compile(rf"{_MOMENT}[+-]\d\d(:\d\d)?"),
}


class Untranslatable(Exception):
    """Why a condition has no counterpart."""


def spark_rule(condition: str, dialect: Dialect, kinds: Mapping[str, Kind]) -> str:
    """The condition in Spark's SQL.

    Args:
        condition: In the system's SQL, as its catalog has it.
        dialect: Of which system.
        kinds: What the columns hold, by name.

    Raises:
        Untranslatable: Spark might not take it for true of the same rows; says of what in it.
    """
    try:
        [selected] = sqlglot.parse_one(f"SELECT {condition}", dialect=dialect).expressions
    except (SqlglotError, ValueError, RecursionError):
        raise Untranslatable("it can't be parsed") from None
    translated = _Translation(dialect, kinds).condition(selected).sql("spark", comments=False)
    checked = checked_expression(translated)
    if checked is None or isinstance(checked, SqlMistake):
        raise Untranslatable("it would be read as something else in a pipeline")
    return translated


@dataclass(frozen=True)
class _Translation:
    dialect: Dialect
    kinds: Mapping[str, Kind]

    def condition(self, node: exp.Expr) -> exp.Expr:
        """What is true or false."""
        self._require_known(node)
        match node:
            case exp.Paren():
                # Brackets are put where they are needed.
                return self.condition(node.this)
            case exp.And() | exp.Or():
                sides = [self.condition(node.left), self.condition(node.right)]
                return type(node)(this=_bracketed(sides[0], node), expression=_bracketed(sides[1], node))
            case exp.Not():
                return exp.Not(this=exp.Paren(this=self.condition(node.this)))
            case exp.Boolean():
                return node.copy()
            case exp.Column():
                return self._of_kind(node, ("boolean",))
            case exp.Is() if isinstance(node.expression, (exp.Null, exp.Boolean)):
                of = ("boolean",) if isinstance(node.expression, exp.Boolean) else None
                value = self._of_kind(node.this, of)
                return exp.Is(this=value, expression=node.expression.copy(), negate=node.args.get("negate"))
            case exp.Between():
                value, low, high = self._alike(node.this, node.args["low"], node.args["high"])
                return exp.Between(this=value, low=low, high=high)
            case exp.In() if node.expressions:
                value, *listed = self._alike(node.this, *node.expressions, ordered=False)
                return exp.In(this=value, expressions=listed)
            case exp.EQ() if isinstance(node.expression, exp.Any):
                return self._in(node.this, node.expression.this)
            case exp.NEQ() if isinstance(node.expression, exp.Anonymous) and node.expression.name.upper() == "ALL":
                return exp.Not(this=self._in(node.this, *node.expression.expressions))
            case exp.Like() if self.dialect == "postgres":
                pattern, kind = self._value(node.expression)
                # Spark takes a backslash before few characters alone.
                if kind == "text" and isinstance(pattern, exp.Literal) and "\\" not in pattern.name:
                    value = self._of_kind(node.this, ("text",))
                    return exp.Like(this=value, expression=pattern, negate=node.args.get("negate"))
                raise Untranslatable(_said(node, self.dialect))
            case _ if isinstance(node, (*_ORDERED, *_EQUAL)):
                left, right = self._alike(node.left, node.right, ordered=isinstance(node, _ORDERED))
                return type(node)(this=left, expression=right)
            case _:
                raise Untranslatable(_said(node, self.dialect))

    def _require_known(self, node: exp.Expr) -> None:
        """What else says something of a node, such as an ESCAPE, must not get lost."""
        known = _ARGUMENTS | {"negate"} if isinstance(node, _NEGATABLE) else _ARGUMENTS
        if any(value for key, value in node.args.items() if key not in known):
            raise Untranslatable(_said(node, self.dialect))

    def _in(self, node: exp.Expr, listed: exp.Expr) -> exp.Expr:
        """`IN`, which PostgreSQL has as `= ANY (ARRAY[…])`, and `NOT IN` as `<> ALL (ARRAY[…])`."""
        inner = listed.unnest()
        while isinstance(inner, exp.Cast):
            inner = inner.this.unnest()
        if not isinstance(inner, exp.Array):
            raise Untranslatable(_said(node, self.dialect))
        value, *elements = self._alike(node, *inner.expressions, ordered=False)
        return exp.In(this=value, expressions=elements)

    def _alike(self, *nodes: exp.Expr, ordered: bool = True) -> list[exp.Expr]:
        """Values that are compared with each other."""
        values: list[tuple[exp.Expr, Kind]] = [self._value(node) for node in nodes]
        times: set[Kind] = {kind for _, kind in values if kind in TIMES}
        if self.dialect == "mysql" and times in ({"date"}, {"local_timestamp"}):
            # There a time is written as a text; one with a zone is in that of whoever writes the row.
            values = [_time_or_text(value, kind, *times) for value, kind in values]
        kinds = {kind for _, kind in values}
        if kinds <= set(NUMBERS):
            return [value for value, _ in values]
        if len(kinds) > 1 or not kinds <= {"text", "boolean", *TIMES}:
            raise Untranslatable(f"a comparison of {' and '.join(sorted(kinds))}")
        if kinds == {"text"} and (ordered or self.dialect == "mysql"):
            raise Untranslatable("a comparison of text by a collation")
        return [value for value, _ in values]

    def _of_kind(self, node: exp.Expr, allowed: tuple[Kind, ...] | None) -> exp.Expr:
        value, kind = self._value(node, any_kind=allowed is None)
        if allowed is not None and kind not in allowed:
            raise Untranslatable(_said(node, self.dialect))
        return value

    def _value(self, node: exp.Expr, *, any_kind: bool = False) -> tuple[exp.Expr, Kind]:
        self._require_known(node)
        match node:
            case exp.Paren():
                return self._value(node.this, any_kind=any_kind)
            case exp.Column() if len(node.parts) == 1:
                return self._column(node, any_kind=any_kind)
            case exp.Literal() if node.is_string:
                return node.copy(), "text"
            case exp.Literal():
                return node.copy(), "integer" if node.is_int else "decimal"
            case exp.Boolean():
                return node.copy(), "boolean"
            case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
                return node.copy(), self._value(node.this)[1]
            case exp.Cast():
                return self._cast(node)
            case exp.Length() if not node.args.get("binary"):
                return exp.Length(this=self._of_kind(node.this, ("text",))), "integer"
            case exp.Add() | exp.Sub() if self.dialect == "postgres":
                (left, one), (right, other) = self._value(node.left), self._value(node.right)
                # Decimals lose digits in Spark, and MySQL's integers don't overflow.
                if one == other == "integer":
                    return exp.Paren(this=type(node)(this=left, expression=right)), "integer"
            case _:
                pass
        raise Untranslatable(_said(node, self.dialect))

    def _column(self, node: exp.Column, *, any_kind: bool) -> tuple[exp.Expr, Kind]:
        kind = self.kinds.get(node.name)
        if kind is None or (kind == "other" and not any_kind):
            raise Untranslatable(f"the column {node.name}, of whose type other values may be equal in Spark")
        return exp.Column(this=exp.Identifier(this=node.name, quoted=node.this.quoted)), kind

    def _cast(self, node: exp.Cast) -> tuple[exp.Expr, Kind]:
        """A cast that only says which type a literal has, or what a column has anyway."""
        kind = _TYPES.get(node.to.this)
        inner = node.this.unnest()
        if kind is None or node.to.expressions:
            raise Untranslatable(_said(node, self.dialect))
        if isinstance(inner, exp.Literal):
            if kind == "text" and inner.is_string:
                return inner.copy(), "text"
            if kind in TIMES and inner.is_string:
                return _time(inner, kind), kind
            if kind in NUMBERS:
                return _number(inner), kind
        if isinstance(inner, exp.Column):
            value, of = self._value(inner)
            # Spark compares an integer with a decimal exactly.
            if of == kind == "text" or (of == "integer" and kind == "decimal"):
                return value, kind
        raise Untranslatable(_said(node, self.dialect))


def _bracketed(side: exp.Expr, within: exp.Expr) -> exp.Expr:
    return exp.Paren(this=side) if isinstance(side, (exp.And, exp.Or)) and type(side) is not type(within) else side


def _time_or_text(value: exp.Expr, kind: Kind, of: Kind) -> tuple[exp.Expr, Kind]:
    if isinstance(value, exp.Literal) and kind == "text":
        return _time(value, of), of
    return value, kind


def _number(literal: exp.Literal) -> exp.Expr:
    """A number, which PostgreSQL also writes as a text: `'-1'::integer`."""
    text = literal.name
    try:
        float(text)
    except ValueError:
        raise Untranslatable(f"the number '{text}'") from None
    if not text.lstrip("-").replace(".", "", 1).isdigit():
        raise Untranslatable(f"the number '{text}'")
    number = exp.Literal.number(text.lstrip("-"))
    return exp.Neg(this=number) if text.startswith("-") else number


def _time(literal: exp.Literal, kind: Kind) -> exp.Expr:
    if not _WRITTEN_TIMES[kind].fullmatch(literal.name):
        raise Untranslatable(f"the time '{literal.name}'")
    # A frame has what has no zone in UTC, as its session is.
    return exp.Cast(this=literal.copy(), to=exp.DataType.build("date" if kind == "date" else "timestamp", "spark"))


def _said(node: exp.Expr, dialect: Dialect) -> str:
    said = node.sql(dialect, comments=False)
    return said if len(said) <= 60 else f"{said[:57]}..."
