"""`unionDataFrames`: the rows of several frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.range_frames import RangeFrame, united
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Flag, FrameNames
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import find_column
from pipeline_platform.frames.widening import require_same_types
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource, Frames, Transform

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pipeline_platform.config.step_over_range import RangeStep


class UnionDataFrames(Transform):
    """Appends the rows of frames to each other, matching columns by name.

    The types of a column may differ if one holds every value of the other, as `BIGINT` holds those of `INT`; others are
    refused, as Spark would turn the text `007` into the number 7.
    """

    method: ClassVar[str] = "unionDataFrames"
    example = {"inputDataFrames": ["orders", "returns"], "allowMissingColumns": True}

    input_data_frames: FrameNames
    """Registered frames; if there is only one, the primary frame, or that of `input`, comes before it."""
    allow_missing_columns: Flag = False
    """A column that a frame lacks is null in its rows; otherwise it is an error."""
    distinct: Flag = False
    """Keep one of equal rows."""

    @model_validator(mode="after")
    def _has_use_for_input(self) -> Self:
        if self.input is not None and len(self.input_data_frames) > 1:
            raise PydanticCustomError(
                "union",
                "a union of two frames or more in 'inputDataFrames' reads these alone",
                {"key": "input"},
            )
        return self

    def reads_primary(self) -> bool:
        return len(self.input_data_frames) == 1 and super().reads_primary()

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [*super().referenced_frames(), *(("inputDataFrames", name) for name in self.input_data_frames)]

    def traits(self) -> Traits:
        return Traits(is_stateful=self.distinct, is_join=False, has_limit=False)

    def over_range(self, step: RangeStep) -> RangeFrame:
        # Rows that are equal in all columns are so in that of the partitions.
        return united(step.frames.values(), step.origin, step.column)

    def apply(self, frames: Frames) -> DataFrame:
        named: list[tuple[str, DataFrame]] = [(f"'{name}'", frames.named[name]) for name in self.input_data_frames]
        if len(named) == 1:
            named.insert(0, (self.shown_frame(), frames.frame))
        if not self.allow_missing_columns:
            _same_columns([(name, frame.columns) for name, frame in named])
        _require_types(named)
        united = named[0][1]
        for _, frame in named[1:]:
            united = united.unionByName(frame, allowMissingColumns=self.allow_missing_columns)
        return united.distinct() if self.distinct else united

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        return {
            name: [
                ColumnSource(frame, column)
                for frame, names in columns.items()
                if (column := find_column(names, name)) is not None
            ]
            for name in output
        }


def _require_types(frames: Sequence[tuple[str, DataFrame]]) -> None:
    # All pairs: what widens to the first frame's type need not widen to another's.
    for number, (name, frame) in enumerate(frames):
        for field in frame.schema:
            for other_name, other in frames[number + 1 :]:
                column = find_column(other.columns, field.name)
                if column is not None:
                    one = (name, field.name, field.dataType)
                    require_same_types(one, (other_name, column, other.schema[column].dataType), "the union")


def _same_columns(frames: Sequence[tuple[str, Sequence[str]]]) -> None:
    first, columns = frames[0]
    for name, others in frames[1:]:
        for lacking, there, has, wanted in ((name, others, first, columns), (first, columns, name, others)):
            missing = [column for column in wanted if find_column(there, column) is None]
            if missing:
                raise PipelineExecutionException(
                    f"{lacking} lacks columns that {has} has: {', '.join(missing)}; it has {', '.join(there)}",
                    hint="add them with enrichData, or set 'allowMissingColumns' to fill them with null",
                )
