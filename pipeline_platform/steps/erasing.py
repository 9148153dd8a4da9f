"""How a sink says what it holds of a person, and erases it: what `pipeline-platform erase` asks of every load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Wanted:
    """Whose rows are looked for: each row that has one of the values in one of the columns.

    Args:
        columns: By column of the sink, the values, as text.
        texts: All values, also those of keys that the sink has no column for: what is looked for within text.
        contains: Whether rows that hold a value within a text are theirs, too.
        looks_into_text: Whether texts are looked into at all.
    """

    columns: Mapping[str, frozenset[str]]
    texts: frozenset[str] = frozenset()
    contains: bool = False
    looks_into_text: bool = False


@dataclass(frozen=True)
class Found:
    """What a sink holds of a person.

    Args:
        rows: Rows that a reader of the sink finds.
        total: All rows of the sink, of one that is asked for them cheaply.
        history: Rows in what is kept of earlier versions.
        history_files: How many files these are in.
        removable_at: When all of that may be removed without harm to readers; None if at once.
        unknown: Rows in files that belong to no version, such as those of a load that is running or was killed.
        within_text: Rows that hold a value within a text.
        alike: Rows whose value is another one only in case, or in blanks around it.
        log: Entries of the table's log that may show values of the rows that were erased.
        notes: What should be known.
        unsearched: Why there may be rows that were not found.
        doubts: What else may have the key unless a person says by which column rows are found: fields within columns,
            other spellings.
        marked: Rows that no reader finds, since they are marked as deleted, and that are still in files.
    """

    rows: int = 0
    total: int | None = None
    history: int = 0
    history_files: int = 0
    removable_at: datetime | None = None
    unknown: int = 0
    within_text: int = 0
    alike: int = 0
    log: int = 0
    notes: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    marked: int = 0

    @property
    def remains(self) -> bool:
        """Whether anything is left beside what readers find."""
        return bool(self.history or self.unknown or self.log or self.marked)


@dataclass(frozen=True)
class Order:
    """How rows are erased.

    Args:
        mark: What names this erase in the history of a sink.
        spark: Gives the session, which only some sinks need.
        at_once: Whether earlier versions are removed without waiting for their readers.
    """

    mark: str
    spark: Callable[[], SparkSession]
    at_once: bool = False


@dataclass(frozen=True)
class Erased:
    """What was done in a sink.

    Args:
        rows: Rows that were deleted.
        version: The version of the table in which they were.
        rewritten: Files that were written again without them.
        removed: Files that were removed.
        log: Entries of the log that were removed.
        notes: What was not done, and why.
    """

    rows: int = 0
    version: int | None = None
    rewritten: int = 0
    removed: int = 0
    log: int = 0
    notes: tuple[str, ...] = ()


class Erasable(Protocol):
    """A sink that rows can be erased from."""

    @property
    def breaks_streams(self) -> bool:
        """Whether a stream that reads it fails when rows are deleted."""
        ...

    def columns(self) -> Sequence[str] | None:
        """The columns that rows can be found by; None if nothing was written yet."""
        ...

    def found(self, wanted: Wanted, mark: str) -> Found:
        """What it holds now, by a look at what is stored; changes nothing.

        Args:
            wanted: Whose rows.
            mark: What names this erase, which may have begun before.

        Raises:
            PipelineException: It can't be read.
        """
        ...

    def erase(self, wanted: Wanted, order: Order) -> Erased:
        """Delete the rows, and what is kept of them as far as that may be removed; may be begun again at any point.

        Args:
            wanted: Whose rows.
            order: How.

        Raises:
            PipelineException: It could not; what was done before stays done.
        """
        ...
