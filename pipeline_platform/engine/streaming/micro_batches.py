"""Plans and carries out the micro-batches of a stream, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.execution import Listener, execute
from pipeline_platform.engine.failed_values import values_hidden
from pipeline_platform.engine.failures import MAINTENANCE_ATTEMPTS, error_context, lost_to_maintenance
from pipeline_platform.engine.plan import plan
from pipeline_platform.engine.scope import MicroBatch
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.engine.streaming.queries import STOP_SECONDS
from pipeline_platform.engine.streaming.stream_plan import malformed_before_head
from pipeline_platform.exceptions import PipelineCancelledException
from pipeline_platform.logs import log_context
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.streaming.readwriter import DataStreamWriter


def steps_that_check(pipeline: PipelineConfig) -> list[Step]:
    """The steps of a stream that look at each micro-batch before it is loaded.

    Args:
        pipeline: A streaming pipeline.
    """
    streamed = pipeline.shape.streamed
    return [
        step
        for step in pipeline.steps
        if step.index in streamed and step.type == "extract" and step.traits.checks_micro_batches
    ]


class Stopped(Exception):
    """Ends a query before its next micro-batch does anything."""


class MicroBatches:
    """Takes every micro-batch of a stream; they come in a thread of Spark's.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        credentials: Where each step gets those of its system.
        load_ids: For each load, by its index: what its load id adds to the query's.
        stop: Looked at before each micro-batch.
        listener: Told about each step.
    """

    def __init__(
        self,
        pipeline: PipelineConfig,
        credentials: RunCredentials,
        load_ids: Mapping[int, str],
        stop: CancellationToken,
        listener: Listener,
    ) -> None:
        self._pipeline = pipeline
        self._credentials = credentials
        self._load_ids = load_ids
        self._stop = stop
        self._listener = listener
        self._checking = steps_that_check(pipeline)
        self._query: Future[StreamingQuery] = Future()
        self.failure: BaseException | None = None
        """What the last micro-batch failed at; Spark hands on no more than the text of it."""
        self.steps: dict[int, StepMetrics] = {}
        """What each step did in all micro-batches."""
        self.hints: set[str] = set()

    def writer(self, frame: DataFrame) -> DataStreamWriter:
        """The writer of a stream that hands its micro-batches over to this.

        Args:
            frame: The rows of the stream.
        """
        return frame.writeStream.foreachBatch(self._take_noting_failure)

    def began(self, query: StreamingQuery) -> None:
        """Hear which query it is; its id is the same as long as its checkpoint is."""
        self._query.set_result(query)

    def heard(self, progress: StreamProgress) -> None:
        """Hear what Spark says of a micro-batch: what extracts before the head made null."""
        self._add(malformed_before_head(self._pipeline, progress))

    def _take_noting_failure(self, frame: DataFrame, number: int) -> None:
        try:
            with log_context(query=str(self._query.result(timeout=STOP_SECONDS).id), batch=number):
                self._take(frame, number)
        except BaseException as error:
            self.failure = error
            raise

    def _take(self, frame: DataFrame, number: int) -> None:
        """Load a micro-batch, all of it once, however often it comes."""
        try:
            self._stop.check()
        except PipelineCancelledException as error:
            raise Stopped from error
        query = self._query.result(timeout=STOP_SECONDS)
        for step in self._checking:
            config = step.config
            assert isinstance(config, Extract)
            with error_context(step):
                config.check_micro_batch(query, credentials_for(self._credentials, config, step))
        micro_batch = MicroBatch(frame, number, self._load_ids)
        # Each load knows the micro-batch, so that what was loaded is not loaded again.
        for attempt in Retrying(
            stop=stop_after_attempt(MAINTENANCE_ATTEMPTS), retry=retry_if_exception(lost_to_maintenance), reraise=True
        ):
            with attempt:
                self._carry_out(micro_batch, str(query.id))

    def _carry_out(self, micro_batch: MicroBatch, query: str) -> None:
        spark = micro_batch.frame.sparkSession
        planned = plan(self._pipeline, spark, query, self._credentials, micro_batch=micro_batch)
        # A micro-batch that has begun is brought to its end; of one that fails nothing is told, as it comes again.
        with values_hidden(self._pipeline, planned.frames):
            done = list(execute(planned, CancellationToken(), self._listener))
        self.hints |= set(planned.hints)
        self._add(done)

    def _add(self, done: Iterable[StepMetrics]) -> None:
        for step in done:
            self.steps[step.index] = self.steps[step.index].and_then(step) if step.index in self.steps else step
