"""The record of a run as a line of the log."""

from __future__ import annotations

import logging

from pipeline_platform.metrics.run import RunMetrics

_LOG = logging.getLogger(__name__)


class LogExporter:
    """Logs how a run began and how it ended; one that failed as an error."""

    def export(self, run: RunMetrics) -> None:
        """Write one line, with the whole record as the field `run` of a structured log."""
        told = {"run": run.model_dump(mode="json", exclude_defaults=True)}
        if run.status == "RUNNING":
            _LOG.info("%s: run %s begins", run.pipeline, run.run_id, extra=told)
            return
        rows = f"{run.rows_written:,} rows written" if run.rows_written is not None else "rows written not known"
        level = logging.ERROR if run.status == "FAILED" else logging.INFO
        text = f"{run.pipeline}: run {run.run_id} {run.status.lower()} in {run.seconds or 0:.1f} s, {rows}"
        _LOG.log(level, "%s", f"{text}: {run.error}" if run.error else text, extra=told)
