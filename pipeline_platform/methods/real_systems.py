"""Methods that are part of the format and can be checked, but not yet run."""

from __future__ import annotations

from pipeline_platform.exceptions import PipelineConfigurationException


def not_yet(method: str) -> PipelineConfigurationException:
    """The error of a method whose system this version does not reach."""
    return PipelineConfigurationException(
        f"'{method}' comes with the release that adds real systems; this version reads files and Delta",
    )
