"""Reads pipelines that tests write down as Python values or as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.loader import load_pipeline, parse_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry

Json = dict[str, Any]

FILES = {"path": "flights", "format": "parquet"}


def extract(method: str = "fromFiles", **config: Any) -> Json:
    return {"type": "extract", "method": method, "config": config or FILES}


def transform(method: str, **config: Any) -> Json:
    return {"type": "transform", "method": method, "config": config}


def validate(method: str, **config: Any) -> Json:
    return {"type": "validate", "method": method, "config": config}


def load(method: str = "toDeltaLake", **config: Any) -> Json:
    return {"type": "load", "method": method, "config": config or {"path": "out"}}


def pipeline(*steps: Any, **keys: Any) -> Json:
    return {"name": "flights", "mode": "batch", **keys, "steps": list(steps)}


def read(value: Any) -> PipelineConfig:
    return parse_pipeline(json.dumps(value, indent=2), method_registry())


def read_step(step: Json, **keys: Any) -> Any:
    """The config of a step that is read after an extract, or as the extract, and before a load."""
    steps = [step] if step["type"] == "extract" else [extract(), step]
    return read(pipeline(*steps, load(), **keys)).steps[-2].config


def problems_of(value: Any) -> list[ConfigError]:
    """What is wrong with a pipeline: a value, JSON text, or a file."""
    source = value if isinstance(value, (Path, str)) else json.dumps(value, indent=2)
    registry = method_registry()
    with pytest.raises(PipelineConfigurationException) as refused:
        load_pipeline(source, registry) if isinstance(source, Path) else parse_pipeline(source, registry)
    assert refused.value.problems
    assert all(isinstance(problem, ConfigError) for problem in refused.value.problems)
    return list(refused.value.problems)


def messages_of(value: Any) -> list[str]:
    """As `problems_of`, message and hint only."""
    return [
        f"{problem.message} ({problem.hint})" if problem.hint else problem.message for problem in problems_of(value)
    ]
