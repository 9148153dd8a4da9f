"""The streams of a machine for Prometheus to scrape.

One endpoint serves all of them from their state files, so that it answers for a stream that is dead as well, and a
stream that is restarted elsewhere needs no port of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline_platform.config.defaults import DEFAULTS_FILE
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.engine.streaming.stream_state import StreamPhase, StreamState, state_file
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.metrics.stream import DURATION_BOUNDS
from pipeline_platform.registry import method_registry

_STEP = ("pipeline", "step", "type", "method")


def serve_stream_metrics(folder: Path, host: str, port: int) -> WSGIServer:
    """Serve them in a thread of their own.

    Args:
        folder: Of the pipeline files: what a stream that is no longer there has left is not served.
        host: Address to listen on.
        port: 0 for any that is free.

    Returns:
        The server, which knows its port.

    Raises:
        OSError: The port is taken.
    """
    registry = CollectorRegistry()
    registry.register(StreamCollector(folder))
    server, _ = start_http_server(port, host, registry)
    return server


class StreamCollector(Collector):
    """Reads the state files with each scrape.

    Args:
        folder: Of the pipeline files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> Iterator[Metric]:
        """Nothing: what there is depends on the streams."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Every metric of every stream of the folder that ever ran here."""
        found = (StreamState.read(state_file(name)) for name in sorted(_names(self._folder)))
        states = [state for state in found if state is not None]
        now = datetime.now(UTC)
        yield from _life(states, now)
        yield from _place(states)
        yield from _work(states)
        yield from _steps(states)


def _names(folder: Path) -> Iterator[str]:
    """The names of the pipelines of a folder; files that can't be read have none."""
    methods = method_registry()
    shared = SharedFiles.of(methods, folder.absolute().parent)
    environment = shared.chosen.environment
    prefix = environment.keys.prefix or "" if environment is not None else ""
    for path in folder.glob("*.json"):
        if path.name == DEFAULTS_FILE:
            continue
        with suppress(OSError, ValueError, PipelineConfigurationException):
            match json.loads(path.read_bytes()):
                case {"forEach": _} | {"for_each": _}:
                    yield from (pipeline.name for pipeline in load_pipelines(path, methods, shared=shared))
                case {"name": name}:
                    yield f"{prefix}{name}"
                case _:
                    yield f"{prefix}{path.stem}"


def _life(states: list[StreamState], now: datetime) -> Iterator[Metric]:
    up = _gauge("up", "1 if a process runs the stream and its heartbeat is fresh.")
    phase = _gauge("phase", "1 for the state that the stream last reported.", "phase")
    started = _gauge("start_timestamp_seconds", "When its run started.")
    heartbeat = _gauge("heartbeat_timestamp_seconds", "Time of its last heartbeat.")
    restarts = _gauge("restarts", "Restarts by the supervisor since the stream last made progress.")
    for state in states:
        up.add_metric([state.pipeline], state.is_alive(now))
        for each in get_args(StreamPhase):
            phase.add_metric([state.pipeline, each], each == state.phase)
        started.add_metric([state.pipeline], state.started.timestamp())
        heartbeat.add_metric([state.pipeline], state.heartbeat.timestamp())
        restarts.add_metric([state.pipeline], state.restarts)
    yield from (up, phase, started, heartbeat, restarts)


def _place(states: list[StreamState]) -> Iterator[Metric]:
    lag = _gauge("lag_records", "Records in the source that it has not read yet.", "source", "partition")
    remembered = _gauge("state_rows", "Rows of state that the stream keeps.")
    batch = _gauge("micro_batch", "Number of the last micro-batch.")
    moved = _gauge("progress_timestamp_seconds", "When it last finished a micro-batch, or had none to work on.")
    for state in states:
        if state.moved is not None:
            moved.add_metric([state.pipeline], state.moved.timestamp())
        if state.progress is None:
            continue
        batch.add_metric([state.pipeline], state.progress.batch)
        if state.progress.state_rows is not None:
            remembered.add_metric([state.pipeline], state.progress.state_rows)
        for source in state.progress.sources:
            for partition, behind in source.lag_by_partition.items():
                lag.add_metric([state.pipeline, source.description, partition], behind)
    yield from (lag, remembered, batch, moved)


def _work(states: list[StreamState]) -> Iterator[Metric]:
    rows = CounterMetricFamily(
        "pipeline_platform_stream_read_rows", "Rows read since the run began.", labels=["pipeline"]
    )
    late = CounterMetricFamily(
        "pipeline_platform_stream_late_rows",
        "Rows, or groups of them, that came after the watermark and were left out, since the run began.",
        labels=["pipeline"],
    )
    future = CounterMetricFamily(
        "pipeline_platform_stream_future_rows",
        "Rows left out because their time is too far ahead, since the run began.",
        labels=["pipeline"],
    )
    duration = HistogramMetricFamily(
        "pipeline_platform_stream_micro_batch_duration_seconds",
        "Time of the micro-batches since the run began.",
        labels=["pipeline"],
    )
    for state in states:
        rows.add_metric([state.pipeline], state.totals.rows)
        late.add_metric([state.pipeline], state.totals.late_rows)
        future.add_metric([state.pipeline], state.totals.future_rows)
        bounds = [*map(str, map(float, DURATION_BOUNDS)), "+Inf"]
        counts = [*state.totals.within, state.totals.micro_batches]
        duration.add_metric([state.pipeline], list(zip(bounds, counts, strict=True)), state.totals.seconds)
    yield from (rows, late, future, duration)


def _steps(states: list[StreamState]) -> Iterator[Metric]:
    families = {
        "rows": CounterMetricFamily(
            "pipeline_platform_stream_step_rows", "Rows of a step's output, or rows it wrote.", labels=_STEP
        ),
        "bytes": CounterMetricFamily(
            "pipeline_platform_stream_step_written_bytes", "Bytes written by a load.", labels=_STEP
        ),
        "violations": CounterMetricFamily(
            "pipeline_platform_stream_step_violations", "Rows that broke a validation's rules.", labels=_STEP
        ),
        "quarantined": CounterMetricFamily(
            "pipeline_platform_stream_step_quarantined_rows", "Rows put in quarantine.", labels=_STEP
        ),
        "malformed": CounterMetricFamily(
            "pipeline_platform_stream_step_malformed_records",
            "Malformed records of an extract.",
            labels=_STEP,
        ),
    }
    for state in states:
        for step in state.steps:
            for name, family in families.items():
                value = getattr(step, name)
                if value is not None:
                    family.add_metric([state.pipeline, step.name, step.type, step.method], value)
    yield from families.values()


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pipeline_platform_stream_{name}", help_text, labels=["pipeline", *labels])
