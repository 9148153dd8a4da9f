"""What there is to see of a step in a test: of a batch at once, of a stream in each of its micro-batches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.preview import Previews, StepPreview, previewed
from pipeline_platform.engine.scope import MicroBatch
from pipeline_platform.engine.streaming.stream_plan import stream_frame
from pipeline_platform.exceptions import PipelineException, ValidationException
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


@dataclass(frozen=True, eq=False)
class Look:
    """What is to be seen.

    Args:
        step: The step.
        collects: Whether its rows are of interest.
        may_break: Whether rules of the step itself may be broken that would stop a run.
    """

    step: Step
    collects: bool
    may_break: bool = True


@dataclass(frozen=True)
class Looker:
    """Looks at steps of a pipeline whose extracts are given.

    All are looked at in one plan, as in a run, and of a stream in one query. A failure of one may be found while
    another one is looked at, as it is in a run: then each is looked at by itself.

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

    def look(self, looks: Sequence[Look]) -> Iterator[SeenStep | PipelineException]:
        """What there is to see of each, or why its run would fail.

        Args:
            looks: What is to be seen.
        """
        try:
            yield from self._seen(looks)
            return
        except PipelineException as error:
            if len(looks) == 1:
                yield error
                return
        for look in looks:
            yield from self.look([look])

    def _seen(self, looks: Sequence[Look]) -> list[SeenStep | PipelineException]:
        """What there is to see, and where a rule stops the run before that.

        Raises:
            PipelineException: The run fails in another way.
        """
        if self.pipeline.mode == "streaming":
            return self._stream(looks)
        seen: list[SeenStep | PipelineException] = [SeenStep(look.step) for look in looks]
        steps = [look.step for look in looks]
        with previewed(self.pipeline, steps, self.spark, self.credentials, self.partition) as previews:
            self._add(seen, looks, previews)
        return seen

    def _add(self, seen: list[SeenStep | PipelineException], looks: Sequence[Look], previews: Previews) -> None:
        for number, look in enumerate(looks):
            one = seen[number]
            if isinstance(one, PipelineException):
                continue
            try:
                with error_context(look.step, self.pipeline):
                    one.add(previews.of(look.step, may_break=look.may_break), collects=look.collects)
            except ValidationException as error:
                seen[number] = error

    def _stream(self, looks: Sequence[Look]) -> list[SeenStep | PipelineException]:
        """The same of a stream, which Spark runs until all that is given is read."""
        shape = self.pipeline.shape
        above = {look for look in looks if look.step.index in shape.streamed and look.step.index != shape.head}
        seen: dict[Look, SeenStep | PipelineException] = {}
        for look in above:
            of_one = seen[look] = SeenStep(look.step)
            self._query(
                lambda frame, _, one=of_one, collects=look.collects: one.add(
                    StepPreview(one.step, frame, {}, None, frozenset()), collects=collects
                ),
                look.step.index,
            )
        below = [look for look in looks if look not in above]
        found: list[SeenStep | PipelineException] = [SeenStep(look.step) for look in below]

        def take(frame: DataFrame, number: int) -> None:
            steps = [look.step for look in below]
            batch = MicroBatch(frame, number, {})
            with previewed(self.pipeline, steps, frame.sparkSession, self.credentials, micro_batch=batch) as previews:
                self._add(found, below, previews)
            failed = [one for one in found if isinstance(one, PipelineException)]
            if len(failed) == len(found):
                raise failed[0]

        if below:
            try:
                self._query(take, shape.head)
            except ValidationException as error:
                if error not in found:
                    raise
        seen |= zip(below, found, strict=True)
        return [seen[look] for look in looks]

    def _query(self, take: Callable[[DataFrame, int], None], last: int) -> None:
        """Run the stream up to a step.

        Args:
            take: Is given the rows of each micro-batch, and its number.
            last: Index of the step.

        Raises:
            PipelineException: It fails.
        """
        pipeline, failures = self.pipeline, list[BaseException]()

        def watched(frame: DataFrame, number: int) -> None:
            try:
                take(frame, number)
            except BaseException as error:
                # Spark hands on no more than its text.
                failures.append(error)
                raise

        load = pipeline.main_load.config
        assert isinstance(load, Load)
        resolved = pipeline.resolve(pipeline.shape.streamed)
        frame = stream_frame(resolved, self.spark, self.credentials, last)
        with tempfile.TemporaryDirectory() as folder:
            writer = frame.writeStream.foreachBatch(watched).outputMode(load.output_mode).trigger(availableNow=True)
            query = writer.option("checkpointLocation", Path(folder).as_uri()).start()
            try:
                with error_context(pipeline.steps[pipeline.shape.head], pipeline):
                    query.awaitTermination()
            except BaseException:
                if failures:
                    raise failures[0] from None
                raise
            finally:
                query.stop()
