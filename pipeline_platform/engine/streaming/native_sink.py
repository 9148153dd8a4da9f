"""A stream that is one plain load: Spark's own sink takes its micro-batches, and tells of each what it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.execution import Listener
from pipeline_platform.engine.planned import PlannedFrame, PlannedLoad
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.engine.streaming.stream_plan import PlannedStream, malformed_before_head, malformed_counted
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.metrics.stream import LOADED, StreamProgress
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load, LoadRun

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.streaming.readwriter import DataStreamWriter


class NativeSink:
    """Makes the writer, and of what Spark says of its micro-batches what the steps did.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        steps: The load, and before it the step whose frame it loads, as they are before the first micro-batch.
        load: The load.
        writer: Of Spark's own sink.
        listener: Told about the load.
    """

    failure: None = None
    """A micro-batch fails within Spark, which keeps the error itself."""

    def __init__(
        self,
        pipeline: PipelineConfig,
        steps: Mapping[int, StepMetrics],
        load: Step,
        writer: DataStreamWriter,
        listener: Listener,
    ) -> None:
        self._pipeline = pipeline
        self._unused = steps
        self._load = load
        self._writer = writer
        self._listener = listener
        self.steps: dict[int, StepMetrics] = {}
        """What the steps did in all micro-batches."""
        self.hints: frozenset[str] = frozenset()

    def writer(self, _: DataFrame) -> DataStreamWriter:
        """The writer of Spark's own sink."""
        return self._writer

    def began(self, query: StreamingQuery) -> None:
        """Hear which query it is; its id is known to Spark's own sink."""

    def heard(self, progress: StreamProgress) -> None:
        """Hear what Spark says of a micro-batch."""
        for did in malformed_before_head(self._pipeline, progress):
            self._add(did)
        if not progress.worked:
            return
        for index, unused in self._unused.items():
            did = unused.model_copy(
                update={
                    "rows": progress.loaded,
                    "seconds": progress.seconds,
                    "malformed": progress.malformed.get(unused.name),
                }
            )
            self._add(did)
            if index == self._load.index:
                self._listener("finished", self._load, did)

    def _add(self, did: StepMetrics) -> None:
        self.steps[did.index] = self.steps[did.index].and_then(did) if did.index in self.steps else did


def native_sink(
    pipeline: PipelineConfig,
    planned: PlannedStream,
    credentials: RunCredentials,
    listener: Listener,
) -> NativeSink | None:
    """Spark's own sink for a stream that is one load and nothing beside it; None where there is more to do.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        planned: The stream.
        credentials: Where each step gets those of its system.
        listener: Told about the load.
    """
    from pyspark.sql import functions as F

    if pipeline.shape.plain_load is None:
        return None
    head = planned.checked.frames[pipeline.shape.head]
    [loaded] = planned.checked.loads
    load, config = loaded.step, loaded.step.config
    assert isinstance(config, Load)
    frame, source = planned.frame, head.step.config
    # A continuous query allows no observation.
    is_observed = not config.is_continuous()
    if isinstance(source, Extract):
        frame = source.accepted(malformed_counted(frame, source, head.step) if is_observed else frame)
    if is_observed:
        frame = frame.observe(LOADED, F.count(F.lit(1)).alias("rows"))
    run = LoadRun(pipeline.name, load.name, credentials_for(credentials, config, load), run_id=credentials.run_id)
    writer = config.native_sink(frame, run)
    if writer is None:
        return None
    unused = {one.step.index: _before_the_first(one) for one in (head, loaded)}
    return NativeSink(pipeline, unused, load, writer, listener)


def _before_the_first(planned: PlannedFrame | PlannedLoad) -> StepMetrics:
    step = planned.step
    # As the definitions name it, before the environment is known.
    config = step.config.as_written
    dataset = config.dataset() if isinstance(config, (Extract, Load)) else None
    return StepMetrics(
        index=step.index,
        name=step.name,
        type=step.type,
        method=step.config.method,
        status="COMPLETED",
        uri=dataset.uri if dataset is not None else None,
        columns=list(planned.columns),
        lineage={column: list(sources) for column, sources in planned.lineage.items()},
    )
