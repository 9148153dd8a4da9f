"""What stands in the SQL of a step: bounds of the partition, aggregates, queries within it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.range_bounds import is_marked, with_marks
from pipeline_platform.config.range_frames import OneByOne

_COMPARISONS = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


def parsed(text: str, parse: Callable[[str], exp.Expr]) -> exp.Expr | None:
    """An SQL text with words in place of its placeholders, parsed; None for one that can't be."""
    try:
        return parse(with_marks(text))
    except (SqlglotError, RecursionError):
        return None


def comparisons(node: exp.Expr) -> Iterator[exp.Expr]:
    """The comparisons with a bound of the partition.

    Raises:
        OneByOne: A bound stands elsewhere.
    """
    if not is_marked(node):
        return
    if isinstance(node, _COMPARISONS):
        yield node
        return
    children = [] if isinstance(node, exp.Query) else list(node.iter_expressions())
    if not children or isinstance(node, (exp.Window, exp.AggFunc)):
        raise OneByOne("uses the partition otherwise than in a condition on each row")
    for child in children:
        yield from comparisons(child)


def own(node: exp.Expr, kind: type[exp.Expr], outside: type[exp.Expr] | None = None) -> Iterator[exp.Expr]:
    """What of a kind stands in an expression, and not in a query within it.

    Args:
        node: The expression.
        kind: What is looked for.
        outside: Not within one of these.
    """
    if isinstance(node, exp.Query) or (outside is not None and isinstance(node, outside)):
        return
    if isinstance(node, kind):
        yield node
    for child in node.iter_expressions():
        yield from own(child, kind, outside)


def aggregates(node: exp.Expr) -> bool:
    """Whether it is an aggregate, or has one in it that is no window function."""
    return any(True for _ in own(node, exp.AggFunc, outside=exp.Window))


def nested(node: exp.Expr) -> Iterator[exp.Expr]:
    """The queries within an expression."""
    if isinstance(node, exp.Query):
        yield node
        return
    for child in node.iter_expressions():
        yield from nested(child)


def tables(node: exp.Expr) -> set[str]:
    """The tables that its columns are of, in lower case; empty text for a column that names none."""
    return {column.table.lower() for column in node.find_all(exp.Column)}


def beyond(node: exp.Expr, known: Sequence[str]) -> list[str]:
    """The parts of an expression that it has beside those known."""
    return [key for key, part in node.args.items() if part and key not in known]
