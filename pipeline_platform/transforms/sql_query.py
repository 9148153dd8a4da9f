"""`sqlQuery`: a query over registered frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.placeholders import has_placeholder, with_stand_ins
from pipeline_platform.config.query_text import SelectText, select_text
from pipeline_platform.config.range_frames import RangeFrame
from pipeline_platform.config.sql import parse_query
from pipeline_platform.config.sql_limits import tables_read
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import SqlQuery
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import escape_braces, run_sql
from pipeline_platform.steps.transform import ColumnLineage, Frames, Transform
from pipeline_platform.transforms.query_lineage import query_lineage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.config.step_over_range import RangeStep


class SqlQueryTransform(Transform):
    """Runs a Spark SQL query over registered frames; the primary frame is not read."""

    method: ClassVar[str] = "sqlQuery"
    example = {
        "query": "SELECT country, sum(quantity * price) AS revenue FROM orders JOIN customers USING (customer) "
        "GROUP BY country"
    }

    query: SqlQuery
    """The query; each table in it is a registered name."""

    @model_validator(mode="after")
    def _reads_registered_names(self) -> Self:
        if self.input is not None:
            raise PydanticCustomError("query", "a query reads the frames it names", {"key": "input"})
        try:
            self._parsed()
        except SqlglotError as error:
            raise PydanticCustomError(
                "query",
                "an environment variable may only stand for a value in a query, not for a part of its structure",
                {"key": "query"},
            ) from error
        return self

    def reads_primary(self) -> bool:
        return False

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("query", name) for name in self._names()]

    def traits(self) -> Traits:
        query = self._parsed()
        whole = (exp.Group, exp.AggFunc, exp.Window, exp.Distinct, exp.Order, exp.Limit, exp.Subquery, exp.SetOperation)
        return Traits(
            is_stateful=query.find(*whole) is not None,
            is_join=True,
            filters_rows=query.find(exp.Where) is not None,
            has_limit=_may_end_early(query),
        )

    def over_range(self, step: RangeStep) -> RangeFrame:
        frames = {str(name).lower(): frame for name, frame in step.frames.items()}

        def table(read: exp.Table) -> RangeFrame:
            # Of a catalog, where that is allowed, a table is the same in every run.
            return frames.get(read.name.lower(), RangeFrame((read.sql(),)))

        found = step.sql.query(self.query, table)
        return found if found.by else RangeFrame(step.origin, found.columns) if found.origin is None else found

    def apply(self, frames: Frames) -> DataFrame:
        names = self._names()
        if missing := [name for name in names if name not in frames.named]:
            raise PipelineExecutionException(f"the query reads {', '.join(missing)}, which is not registered")
        query = self.query.strip().rstrip(";")
        if not names:
            return run_sql(frames.spark, query)
        # The query is left as it was written. Its tables are given to it as common table expressions, whose
        # frames pyspark hands over under names of its own and forgets as soon as the plan is made.
        places = {f"frame_{place}": frames.named[name] for place, name in enumerate(names)}
        tables = ", ".join(
            f"{escape_braces(quoted(name))} AS (SELECT * FROM {{{place}}})"
            for place, name in zip(places, names, strict=True)
        )
        return run_sql(frames.spark, f"WITH {tables} (\n{escape_braces(query)}\n)", **places)

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        return query_lineage(self._parsed(), {name: columns[name] for name in self._names()}, output)

    def rows_alone(self) -> Self | None:
        query, written = self._parsed(), self._written()
        if written is None or not isinstance(query, exp.Select) or not _selects_row_by_row(query):
            return self
        tables = [table.name.lower() for table in query.find_all(exp.Table)]
        if len(set(tables)) < len(tables):
            # Of a table that is read twice, the same column may be that of another row.
            return self
        # One row comes of an aggregate without groups.
        is_one = any(_aggregates(column) for column in query.expressions) and query.args.get("group") is None
        if not is_one and not _chooses(query):
            return None
        return self.model_copy(update={"query": f"{written.before} {'count(*)' if is_one else '1'} {written.after}"})

    def hands_on(self) -> bool:
        return self._parsed().find(exp.Pivot) is None

    def expressions(self) -> Mapping[str, str]:
        if has_placeholder(self.query):
            # What is parsed has other values in their places.
            return {}
        query, written = self._parsed(), self._written()
        columns = query.selects if isinstance(query, exp.Query) else []
        # What can't be told apart is computed by the whole of it.
        texts = written.columns if written is not None else [self.query] * len(columns)
        return {
            column.alias_or_name: text
            for column, text in zip(columns, texts, strict=True)
            if column.alias_or_name and not isinstance(column.unalias(), exp.Column)
        }

    def _written(self) -> SelectText | None:
        return None if has_placeholder(self.query) else select_text(self._parsed(), self.query)

    def _parsed(self) -> exp.Expr:
        # Before the variables are replaced, any value does to find the structure.
        return parse_query(with_stand_ins(self.query))

    def _names(self) -> list[str]:
        # Where tables of a catalog may be read, they have the name of what they are in before theirs.
        read = (table for table in tables_read(self._parsed()) if isinstance(table.this, exp.Identifier))
        return list(dict.fromkeys(table.name for table in read if table.args.get("db") is None))


def _may_end_early(query: exp.Expr) -> bool:
    """Whether Spark may leave rows of a table of the query unread."""
    if query.find(exp.Limit, exp.Fetch, exp.Offset, exp.TableSample, exp.Exists) is not None:
        return True
    return any(found.args.get("query") is not None for found in query.find_all(exp.In))


def _chooses(query: exp.Select) -> bool:
    """Whether a query may have other rows than the table that it selects from: whatever is not known may choose."""
    table = query.args["from_"].this
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        return True
    named = table.args.get("alias")
    return (
        _has_others(query, ("expressions", "from_", "kind", "hint", "order", "operation_modifiers"))
        or _has_others(table, ("this", "db", "catalog", "alias"))
        or (named is not None and bool(named.args.get("columns")))
    )


def _has_others(node: exp.Expr, known: tuple[str, ...]) -> bool:
    return any(value for key, value in node.args.items() if key not in known)


def _aggregates(column: exp.Expr) -> bool:
    return any(found.find_ancestor(exp.Window) is None for found in column.find_all(exp.AggFunc))


def _selects_row_by_row(query: exp.Select) -> bool:
    """Whether what is selected decides on no row: neither makes or merges rows, nor is named where rows are chosen."""
    if query.args.get("distinct") is not None or query.find(exp.UDTF, exp.Explode, exp.Inline, exp.Any) is not None:
        return False
    keys = ("where", "group", "having", "qualify", "order", "sort", "windows")
    clauses = [one for one in query.iter_expressions() if one.arg_key in keys]
    named = {found.name.lower() for clause in clauses for found in clause.find_all(exp.Column)}
    is_numbered = any(
        isinstance(found.parent, (exp.Group, exp.Ordered))
        for clause in clauses
        for found in clause.find_all(exp.Literal)
    )
    made = {column.alias.lower() for column in query.expressions if column.alias}
    return not is_numbered and not named & made and not query.find(exp.Anonymous)
