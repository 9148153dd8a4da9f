"""What is known of a frame in a run that loads several partitions: by which columns its rows keep partitions apart.

A run uses the bounds of its partitions in conditions, such as `day >= '${partition:start}'`. A frame that no such
condition is before is the same in every run. Any other is *divided*: for each partition of a range it has the rows that
the run of this partition alone would have, where partitions are told by the columns of `RangeFrame.by`. What a step
does has to leave that so, or the range can't be one run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

Base = tuple[str, ...]
"""A column as it was read: of which frame, and its name."""

EVERYTHING = math.inf


class OneByOne(Exception):
    """A step needs one run for each partition.

    Args:
        reason: Why, to follow the name of the step: `groups by shop alone`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Value:
    """A column, or an expression, that lies in a partition exactly if a column lies in it that was read.

    Args:
        base: That column.
        is_date: Whether it is known to be a date, and no timestamp.
    """

    base: Base
    is_date: bool = False


@dataclass(frozen=True)
class RangeFrame:
    """A frame.

    Args:
        origin: What a column is read from that `columns` does not have; None if all that is known stands there.
        columns: By name in lower case; None for one of which nothing is known.
        dates: Names of columns of `origin` that are dates.
        by: The columns whose values keep the partitions apart; empty for a frame that is the same in every run.
        back: How many days before the range its rows are those of any run that reads so far back.
    """

    origin: Base | None
    columns: Mapping[str, Value | None] = field(default_factory=dict[str, Value | None])
    dates: frozenset[str] = frozenset()
    by: frozenset[Base] = frozenset()
    back: float = EVERYTHING

    def value(self, name: str) -> Value | None:
        """What is known of a column."""
        folded = name.lower()
        if folded in self.columns:
            return self.columns[folded]
        return Value((*self.origin, folded), folded in self.dates) if self.origin is not None else None

    def tells(self, value: Value | None) -> bool:
        """Whether a value says to which partition a row belongs."""
        return value is not None and value.base in self.by

    def telling(self) -> dict[str, Value]:
        """The columns that say to which partition a row belongs, as far as they are known."""
        implied = [base[-1] for base in self.by if base[:-1] == self.origin]
        names = dict.fromkeys([*self.columns, *implied])
        return {name: value for name in names if (value := self.value(name)) is not None and value.base in self.by}

    def divided(self, by: Iterable[Base], back: float) -> RangeFrame:
        """The frame after a condition on the bounds of the run."""
        return replace(self, by=self.by | frozenset(by), back=min(self.back, back))

    def with_column(self, name: str, value: Value | None) -> RangeFrame:
        """The frame with another value of a column."""
        return replace(self, columns={**self.columns, name.lower(): value})

    def only(self, columns: Mapping[str, Value | None]) -> RangeFrame:
        """The rows with these columns alone."""
        return replace(self, origin=None, columns=columns, dates=frozenset())

    def under(self, name: str) -> RangeFrame:
        """The frame as one of several in a join, whose rows are not those of another one with the same columns."""

        def moved(value: Value | None) -> Value | None:
            return replace(value, base=(name, *value.base)) if value is not None else None

        return replace(
            self,
            origin=(name, *self.origin) if self.origin is not None else None,
            columns={column: moved(value) for column, value in self.columns.items()},
            by=frozenset((name, *base) for base in self.by),
        )


Equal = Iterable[tuple[Value | None, Value | None]]
"""Pairs of values, of the left side and of the right one, that the condition of a join makes equal."""


