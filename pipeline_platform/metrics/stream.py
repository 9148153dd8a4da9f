"""Where a stream stands: what Dagster's metadata, the terminal and the state file are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from pipeline_platform.transforms.event_time import FUTURE_ROWS

MALFORMED_RECORDS = "malformed/"
"""What the name of the observation begins with that counts the malformed records of an extract; its step follows."""
LOADED = "loaded"
"""Name of the observation that counts what goes into Spark's own sink."""
DURATION_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds by which the durations of micro-batches are grouped: around the triggers that people use."""


class SourceProgress(BaseModel):
    """Where a stream stands in one of its sources."""

    model_config = ConfigDict(frozen=True)

    description: str
    rows: int
    """Rows of the last micro-batch."""
    offsets: Any = None
    """Up to where it has read, as the source counts."""
    lag: int | None = None
    """Records behind the newest; None for a source that does not say."""
    lag_by_partition: dict[str, int] = {}
    """The same for each `topic/partition`."""


class StreamProgress(BaseModel):
    """Where a stream stands after a micro-batch."""

    model_config = ConfigDict(frozen=True)

    query_id: str
    """Names the checkpoint, and so the stream through all its restarts."""
    query_run_id: str
    """Names the stream since its last start."""
    name: str | None
    batch: int
    """Number of the micro-batch."""
    worked: bool
    """Whether there was anything to load; without, the number is that of the micro-batch to come."""
    at: datetime
    rows: int
    """Rows read by the micro-batch."""
    loaded: int | None = None
    """Rows that Spark's own sink has taken of it; None where the platform loads them."""
    rows_per_second_in: float | None
    rows_per_second: float | None
    """Rows processed each second."""
    seconds: float
    """Duration of the micro-batch."""
    sources: list[SourceProgress]
    state_rows: int | None = None
    """Rows that the stream remembers; None for one that has no state."""
    watermark: str | None = None
    malformed: dict[str, int] = {}
    """Records that could not be used and were made null, by the extract that read them."""
    late_rows: int = 0
    """Rows of the micro-batch, or groups of them, that were left out because they came after the watermark."""
    future_rows: int = 0
    """Rows of the micro-batch that were left out because their time is further ahead than `maxFuture`."""

    def told(self) -> str:
        """Where the stream stands, in a line."""
        lag = f", {self.lag:,} behind" if self.lag is not None else ""
        speed = f", {self.rows_per_second:,.0f} rows/s" if self.rows_per_second else ""
        return f"micro-batch {self.batch}: {self.rows:,} rows in {self.seconds:.1f} s{speed}{lag}"

    @property
    def lag(self) -> int | None:
        """Records behind the newest, of all sources that say; None if none does."""
        known = [source.lag for source in self.sources if source.lag is not None]
        return sum(known) if known else None


class StreamTotals(BaseModel):
    """What a stream did since its run began."""

    model_config = ConfigDict(frozen=True)

    micro_batches: int = 0
    rows: int = 0
    """Rows read."""
    seconds: float = 0.0
    """Duration of all micro-batches."""
    within: tuple[int, ...] = (0,) * len(DURATION_BOUNDS)
    """For each of `DURATION_BOUNDS`: the micro-batches that took no longer."""
    late_rows: int = 0
    """Rows, or groups of them, that came after the watermark and were left out."""
    future_rows: int = 0
    """Rows that were left out because their time is too far ahead."""

    def and_then(self, progress: StreamProgress) -> StreamTotals:
        """With one micro-batch more."""
        if not progress.worked:
            return self
        return StreamTotals(
            micro_batches=self.micro_batches + 1,
            rows=self.rows + progress.rows,
            seconds=self.seconds + progress.seconds,
            within=tuple(
                count + (progress.seconds <= bound) for count, bound in zip(self.within, DURATION_BOUNDS, strict=True)
            ),
            late_rows=self.late_rows + progress.late_rows,
            future_rows=self.future_rows + progress.future_rows,
        )

    def left_out(self) -> str | None:
        """What rows were left out because of their event time, in words; None if none were."""
        reported = [
            f"{self.late_rows:,} rows came too late for the watermark" if self.late_rows else "",
            f"{self.future_rows:,} rows have a time further ahead than 'maxFuture'" if self.future_rows else "",
        ]
        return f"left out: {' and '.join(filter(None, reported))}" if any(reported) else None


