"""What there is to see of a step in a test: of a batch at once, of a stream in each of its micro-batches."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.preview import StepPreview, previewed
from pipeline_platform.engine.scope import MicroBatch
from pipeline_platform.engine.streaming.stream_plan import stream_frame
from pipeline_platform.frames.session import arrow_table
from pipeline_platform.steps.load import Load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

MOST_ROWS = 10_000
"""Of a step, that are looked at: a join gone wrong may make any number of them."""

Rows = Sequence[Mapping[str, Any]]


@dataclass
class SeenStep:
    """What was seen of a step.

    Args:
        step: The step.
        schema: Of its frame, or of the rows that a validation takes out; None of a validation that takes none out.
        batches: The rows, of each micro-batch; a batch pipeline has one. Of a validation those that it takes out.
        rules: How many rows broke each rule of each validation that was carried out, by step index and name.
    """

    step: Step
    schema: StructType | None = None
    batches: list[Rows] = field(default_factory=list[Rows])
    rules: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])

    def add(self, preview: StepPreview, *, collects: bool) -> None:
        """Look at it once more.

        Args:
            preview: What there is to see.
            collects: Whether its rows are of interest.
        """
        for index, judged in preview.rules.items():
            for rule in judged:
                self.rules[index, rule.rule] = self.rules.get((index, rule.rule), 0) + rule.violations
        frame = preview.quarantined if self.step.type == "validate" else preview.frame
        if frame is not None:
            self.schema = frame.schema
        self.batches.append(arrow_table(frame.limit(MOST_ROWS)).to_pylist() if collects and frame is not None else [])


@dataclass(frozen=True)
class Looker:
    """Looks at steps of a pipeline whose extracts are given.

    Args:
        pipeline: The pipeline.
        spark: The session.
        credentials: Of the run; a step that reads nothing needs none.
        partition: What is loaded; of a pipeline with partitions.
    """

    pipeline: PipelineConfig
    spark: SparkSession
    credentials: RunCredentials
    partition: Partition | None

    def look(self, step: Step, *, collects: bool, may_break: bool = True) -> SeenStep:
        """What there is to see of a step.

        Args:
            step: The step.
            collects: Whether its rows are of interest.
            may_break: Whether rules of the step itself may be broken that would stop a run.

        Raises:
            PipelineException: The run would fail.
        """
        if self.pipeline.mode == "streaming":
            return self._stream(step, collects=collects, may_break=may_break)
        seen = SeenStep(step)
        with (
            previewed(
                self.pipeline, step, self.spark, self.credentials, self.partition, may_break=may_break
            ) as preview,
            error_context(step, self.pipeline),
        ):
            seen.add(preview, collects=collects)
        return seen

    def _stream(self, step: Step, *, collects: bool, may_break: bool) -> SeenStep:
        """The same of a stream, which Spark runs until all that is given is read."""
        pipeline, seen, failures = self.pipeline, SeenStep(step), list[BaseException]()
        shape = pipeline.shape
        is_above = step.index in shape.streamed and step.index != shape.head

        def take(frame: DataFrame, number: int) -> None:
            try:
                if is_above:
                    seen.add(StepPreview(step, frame, {}, None, frozenset()), collects=collects)
                    return
                batch = MicroBatch(frame, number, {})
                with (
                    previewed(
                        pipeline, step, frame.sparkSession, self.credentials, may_break=may_break, micro_batch=batch
                    ) as preview,
                    error_context(step, pipeline),
                ):
                    seen.add(preview, collects=collects)
            except BaseException as error:
                # Spark hands on no more than its text.
                failures.append(error)
                raise

        load = pipeline.main_load.config
        assert isinstance(load, Load)
        resolved = pipeline.resolve(shape.streamed)
        frame = stream_frame(resolved, self.spark, self.credentials, step.index if is_above else shape.head)
        with tempfile.TemporaryDirectory() as folder:
            writer = frame.writeStream.foreachBatch(take).outputMode(load.output_mode).trigger(availableNow=True)
            query = writer.option("checkpointLocation", Path(folder).as_uri()).start()
            try:
                with error_context(pipeline.steps[shape.head], pipeline):
                    query.awaitTermination()
            except BaseException:
                if failures:
                    raise failures[0] from None
                raise
            finally:
                query.stop()
        return seen