@dataclass(frozen=True)
class Joined:
    """Frames that were joined, from left to right.

    Args:
        frames: By name in lower case; those whose columns can be read.
        by: As in `RangeFrame`, of all of them.
        back: As in `RangeFrame`.
    """

    frames: Mapping[str, RangeFrame]
    by: frozenset[Base] = frozenset()
    back: float = EVERYTHING

    @classmethod
    def of(cls, name: str, frame: RangeFrame) -> Joined:
        """A frame that others are joined with."""
        own = frame.under(name)
        return cls({name: own}, own.by, own.back)

    def join(self, name: str, frame: RangeFrame, equal: Equal, kind: str, merged: Iterable[str] = ()) -> Joined:
        """The rows joined with those of another frame.

        Args:
            name: Of the other frame, in lower case.
            frame: The other one, under its name.
            equal: What the condition makes equal.
            kind: `inner`, `left`, `right`, `full`, `semi`, `anti` or `cross`.
            merged: In a full join: names of columns that are equal and become one, of the side that has it.

        Raises:
            OneByOne: Rows of several partitions may be brought together.
        """
        is_filter = kind in ("semi", "anti")
        frames = self.frames if is_filter else {**self.frames, name: frame}
        back = min(self.back, frame.back)
        keys = [
            (left.base, right.base)
            for left, right in equal
            if left is not None and right is not None
            if (not self.by or left.base in self.by) and (not frame.by or right.base in frame.by)
        ]
        if keys and (self.by or frame.by):
            # A side that may be missing has NULL there, which is the same in rows of several partitions.
            if kind == "full":
                return self._merged(name, frame, merged, back)
            ours = self.by | {left for left, _ in keys} if kind != "right" else frozenset[Base]()
            theirs = (
                frame.by | {right for _, right in keys} if kind not in ("left", "semi", "anti") else frozenset[Base]()
            )
            return Joined(frames, ours | theirs, back)
        if (self.by and frame.by) or (frame.by and is_filter):
            raise OneByOne("joins rows that the partition chose on both sides, and not by the column of the partitions")
        return Joined(frames, self.by | frame.by, back)

    def _merged(self, name: str, frame: RangeFrame, merged: Iterable[str], back: float) -> Joined:
        """All rows of both sides, which are told apart by the columns that each of them has."""
        first = next(iter(self.frames))
        base = ("full", first, name)
        ours = {column for one in self.named() for column in one.telling()} if self.by else None
        theirs = set(frame.telling()) if frame.by else None
        names = [one for one in merged if (ours is None or one in ours) and (theirs is None or one in theirs)]
        if not names:
            raise OneByOne("has a full join on columns that stay two")
        columns = {column: Value(base) for column in names[:1]}
        return Joined({first: RangeFrame(None, columns, by=frozenset([base]))}, frozenset([base]), back)

    def named(self) -> Iterator[RangeFrame]:
        """The frames whose columns can be read, each with what the join has found to keep partitions apart."""
        for frame in self.frames.values():
            yield replace(frame, by=self.by, back=self.back)

    def output(self, origin: Base) -> RangeFrame:
        """All their columns in one frame.

        Args:
            origin: What its columns are read from, as far as the frames are the same in every run.
        """
        if not self.by:
            return RangeFrame(origin)
        columns: dict[str, Value | None] = {}
        for frame in self.named():
            columns.update(frame.telling())
        return RangeFrame(None, columns, by=self.by, back=self.back)


def united(frames: Iterable[RangeFrame], origin: Base, column: str) -> RangeFrame:
    """The rows of several frames.

    Args:
        frames: The frames; columns of the same name become one.
        origin: What the columns are read from.
        column: The one of the partitions, in lower case.
    """
    several = list(frames)
    divided = [frame.telling() for frame in several if frame.by]
    if not divided:
        return RangeFrame(origin)
    names = [name for name in divided[0] if all(name in one for one in divided)]
    if len(divided) < len(several):
        # In a frame that is the same in every run any column tells, but no two tell the same.
        names = [column] if column in names else names[:1]
    columns: dict[str, Value | None] = {
        name: Value(origin, all(one[name].is_date for one in divided)) for name in names
    }
    return RangeFrame(None, columns, by=frozenset([origin]), back=min(frame.back for frame in several))
