"""A step in a run that loads several partitions: what its method is told by `over_range`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline_platform.config.range_frames import Base, OneByOne, RangeFrame
from pipeline_platform.config.range_sql import RangeSql


@dataclass(frozen=True)
class RangeStep:
    """A step in a run that loads several partitions.

    Args:
        frames: What it works on, by name; the primary frame under None.
        origin: What columns are read from that only this step knows.
        sql: Looks into SQL.
    """

    frames: Mapping[str | None, RangeFrame]
    origin: Base
    sql: RangeSql

    @property
    def frame(self) -> RangeFrame:
        """The frame of a step that works on one."""
        return next(iter(self.frames.values()))

    @property
    def column(self) -> str:
        """The column of what is loaded that says to which partition a row belongs, in lower case."""
        return self.sql.partitions.column.lower()

    def is_divided(self) -> bool:
        """Whether the run has chosen rows of any frame."""
        return any(frame.by for frame in self.frames.values())

    def tells(self, columns: Iterable[str]) -> bool:
        """Whether rows that are equal in these columns of the one frame are in the same partition, as far as known."""
        frame = self.frame
        return any(frame.tells(frame.value(name)) for name in columns)

    def grouped(self, columns: Iterable[str]) -> RangeFrame:
        """The frame with a row for each group of equal values in these columns.

        Args:
            columns: None for one row of all.

        Raises:
            OneByOne: A group may have rows of several partitions.
        """
        names = list(columns)
        if not self.tells(names):
            told = f"groups by {', '.join(names)}, and not by the column of the partitions"
            raise OneByOne(told if names else "makes one row of all")
        return self.frame.only({name.lower(): self.frame.value(name) for name in names})
