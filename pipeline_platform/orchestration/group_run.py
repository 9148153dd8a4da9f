"""A group of streams under Dagster: one run, one process and one JVM, in which each stream goes on by itself."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_platform.config.defaults import defaults_files
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming.stream_group import (
    EndedMember,
    GroupMembers,
    Member,
    StreamGroup,
    members_file,
)
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.metadata import check_result
from pipeline_platform.orchestration.project import pipeline_files
from pipeline_platform.orchestration.quarantine_check import reported_quarantine
from pipeline_platform.orchestration.results import failing_as_dagster_does
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.orchestration.streams import LOCK_SECONDS, StreamEvents, is_live, mark_canceling
from pipeline_platform.redaction import redact
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline_platform.engine.streaming.stream import StreamRun

AssetEvent = dg.AssetObservation | dg.AssetMaterialization
_LOOK_SECONDS = 1.0
_LIVE_SECONDS = 10.0
"""Between two questions to the instance whether the run still counts."""


class CurrentView:
    """The project as its files are now: a stream that is started again is started as its file says by then.

    Args:
        folder: Of the pipelines.
        view: The project as it was just read.
        load: Reads it anew.
    """

    def __init__(self, folder: Path, view: AssetView, load: Callable[[], AssetView]) -> None:
        self.folder = folder
        self._view = view
        self._load = load
        self._read = _stamps(folder, view)
        self._lock = threading.Lock()

    def now(self) -> AssetView:
        """The project; read anew if a file of it has changed."""
        with self._lock:
            found = _stamps(self.folder, self._view)
            if found != self._read:
                self._view = self._load()
                # What changes while it is read is read again.
                self._read = {**_stamps(self.folder, self._view), **found}
            return self._view


def _stamps(folder: Path, view: AssetView) -> dict[Path, tuple[int, int]]:
    """The state of each file that a project is read from."""
    lists = {pipeline.item.source for pipeline in view.project.pipelines if pipeline.item is not None}
    wrong = {problem.file for broken in view.project.broken for problem in broken.problems}
    sources = {path for pipeline in view.project.pipelines for path in pipeline.sources}
    # Defaults that there are none of yet count as soon as they are written.
    defaults = defaults_files(folder.absolute(), folder.absolute().parent.resolve())
    files = {*pipeline_files(folder), *defaults, *sources, *lists, *wrong}
    return {path: _stamp(path) for path in files if path is not None}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        # A link that leads nowhere, or a file that was just removed; whoever reads it says so.
        return 0, 0
    return status.st_mtime_ns, status.st_size


def group_job(views: CurrentView, group: str, job: str, op: str, tags: Mapping[str, str]) -> dg.JobDefinition:
    """The job of a group: its run goes on as long as its supervisor wants any stream to run in it.

    Args:
        views: The project, whenever a stream is started.
        group: Name of the group.
        job: Name of the job.
        op: Name of its op.
        tags: Of its runs.
    """

    @dg.op(
        name=op,
        out={},
        description="Runs those streams of the group that the sensor `streams` wants to run, each by itself.",
    )
    def compute(
        context: dg.OpExecutionContext, spark: SparkResource, vault: VaultResource, metrics: MetricsResource
    ) -> Iterator[AssetEvent]:
        yield from _GroupRun(context, group, views, spark, vault, metrics).run()

    graph = dg.GraphDefinition(
        name=job, node_defs=[compute], description=f"The streams of the group {group}, in one process."
    )
    return graph.to_job(tags=tags, executor_def=dg.in_process_executor)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True)
class _Told:
    """What is told of a stream that runs."""

    view: AssetView
    pipeline: PipelineConfig
    events: RunEvents
    progress: StreamEvents


class _GroupRun:
    def __init__(
        self,
        context: dg.OpExecutionContext,
        group: str,
        views: CurrentView,
        spark: SparkResource,
        vault: VaultResource,
        metrics: MetricsResource,
    ) -> None:
        self._context = context
        self._group = group
        self._file = members_file(views.folder, group, views.now().project.place_apart)
        self._views = views
        self._spark = spark
        self._vault = vault
        self._metrics = metrics
        self._events: SimpleQueue[AssetEvent] = SimpleQueue()
        self._told: dict[str, _Told] = {}

    def run(self) -> Iterator[AssetEvent]:
        """Run what is wanted until nothing is.

        Yields:
            Observations and materializations of the streams' sinks.

        Raises:
            dg.Failure: Spark does not start, or its JVM has died, with all streams.
            dg.DagsterExecutionInterruptedError: The run does not count any more.
        """
        with failing_as_dagster_does(self._context):
            session = self._session()
        group = StreamGroup(self._find, partial(self._make, session))
        wanted: tuple[Member, ...] = ()
        asked = time.monotonic()
        try:
            while True:
                said = GroupMembers.read(self._file)
                wanted = said.members if said is not None else wanted
                for ended in group.follow(wanted):
                    self._tell_end(ended)
                    self._require_jvm(ended)
                if not wanted and not group.names:
                    self._context.log.info("no stream of the group is to run: the sensor 'streams' says which are")
                    break
                if time.monotonic() - asked > _LIVE_SECONDS:
                    asked = time.monotonic()
                    self._require_live()
                yield from self._events_until(time.monotonic() + _LOOK_SECONDS)
        finally:
            for ended in group.stop():
                self._tell_end(ended)

    def _require_live(self) -> None:
        if not is_live(self._context.instance, self._context.run.run_id):
            # Its supervisor took it for dead, and another run has its place.
            mark_canceling(self._context.instance, self._context.run.run_id)
            raise dg.DagsterExecutionInterruptedError

    def _events_until(self, deadline: float) -> Iterator[AssetEvent]:
        while (left := deadline - time.monotonic()) > 0:
            try:
                yield self._events.get(timeout=left)
            except Empty:
                return

    def _find(self, member: Member) -> PipelineConfig:
        view = self._views.now()
        found = next((each for each in view.project.pipelines if each.name == member.pipeline), None)
        if found is None:
            raise PipelineConfigurationException(
                f"no file of the project is a pipeline called '{member.pipeline}' any more",
                hint="look whether its file is broken, was renamed or removed",
            )
        return found

    def _session(self) -> "SparkSession":
        from pipeline_platform.engine.spark.settings import FAIR_CONF
        from pipeline_platform.frames.remote import is_remote

        session = self._spark.session(f"streams of {self._group}", FAIR_CONF)
        if is_remote(session):
            raise PipelineConfigurationException(
                "the streams of a group share a JVM of their own, and Spark runs on a Spark Connect server here",
                hint="set 'streaming.group' to false, or run Spark with SPARK_MASTER",
            )
        return session

    def _make(self, session: "SparkSession", member: Member, pipeline: PipelineConfig) -> "StreamRun":
        from pipeline_platform.engine.spark.session import session_beside
        from pipeline_platform.engine.streaming.stream import StreamRun

        pipeline.require_ready()
        events = RunEvents(self._context, pipeline, shares_run=True)
        events.say("starting the stream")
        view = self._views.now()
        check = reported_quarantine(self._context.instance, view, pipeline, self._vault)
        progress = StreamEvents(self._events.put, events, view, pipeline, check)
        self._told[member.run_id] = _Told(view, pipeline, events, progress)
        return StreamRun(
            pipeline,
            session_beside(session, pipeline.name),
            run_id=member.run_id,
            listener=progress,
            on_step=progress.on_step,
            credentials=self._vault.run_credentials(member.run_id, pipeline.location),
            exporters=self._metrics.exporters(),
            restarts=member.restarts,
            lock_seconds=LOCK_SECONDS,
        )

    def _tell_end(self, ended: EndedMember) -> None:
        name = ended.member.pipeline
        told = self._told.pop(ended.member.run_id, None)
        if ended.error is None or ended.was_stopped:
            self._context.log.info(f"{name}: {'the stream was stopped' if ended.was_stopped else 'it has ended'}")
        else:
            text = redact(str(ended.error))
            self._context.log.error(text if f"'{name}'" in text else f"{name}: {text}")
        if told is None:
            return
        told.events.say("stopped" if ended.was_stopped else "failed" if ended.error is not None else "ended")
        if isinstance(ended.error, PipelineException) and not ended.was_stopped:
            self._tell_checks(told)

    def _tell_checks(self, told: _Told) -> None:
        """Tell what the validations found; a check is no output of this run, which is that of many pipelines."""
        for step in told.pipeline.steps:
            if step.type != "validate" or step.index not in told.progress.latest:
                continue
            for guarded in told.view.guarded(told.pipeline, step):
                found = check_result(told.progress.latest[step.index], step.name, told.view.key(told.pipeline, guarded))
                assert found.asset_key is not None
                self._context.instance.report_runless_asset_event(
                    dg.AssetCheckEvaluation(
                        asset_key=found.asset_key,
                        check_name=step.name,
                        passed=found.passed,
                        metadata=found.metadata,
                        severity=found.severity,
                        description=found.description,
                    )
                )

    def _require_jvm(self, ended: EndedMember) -> None:
        """Fail the run, and have its supervisor begin another one, once its JVM is dead, which is every stream's."""
        from pipeline_platform.engine.spark.jvm_death import jvm_death

        if ended.error is not None and (death := jvm_death(ended.error)) is not None:
            with failing_as_dagster_does(self._context):
                raise death.error()
