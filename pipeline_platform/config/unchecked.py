"""What a step with a mistake would be to the other steps, so that what is wrong with those shows at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pipeline_platform.config.placeholders import VariableError, has_placeholder, substitute
from pipeline_platform.config.step import StepConfig, StepType

FRAME_KEYS = ("input", "inputDataFrames", "referencedDataFrame")
"""Config keys that name registered frames, whatever the method."""


def unchecked_name(values: Mapping[str, Any], step_type: StepType | None) -> tuple[str | None, bool]:
    """The name a step with a mistake tries to register, and whether that is known."""
    if step_type not in ("extract", "transform", None) or "registerAs" not in values:
        return None, True
    name = values["registerAs"]
    try:
        return (substitute(name), True) if isinstance(name, str) and name else (None, False)
    except VariableError:
        return None, False


def unchecked_frames(values: Mapping[str, Any], method: type[StepConfig] | None) -> list[tuple[str, str]]:
    """The registered frames that a step with a mistake names."""
    frames: list[tuple[str, str]] = []
    for key in FRAME_KEYS if method is not None else ():
        written = values.get(key)
        names = cast("list[Any]", written) if isinstance(written, list) else [written]
        frames.extend((key, name) for name in names if isinstance(name, str) and name and not has_placeholder(name))
    return frames
