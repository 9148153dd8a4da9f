"""What a component's `translation` makes of an asset, and what it fails at."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step

# Dagster shows the place in the YAML as a compiler does, and then perhaps a traceback.
_MARKED = re.compile(r"\^ (.+)")
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+: )")


@dataclass(frozen=True)
class StepNames:
    """What a translation may use of a step.

    Args:
        pipeline: Name of its pipeline.
        step: Name of its asset.
        type: `extract`, `transform` or `load`.
        method: Its method.
    """

    pipeline: str
    step: str
    type: str
    method: str


Translation = Callable[[dg.AssetSpec, StepNames], dg.AssetSpec]
"""Given the spec of an asset and the names of its step, gives the spec that Dagster is to have."""


def translated(translation: Translation, spec: dg.AssetSpec, pipeline: PipelineConfig, step: Step) -> dg.AssetSpec:
    """What a translation makes of a spec.

    Args:
        translation: The translation.
        spec: Of an asset.
        pipeline: Its pipeline.
        step: Its step.

    Raises:
        TypeError: The translation gives no spec.
        Exception: Whatever the translation fails with.
    """
    found: Any = translation(spec, StepNames(pipeline.name, step.name, step.type, step.config.method))
    if not isinstance(found, dg.AssetSpec):
        raise TypeError(f"expected an AssetSpec, not {type(found).__name__}")
    return found


def reason(error: Exception) -> str:
    """Why a translation failed, in a line.

    Args:
        error: What it raised.
    """
    text = str(error)
    if (marked := _MARKED.search(text)) is not None:
        return _MODULE.sub("", marked[1])
    # Python's own say little without their name, such as a KeyError.
    is_plain = bool(text) and (isinstance(error, TypeError) or type(error).__module__ != "builtins")
    return " ".join((text if is_plain else repr(error)).split())


def translation_hint(pipeline: PipelineConfig, why: str) -> str:
    """What to do about a translation that fails for a pipeline.

    Args:
        pipeline: The pipeline.
        why: The reason.
    """
    if "-" in pipeline.name and pipeline.name in why:
        return "many names in Dagster can't have a '-': write {{ pipeline.replace('-', '_') }} for {{ pipeline }}"
    return "correct 'translation', or what it uses of this pipeline"
