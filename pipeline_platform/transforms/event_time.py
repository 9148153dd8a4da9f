"""Watermarks and windows: how long a stream waits for late rows, and what time span a row belongs to."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Text
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import own_column, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_UNIT = r"(microsecond|millisecond|second|minute|hour|day|week)s?"
_DURATION = re.compile(rf"\s*(interval\s+)?\d+\s+{_UNIT}(\s+\d+\s+{_UNIT})*\s*", re.IGNORECASE)

_INTERVAL = re.compile(r"^\s*interval\s+", re.IGNORECASE)


def _duration(value: str) -> str:
    if not _DURATION.fullmatch(value):
        raise PydanticCustomError(
            "duration", "'{value}' is not a duration; write '10 minutes' or '1 hour 30 minutes'", {"value": value}
        )
    return value


Duration = Annotated[
    str,
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "examples": ["10 minutes", "1 hour 30 minutes"]}),
]
"""A time span as Spark writes it; months have no fixed length and are none."""


FUTURE_ROWS = "pipeline_platform_future_rows_"
"""What the names of the observations begin with that count rows whose event time is too far ahead."""


class Watermark(FormatModel):
    """How late a row of a stream may be; in batch it has no effect.

    The latest event time so far, less the delay, is the watermark: rows from before it are left out where the stream
    keeps state, and counted as late. One row with a wrong time far ahead makes all that follow late.
    """

    column: Text
    """The column with the event time."""
    delay: Duration
    """How long to wait for late rows."""
    max_future: Duration | None = None
    """How far a row's event time may be ahead of the clock, such as `1 hour`; rows beyond that are left out and
    counted, and don't move the watermark. By default any time is accepted."""

    def apply(self, frame: DataFrame) -> DataFrame:
        """The frame with this watermark, if it is a stream.

        Raises:
            PipelineExecutionException: The column is missing.
        """
        name = own_column(frame.columns, self.column)
        if not frame.isStreaming:
            return frame
        if "." in name:
            raise PipelineExecutionException(
                f"a watermark can't be on '{name}': Spark reads the dot as access to a field",
                hint="give the column another name with enrichData first",
            )
        return self._without_future(frame, name).withWatermark(name, self.delay)

    def _without_future(self, frame: DataFrame, name: str) -> DataFrame:
        from pyspark.sql import functions as F

        if self.max_future is None:
            return frame
        ahead = F.expr(f"INTERVAL {_INTERVAL.sub('', self.max_future)}")
        is_beyond = F.coalesce(F.col(quoted(name)) > F.current_timestamp() + ahead, F.lit(False))
        counted = frame.observe(f"{FUTURE_ROWS}{uuid.uuid4().hex}", F.count_if(is_beyond).alias("rows"))
        return counted.filter(~is_beyond)


class Window(FormatModel):
    """Groups rows by time span; the group is a column `window` with `start` and `end`."""

    column: Text
    """The column with the event time."""
    duration: Duration
    """Length of a window."""
    slide: Duration | None = None
    """From the start of one window to that of the next; by default windows don't overlap."""

    def column_of(self, frame: DataFrame) -> Column:
        """The group of each row.

        Raises:
            PipelineExecutionException: The column is missing.
        """
        from pyspark.sql import functions as F

        time = F.col(quoted(own_column(frame.columns, self.column)))
        return F.window(time, self.duration, self.slide)
