"""A stream goes on only where its sinks and its checkpoint agree, and says what a sink lacks."""

from __future__ import annotations

from typing import Any

import pytest

from devtools.pipelines import extract, load, pipeline_of
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.streaming.checkpoint import CheckpointPosition
from pipeline_platform.engine.streaming.stream_sinks import SinkPosition, gaps, require_not_ahead, sink_names
from pipeline_platform.exceptions import PipelineConfigurationException

CHECKPOINT = StorageLocation("/checkpoint")
PLANNED = 3
POSITION = CheckpointPosition("query", planned=PLANNED, finished=PLANNED - 1)


@pytest.fixture
def pipeline() -> PipelineConfig:
    rate: dict[str, Any] = extract("fromRate", rowsPerSecond=1)
    loads = [load("toDeltaLake", path=f"/lake/{name}") for name in "ab"]
    return pipeline_of([rate, *loads], mode="streaming")


def positions(pipeline: PipelineConfig, *lasts: int | None) -> list[SinkPosition]:
    """Sinks that hold these micro-batches last."""
    return [
        SinkPosition(step, step.config.dataset().uri, last)  # pyright: ignore[reportAttributeAccessIssue]
        for step, last in zip(pipeline.steps[1:], lasts, strict=True)
    ]


def test_a_sink_may_hold_the_micro_batch_that_was_begun(pipeline: PipelineConfig):
    require_not_ahead(pipeline, CHECKPOINT, POSITION, positions(pipeline, PLANNED, None))


def test_a_sink_that_is_one_micro_batch_ahead_is_refused(pipeline: PipelineConfig):
    with pytest.raises(PipelineConfigurationException, match=r"micro-batch 3, and .*/b .* holds micro-batch 4;"):
        require_not_ahead(pipeline, CHECKPOINT, POSITION, positions(pipeline, PLANNED, PLANNED + 1))


def test_a_sink_that_is_new_or_empty_is_told(pipeline: PipelineConfig):
    a, b = sink_names(pipeline).values()
    sinks = positions(pipeline, PLANNED, None)
    assert gaps(pipeline, POSITION, {a, b}, positions(pipeline, PLANNED, 0)) == []
    [empty] = gaps(pipeline, POSITION, {a, b}, sinks)
    assert "/lake/b (toDeltaLake) holds no micro-batch of this stream, which has finished 3" in empty
    [new] = gaps(pipeline, POSITION, {a}, sinks)
    assert "/lake/b is new to this stream: it gets what comes after micro-batch 2" in new
    assert gaps(pipeline, POSITION, set(), sinks) == []
