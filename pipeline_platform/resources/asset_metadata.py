"""Keys of the metadata by which a resource finds the step of an asset."""

from __future__ import annotations

PIPELINE_FILE = "pipeline_file"
"""The file that the step is written in."""
STEP = "step"
"""The number of the step, from 1."""
