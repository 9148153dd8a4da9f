"""`aggregateData`: one row for each group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp

from pipeline_platform.config.config_error import did_you_mean
from pipeline_platform.config.placeholders import has_placeholder, partition_parts
from pipeline_platform.config.range_frames import RangeFrame
from pipeline_platform.config.sql import parse_expression
from pipeline_platform.config.sql_limits import expression_mistake
from pipeline_platform.config.step import PipelineMode
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import SQL, Names, Text, put_in
from pipeline_platform.frames.columns import find_column, own_column, quoted, repeated
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource, Frames, Transform
from pipeline_platform.transforms.event_time import Watermark, Window
from pipeline_platform.transforms.expression_columns import columns_read

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_platform.config.step_over_range import RangeStep

_FUNCTIONS = {"sum": "sum", "avg": "avg", "mean": "avg", "count": "count", "min": "min", "max": "max"}
_WINDOW = "window"


def _aggregation(value: str, info: ValidationInfo) -> str:
    if (message := put_in(value, info) or _mistake(value)) is not None:
        raise PydanticCustomError("aggregation", "{message}", {"message": message})
    return value


class AggregateData(Transform):
    """Turns each group into one row: the columns of `groupBy`, then the aggregates in the order written."""

    method: ClassVar[str] = "aggregateData"
    example = {
        "groupBy": ["customer"],
        "aggregations": {"orders": "count(*)", "spent": "sum(quantity * price)"},
    }

    column_keys: ClassVar[frozenset[str]] = frozenset({"aggregations"})

    group_by: Names | Annotated[list[Text], Field(max_length=0)] = Field(default_factory=list)
    """The columns that make up a group; an empty list makes one group of all rows."""
    aggregations: Annotated[dict[Text, Annotated[Text, AfterValidator(_aggregation), SQL]], Field(min_length=1)]
    """`{column: function}` with `sum`, `avg`, `mean`, `count`, `min` or `max`, which makes a column
    `{column}_{function}` (`mean` is `avg`), or `{output name: "SQL aggregate"}`."""
    watermark: Watermark | None = None
    """How long a stream waits for late rows; required in a stream, without effect in batch."""
    window: Window | None = None
    """Also groups by time span; the result then starts with a column `window`."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for key, message in self._mistakes():
            raise PydanticCustomError("aggregate", "{message}", {"message": message, "key": key})
        return self

    def traits(self) -> Traits:
        return Traits(is_stateful=True, is_join=False, has_limit=False, sets_watermark=self.watermark is not None)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode == "streaming" and self.watermark is None:
            message = "an aggregation of a stream needs a 'watermark' {column, delay}, or its state grows without bound"
            return [(None, message)]
        return []

    def over_range(self, step: RangeStep) -> RangeFrame:
        # The frame that an aggregate reads, and not one that it makes.
        frame = step.sql.row(step.frame, *(text for text in self.aggregations.values() if partition_parts(text)))
        if not frame.by:
            return RangeFrame(step.origin)
        return step.grouped(self.group_by).divided(frame.by, frame.back)

    def append_error(self) -> tuple[str, str] | None:
        if self.watermark is None:
            return None
        column = self.watermark.column
        groups = [*self.group_by, *([self.window.column] if self.window is not None else [])]
        is_timed = column.lower() in {name.lower() for name in groups}
        if is_timed or any(map(has_placeholder, (column, *groups))):
            return None
        return (
            f"a group is emitted once the watermark on '{column}' has passed it, but these groups have no such "
            "time, so none would ever be emitted",
            "add a 'window' on that column, or group by it, or set 'outputMode' of the first load to update",
        )

    def apply(self, frames: Frames) -> DataFrame:
        from pyspark.sql import functions as F

        frame = frames.frame
        if self.watermark is not None:
            frame = self.watermark.apply(frame)
        columns = frame.columns
        groups = [F.col(quoted(own_column(columns, name))) for name in self.group_by]
        if self.window is not None:
            groups.insert(0, self.window.column_of(frame).alias(_WINDOW))
        aggregates: list[Column] = []
        for name, function in self.aggregations.items():
            if (simple := _simple(function)) is not None:
                aggregate = getattr(F, simple)(F.col(quoted(own_column(columns, name))))
            else:
                aggregate = F.expr(function)
            aggregates.append(aggregate.alias(_output_name(name, function)))
        return frame.groupBy(*groups).agg(*aggregates)

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        frame, names = next(iter(columns.items()))
        read = {name.lower(): [name] for name in self.group_by}
        if self.window is not None:
            read[_WINDOW] = [self.window.column]
        for name, function in self.aggregations.items():
            of = [name] if _simple(function) is not None else columns_read(function, names)
            read[_output_name(name, function).lower()] = of
        found = {name: [find_column(names, column) for column in read.get(name.lower(), [])] for name in output}
        return {
            name: [ColumnSource(frame, column) for column in sources if column is not None]
            for name, sources in found.items()
        }

    def expressions(self) -> Mapping[str, str]:
        return {
            _output_name(name, function): f"{simple}({name})" if (simple := _simple(function)) is not None else function
            for name, function in self.aggregations.items()
        }

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        outputs = [_output_name(name, function) for name, function in self.aggregations.items()]
        window = [_WINDOW] if self.window is not None else []
        if same := repeated([*window, *self.group_by, *outputs]):
            yield "aggregations", f"the result would have more than one column {', '.join(same)}"


def _simple(function: str) -> str | None:
    return _FUNCTIONS.get(function.strip().lower())


def _output_name(name: str, function: str) -> str:
    simple = _simple(function)
    return name if simple is None else f"{name}_{simple}"


def _mistake(function: str) -> str | None:
    if _simple(function) is not None:
        return None
    mistake = expression_mistake(function)
    if isinstance(mistake, str):
        return mistake
    if mistake is not None:
        return f"'{function}' is neither one of {', '.join(_FUNCTIONS)} nor an SQL aggregate such as sum(amount)"
    if has_placeholder(function):
        return None
    parsed = parse_expression(function)
    if isinstance(parsed, exp.Column) and len(parsed.parts) == 1:
        hint = did_you_mean(parsed.name, _FUNCTIONS)
        about = f" ({hint})" if hint else ""
        return f"unknown function '{function}'{about}; an SQL aggregate is written like sum(amount)"
    return None
