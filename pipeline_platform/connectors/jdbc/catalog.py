"""What a database's catalog says of a table, in the terms of neither system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline_platform.steps.discovery import Care

Kind = Literal["integer", "decimal", "float", "text", "boolean", "date", "timestamp", "local_timestamp", "other"]
"""What values of a type are for SQL: `text` is compared character by character, `timestamp` is an instant."""
NUMBERS: tuple[Kind, ...] = ("integer", "decimal", "float")
TIMES: tuple[Kind, ...] = ("date", "timestamp", "local_timestamp")


@dataclass(frozen=True)
class CatalogColumn:
    """A column.

    Args:
        name: As the system stores it.
        type: As the system writes it.
        kind: What its values are.
        nullable: Whether it may hold NULL.
        grows: Whether the system gives each new row a larger number than the ones before.
        set_at_changes: Whether the system sets it to the time at which the row was changed.
        care: What a reader has to know of its values in a frame; None for nothing.
        read_as: What is read in its place, as the system's SQL, as a frame can't hold its type.
        unheld: Whether a frame can't hold all of its dates or times: `no`, `maybe` if the type has such values, and
            `yes` if the catalog shows one.
    """

    name: str
    type: str
    kind: Kind
    nullable: bool
    grows: bool = False
    set_at_changes: bool = False
    care: str | None = None
    read_as: str | None = None
    unheld: Literal["no", "maybe", "yes"] = "no"


@dataclass(frozen=True)
class CheckConstraint:
    """A CHECK.

    Args:
        name: Of the constraint.
        condition: As the system's SQL.
        holds: Whether every row that is there keeps it; the system may have been told not to look.
    """

    name: str
    condition: str
    holds: bool = True


@dataclass(frozen=True)
class CatalogTable:
    """A table or a view.

    Args:
        schema: Where it is; in MySQL the database.
        name: As the system stores it.
        kind: `table`, `partitioned table`, `view`, `materialized view` or `foreign table`.
        columns: In their order.
        key: The columns of the primary key, or of a unique index that can't hold NULL; none if there is neither.
        indexed: The columns that an index begins with.
        checks: Its CHECK constraints.
        rows: About how many rows it has, by the statistics; None if these don't say.
        size: How many bytes it takes; None if the system does not say.
        readable: Whether the user may read it.
        care: What needs care of the table as a whole.
    """

    schema: str
    name: str
    kind: str
    columns: Sequence[CatalogColumn]
    key: Sequence[str] = ()
    indexed: frozenset[str] = frozenset()
    checks: Sequence[CheckConstraint] = ()
    rows: int | None = None
    size: int | None = None
    readable: bool = True
    care: Sequence[Care] = ()

    @property
    def full_name(self) -> str:
        """The name with that of what it is in."""
        return f"{self.schema}.{self.name}"

    @property
    def has_rows_of_its_own(self) -> bool:
        """Whether it is a table, and not a look at others."""
        return self.kind in ("table", "partitioned table")

    @property
    def columns_by_name(self) -> Mapping[str, CatalogColumn]:
        """The columns by name."""
        return {column.name: column for column in self.columns}
