"""What is known of a run while it goes on, and who is told when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineCancelledException, PipelineException
from pipeline_platform.logs import run_log_context
from pipeline_platform.metrics.exporter import Exporter, export_to_all
from pipeline_platform.metrics.run import RunMetrics, RunStatus, StepMetrics
from pipeline_platform.redaction import redact


@dataclass
class RunRecord:
    """The record of one run.

    Args:
        pipeline: The pipeline.
        run_id: Names the run.
        exporters: Told when it begins and when it ends.
        partitions: Keys of the partitions that it loads.
    """

    pipeline: PipelineConfig
    run_id: str
    exporters: Sequence[Exporter] = ()
    partitions: Sequence[str] = ()
    attempts: int = 0
    retried: list[str] = field(default_factory=list)
    """What the attempts failed at that were followed by another one."""
    steps: dict[int, StepMetrics] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: RunStatus = "RUNNING"
    error: str | None = None
    ended: datetime | None = None

    def metrics(self) -> RunMetrics:
        """The run as far as it went."""
        return RunMetrics(
            pipeline=self.pipeline.name,
            mode=self.pipeline.mode,
            run_id=self.run_id,
            status=self.status,
            partitions=list(self.partitions),
            variables=dict(self.pipeline.values),
            started=self.started,
            ended=self.ended,
            attempts=self.attempts,
            retried=self.retried,
            steps=[self.steps[index] for index in sorted(self.steps)],
            hints=[redact(hint) for hint in self.hints],
            error=self.error,
        )

    @contextmanager
    def exported(self) -> Generator[None]:
        """Tell that the run begins, and at the end of the block how it ended."""
        with run_log_context(self.pipeline.name, self.run_id):
            export_to_all(self.exporters, self.metrics())
            try:
                yield
            except BaseException as error:
                failed = isinstance(error, Exception) and not isinstance(error, PipelineCancelledException)
                self._end("FAILED" if failed else "CANCELLED", error)
                raise
            else:
                self._end("COMPLETED")

    def _end(self, status: RunStatus, error: BaseException | None = None) -> None:
        self.status, self.ended = status, datetime.now(UTC)
        self.error = redact(str(error)) if error is not None else None
        if status == "FAILED" and isinstance(error, PipelineException) and error.location is not None:
            self._fail_step(error.location.step_index)
        export_to_all(self.exporters, self.metrics())

    def _fail_step(self, index: int | None) -> None:
        """Note the step that the run failed at, as the only failed one."""
        if index is None:
            return
        step = self.pipeline.steps[index]
        unknown = StepMetrics(index=index, name=step.name, type=step.type, method=step.config.method, status="FAILED")
        self.steps[index] = self.steps.get(index, unknown).model_copy(update={"status": "FAILED"})
