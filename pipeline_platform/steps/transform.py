"""What the engine asks of every transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.range_frames import RangeFrame
from pipeline_platform.config.step import StepType
from pipeline_platform.steps.base import FrameInput, FrameOutput

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.config.step_over_range import RangeStep


@dataclass(frozen=True)
class Frames:
    """The frames a transform works on.

    Args:
        primary: The primary frame, or the one named by `input`; None if the step reads only named frames.
        named: Registered frames that the step names, by name.
        spark: The session.
    """

    primary: DataFrame | None
    named: Mapping[str, DataFrame]
    spark: SparkSession

    @property
    def frame(self) -> DataFrame:
        """The one frame a step with a single input works on."""
        if self.primary is None:
            raise ValueError("this step has no primary frame")
        return self.primary


@dataclass(frozen=True)
class ColumnSource:
    """A column that another one is derived from.

    Args:
        frame: The registered name the column is read from; None for the primary frame.
        column: Its name there.
    """

    frame: str | None
    column: str


ColumnLineage = Mapping[str, Sequence[ColumnSource]]


class Transform(FrameInput, FrameOutput):
    """Makes a frame of one or more others."""

    step_type: ClassVar[StepType] = "transform"

    def apply(self, frames: Frames) -> DataFrame:
        """Build the output frame; lazily, nothing is run.

        Raises:
            PipelineException: The frames are not what the config says.
        """
        raise NotImplementedError(f"'{self.method}' is not available in this version")

    def over_range(self, step: RangeStep) -> RangeFrame:
        traits = self.traits()
        if not traits.keeps_rows or traits.is_stateful or self.uses_partition():
            return super().over_range(step)
        frame = step.frame
        for name in self.expressions():
            frame = frame.with_column(name, None)
        return frame

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        """Which input columns each output column is derived from.

        Args:
            columns: Column names of the inputs by registered name, the primary one under None.
            output: Column names of the output.
        """
        return same_named(columns, output)

    def makes_rows_of(self, inputs: Set[str | None]) -> bool:
        """Whether each row that comes out is made of a row of these inputs, which are not all.

        Then of some of their rows come the rows that would come of these among all. Asked of one that is not stateful.

        Args:
            inputs: Their registered names; None for the primary frame.
        """
        return False

    def hands_on(self) -> bool:
        """Whether a column that is derived of one column, and computed by no expression, has the values of it."""
        return True

    def expressions(self) -> Mapping[str, str]:
        """What computes the columns that are no column of an input, in SQL, as people are shown it."""
        return {}


def same_named(columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
    """Lineage of a step that hands columns on under their own names."""
    return {name: [ColumnSource(frame, name) for frame, names in columns.items() if name in names] for name in output}
