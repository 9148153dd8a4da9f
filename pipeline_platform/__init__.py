"""Data pipelines as JSON files, run as Dagster assets on Spark and Delta Lake."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_platform.orchestration.component import PipelineComponent as PipelineComponent

_COMPONENT = "PipelineComponent"


def __getattr__(name: str) -> Any:
    # `dg` looks for components here; whoever only checks or runs a file need not import Dagster for it.
    if name == _COMPONENT:
        return import_module("pipeline_platform.orchestration.component").PipelineComponent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), _COMPONENT])
