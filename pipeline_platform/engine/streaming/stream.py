"""Runs a stream: one query, watched until it ends or is stopped."""

from __future__ import annotations

import atexit
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.cancellation import CancellationToken, interruptible
from pipeline_platform.engine.execution import Listener, noop_listener
from pipeline_platform.engine.failures import error_context, explained, naming_dead_jvm
from pipeline_platform.engine.in_environment import begin_as_production, reading_what_is_there
from pipeline_platform.engine.record import RunRecord
from pipeline_platform.engine.settled import settled
from pipeline_platform.engine.spark.session import pipeline_settings
from pipeline_platform.engine.streaming.checkpoint import CheckpointPosition, checkpoint_position
from pipeline_platform.engine.streaming.checkpoint_fingerprint import CheckpointFingerprint, note_made_with, require_fit
from pipeline_platform.engine.streaming.checkpoint_place import (
    checkpoint_location,
    find_checkpoint,
    first_load,
    places_of,
)
from pipeline_platform.engine.streaming.heartbeat import Heartbeat, heartbeat
from pipeline_platform.engine.streaming.lock import checkpoint_lock
from pipeline_platform.engine.streaming.micro_batches import MicroBatches, Stopped, steps_that_check
from pipeline_platform.engine.streaming.native_sink import NativeSink, native_sink
from pipeline_platform.engine.streaming.other_streams import (
    file_of,
    former_selves,
    other_writers,
    require_not_lost,
    require_not_renamed,
    sinks_of,
    sources_of,
)
from pipeline_platform.engine.streaming.queries import STOP_SECONDS, Queries, new_progress
from pipeline_platform.engine.streaming.stream_plan import PlannedStream, StreamIds, plan_stream, refused
from pipeline_platform.engine.streaming.stream_sinks import (
    gaps,
    load_ids,
    require_not_ahead,
    sink_names,
    sink_positions,
)
from pipeline_platform.engine.streaming.stream_sources import require_same_sources, source_ids
from pipeline_platform.engine.streaming.stream_state import StreamState, all_states, state_file
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    StreamingQueryException,
)
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.metrics.exporter import Exporter
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.metrics.stream import StreamProgress, StreamTotals, stream_progress
from pipeline_platform.steps.load import Load

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

StreamListener = Callable[[StreamProgress], None]
"""Told where the stream stands after each micro-batch."""

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS, _TOLD_SECONDS = 0.5, 2.0
_WARNING_SECONDS = 60.0
# Spark 4.1.1 fails while it tells of a micro-batch that it has repeated after a crash, if its source is Kafka; the
# micro-batch is done by then. https://github.com/apache/spark/issues/55236
_UNTOLD_REPLAY = (
    'Cannot invoke "scala.collection.IterableOps.map(scala.Function1)" because the return value of '
    '"scala.Option.get()" is null'
)
_SETTINGS = {
    # The state of Spark's default lies on the heap.
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stopTimeout": str(int(STOP_SECONDS * 1000)),
}


def _always() -> bool:
    return True


