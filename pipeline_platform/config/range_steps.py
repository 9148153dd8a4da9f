"""Which step of a pipeline keeps a range of partitions from being one run, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.range_sql import RangeSql
from pipeline_platform.config.step import Step
from pipeline_platform.config.step_over_range import RangeStep


@dataclass(frozen=True)
class SinglePartitions:
    """A step that needs one run for each partition.

    Args:
        step: The step.
        reason: Why, to follow the name of the step.
    """

    step: Step
    reason: str

    def __str__(self) -> str:
        """For people, as in `step 3 (aggregateData) groups by shop, and not by the column of the partitions`."""
        number = self.step.number if self.step.guards is None else self.step.guards + 1
        what = self.step.config.method if self.step.guards is None else "its contract"
        return f"step {number} ({what}) {self.reason}"


def single_partitions(steps: Iterable[Step], partitions: Partitions) -> SinglePartitions | None:
    """The first step for which a range of partitions is not the same as one run for each; None if there is none.

    Args:
        steps: Of a pipeline, connected, each after its inputs.
        partitions: Of the pipeline, by time.
    """
    sql = RangeSql(partitions)
    frames: dict[int, RangeFrame] = {}
    for step in steps:
        config = step.config.as_written
        if not config.fits_ranges():
            return SinglePartitions(step, "uses the partition otherwise than as the bounds of an interval")
        inputs = {edge.name: frames[edge.step] for edge in step.inputs}
        try:
            frames[step.index] = config.over_range(RangeStep(inputs, (f"#{step.index}",), sql))
        except OneByOne as found:
            return SinglePartitions(step, found.reason)
        # What is not known is not safe; sqlglot has more kinds of nodes than are expected here.
        except (RecursionError, LookupError, AttributeError, ValueError, TypeError):
            return SinglePartitions(step, "has SQL that can't be looked into")
    return None
