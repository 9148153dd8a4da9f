"""The driver of a submitted run: does what it is asked to, and tells of it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import cast

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesContext,
    open_dagster_pipes,  # pyright: ignore[reportUnknownVariableType]
)
from pydantic import BaseModel
from upath import UPath

from pipeline_platform.config.environments import ENVIRONMENT_VARIABLE, ENVIRONMENTS_FILE
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.step import Step
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.logs import configure_logs
from pipeline_platform.metrics.exporter import exporters_from_environment
from pipeline_platform.metrics.run import RunMetrics, StepMetrics
from pipeline_platform.redaction import redact
from pipeline_platform.registry import method_registry
from pipeline_platform.submission.messages import FOLDER, FolderWriter, is_asked_to_stop
from pipeline_platform.submission.protocol import (
    RunCompleted,
    RunFailed,
    RunRequest,
    Said,
    StepBegan,
    StepEnded,
    asked_of,
)

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 2.0


def is_piped() -> bool:
    """Whether Dagster has started this process and follows it."""
    return PipesCliArgsParamsLoader().is_dagster_pipes_process()


def main() -> int:
    """Run what Dagster asks for; the exit code."""
    configure_logs()
    parameters = PipesCliArgsParamsLoader()
    folder = UPath(cast("str", parameters.load_messages_params()[FOLDER]))
    with open_dagster_pipes(params_loader=parameters, message_writer=FolderWriter()) as pipes:
        try:
            with stopping_when_asked(folder):
                metrics = _run(asked_of(pipes.extras), pipes)
        except PipelineException as error:
            _tell(pipes, RunFailed.by(error))
            return 1
        except KeyboardInterrupt:
            _tell(pipes, RunFailed(message="the run was stopped before it began", was_stopped=True))
            return 1
        except Exception as error:
            # Whoever follows the run would only know that it is over.
            _tell(pipes, RunFailed(message=redact(f"the driver failed by {type(error).__name__}: {error}")))
            raise
        _tell(pipes, RunCompleted(metrics=metrics))
    return 0


def _run(request: RunRequest, pipes: PipesContext) -> RunMetrics:
    if request.environment is not None:
        # Otherwise what the machine of the driver says would count.
        os.environ[ENVIRONMENT_VARIABLE] = request.environment
    else:
        os.environ.pop(ENVIRONMENT_VARIABLE, None)
    pipeline = load_pipeline(request.file, method_registry(), values=request.values)
    if (pipeline.environment.name if pipeline.environment is not None else None) != request.environment:
        raise PipelineConfigurationException(
            "the project has another environment where the driver runs than Dagster has loaded",
            location=pipeline.location,
            hint=f"bring the same {ENVIRONMENTS_FILE} there, and reload the code location",
        )
    if [step.name for step in pipeline.steps] != [*request.steps]:
        raise PipelineConfigurationException(
            "the file has other steps where the driver runs than Dagster has loaded",
            location=pipeline.location,
            hint="bring the same file there, and reload the code location",
        )
    try:
        spark = spark_session(pipeline.name, pipeline.spark_settings())
        return BatchRun(
            pipeline,
            spark,
            run_id=request.run_id,
            load_id=request.load_id,
            selection=frozenset(request.selection),
            listener=_listener(pipes),
            exporters=exporters_from_environment(),
            partition=request.partition,
            say=lambda text: _tell(pipes, Said(text=text)),
        ).run()
    except PipelineException as error:
        raise error.locate(pipeline.location) from error.__cause__


def _listener(pipes: PipesContext) -> Callable[[str, Step, StepMetrics | None], None]:
    def on_step(_: str, step: Step, metrics: StepMetrics | None) -> None:
        _tell(pipes, StepBegan(index=step.index) if metrics is None else StepEnded(metrics=metrics))

    return on_step


def _tell(pipes: PipesContext, message: BaseModel) -> None:
    pipes.report_custom_message(message.model_dump(mode="json"))


@contextmanager
def stopping_when_asked(folder: UPath) -> Generator[None]:
    """Let the block be interrupted, as by Ctrl-C, when the other side asks, or the cluster ends the driver.

    Args:
        folder: Where the other side asks; a place that can't be looked at is looked at again.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_SECONDS):
            try:
                if is_asked_to_stop(folder):
                    os.kill(os.getpid(), signal.SIGINT)
                    return
            except Exception as error:  # noqa: BLE001
                _LOG.warning("whether the run is to stop can't be seen in %s: %s", folder, redact(str(error)))

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    watching = threading.Thread(target=watch, name="stop-request", daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
