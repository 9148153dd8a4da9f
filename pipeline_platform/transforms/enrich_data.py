"""`enrichData`: adds columns, or replaces them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.range_frames import RangeFrame
from pipeline_platform.config.sql import parse_expression
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import SqlExpression, Text
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource, Frames, Transform
from pipeline_platform.transforms.expression_columns import columns_read, reads_other_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.config.step_over_range import RangeStep

# Functions that make several rows of one; Spark allows one in a projection.
_GENERATORS = frozenset({"explode", "explode_outer", "inline", "inline_outer", "json_tuple", "stack"})


class EnrichData(Transform):
    """Adds columns, or replaces them, in the order written; each may use the ones before it."""

    method: ClassVar[str] = "enrichData"
    example = {"columns": {"total": "quantity * price", "is_large": "total > 20"}}

    column_keys: ClassVar[frozenset[str]] = frozenset({"columns"})

    columns: Annotated[dict[Text, SqlExpression], Field(min_length=1)]
    """Spark SQL expressions by column name."""

    def traits(self) -> Traits:
        # Unless an expression makes rows, as `explode` does.
        is_row_for_row = all(_names_in(expression) is not None for expression in self.columns.values())
        return Traits(
            is_stateful=any(reads_other_rows(expression) for expression in self.columns.values()),
            is_join=False,
            keeps_row_count=is_row_for_row,
            keeps_rows=is_row_for_row,
            has_limit=False,
        )

    def over_range(self, step: RangeStep) -> RangeFrame:
        frame = step.frame
        for name, expression in self.columns.items():
            frame = step.sql.row(frame, expression)
            frame = frame.with_column(name, step.sql.value(frame, expression))
        return frame

    def apply(self, frames: Frames) -> DataFrame:
        from pyspark.sql import functions as F

        frame = frames.frame
        # One projection for all columns that don't need each other: Spark analyses each projection anew.
        for together in self._batches():
            frame = frame.withColumns({name: F.expr(self.columns[name]) for name in together})
        return frame

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        frame, names = next(iter(columns.items()))
        spelled = {name.lower(): name for name in names}
        origin = {name.lower(): [ColumnSource(frame, name)] for name in names}
        for name, expression in self.columns.items():
            read = columns_read(expression, list(spelled.values()))
            sources = [source for column in read for source in origin[column.lower()]]
            spelled[name.lower()] = name
            origin[name.lower()] = list(dict.fromkeys(sources))
        return {name: origin.get(name.lower(), []) for name in output}

    def expressions(self) -> Mapping[str, str]:
        return self.columns

    def _batches(self) -> list[list[str]]:
        batches: list[list[str]] = []
        defined: set[str] = set()
        for name, expression in self.columns.items():
            read = _names_in(expression)
            if not batches or read is None or name.lower() in defined or read & defined:
                batches.append([])
                defined = set()
            batches[-1].append(name)
            defined.add(name.lower())
            if read is None:
                batches.append([])
                defined = set()
        return [batch for batch in batches if batch]


def _names_in(expression: str) -> set[str] | None:
    """Every name in an expression; None for one that needs a projection of its own."""
    try:
        parsed = parse_expression(expression)
    except (SqlglotError, RecursionError):
        return None
    if parsed.find(exp.Star, exp.Query) is not None or _makes_rows(parsed):
        return None
    return {identifier.name.lower() for identifier in parsed.find_all(exp.Identifier)}


def _makes_rows(parsed: exp.Expr) -> bool:
    return any(
        (function.name if isinstance(function, exp.Anonymous) else function.sql_name()).lower() in _GENERATORS
        for function in parsed.find_all(exp.Func)
    )
