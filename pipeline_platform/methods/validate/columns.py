"""Columns that a validation names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.config.problem import did_you_mean
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.methods.base import HELPER_PREFIX

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def column_of(frame: DataFrame, name: str) -> Column:
    """A column of the frame by its whole name, dots included.

    Raises:
        PipelineExecutionException: There is none of this name.
    """
    from pyspark.sql import functions as F

    own = [column for column in frame.columns if not column.startswith(HELPER_PREFIX)]
    if name.casefold() not in {column.casefold() for column in own}:
        raise PipelineExecutionException(
            f"there is no column '{name}'; there are {', '.join(own)}",
            hint=did_you_mean(name, own),
        )
    return F.col(f"`{name.replace('`', '``')}`")
