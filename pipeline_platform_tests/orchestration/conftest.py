"""A folder of pipelines, and its Dagster definitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_platform.orchestration.project_definitions import project_definitions

MakeDefinitions = Callable[..., dg.Definitions]


@pytest.fixture
def define(tmp_path: Path) -> MakeDefinitions:
    """Write pipelines into a folder and load it."""

    def make(*pipelines: Mapping[str, Any], texts: Mapping[str, str] | None = None) -> dg.Definitions:
        folder = tmp_path / "pipelines"
        folder.mkdir(exist_ok=True)
        for pipeline in pipelines:
            (folder / f"{pipeline['name']}.json").write_text(json.dumps(pipeline, indent=2))
        for name, text in (texts or {}).items():
            (folder / name).write_text(text)
        return project_definitions(folder)

    return make


def rate_to_delta(name: str, path: Path | str, *between: Mapping[str, Any], **load: Any) -> dict[str, Any]:
    """A pipeline of 60 generated rows, the steps in between, and a Delta load."""
    return {
        "name": name,
        "mode": "batch",
        "steps": [
            {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
            *between,
            {"type": "load", "method": "toDeltaLake", "config": {"path": str(path), **load}},
        ],
    }


def validation(method: str, **config: Any) -> dict[str, Any]:
    """A validate step."""
    return {"type": "validate", "method": method, "config": config}


def filtered(condition: str) -> dict[str, Any]:
    """A filterRows step."""
    return {"type": "transform", "method": "filterRows", "config": {"condition": condition}}
