"""Data pipelines as JSON files, run as Dagster assets on Spark and Delta Lake."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline_platform.orchestration.component import PipelineComponent as PipelineComponent
    from pipeline_platform.step_rows import preview as preview

_WHERE = {"PipelineComponent": "orchestration.component", "preview": "step_rows"}


def __getattr__(name: str) -> Any:
    # `dg` looks for components here; whoever only checks or runs a file need not import Dagster for it.
    if name in _WHERE:
        return getattr(import_module(f"pipeline_platform.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
