"""What Dagster shows of a run that failed."""

from __future__ import annotations

from typing import Any

import dagster as dg

from pipeline_platform.exceptions import PipelineException, ValidationException


def failure(error: PipelineException) -> dg.Failure:
    """The exception as Dagster's: where it happened, why, and what to do next.

    Args:
        error: What the engine raised.
    """
    metadata: dict[str, Any] = {}
    if error.location is not None:
        place = f"{error.location.file}:{error.location.line}" if error.location.file else None
        facts = {"step": error.location.step, "method": error.location.method, "place": place, "next": error.hint}
        metadata = {name: value for name, value in facts.items() if value is not None}
    if isinstance(error, ValidationException) and error.samples:
        metadata["samples"] = dg.MetadataValue.json([dict(sample) for sample in error.samples])
    # The engine has tried again already what can be tried again.
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=False)
