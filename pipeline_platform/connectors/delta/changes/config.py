"""`changes` of `toDeltaLake`: how the rows of a frame are read as changes of a table's rows."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.replacement import Replacement
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Names, SqlExpression, Text

VALID_FROM, VALID_TO, CURRENT = "validFrom", "validTo", "current"
VERSION_COLUMNS = (VALID_FROM, VALID_TO, CURRENT)
"""Columns that say when a version was valid."""


class Changes(FormatModel):
    """How the rows of a frame are read as changes: what they are changes of, in which order, and of which kind.

    With `snapshotKeys` instead of `keys` they are all rows there are, and what is different from the table has changed.
    """

    keys: Names = []
    """The columns that identify a row of the table; NULL in one is an error."""
    snapshot_keys: Names = []
    """The same, where the frame is a snapshot of the source: a row that it lacks is deleted, one whose values are
    others is changed."""
    sequence_by: Text | None = None
    """With `keys`: the column that says which of two changes of a row is the later one: an integer, a decimal, a date,
    a timestamp, or text, which is compared character by character. NULL is an error, and so are two different changes
    of a row with the same value. With `snapshotKeys` and `scdType` 2: a column with one value in all rows, such as the
    day of the snapshot; by default the time of the load."""
    delete_when: SqlExpression | None = None
    """A change for which this condition holds deletes the row; by default none does."""
    truncate_when: SqlExpression | None = None
    """A change for which this condition holds deletes all rows whose last change is before it; it needs no keys. Not
    with `scdType` 2."""
    columns: Names = []
    """The columns of the frame that the table gets, by default all. With `scdType` 1 it gets `sequenceBy`, too, which
    says which change a row is of; with `scdType` 2 it has it as `validFrom`."""
    scd_type: Literal[1, 2] = 1
    """`1`: the table has the newest row of each key. `2`: it has every version, with `validFrom`, `validTo` (exclusive,
    NULL while it is valid) and `current`."""

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        listed = {name.lower() for name in self.columns}
        self._require_one_kind()
        if len({name.lower() for name in self.found_by}) < len(self.found_by):
            raise _wrong(self.keys_name, f"'{self.keys_name}' names a column twice")
        if len(listed) < len(self.columns):
            raise _wrong("columns", "'columns' names a column twice")
        missing = [name for name in self.found_by if listed and name.lower() not in listed]
        if missing:
            raise _wrong("columns", f"'columns' has to name the key '{missing[0]}', too")
        if (self.sequence_by or "").lower() in (name.lower() for name in self.found_by):
            message = f"'sequenceBy' tells changes of a row apart, so it can't be one of '{self.keys_name}'"
            raise _wrong("sequenceBy", message)
        if self.scd_type == 2:
            self._require_versions_fit(listed)
        return self

    @property
    def is_snapshot(self) -> bool:
        """Whether the rows are all there are."""
        return bool(self.snapshot_keys)

    @property
    def found_by(self) -> list[str]:
        """The columns that identify a row of the table."""
        return self.snapshot_keys or self.keys

    @property
    def keys_name(self) -> str:
        """The key of the config that names them."""
        return "snapshotKeys" if self.is_snapshot else "keys"

    def replaces(self) -> Replacement | None:
        """The rows that are deleted without a change of their own; None if there are none."""
        if self.is_snapshot:
            return Replacement("deletes all rows that its snapshot lacks", is_all=True)
        truncation = Replacement("deletes all rows by its 'truncateWhen'", is_within_partition=False)
        return truncation if self.truncate_when is not None else None

    def _require_one_kind(self) -> None:
        if self.is_snapshot == bool(self.keys):
            raise _wrong("keys", "name the columns that identify a row in either 'keys' or 'snapshotKeys'")
        if not self.is_snapshot:
            if self.sequence_by is None:
                raise _wrong(
                    "sequenceBy", "'keys' needs 'sequenceBy', which says which of two changes is the later one"
                )
            return
        for key, value in (("deleteWhen", self.delete_when), ("truncateWhen", self.truncate_when)):
            if value is not None:
                raise _wrong(key, f"'{key}' is about changes; what a snapshot lacks is deleted, so leave it out")
        if self.sequence_by is not None and self.scd_type == 1:
            raise _wrong("sequenceBy", "with 'snapshotKeys', 'sequenceBy' is for the history of scdType 2")

    def _require_versions_fit(self, listed: set[str]) -> None:
        if self.truncate_when is not None:
            raise _wrong("truncateWhen", "'truncateWhen' needs scdType 1; a history is closed row by row: 'deleteWhen'")
        if self.sequence_by is not None and self.sequence_by.lower() in listed:
            message = f"with scdType 2 the table has '{self.sequence_by}' as '{VALID_FROM}', so leave it out"
            raise _wrong("columns", message)
        taken = [name for name in VERSION_COLUMNS if name.lower() in listed]
        if taken:
            raise _wrong("columns", f"with scdType 2 the table has a column '{taken[0]}' of its own")


def require_changes(mode: str, changes: Changes | None) -> None:
    """Raise unless a step has `changes` exactly where its mode needs them.

    Raises:
        PydanticCustomError: They are missing, or the mode has none.
    """
    if mode == "applyChanges" and changes is None:
        raise PydanticCustomError("changes", "mode applyChanges needs 'changes'", {"key": "mode"})
    if mode != "applyChanges" and changes is not None:
        raise _wrong("changes", "'changes' needs mode applyChanges")


def _wrong(key: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("changes", "{message}", {"message": message, "key": key})
