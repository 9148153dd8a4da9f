"""The streams of a project as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming.other_streams import other_writers
from pipeline_platform.engine.streaming.stream_state import (
    StreamRequest,
    StreamState,
    all_states,
    request_file,
    state_file,
)

_NARROWEST = 120
_STYLES = {"running": "green", "failed": "red", "gone": "red", "orphaned": "red"}


def stream_rows(
    pipelines: Sequence[PipelineConfig],
    now: datetime,
    orphaned: Sequence[StreamState],
    groups: Mapping[str, str],
    environment: str | None = None,
) -> list[dict[str, Any]]:
    """What there is to say of each stream: state, group, batch, lag, restarts, checkpoint.

    Args:
        pipelines: Streaming pipelines.
        now: The time, with its zone.
        orphaned: Streams that run without a pipeline.
        groups: In which group each runs, by its name, as the supervisor last said; the others are in the one that their
            file names, if any.
        environment: That they are in, as `place_apart` of a pipeline has it; None for production.
    """
    states = all_states(environment)
    rows = [
        _row(
            pipeline.name,
            StreamState.read(state_file(pipeline.name)),
            states,
            now,
            groups.get(pipeline.name, pipeline.streaming.group or None),
        )
        for pipeline in pipelines
    ]
    return rows + [{**_row(state.pipeline, state, states, now, None), "state": "orphaned"} for state in orphaned]


def show_streams(rows: Sequence[dict[str, Any]]) -> None:
    """Print them as a table on standard output.

    Args:
        rows: What `stream_rows` gave.
    """
    table = Table(box=SIMPLE, pad_edge=False)
    has_groups = any(row["group"] for row in rows)
    for column in ("stream", "state", *(["group"] if has_groups else [])):
        table.add_column(column, no_wrap=True)
    for column in ("batch", "rows/s", "lag", "restarts", "beat"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("checkpoint", overflow="fold")
    for row in rows:
        speed = row["rows_per_second"]
        table.add_row(
            row["stream"],
            Text(row["state"], style=_STYLES.get(row["state"], "")),
            *([row["group"] or "–"] if has_groups else []),
            _number(row["batch"]),
            f"{speed:,.0f}" if speed is not None else "–",
            _number(row["lag"]),
            str(row["restarts"]),
            _ago(row["heartbeat_seconds_ago"]),
            (row["checkpoint"] or "–").removeprefix(f"{Path.cwd()}/"),
        )
    console = Console(width=max(Console().width, _NARROWEST))
    console.print(table)
    for row in rows:
        if row["state"] == "orphaned":
            told = (
                f"its pipeline was renamed or removed, and it is still running, on {row['host']} as process "
                f"{row['pid']}"
            )
            console.print(Text(f"{row['stream']}: {told}", style="red"))
        if row["error"]:
            console.print(Text(f"{row['stream']}: {row['error']}", style="red"))
        for told in (*row["other_writers"], *filter(None, [row["left_out"]])):
            console.print(Text(f"{row['stream']}: {told}", style="yellow"))


def _row(
    name: str, state: StreamState | None, states: Sequence[StreamState], now: datetime, group: str | None
) -> dict[str, Any]:
    request = StreamRequest.read(request_file(name))
    progress = state.progress if state is not None else None
    is_alive = state is not None and state.is_alive(now)
    return {
        "stream": name,
        "state": _state(state, request, now),
        "group": group,
        "batch": progress.batch if progress is not None else None,
        "rows_per_second": progress.rows_per_second if progress is not None else None,
        "lag": progress.lag if progress is not None else None,
        "restarts": state.restarts if state is not None else 0,
        "heartbeat_seconds_ago": round((now - state.heartbeat).total_seconds()) if state is not None else None,
        "checkpoint": state.checkpoint if state is not None else None,
        "run_id": state.run_id if state is not None else None,
        "host": state.host if state is not None else None,
        "pid": state.pid if state is not None else None,
        "error": state.error if state is not None and state.phase == "failed" else None,
        "late_rows": state.totals.late_rows if state is not None else None,
        "future_rows": state.totals.future_rows if state is not None else None,
        "left_out": state.totals.left_out() if state is not None else None,
        "other_writers": other_writers(name, state.sinks, states, now) if state is not None and is_alive else [],
    }


def _state(state: StreamState | None, request: StreamRequest | None, now: datetime) -> str:
    if state is None:
        return "never ran"
    if state.phase not in ("starting", "running"):
        return state.phase
    is_stopped = request is not None and request.action == "stop" and request.at > state.started
    if state.is_stale(now):
        return "stopped" if is_stopped else "gone"
    return "stopping" if is_stopped else state.phase


def _number(value: int | None) -> str:
    return f"{value:,}" if value is not None else "–"


def _ago(seconds: int | None) -> str:
    return f"{timedelta(seconds=seconds)}" if seconds is not None else "–"
