"""Columns that a validation names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.methods.base import HELPER_PREFIX
from pipeline_platform.methods.columns import column

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def column_of(frame: DataFrame, name: str) -> Column:
    """A column of the frame by its whole name, dots included.

    Raises:
        PipelineExecutionException: There is none of this name.
    """
    return column(own_columns(frame), name)


def own_columns(frame: DataFrame) -> list[str]:
    """The frame's columns, without those that the platform has added."""
    return [name for name in frame.columns if not name.startswith(HELPER_PREFIX)]
