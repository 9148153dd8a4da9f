"""The definitions of a folder, and a knife: a stream kills itself where the file `KILL_AT` says.

Each step that begins or ends is one line in `STREAM_TRACE`, with the process that it is of.
"""

import os
import signal
from pathlib import Path

from devtools.deployment import KILL_AT, TRACE
from pipeline_platform.config.step import Step
from pipeline_platform.definitions import defs as defs
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.metrics.run import StepMetrics

_run = StreamRun.run


def _watched_run(self: StreamRun):
    trace, kill_at, told = Path(os.environ[TRACE]), Path(os.environ[KILL_AT]), self.on_step

    def on_step(event: str, step: Step, metrics: StepMetrics | None) -> None:
        with trace.open("a") as file:
            file.write(f"{os.getpid()} {event} {step.name}\n")
        if kill_at.exists() and kill_at.read_text() == f"{event} {step.name}":
            kill_at.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        told(event, step, metrics)

    self.on_step = on_step
    return _run(self)


StreamRun.run = _watched_run
