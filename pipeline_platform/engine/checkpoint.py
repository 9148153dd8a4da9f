"""Where a stream keeps its place."""

from __future__ import annotations

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.methods.dataset import spark_path
from pipeline_platform.methods.load.base import Load


def main_load(pipeline: PipelineConfig) -> Step:
    """The first load: what it says of checkpoint, trigger, output mode and name holds for the one query there is."""
    return next(step for step in pipeline.steps if step.type == "load")


def checkpoint_location(pipeline: PipelineConfig) -> str:
    """Path or URI of the checkpoint: as written, or fixed by the names of the pipeline and its first load.

    Args:
        pipeline: A streaming pipeline.
    """
    step = main_load(pipeline)
    config = step.config.resolved()
    assert isinstance(config, Load)
    root = pipeline.streaming.checkpoint_root.rstrip("/")
    return spark_path(config.checkpoint_location or f"{root}/{pipeline.name}/{step.name}")
