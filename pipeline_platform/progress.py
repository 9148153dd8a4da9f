"""What a run shows on a terminal: the step it is at, then a table of what it did."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.logs import is_json
from pipeline_platform.metrics.run import RunMetrics, StepMetrics
from pipeline_platform.metrics.stream import StreamProgress

_LOG = logging.getLogger(__name__)
_BATCHES_SHOWN = 10


class ProgressTable:
    """Shows the progress of a run on standard error; on standard output stays only what was asked for.

    Args:
        pipeline: The pipeline that is run.
        title: What is run, as each line begins with it; the pipeline's name by default.
    """

    def __init__(self, pipeline: PipelineConfig, title: str | None = None) -> None:
        # What is logged as JSON is read by a machine, line by line: progress is then a line of the log.
        self.console = Console(stderr=True, quiet=is_json())
        self.pipeline = pipeline
        self.title = title or pipeline.name
        self.status = Status("", console=self.console)
        self.batches: deque[StreamProgress] = deque(maxlen=_BATCHES_SHOWN)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.status.stop()
        self.live.stop()

    def say(self, what: str) -> None:
        """Say what is being done now."""
        if is_json():
            _LOG.info("%s", what)
        text = f"{self.title}: {what}"
        if self.console.is_terminal:
            self.status.update(Text(text))
        else:
            self.console.print(Text(text))

    def note(self, what: str) -> None:
        """Say what has to stay on the screen, whatever becomes of the run."""
        if is_json():
            _LOG.info("%s", what)
        self.console.print(Text(f"{self.title}: {what}"), soft_wrap=True)

    @property
    def say_seconds(self) -> float:
        """How often to say how far a step is: often where that takes no line."""
        return 1.0 if self.console.is_terminal else 10.0

    def on_step(self, event: str, step: Step, _: StepMetrics | None) -> None:
        """Hear about a step, as a listener of the run."""
        if event == "started":
            self.say(self.pipeline.step_title(step))

    def on_micro_batch(self, progress: StreamProgress) -> None:
        """Hear where a stream stands, as its listener: on a terminal the last micro-batches are a table."""
        if not self.console.is_terminal:
            self.say(progress.told())
            return
        self.status.stop()
        if progress.worked or not self.batches:
            self.batches.append(progress)
        else:
            self.batches[-1] = self.batches[-1].model_copy(update={"sources": progress.sources})
        if not self.live.is_started:
            self.live.start()
        self.live.update(_stream_table(self.title, self.batches), refresh=True)

    def completed(self, metrics: RunMetrics) -> None:
        """Show the table of a run that went well."""
        self.status.stop()
        self.live.stop()
        self.console.print(_table(self.title, metrics))
        for step in metrics.steps:
            if step.quarantined and step.quarantine:
                told = f"quarantine of {step.name}: {_place(step.quarantine)}"
                self.console.print(Text(told, style="dim"), soft_wrap=True)
            for change in step.schema_changes:
                self.console.print(Text(f"{step.name}: {change.told()}", style="yellow"), soft_wrap=True)
            if step.remark is not None:
                self.console.print(Text(f"{step.name}: {step.remark}", style="yellow"), soft_wrap=True)
        for hint in metrics.hints:
            self.console.print(Text(f"hint: {hint}", style="dim"))

    def failed(self, message: str) -> None:
        """Show why the run ended."""
        if is_json():
            _LOG.error("%s", message)
        self.status.stop()
        self.live.stop()
        self.console.print(Text(message, style="red"))


def _stream_table(name: str, batches: Iterable[StreamProgress]) -> Table:
    table = Table(title=f"{name}: Ctrl-C stops it after its micro-batch", title_justify="left")
    for column in ("micro-batch", "at", "rows", "time", "rows/s", "behind", "rows of state"):
        table.add_column(column, justify="right")
    for batch in batches:
        table.add_row(
            f"{batch.batch:,}",
            f"{batch.at.astimezone():%H:%M:%S}",
            f"{batch.rows:,}",
            f"{batch.seconds:.1f} s",
            f"{batch.rows_per_second:,.0f}" if batch.rows_per_second else "–",
            f"{batch.lag:,}" if batch.lag is not None else "–",
            f"{batch.state_rows:,}" if batch.state_rows is not None else "–",
        )
    return table


def _table(name: str, metrics: RunMetrics) -> Table:
    table = Table(title=f"{name}: {metrics.status.lower()} in {metrics.seconds or 0:.1f} s", title_justify="left")
    for column, right in (("step", False), ("method", False), ("rows", True), ("time", True), ("result", False)):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for step in metrics.steps:
        rows = f"{step.rows:,}" if step.rows is not None else "–"
        seconds = f"{step.seconds:.1f} s" if step.seconds is not None else ""
        table.add_row(Text(step.name), step.method, rows, seconds, Text(_outcome(step)))
    return table


def _outcome(step: StepMetrics) -> str:
    if step.type == "validate":
        broken = [rule for rule in step.rules if not rule.passed]
        told = ", ".join(rule.detail or f"{rule.rule}: {rule.violations:,}" for rule in broken) or "passed"
        return told + (f"; {_rows(step.quarantined)} quarantined" if step.quarantined else "")
    if step.skipped:
        return step.skipped
    if step.type == "load":
        version = f", version {step.version}" if step.version is not None else ""
        return f"{_place(step.uri or '')}{version}"
    notes = [step.rows_note] if step.rows_note else []
    if step.malformed:
        notes.append(f"{step.malformed:,} malformed records {'quarantined' if step.quarantined else 'made null'}")
    return "; ".join(notes)


def _place(uri: str) -> str:
    """Where rows were written, short for what lies below the working directory."""
    here = f"{Path.cwd().as_uri()}/"
    return unquote(uri.removeprefix(here)) if uri.startswith(here) else uri


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"
