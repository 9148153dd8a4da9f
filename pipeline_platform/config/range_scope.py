"""The frames that an SQL expression reads, and what its columns are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from pipeline_platform.config.range_frames import Base, Joined, RangeFrame, Value


@dataclass(frozen=True)
class Scope:
    """The frames that an expression reads.

    Args:
        joined: By their names.
        is_one: Whether there is but one, so that every column is one of it.
    """

    joined: Joined
    is_one: bool

    @property
    def frame(self) -> RangeFrame:
        """The one, or what is known of all of them."""
        frames = list(self.joined.named())
        return frames[0] if self.is_one else RangeFrame(None, {}, by=self.joined.by, back=self.joined.back)

    def column(self, column: exp.Column) -> Value | None:
        """What is known of a column."""
        parts = [part.name.lower() for part in column.parts]
        if len(parts) > 1 and parts[0] in self.joined.frames:
            value, *fields = (self.joined.frames[parts[0]].value(parts[1]), *parts[2:])
        elif self.is_one:
            value, *fields = (self.frame.value(parts[0]), *parts[1:])
        else:
            value, *fields = (self._unqualified(parts[0]), *parts[1:])
        return Value((*value.base, *map(str, fields))) if value is not None and fields else value

    def _unqualified(self, name: str) -> Value | None:
        if not self.joined.by:
            return Value(("?", name))
        # Another frame with a column of this name would make it ambiguous, which Spark refuses.
        found = [frame.telling()[name] for frame in self.joined.named() if name in frame.telling()]
        return found[0] if found else None

    def divided(self, bases: Sequence[Base], back: float) -> Scope:
        """The scope after a condition on the bounds of the run; arguments as in `RangeFrame.divided`."""
        joined = replace(self.joined, by=self.joined.by | frozenset(bases), back=min(self.joined.back, back))
        return replace(self, joined=joined)


def scope_of(frame: RangeFrame) -> Scope:
    """The scope of an expression that reads one frame."""
    return Scope(Joined({"": frame}, frame.by, frame.back), is_one=True)
