"""A batch whose driver `spark-submit` starts, here or in a cluster, and that Dagster follows through Pipes."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import dagster as dg
from dagster_pipes import PipesParams
from upath import UPath

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.spark.jvm import JvmOutput, end_process
from pipeline_platform.engine.spark.settings import DeployMode
from pipeline_platform.engine.spark.submit import master_for, submit_command, submit_environment
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineExecutionException,
)
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.orchestration.run_events import RunEvents
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.submission.messages import FOLDER, ask_to_stop, begin, chunk
from pipeline_platform.submission.protocol import (
    TOLD,
    RunCompleted,
    RunFailed,
    RunRequest,
    Said,
    StepBegan,
    StepEnded,
)

FOLDER_VARIABLE = "PIPELINE_PLATFORM_SUBMIT_FOLDER"
"""A folder or a bucket in which a driver in a cluster writes what it does."""
# Dagster warns of its own use of what it calls a preview.
warnings.filterwarnings("ignore", category=dg.PreviewWarning, module="dagster._core.pipes")
_LOOK_SECONDS = 0.5
# The driver looks every two seconds, and then has a minute itself for Spark's jobs and for tidying.
_STOP_SECONDS = 90.0
_END_SECONDS = 10.0
_LONGEST = 600


def submitted_run(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    mode: DeployMode,
    pipeline: PipelineConfig,
    request: RunRequest,
    events: RunEvents,
) -> RunMetrics:
    """Submit a run, and follow it to its end.

    Args:
        context: Of the op.
        spark: Says where Spark runs.
        mode: Where the driver runs.
        pipeline: What is run.
        request: What the driver is asked to do.
        events: Told what it does.

    Raises:
        PipelineException: The run failed, or the driver could not be started, or was lost.
        PipelineCancelledException: It was stopped.
    """
    wanted = spark.settings(pipeline.spark_settings())
    # Pipes waits some seconds for a driver that was never started.
    master_for(wanted, mode)
    with _messages_folder(mode, request.run_id) as folder:
        told = _Told(events, pipeline)
        with dg.open_pipes_session(
            context=context,
            context_injector=dg.PipesEnvContextInjector(),
            message_reader=_FolderReader(folder),
            extras=request.model_dump(mode="json"),
        ) as session:
            given = [text for option in session.get_bootstrap_cli_arguments().items() for text in option]
            with submit_command(pipeline.name, wanted, mode, given) as command, _started(command) as (process, output):
                try:
                    while process.poll() is None:
                        told.take(session.get_custom_messages)
                        time.sleep(_LOOK_SECONDS)
                except BaseException as interruption:
                    _stop(process, folder)
                    raise PipelineCancelledException("the run was stopped") from interruption
        # The driver's last words are all there once the session is closed.
        told.take(session.get_custom_messages)
    return told.outcome(process.returncode, output)


class _Told:
    """What the driver has told, handed on to Dagster."""

    def __init__(self, events: RunEvents, pipeline: PipelineConfig) -> None:
        self._events = events
        self._pipeline = pipeline
        self._taken = 0
        self._end: RunCompleted | RunFailed | None = None

    def take(self, messages: Callable[[], Sequence[Any]]) -> None:
        """Hand on what is new.

        Args:
            messages: Gives all there are since the beginning.
        """
        for message in messages()[self._taken :]:
            self._taken += 1
            match TOLD.validate_python(message):
                case Said(text=text):
                    self._events.say(text)
                case StepBegan(index=index):
                    self._events.on_step("started", self._pipeline.steps[index], None)
                case StepEnded(metrics=metrics):
                    self._events.on_step("completed", self._pipeline.steps[metrics.index], metrics)
                case end:
                    self._end = end

    def outcome(self, exit_code: int, output: JvmOutput) -> RunMetrics:
        """What the run did.

        Args:
            exit_code: Of `spark-submit`.
            output: What it printed.

        Raises:
            PipelineException: It failed, or nobody knows.
        """
        if isinstance(self._end, RunCompleted):
            return self._end.metrics
        if self._end is not None:
            raise self._end.error()
        raise PipelineExecutionException(
            f"the driver did not say how the run ended; spark-submit ended with exit code {exit_code}, and said last: "
            f"{output.last_words()[-_LONGEST:] or 'nothing'}",
            location=self._pipeline.location,
            hint="read all of it in the run's stderr, and the driver's log if it ran in the cluster; re-executing the "
            "run repeats nothing that was loaded",
            retryable=True,
        )


class _FolderReader(dg.PipesBlobStoreMessageReader):
    def __init__(self, folder: UPath) -> None:
        super().__init__(interval=0)
        self._folder = folder

    @contextmanager
    def get_params(self) -> Generator[PipesParams]:
        yield {FOLDER: str(self._folder)}

    def messages_are_readable(self, params: PipesParams) -> bool:
        return True

    def download_messages_chunk(self, index: int, params: PipesParams) -> str | None:
        return chunk(self._folder, index)

    def no_messages_debug_text(self) -> str:
        return f"Looked for messages in {self._folder}."


@contextmanager
def _messages_folder(mode: DeployMode, run_id: str) -> Generator[UPath]:
    """Where the driver writes; gone after the block."""
    configured = os.environ.get(FOLDER_VARIABLE)
    if configured is None and mode == DeployMode.CLUSTER:
        raise PipelineConfigurationException(
            "the driver is to run in the cluster, and there is no place for what it tells",
            hint=f"set {FOLDER_VARIABLE} to a folder that both machines have, or to a bucket such as s3://BUCKET/runs",
        )
    if configured is None:
        with tempfile.TemporaryDirectory(prefix="pipeline-platform-run-") as folder:
            yield UPath(folder)
        return
    folder = UPath(configured) / run_id
    try:
        begin(folder)
    except Exception as error:
        raise PipelineConfigurationException(
            f"what the driver tells can't be written to {configured}: {error}",
            hint=f"set {FOLDER_VARIABLE} to a folder or a bucket that this process and the driver may write to",
        ) from error
    try:
        yield folder
    finally:
        # What is left of it is in nobody's way.
        with suppress(OSError):
            cast("Any", folder.fs).rm(folder.path, recursive=True)


@contextmanager
def _started(command: list[str]) -> Generator[tuple[subprocess.Popen[bytes], JvmOutput]]:
    """The process of a command, and its output, which goes to standard error; ended after the block."""
    reading, writing = os.pipe()
    output = JvmOutput(reading)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=submit_environment(),
            start_new_session=True,
        )
    finally:
        os.close(writing)
    try:
        yield process, output
    finally:
        if process.poll() is None:
            end_process(process, _END_SECONDS)


def _stop(process: subprocess.Popen[bytes], folder: UPath) -> None:
    """Have the driver stop its run, and wait for it."""
    ask_to_stop(folder)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
