"""Runs pipelines that are written in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import STEP_TYPES
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.methods.vocabulary import vocabulary
from pipeline_platform.metrics.run import RunMetrics, StepMetrics


def step(method: str, **config: Any) -> dict[str, Any]:
    """A step as it stands in a file; its type is that of its method."""
    kind = next(kind for kind in STEP_TYPES if method in vocabulary()[kind])
    return {"type": kind, "method": method, "config": config}


def pipeline(*steps: dict[str, Any]) -> PipelineConfig:
    """A batch pipeline of these steps."""
    return parse_pipeline(json.dumps({"name": "test", "mode": "batch", "steps": steps}, indent=1), vocabulary())


def run(spark: SparkSession, *steps: dict[str, Any], **options: Any) -> dict[str, StepMetrics]:
    """Run them as a pipeline: what each step did, by its name."""
    metrics: RunMetrics = BatchRun(pipeline(*steps), spark, **options).run()
    return {found.name: found for found in metrics.steps}


def wrote_nothing(*paths: Path) -> bool:
    """Whether there is nothing at any of these paths."""
    return not any(path.exists() for path in paths)
