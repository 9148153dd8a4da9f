"""`reshapeData`: rows into columns, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Names, Text, one_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import column, find_column, own_column, quoted, repeated
from pipeline_platform.frames.widening import require_same_types
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource, Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

    from pipeline_platform.config.step_over_range import RangeStep

_KEYS = {
    "pivot": ("pivotColumn", "groupByColumns", "aggregateColumn", "pivotValues"),
    "unpivot": ("valueCols", "variableColName", "valueColName", "idCols"),
}
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_REQUIRED = ("pivotColumn", "groupByColumns", "valueCols", "variableColName", "valueColName")


class ReshapeData(Transform):
    """Turns the values of a column into columns (`pivot`), or columns into rows (`unpivot`)."""

    method: ClassVar[str] = "reshapeData"
    example = {
        "operation": "pivot",
        "groupByColumns": ["customer"],
        "pivotColumn": "product",
        "aggregateColumn": "quantity",
    }

    operation: Annotated[Literal["pivot", "unpivot"], one_of("pivot", "unpivot")]
    """`pivot` or `unpivot`."""
    pivot_column: Text | None = None
    """pivot: the column whose values become columns."""
    group_by_columns: Names | None = None
    """pivot: the columns that make up a row of the result."""
    aggregate_column: Text | None = None
    """pivot: the column whose sum the new columns hold; by default they hold the number of rows."""
    pivot_values: Annotated[list[bool | int | float | str], Field(min_length=1)] | None = None
    """pivot: the values that become columns, as values of the column's type; by default all values, which takes a pass
    over the data to find them."""
    value_cols: Names | None = None
    """unpivot: the columns that become rows."""
    variable_col_name: Text | None = None
    """unpivot: the new column with the name of the column that a value comes from."""
    value_col_name: Text | None = None
    """unpivot: the new column with the value."""
    id_cols: Names | Annotated[list[Text], Field(max_length=0)] | None = None
    """unpivot: the columns to keep; by default all but `valueCols`."""

    @model_validator(mode="after")
    def _fits_the_operation(self) -> Self:
        for key, message in self._mistakes():
            raise PydanticCustomError("reshape", "{message}", {"message": message, "key": key})
        return self

    def traits(self) -> Traits:
        return Traits(is_stateful=self.operation == "pivot", is_join=False, has_limit=False)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self.operation == "pivot" and self.pivot_values is None:
            message = "a stream has no end, so its values can't be found by reading it: list them in 'pivotValues'"
            return [("pivotColumn", message)]
        return []

    def over_range(self, step: RangeStep) -> RangeFrame:
        frame = step.frame
        if not frame.by:
            return RangeFrame(step.origin)
        if self.operation == "unpivot":
            made = [name for name in (self.variable_col_name, self.value_col_name) if name is not None]
            gone = {**dict.fromkeys(name.lower() for name in (*(self.value_cols or ()), *made))}
            known = (
                frame.telling() if self.id_cols is None else {name.lower(): frame.value(name) for name in self.id_cols}
            )
            return frame.only({**known, **gone})
        if self.pivot_values is None:
            raise OneByOne("makes a column of each value that the partition has, as 'pivotValues' does not list them")
        return step.grouped(self.group_by_columns or ())

    def apply(self, frames: Frames) -> DataFrame:
        reshaped = self._pivot(frames.frame) if self.operation == "pivot" else self._unpivot(frames.frame)
        if same := repeated(reshaped.columns):
            raise PipelineExecutionException(f"the result would have more than one column {', '.join(same)}")
        return reshaped

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        frame, names = next(iter(columns.items()))
        if self.operation == "pivot":
            kept, read = self.group_by_columns or [], [self.aggregate_column, self.pivot_column]
        else:
            kept, read = self._id_columns(names), self.value_cols or []
        sources = {name.lower(): [name] for name in kept}
        made = [name for name in read if name is not None]
        if self.operation == "unpivot":
            # The names of columns are not data that came out of them.
            sources[(self.variable_col_name or "").lower()] = []
        found = {name: [find_column(names, of) for of in sources.get(name.lower(), made)] for name in output}
        return {
            name: [ColumnSource(frame, column) for column in of if column is not None] for name, of in found.items()
        }

    def _pivot(self, frame: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        columns = frame.columns
        groups = [F.col(quoted(own_column(columns, name))) for name in self.group_by_columns or ()]
        pivot_column = own_column(columns, self.pivot_column or "")
        if self.aggregate_column is None:
            aggregate = F.count(F.lit(1))
        else:
            aggregate = F.sum(F.col(quoted(own_column(columns, self.aggregate_column))))
        values = list(self.pivot_values) if self.pivot_values is not None else None
        for value in values or ():
            _require_value_of(pivot_column, frame.schema[pivot_column].dataType, value)
        return frame.groupBy(*groups).pivot(quoted(pivot_column), values).agg(aggregate)

    def _unpivot(self, frame: DataFrame) -> DataFrame:
        columns = frame.columns
        named = [own_column(columns, name) for name in self.value_cols or ()]
        where = self.shown_frame()
        for one, other in combinations(named, 2):
            kinds = (frame.schema[one].dataType, frame.schema[other].dataType)
            require_same_types((where, one, kinds[0]), (where, other, kinds[1]), "unpivot")
        values = [column(columns, name) for name in named]
        ids = [column(columns, name) for name in self._id_columns(columns)]
        return frame.unpivot(tuple(ids), tuple(values), self.variable_col_name or "", self.value_col_name or "")

    def _id_columns(self, columns: Sequence[str]) -> Sequence[str]:
        if self.id_cols is not None:
            return self.id_cols
        values = {name.lower() for name in self.value_cols or ()}
        return [name for name in columns if name.lower() not in values]

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        given = {(field.alias or name): getattr(self, name) for name, field in type(self).model_fields.items()}
        for operation, keys in _KEYS.items():
            for key in keys:
                if operation != self.operation and given[key] is not None:
                    yield key, f"'{key}' belongs to '{operation}', not to '{self.operation}'"
                if operation == self.operation and key in _REQUIRED and given[key] is None:
                    yield "operation", f"'{self.operation}' needs '{key}'"
        if self.pivot_values is not None and (same := repeated(map(str, self.pivot_values))):
            yield "pivotValues", f"listed twice: {', '.join(same)}"
        made = [name for name in (self.variable_col_name, self.value_col_name, *(self.id_cols or ())) if name]
        if same := repeated(made):
            yield "variableColName", f"the result would have more than one column {', '.join(same)}"


def _require_value_of(name: str, data_type: DataType, value: bool | int | float | str) -> None:
    """Raise for a pivot value that Spark would make another one of, as of `007` or 7.5 the whole number 7."""
    from pyspark.sql import types as T

    match data_type:
        case T.BooleanType():
            fits = isinstance(value, bool) or value in ("true", "false")
        case T.NumericType():
            fits = _is_number_of(data_type, value)
        case T.DateType() | T.TimestampType() | T.TimestampNTZType():
            fits = isinstance(value, str)
        case _:
            return
    if not fits:
        raise PipelineExecutionException(
            f"the pivot value {value!r} is not one that the column '{name}' can have, which is "
            f"{data_type.simpleString()}",
            hint="write it in 'pivotValues' as a value of this type, or cast the column with enrichData first",
        )


def _is_number_of(data_type: DataType, value: bool | int | float | str) -> bool:
    from pyspark.sql.types import DecimalType, IntegralType

    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        return False
    number = Decimal(str(value))
    match data_type:
        case IntegralType() | DecimalType() if not number.is_finite():
            return False
        case IntegralType():
            return number == int(number)
        case DecimalType():
            return number == round(number, data_type.scale)
        case _:
            return not isinstance(value, int) or int(float(value)) == value
