"""Counts rows in the pass that does the work.

Where a sink says how many rows it wrote, that is the count, and costs nothing. Any other comes from
`DataFrame.observe`, with two guards against a wrong one. A stage that Spark runs again, after a lost shuffle, adds its
rows a second time: each task therefore also reports its partition, and where more tasks than partitions reported, the
count is withheld. And a plan may be cut short, by a LIMIT or because a join found its other side empty: what lies
before a LIMIT is not counted at all, and a branch that never ran reports nothing.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.frames.columns import HELPER_PREFIX
from pipeline_platform.steps.malformed import MALFORMED
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Observation

# The listener that fills an observation runs after the action returns, on Spark's event queue.
_WAIT_SECONDS = 10.0
_FIRST_ROW = f"{HELPER_PREFIX}first_row"
# Rows of partition p are numbered from p * 2**33, pyspark.sql.functions.monotonically_increasing_id.
_ROW_NUMBER_MASK = (1 << 33) - 1


@dataclass(frozen=True)
class RowCountObservation:
    """A count that some action will fill."""

    observation: Observation

    def rows(self) -> int | None:
        """Rows counted, or None if the plan was never run in full, or a stage of it twice."""
        metrics = self._certain()
        return int(metrics["rows"]) if metrics is not None else None

    def malformed(self) -> int | None:
        """Marked records among the rows, or None as for `rows`, and where none could be marked."""
        metrics = self._certain()
        return int(metrics["malformed"]) if metrics is not None and "malformed" in metrics else None

    def _certain(self) -> dict[str, Any] | None:
        metrics = observed(self.observation)
        return metrics if metrics is not None and metrics["tasks"] == len(metrics["partitions"]) else None

    def partitions(self) -> int | None:
        """Partitions that had rows, or None if the plan was never run in full."""
        metrics = observed(self.observation)
        return len(metrics["partitions"]) if metrics is not None else None


def counted(frame: DataFrame) -> tuple[DataFrame, RowCountObservation]:
    """The frame with a count attached, which the first action on it fills; its marked records are counted too."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    observation = Observation(f"rows-{uuid.uuid4().hex}")
    marks = [F.count(MALFORMED).alias("malformed")] if MALFORMED in frame.columns else []
    observed_frame = frame.withColumn(_FIRST_ROW, _first_row()).observe(
        observation,
        F.count(F.lit(1)).alias("rows"),
        F.count(_FIRST_ROW).alias("tasks"),
        F.collect_set(_FIRST_ROW).alias("partitions"),
        *marks,
    )
    return observed_frame.drop(_FIRST_ROW), RowCountObservation(observation)


def _first_row() -> Column:
    from pyspark.sql import functions as F

    is_first = F.monotonically_increasing_id().bitwiseAND(F.lit(_ROW_NUMBER_MASK)) == 0
    return F.when(is_first, F.spark_partition_id())


def observed(observation: Observation) -> dict[str, Any] | None:
    """What an observation holds, or None if no action has filled it; never waits without end."""
    found: list[dict[str, Any]] = []

    def wait() -> None:
        try:
            found.append(observation.get)
        except Exception:  # noqa: BLE001 - Spark fails an assertion for a branch that its optimizer removed.
            return

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    waiter.join(_WAIT_SECONDS)
    return found[0] if found and found[0] else None


def counting_note(pipeline: PipelineConfig, step: Step) -> str | None:
    """Why a step's rows are not counted, or None if they are."""
    for other in _downstream(pipeline, step):
        if other.type == "transform" and other.traits.has_limit:
            return f"not counted: step {other.number} ({other.config.method}) may leave rows unread"
    if step.type == "extract" and step.traits.pushes_down_filters:
        for other in through_row_keeping(pipeline, step):
            if other.type == "transform" and other.traits.filters_rows:
                return f"not counted: step {other.number} ({other.config.method}) filters while reading"
    return None


def count_source(pipeline: PipelineConfig, step: Step) -> Step:
    """The step whose count is also this step's: steps that keep every row are not counted again."""
    while step.type == "transform" and step.traits.keeps_row_count and step.inputs:
        step = pipeline.steps[step.inputs[0].step]
    return step


def reporting_loads(pipeline: PipelineConfig, step: Step, needed: Set[int]) -> list[Step]:
    """The loads that write exactly this step's rows and say how many they wrote, so that they need not be counted.

    Args:
        pipeline: The pipeline.
        step: An extract or a transform.
        needed: Indices of the steps that are run.
    """
    found: list[Step] = []
    for other in consumers(pipeline, step):
        config = other.config
        if other.index not in needed:
            continue
        if isinstance(config, Validate) and config.on_failure == "quarantine" and other.inputs[0].step == step.index:
            # What comes after it gets fewer rows.
            break
        if other.type == "load" and other.traits.reports_rows:
            found.append(other)
        elif other.type == "transform" and other.traits.keeps_row_count:
            found += reporting_loads(pipeline, other, needed)
    return found


def consumers(pipeline: PipelineConfig, step: Step) -> list[Step]:
    """The steps that work on a step's rows, as their one input or by name."""
    return [other for other in pipeline.steps if any(edge.step == step.index for edge in other.inputs)]


def _downstream(pipeline: PipelineConfig, step: Step) -> list[Step]:
    found: dict[int, Step] = {}
    pending = [step]
    while pending:
        for other in consumers(pipeline, pending.pop()):
            if other.index not in found:
                found[other.index] = other
                pending.append(other)
    return list(found.values())


def through_row_keeping(pipeline: PipelineConfig, step: Step) -> list[Step]:
    """The steps that get exactly this step's rows, directly or by way of others that keep them."""
    found: list[Step] = []
    for other in consumers(pipeline, step):
        found.append(other)
        if other.type == "transform" and other.traits.keeps_row_count:
            found.extend(through_row_keeping(pipeline, other))
    return found