class StepTotals(BaseModel):
    """What a step of a stream did since the run began."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    method: str
    rows: int | None
    bytes: int | None
    violations: int | None
    quarantined: int | None
    malformed: int | None = None


def stream_progress(reported: Mapping[str, Any]) -> StreamProgress:
    """Read what Spark says of a micro-batch.

    Args:
        reported: The JSON of its `StreamingQueryProgress`, from Spark itself or over Spark Connect.
    """
    state = [int(operator["numRowsTotal"]) for operator in reported.get("stateOperators", ())]
    return StreamProgress(
        query_id=reported["id"],
        query_run_id=reported["runId"],
        name=reported.get("name"),
        batch=reported["batchId"],
        worked="addBatch" in reported.get("durationMs", {}),
        at=reported["timestamp"],
        rows=sum(int(source["numInputRows"]) for source in reported["sources"]),
        loaded=_counted(reported.get("observedMetrics", {}).get(LOADED)),
        rows_per_second_in=_rate(reported, "inputRowsPerSecond"),
        rows_per_second=_rate(reported, "processedRowsPerSecond"),
        seconds=reported.get("durationMs", {}).get("triggerExecution", reported.get("batchDuration", 0)) / 1000,
        sources=[_source(source) for source in reported["sources"]],
        state_rows=sum(state) if state else None,
        watermark=reported.get("eventTime", {}).get("watermark"),
        malformed={
            name.removeprefix(MALFORMED_RECORDS): _counted(observed) or 0
            for name, observed in reported.get("observedMetrics", {}).items()
            if name.startswith(MALFORMED_RECORDS)
        },
        late_rows=sum(
            int(operator.get("numRowsDroppedByWatermark", 0)) for operator in reported.get("stateOperators", ())
        ),
        future_rows=sum(
            _counted(values) or 0
            for name, values in reported.get("observedMetrics", {}).items()
            if name.startswith(FUTURE_ROWS)
        ),
    )


def _counted(observed: Mapping[str, Any] | None) -> int | None:
    if observed is None:
        return None
    # Over Spark Connect there are values by position, and their names in a schema.
    return observed["values"][0] if "values" in observed else observed["rows"]


def _offsets(reported: Any) -> Any:
    """What Spark tells as JSON, and over Spark Connect as text that holds JSON."""
    try:
        return json.loads(reported) if isinstance(reported, str) else reported
    except ValueError:
        return reported


def _rate(reported: Mapping[str, Any], key: str) -> float | None:
    rates = [source[key] for source in reported["sources"] if isinstance(source.get(key), (int, float))]
    return sum(rates) if rates else None


def _source(reported: Mapping[str, Any]) -> SourceProgress:
    end = _offsets(reported.get("endOffset"))
    behind = _behind(end, _offsets(reported.get("latestOffset")))
    return SourceProgress(
        description=reported["description"],
        rows=reported["numInputRows"],
        offsets=end,
        lag=sum(behind.values()) if behind else None,
        lag_by_partition=behind,
    )


def _behind(end: Any, latest: Any) -> dict[str, int]:
    """For offsets by topic and partition: how far each is behind the newest."""
    if not (_is_by_topic(end) and _is_by_topic(latest)):
        return {}
    return {
        f"{topic}/{partition}": max(int(offset) - int(end.get(topic, {}).get(partition, 0)), 0)
        for topic, partitions in latest.items()
        for partition, offset in partitions.items()
    }


def _is_by_topic(offsets: Any) -> bool:
    return isinstance(offsets, dict) and all(isinstance(one, dict) for one in cast("dict[str, Any]", offsets).values())
