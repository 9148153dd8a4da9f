"""`sqlQuery`: a query over registered frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.environment import has_placeholder
from pipeline_platform.config.sql import DIALECT, parse_query
from pipeline_platform.config.values import SqlQuery
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.methods.columns import quoted
from pipeline_platform.methods.transform.base import ColumnLineage, Frames, Transform
from pipeline_platform.methods.transform.query_lineage import query_lineage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ENVIRONMENT = re.compile(r"\$\{env:[^}]*\}")


class SqlQueryTransform(Transform):
    """Runs a Spark SQL query over registered frames; the primary frame is not read."""

    method: ClassVar[str] = "sqlQuery"

    query: SqlQuery
    """The query; each table in it is a registered name."""

    @model_validator(mode="after")
    def _reads_registered_names(self) -> Self:
        if self.input is not None:
            raise PydanticCustomError("query", "a query reads the frames it names", {"key": "input"})
        try:
            tables = list(_tables(self._parsed(), frozenset()))
        except SqlglotError as error:
            raise PydanticCustomError(
                "query",
                "an environment variable may only stand for a value in a query, not for a part of its structure",
                {"key": "query"},
            ) from error
        for table in tables:
            if table.args.get("db") is not None:
                raise PydanticCustomError(
                    "query",
                    "'{table}' is not a registered name; read it with an extract first",
                    {"table": table.sql(dialect=DIALECT), "key": "query"},
                )
        return self

    def reads_primary(self) -> bool:
        return False

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("query", name) for name in self._names()]

    def may_stop_early(self) -> bool:
        query = self._parsed()
        if query.find(exp.Limit, exp.Fetch, exp.Offset, exp.TableSample, exp.Exists) is not None:
            return True
        return any(found.args.get("query") is not None for found in query.find_all(exp.In))

    def looks_across_rows(self) -> bool:
        query = self._parsed()
        whole = (exp.Group, exp.AggFunc, exp.Window, exp.Distinct, exp.Order, exp.Limit, exp.Subquery, exp.SetOperation)
        return query.find(*whole) is not None

    def combines_rows(self) -> bool:
        return True

    def apply(self, frames: Frames) -> DataFrame:
        names = self._names()
        if missing := [name for name in names if name not in frames.named]:
            raise PipelineExecutionException(f"the query reads {', '.join(missing)}, which is not registered")
        query = self.query.strip().rstrip(";")
        if not names:
            return frames.spark.sql(query)
        # The query is left as it was written. Its tables are given to it as common table expressions, whose
        # frames pyspark hands over under names of its own and forgets as soon as the plan is made.
        places: dict[str, Any] = {f"frame_{place}": frames.named[name] for place, name in enumerate(names)}
        tables = ", ".join(
            f"{_literal(quoted(name))} AS (SELECT * FROM {{{place}}})"
            for place, name in zip(places, names, strict=True)
        )
        return frames.spark.sql(f"WITH {tables} (\n{_literal(query)}\n)", **places)

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        return query_lineage(self._parsed(), {name: columns[name] for name in self._names()}, output)

    def _parsed(self) -> exp.Expr:
        # Before the variables are replaced, any value does to find the structure.
        return parse_query(_ENVIRONMENT.sub("1", self.query) if has_placeholder(self.query) else self.query)

    def _names(self) -> list[str]:
        return list(dict.fromkeys(table.name for table in _tables(self._parsed(), frozenset())))


def _literal(text: str) -> str:
    """Text that str.format leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _is_known(table: exp.Table, known: frozenset[str]) -> bool:
    return table.args.get("db") is None and table.name.lower() in known


def _tables(node: exp.Expr, known: frozenset[str]) -> Iterator[exp.Table]:
    """The tables a query reads that are not its own common table expressions.

    Args:
        node: The query, or a part of it.
        known: Folded names of the common table expressions in scope.
    """
    with_ = node.args.get("with_")
    if isinstance(with_, exp.With):
        for expression in with_.expressions:
            name = expression.alias.lower()
            inside = known | {name} if with_.recursive else known
            yield from _tables(expression.this, inside)
            known = known | {name}
    # A function that makes a table, such as range(10), has no identifier.
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier) and not _is_known(node, known):
        yield node
    for child in node.iter_expressions():
        if child is not with_:
            yield from _tables(child, known)
