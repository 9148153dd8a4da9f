"""Why something could not be done, in a line."""

from __future__ import annotations

from pipeline_platform.exceptions import PipelineException
from pipeline_platform.redaction import redact

_LONGEST = 300


def reason_of(error: Exception) -> str:
    """What an error says, without secrets and keys.

    Args:
        error: Of the platform, or of anything below it.
    """
    if isinstance(error, PipelineException):
        return error.message
    lines = str(error).splitlines() or [""]
    return redact(f"{type(error).__name__}: {lines[0][:_LONGEST]}")
