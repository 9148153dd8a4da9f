"""What the page of a run, and a terminal it runs at, show while it goes on: what it does, a bar for each step."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.events import EngineEventData

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.logs import is_json
from pipeline_platform.metrics.run import StepMetrics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_log = logging.getLogger(__name__)


class RunEvents:
    """Tells Dagster, and whoever reads standard error, what a run does.

    Args:
        context: Of the op.
        pipeline: What is run.
        shares_run: Whether the run is also that of other pipelines, so that its events have to name this one.
    """

    def __init__(self, context: dg.OpExecutionContext, pipeline: PipelineConfig, *, shares_run: bool = False) -> None:
        self._context = context
        self._pipeline = pipeline
        self._prefix = f"{pipeline.name}: " if shares_run else ""
        self.finished: dict[int, StepMetrics] = {}
        """What each step did, by its index."""

    def say(self, what: str) -> None:
        """Tell in a line, as on the terminal; as an event, since `dagster.yaml` may keep warnings of the log alone."""
        self._event(what, EngineEventData())

    def warn(self, what: str) -> None:
        """Tell what somebody should look at, in the run's log."""
        self._context.log.warning(f"{self._pipeline.name}: {what}")

    def on_step(self, event: str, step: Step, metrics: StepMetrics | None) -> None:
        """Hear about a step, as a listener of the run."""
        if event == "started":
            self._event(self._pipeline.step_title(step), EngineEventData(marker_start=step.name))
            return
        assert metrics is not None
        self.finished[step.index] = metrics
        # Extracts and transforms are part of what is done for a load, and take no time of their own.
        marker = step.name if metrics.seconds is not None else None
        self._event(metrics.told(), EngineEventData(marker_end=marker))
        for change in metrics.schema_changes:
            self.warn(f"{step.name}: {change.told()}")
        if metrics.remark is not None:
            self.warn(f"{step.name}: {metrics.remark}")

    def show_spark(self, spark: SparkSession) -> None:
        """Link to Spark's page of the run, if it has one."""
        url = getattr(getattr(spark, "sparkContext", None), "uiWebUrl", None)
        if url is not None:
            self._event(
                "Spark's own page, while the run goes on", EngineEventData({"Spark": dg.MetadataValue.url(url)})
            )

    def _event(self, text: str, data: EngineEventData) -> None:
        step_key = str(self._context.op_handle)
        self._context.instance.report_engine_event(f"{self._prefix}{text}", self._context.run, data, step_key=step_key)
        # Dagster shows events on its pages alone.
        if is_json():
            _log.info("%s", text)
        else:
            sys.stderr.write(f"{self._pipeline.name}: {text}\n")
