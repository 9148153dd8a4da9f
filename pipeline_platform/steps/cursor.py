"""Where a load has come in a source of which each run reads only what is new, and where it gets to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class StoredCursor:
    """Where a load has come, as its sink remembers it.

    Args:
        version: How many loads have moved it.
        position: The largest value that was loaded, as text; None if nothing was.
        is_start: Whether rows with that very value are still to be loaded.
        column: The column whose values these are; None if somebody has put it there.
        source: The dataset that it is in, likewise.
        database: The database that was entered for it, as its name may come from the environment or from Vault; None
            where there is none, or none was remembered.
        seen_from: From which value on the sink knows of each row that it was loaded; None if it knows of none.
        columns: By which columns it tells rows apart, with their types.
        is_key: Whether they are a key, so that two rows with the same are one.
        files: Of files that were loaded, by a hash of the path of each: when it was modified, and a hash of what tells
            its content. Then `seen_from` is the last of those that are no longer here, and `columns` are those of
            the files.
        files_before: How many files there are up to that one.
    """

    version: int = 0
    position: str | None = None
    is_start: bool = False
    column: str | None = None
    source: str | None = None
    database: str | None = None
    seen_from: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    is_key: bool = False
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    files_before: int = 0


class CursorPlace(Protocol):
    """Where a sink remembers a cursor."""

    @property
    def remembers_rows(self) -> bool:
        """Whether it also remembers which rows were loaded, so that those that are looked at again are left out."""
        ...

    def stored(self) -> StoredCursor:
        """Where it is now; needs no JVM.

        Raises:
            PipelineException: It can't be told.
        """
        ...

    def seen(self, spark: SparkSession) -> DataFrame:
        """Of each row that was loaded from `seen_from` on what tells it from others: the columns `IDENTITY`."""
        ...

    def others(self) -> list[str]:
        """The names of all other cursors that the sink remembers."""
        ...

    def put(self, position: str | None) -> None:
        """Have the next load begin at a value, itself included, or with None as if nothing had been loaded."""
        ...


@dataclass(frozen=True)
class CursorMove:
    """Where a load gets to: the sink remembers that in the very commit that has the rows, or not at all.

    Args:
        name: Of the cursor: which step reads, and for which partition.
        before: Where it was, and has to be still.
        after: Where it is, once the load is done.
        seen: As `CursorPlace.seen`, likewise; None if the sink is to know of no rows.
        is_idle: Whether there is nothing new, so that there is nothing to write.
    """

    name: str
    before: StoredCursor
    after: StoredCursor
    seen: DataFrame | None = None
    is_idle: bool = False


def cursor_moved(name: str) -> PipelineExecutionException:
    """That another load has moved a cursor.

    Args:
        name: Of the cursor.
    """
    return PipelineExecutionException(
        f"another run has loaded what was new in the meantime: the cursor '{name}' has moved; nothing was written",
        hint="run it again, and have one run at a time load the table",
        retryable=True,
    )
