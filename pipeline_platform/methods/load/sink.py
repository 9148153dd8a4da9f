"""What sinks ask of a frame before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_platform.config.problem import did_you_mean
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def require_columns(frame: DataFrame, columns: Sequence[str], key: str) -> None:
    """Raise unless the frame has these columns, compared as Spark does, without regard to case.

    Args:
        frame: The frame.
        columns: Names that a config key holds.
        key: That key.

    Raises:
        PipelineExecutionException: One is missing.
    """
    there = {name.casefold() for name in frame.columns}
    for column in columns:
        if column.casefold() not in there:
            hint = did_you_mean(column, frame.columns)
            raise PipelineExecutionException(
                f"'{key}' names the column '{column}', which the frame does not have; it has {', '.join(frame.columns)}",
                hint=hint,
            )
