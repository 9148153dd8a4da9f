"""Runs of small pipelines, written as JSON and read as a file would be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.metrics.run import RunMetrics, StepMetrics
from pipeline_platform.registry import method_registry

StepValue = dict[str, Any]


def extract(method: str, **config: Any) -> StepValue:
    return {"type": "extract", "method": method, "config": config}


def transform(method: str, **config: Any) -> StepValue:
    return {"type": "transform", "method": method, "config": config}


def validate(method: str, **config: Any) -> StepValue:
    return {"type": "validate", "method": method, "config": config}


def load(method: str, **config: Any) -> StepValue:
    return {"type": "load", "method": method, "config": config}


def json_rows(path: Path, rows: Sequence[Mapping[str, Any]], schema: str | None) -> StepValue:
    """An extract of these rows, which lie in a JSON file; without a schema, the types are found in it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return extract("fromFiles", path=str(path), format="json", schema=schema)


def pipeline_text(steps: Sequence[StepValue], name: str = "tested", **keys: Any) -> str:
    return json.dumps({"name": name, "mode": "batch", **keys, "steps": list(steps)}, indent=2)


def pipeline_of(
    steps: Sequence[StepValue], methods: MethodRegistry | None = None, name: str = "tested", **keys: Any
) -> PipelineConfig:
    return parse_pipeline(pipeline_text(steps, name, **keys), methods or method_registry(), Path("tested.json"))


def run(
    spark: SparkSession,
    *steps: StepValue,
    load_id: str | None = None,
    methods: MethodRegistry | None = None,
    **keys: Any,
) -> RunMetrics:
    """Run a pipeline of these steps.

    Args:
        spark: The session.
        steps: The steps.
        load_id: The same for a run and its retries.
        methods: The methods; by default the platform's.
        keys: Other keys of the file.
    """
    return BatchRun(pipeline_of(steps, methods, **keys), spark, load_id=load_id).run()


def run_by_name(spark: SparkSession, *steps: StepValue, **options: Any) -> dict[str, StepMetrics]:
    """Run a pipeline of these steps, with options of the run: what each step did, by its name."""
    metrics = BatchRun(pipeline_of(steps), spark, **options).run()
    return {step.name: step for step in metrics.steps}


def last_step(metrics: RunMetrics) -> StepMetrics:
    return max(metrics.steps, key=lambda step: step.index)


def listing(folder: Path) -> list[str]:
    """Every file below a folder, checksums aside."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".crc"
    )


def wrote_nothing(*paths: Path) -> bool:
    """Whether there is nothing at any of these paths."""
    return not any(path.exists() for path in paths)