@dataclass
class StreamRun:
    """One run of a streaming pipeline: it holds the checkpoint, and goes on where the run before it stopped.

    Args:
        pipeline: The pipeline.
        spark: The session.
        run_id: Names this run.
        listener: Told where the stream stands.
        on_step: Told about each step of each micro-batch.
        credentials: Where each step gets those of its system; by default what the environment says.
        restarts: Restarts by a supervisor since the stream last got on, for its state file.
        lock_seconds: How long to wait for a process that still holds the checkpoint.
        is_wanted: Whether whoever began the run still counts on it; if not, another run may have its place.
        exporters: Told when the run begins and how it ends.
    """

    pipeline: PipelineConfig
    spark: SparkSession
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    listener: StreamListener = noop_listener
    on_step: Listener = noop_listener
    credentials: RunCredentials | None = None
    restarts: int = 0
    lock_seconds: float = 0
    is_wanted: Callable[[], bool] = _always
    exporters: Sequence[Exporter] = ()
    queries: Queries = field(default_factory=Queries)

    def __post_init__(self) -> None:
        self.record = RunRecord(self.pipeline, self.run_id, self.exporters, attempts=1)
        self._totals = StreamTotals()
        self._warned_of = ""
        self._warn_at = 0.0

    def run(self) -> RunMetrics:
        """Run it until it ends by itself, as with the trigger `availableNow`, or the main thread is interrupted.

        Raises:
            PipelineCancelledException: It was stopped: the micro-batch that ran was brought to its end.
            StreamingQueryException: The query failed.
            PipelineException: A step failed; it names the step.
        """
        return self._recorded(lambda: interruptible(self._work, self.spark, patience_seconds=STOP_SECONDS))

    def run_until(self, stop: CancellationToken) -> RunMetrics:
        """Run it until it ends by itself or is asked to stop; in any thread, beside others of the process.

        Args:
            stop: Asks it to.

        Raises:
            PipelineException: As `run`.
        """
        return self._recorded(lambda: self._work(stop))

    def _recorded(self, work: Callable[[], None]) -> RunMetrics:
        try:
            with self.record.exported(), naming_dead_jvm(self.pipeline.location):
                work()
        except PipelineCancelledException as error:
            raise PipelineCancelledException(
                "the stream was stopped",
                location=self.pipeline.location,
                hint="run it again: it continues from its checkpoint",
            ) from error.__cause__
        return self.record.metrics()

    def _work(self, stop: CancellationToken) -> None:
        begins_at = checkpoint_location(self.pipeline)
        before = StreamState.read(state_file(self.pipeline.name))
        last_used = before.checkpoint if before is not None else None
        state = StreamState.starting(self.pipeline, before, begins_at, self.run_id, self.restarts)
        with (
            checkpoint_lock(begins_at, self.lock_seconds, stop.is_cancelled),
            heartbeat(state, stop, self.is_wanted) as beating,
            pipeline_settings(self.pipeline, self.spark),
            spark_settings(self.spark, _SETTINGS),
            closing(
                self.credentials or RunCredentials.from_environment(self.run_id, self.pipeline.location)
            ) as credentials,
            ExitStack() as held,
        ):
            there = reading_what_is_there(self.pipeline.resolve(), self.spark, credentials)
            self.record.hints += begin_as_production(there, self.spark, credentials)
            self.record.hints += [step.note for step in there.steps if step.note is not None]
            pipeline = settled(there, self.spark, credentials)
            place_at = places_of(pipeline, credentials)
            place = find_checkpoint(pipeline, place_at, last_used)
            if place.uri != begins_at:
                held.enter_context(checkpoint_lock(place.uri, self.lock_seconds, stop.is_cancelled))
            formers = former_selves(pipeline, all_states(pipeline.place_apart))
            position = checkpoint_position(pipeline, place)
            if position.is_new:
                require_not_renamed(pipeline, place, formers, place_at, datetime.now(UTC))
                require_not_lost(pipeline, place, before)
            made_with = require_fit(pipeline, place, {former.pipeline for former in formers})
            ids, planned = self._plan(pipeline, credentials, place, position, made_with)
            beating.note(
                checkpoint=place.uri,
                has_begun=not position.is_new,
                file=file_of(pipeline),
                sources=sources_of(pipeline),
                sinks=sinks_of(pipeline),
            )
            others = all_states(pipeline.place_apart)
            for told in other_writers(pipeline.name, sinks_of(pipeline), others, datetime.now(UTC)):
                self._warn(told)
            # Spark's own sink asks nobody before a micro-batch.
            looks_at_files = bool(steps_that_check(pipeline))
            if looks_at_files and is_remote(self.spark):
                looks_at_files = False
                self._warn(
                    "over Spark Connect the columns of files are checked only when the stream starts: other columns "
                    "of a later file are left out"
                )

            def query_to_its_end() -> None:
                sink: NativeSink | MicroBatches | None = None
                if "" in ids.values() and not looks_at_files:
                    # Spark's own sink knows the micro-batches by the query alone.
                    sink = native_sink(pipeline, planned, credentials, self.on_step)
                sink = sink or self._micro_batches(pipeline, credentials, ids, stop)
                query = self._start(pipeline, planned.frame, place.uri, sink)
                self._watch(query, stop, sink, beating)

            # A checkpoint takes no options: what its bucket is entered with has to be the session's while it is used.
            with spark_settings(self.spark, place.session_settings()):
                if not is_remote(self.spark):
                    # An interpreter that ends while this thread does not know of it.
                    atexit.register(self.queries.stop_all)
                try:
                    is_replayed = False
                    while True:
                        try:
                            query_to_its_end()
                            break
                        except PipelineException as error:
                            if not is_replayed and _UNTOLD_REPLAY in str(error.__cause__):
                                is_replayed = True
                                continue
                            pipeline, failed = settled(pipeline, self.spark, credentials, failure=error), pipeline
                            if pipeline is failed:
                                raise
                            position = checkpoint_position(pipeline, place)
                            made_with = require_fit(pipeline, place, {former.pipeline for former in formers})
                            ids, planned = self._plan(pipeline, credentials, place, position, made_with)
                finally:
                    atexit.unregister(self.queries.stop_all)

    def _warn(self, told: str) -> None:
        _LOG.warning("%s", told)
        self.record.hints.append(told)

    def _plan(
        self,
        pipeline: PipelineConfig,
        credentials: RunCredentials,
        place: StorageLocation,
        position: CheckpointPosition,
        made_with: CheckpointFingerprint | None,
    ) -> tuple[Mapping[int, str], PlannedStream]:
        """Plan the stream from where its checkpoint stands, and by which ids its loads know the micro-batches."""
        known_ids = made_with.load_ids if made_with is not None else {}
        by_sink = load_ids(pipeline, known_ids, first_load(pipeline, place))
        ids = {index: by_sink[name] for index, name in sink_names(pipeline).items()}
        known = StreamIds(position.query_id or "check", position.planned + 1, ids)
        planned = plan_stream(pipeline, self.spark, credentials, known)
        if not position.is_new:
            sinks = sink_positions(planned.checked)
            require_not_ahead(pipeline, place, position, sinks)
            for told in gaps(pipeline, position, known_ids, sinks):
                self._warn(told)
        sources = source_ids(pipeline, self.spark, credentials)
        known_sources = made_with.sources if made_with is not None else {}
        require_same_sources(pipeline, place, known_sources, sources)
        known_sources = known_sources | {key: source.id for key, source in sources.items()}
        note_made_with(pipeline, place, known_sources, by_sink)
        return ids, planned

    def _micro_batches(
        self, pipeline: PipelineConfig, credentials: RunCredentials, ids: Mapping[int, str], stop: CancellationToken
    ) -> MicroBatches:
        if is_remote(self.spark):
            raise PipelineConfigurationException(
                "over Spark Connect a stream can only be a single load that Spark has a native sink for: an append "
                "to Delta Lake, or a load to Kafka, that has been the first load from the beginning",
                location=pipeline.location,
                hint="run it with SPARK_MASTER, on a cluster or on this machine",
            )
        return MicroBatches(pipeline, credentials, ids, stop, self.on_step)

    def _start(
        self, pipeline: PipelineConfig, frame: DataFrame, checkpoint: str, sink: NativeSink | MicroBatches
    ) -> StreamingQuery:
        from pyspark.errors import AnalysisException

        step = pipeline.main_load
        config = step.config
        assert isinstance(config, Load)
        name = config.query_name or f"{pipeline.name}-{step.name}"
        with error_context(step):
            writer = sink.writer(frame).queryName(name)
            writer = writer.outputMode(config.output_mode).option("checkpointLocation", checkpoint)
            try:
                query = writer.trigger(**cast("dict[str, Any]", config.trigger_options())).start()
            except AnalysisException as error:
                # Over Spark Connect nobody could ask before.
                raise refused(error, step) from error
        self.queries.register(name, query)
        sink.began(query)
        return query

    def _watch(
        self, query: StreamingQuery, stop: CancellationToken, sink: NativeSink | MicroBatches, beating: Heartbeat
    ) -> None:
        told: StreamProgress | None = None
        try:
            while query.isActive:
                stop.sleep(_LOOK_SECONDS)
                if not query.status["isTriggerActive"]:
                    beating.rests()
                told = self._tell(query, told, sink, beating)
        finally:
            self.queries.stop_all()
            told = self._tell(query, told, sink, beating)
            done = self.record.steps
            for index, step in sink.steps.items():
                done[index] = done[index].and_then(step) if index in done else step
            left_out = self._totals.left_out()
            self.record.hints = sorted({*self.record.hints, *sink.hints, *([left_out] if left_out else [])})
        if isinstance(sink.failure, Stopped):
            stop.check()
        step = self.pipeline.main_load
        with error_context(step):
            if sink.failure is not None:
                raise sink.failure
        error = _thrown_by(query)
        if error is not None:
            told_by_spark = explained(error, step, self.pipeline)
            raise StreamingQueryException(
                told_by_spark.message,
                query_name=query.name or "",
                query_id=str(query.id),
                batch=told.batch if told is not None else None,
                location=step.location,
                hint=told_by_spark.hint,
                retryable=told_by_spark.retryable,
            ) from error
        if not step.config.ends_by_itself():
            # Whoever has ended it, or its Spark, may be about to tell this run to stop.
            stop.sleep(_TOLD_SECONDS)
            message = f"the query '{query.name}' was ended, and not by this run"
            raise StreamingQueryException(message, query_name=query.name or "", query_id=str(query.id), retryable=True)

    def _warn_of_left_out(self, watermark: str | None) -> None:
        left_out = self._totals.left_out()
        if left_out is None or left_out == self._warned_of or time.monotonic() < self._warn_at:
            return
        self._warned_of, self._warn_at = left_out, time.monotonic() + _WARNING_SECONDS
        _LOG.warning("%s, since the run began; the watermark is at %s", left_out, watermark)

    def _tell(
        self, query: StreamingQuery, before: StreamProgress | None, sink: NativeSink | MicroBatches, beating: Heartbeat
    ) -> StreamProgress | None:
        """Tell what is new since then, one micro-batch after the other."""
        reported = new_progress(query, before.at if before is not None else None)
        if reported is None:
            return before
        last = stream_progress(reported)
        missed: list[StreamProgress] = []
        if before is None or last.batch > before.batch + 1:
            # Spark keeps the last hundred.
            recent = (stream_progress(json.loads(progress.json)) for progress in query.recentProgress[:-1])
            missed = [progress for progress in recent if before is None or progress.at > before.at]
        for progress in [*(other for other in missed if other.at < last.at), last]:
            self._totals = self._totals.and_then(progress)
            self._warn_of_left_out(progress.watermark)
            sink.heard(progress)
            beating.progressed(progress, sink.steps.values())
            self.listener(progress)
        return last


def _thrown_by(query: StreamingQuery) -> Exception | None:
    """What a query failed at, with the JVM's own exception, of whose causes pyspark keeps no more than the text."""
    error = query.exception()
    in_jvm: Any = getattr(query, "_jsq", None)
    if error is None or in_jvm is None:
        return error
    from pyspark.errors.exceptions.captured import convert_exception

    return convert_exception(in_jvm.exception().get())
