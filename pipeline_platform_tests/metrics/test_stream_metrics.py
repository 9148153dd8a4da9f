"""Which streams are served to Prometheus."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devtools.pipelines import extract, load
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamState, state_file
from pipeline_platform.stream_metrics import StreamCollector


def test_the_streams_of_a_file_with_for_each_are_served_and_those_of_no_file_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STREAMS_VARIABLE, str(tmp_path / "streams"))
    folder = tmp_path / "pipelines"
    folder.mkdir()
    steps = [extract("fromRate", rowsPerSecond=1), load("toDeltaLake", path="lake/${var:shop}")]
    each = {"forEach": [{"shop": "oslo"}, {"shop": "rome"}], "variables": {"shop": {}}, "steps": steps}
    (folder / "shops.json").write_text(json.dumps({"name": "sales_${var:shop}", "mode": "streaming", **each}))
    (folder / "broken.json").write_text(json.dumps({"name": "broken_${var:shop}", "mode": "streaming", "forEach": 1}))
    now = datetime.now(UTC)
    for name in ("sales_oslo", "sales_rome", "sales_bonn"):
        state = StreamState(
            pipeline=name, checkpoint="checkpoints", run_id="1", phase="running", started=now, heartbeat=now
        )
        state.write(state_file(name))
    up = next(metric for metric in StreamCollector(folder).collect() if metric.name.endswith("_up"))
    assert {sample.labels["pipeline"]: sample.value for sample in up.samples} == {"sales_oslo": 1, "sales_rome": 1}
