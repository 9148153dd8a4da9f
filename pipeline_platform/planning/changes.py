"""What a change does, as a list of things that people can judge one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How bad a change is; the largest counts."""

    SAFE = 0
    DATA = 1
    BREAKING = 2

    @property
    def word(self) -> str:
        """What people read."""
        return {Severity.SAFE: "safe", Severity.DATA: "changes data", Severity.BREAKING: "breaking"}[self]


@dataclass(frozen=True)
class Reader:
    """A step of another pipeline that reads a column.

    Args:
        pipeline: Its pipeline.
        step: The step, as messages name it.
        place: File and line.
    """

    pipeline: str
    step: str
    place: str

    def __str__(self) -> str:
        return f"{self.pipeline}, {self.step}, {self.place}"


@dataclass(frozen=True)
class Change:
    """One thing that is, or will be, otherwise.

    Args:
        severity: How bad it is.
        pipeline: The pipeline, by its name now if it is there.
        what: What kind of change it is, in a word or two, for programs.
        text: What is otherwise, for people.
        place: File and line.
        sink: The table that it is about.
        column: The column that it is about.
        readers: Who reads that column.
        todo: What to do about it.
    """

    severity: Severity
    pipeline: str
    what: str
    text: str
    place: str
    sink: str | None = None
    column: str | None = None
    readers: tuple[Reader, ...] = ()
    todo: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "severity": self.severity.word,
            "pipeline": self.pipeline,
            "what": self.what,
            "text": self.text,
            "place": self.place,
            "sink": self.sink,
            "column": self.column,
            "readers": [vars(reader) for reader in self.readers],
            "todo": self.todo,
        }


@dataclass(frozen=True)
class Rerun:
    """A pipeline that has to run again for its tables to be what its file says.

    Args:
        pipeline: Its name.
        why: Because of what.
        commands: What does it, in this order.
    """

    pipeline: str
    why: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class ChangePlan:
    """What a change of pipeline files does.

    Args:
        against: What the files are compared with.
        changes: The changes, those of a pipeline together, the worst first.
        reruns: What has to run again, in this order.
        unknown: By pipeline: why nothing is said of its columns.
    """

    against: str
    changes: tuple[Change, ...] = ()
    reruns: tuple[Rerun, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def verdict(self) -> Severity:
        """The worst of the changes; where nothing is said of a pipeline, it may change data."""
        least = Severity.DATA if self.unknown else Severity.SAFE
        return max([least, *(change.severity for change in self.changes)])

    @property
    def word(self) -> str:
        """The verdict as people read it."""
        told = max((change.severity for change in self.changes), default=Severity.SAFE)
        return "not known" if told < self.verdict else self.verdict.word

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "against": self.against,
            "verdict": self.word,
            "changes": [change.as_json() for change in self.changes],
            "runAgain": [{"pipeline": one.pipeline, "why": one.why, "commands": one.commands} for one in self.reruns],
            "unknown": dict(self.unknown),
        }
