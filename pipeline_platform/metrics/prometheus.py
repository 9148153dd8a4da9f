"""The record of a run for Prometheus: a batch is over before anything could scrape it, so it leaves its metrics behind.

Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    pushadd_to_gateway,  # pyright: ignore[reportUnknownVariableType]
    write_to_textfile,
)

from pipeline_platform.metrics.run import RunMetrics, RunStatus, StepMetrics, StepStatus

_TIMEOUT_SECONDS = 5.0
_STEP = ("pipeline", "step", "type", "method")


class TextfileExporter:
    """Leaves a file for the textfile collector of Prometheus's node exporter, one for each pipeline.

    Args:
        folder: The one that the collector reads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def export(self, run: RunMetrics) -> None:
        """Replace the pipeline's file.

        Raises:
            OSError: It can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"pipeline_platform_{re.sub(r'[^A-Za-z0-9_-]', '_', run.pipeline)}"
        write_to_textfile(str(self.folder / f"{name}.prom"), run_registry(run))
        if run.status == "COMPLETED":
            # In a file of its own, which a later run that fails leaves as it is.
            write_to_textfile(str(self.folder / f"{name}_success.prom"), success_registry(run))


class PushgatewayExporter:
    """Pushes to a Pushgateway, a group for each pipeline.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def export(self, run: RunMetrics) -> None:
        """Replace the metrics of the pipeline's group; that of its last success stays if the run failed.

        Raises:
            OSError: The gateway can't be reached.
        """
        registries = [run_registry(run), *([success_registry(run)] if run.status == "COMPLETED" else [])]
        for registry in registries:
            pushadd_to_gateway(
                self.url,
                "pipeline_platform",
                registry,
                grouping_key={"pipeline": run.pipeline},
                timeout=_TIMEOUT_SECONDS,
            )


def success_registry(run: RunMetrics) -> CollectorRegistry:
    """When the pipeline last completed, which is what an alert on a missing run needs."""
    registry = CollectorRegistry()
    gauge = _gauge(registry, "last_success_timestamp_seconds", "When the last run that completed ended.", ("pipeline",))
    if run.ended is not None:
        gauge.labels(run.pipeline).set(run.ended.timestamp())
    return registry


def run_registry(run: RunMetrics) -> CollectorRegistry:
    """The last run of a pipeline, and each of its steps.

    Args:
        run: Its record.
    """
    registry = CollectorRegistry()
    facts = {
        "run_start_timestamp_seconds": ("When the last run started.", run.started.timestamp()),
        "run_end_timestamp_seconds": ("When it ended.", run.ended.timestamp() if run.ended is not None else None),
        "run_duration_seconds": ("How long it took.", run.seconds),
        "run_attempts": ("Its attempts: more than 1 after transient failures.", run.attempts or None),
        "run_read_rows": ("Rows read by all extracts.", run.rows_read),
        "run_written_rows": ("Rows written by all loads.", run.rows_written),
        "run_written_bytes": ("Bytes written by all loads.", run.bytes_written),
    }
    for name, (help_text, value) in facts.items():
        if value is not None:
            _gauge(registry, name, help_text, ("pipeline", "mode")).labels(run.pipeline, run.mode).set(value)
    status = _gauge(registry, "run_status", "1 for the status of the last run.", ("pipeline", "mode", "status"))
    for known in get_args(RunStatus):
        status.labels(run.pipeline, run.mode, known).set(known == run.status)
    _add_steps(registry, run.pipeline, run.steps)
    return registry


def _add_steps(registry: CollectorRegistry, pipeline: str, steps: Iterable[StepMetrics]) -> None:
    rows = _gauge(registry, "step_rows", "Rows of a step's output, or rows it wrote.", _STEP)
    rows_in = _gauge(registry, "step_input_rows", "Rows of a step's inputs.", _STEP)
    seconds = _gauge(registry, "step_duration_seconds", "Time of a validation or a load.", _STEP)
    size = _gauge(registry, "step_written_bytes", "Bytes written by a load.", _STEP)
    partitions = _gauge(registry, "step_partitions", "Partitions of a step's output that had rows.", _STEP)
    violations = _gauge(registry, "step_violations", "Rows that broke a validation's rules.", _STEP)
    quarantined = _gauge(registry, "step_quarantined_rows", "Rows put in quarantine.", _STEP)
    malformed = _gauge(registry, "step_malformed_records", "Malformed records of an extract.", _STEP)
    status = _gauge(registry, "step_status", "1 for the status of a step.", (*_STEP, "status"))
    for step in steps:
        labels = (pipeline, step.name, step.type, step.method)
        known = (
            (rows, step.rows),
            (rows_in, step.rows_in),
            (seconds, step.seconds),
            (size, step.bytes),
            (partitions, step.partitions),
            (violations, step.violations if step.type == "validate" else None),
            (quarantined, step.quarantined),
            (malformed, step.malformed),
        )
        for gauge, value in known:
            if value is not None:
                gauge.labels(*labels).set(value)
        for each in get_args(StepStatus):
            status.labels(*labels, each).set(each == step.status)


def _gauge(registry: CollectorRegistry, name: str, help_text: str, labels: Iterable[str]) -> Gauge:
    return Gauge(f"pipeline_platform_{name}", help_text, labels, registry=registry)
