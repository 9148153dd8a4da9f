"""`changes` of `toDeltaLake`: how the rows of a frame are read as changes of a table's rows."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Names, SqlExpression, Text

VALID_FROM, VALID_TO, CURRENT = "validFrom", "validTo", "current"
VERSION_COLUMNS = (VALID_FROM, VALID_TO, CURRENT)
"""Columns that say when a version was valid."""


class Changes(FormatModel):
    """How the rows of a frame are read as changes: what they are changes of, in which order, and of which kind."""

    keys: Names
    """The columns that identify a row of the table; NULL in one is an error."""
    sequence_by: Text
    """The column that says which of two changes of a row is the later one: an integer, a decimal, a date, a timestamp,
    or text, which is compared character by character. NULL is an error, and so are two different changes of a row with
    the same value."""
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
        if len({name.lower() for name in self.keys}) < len(self.keys):
            raise _wrong("keys", "'keys' names a column twice")
        if len(listed) < len(self.columns):
            raise _wrong("columns", "'columns' names a column twice")
        missing = [name for name in self.keys if listed and name.lower() not in listed]
        if missing:
            raise _wrong("columns", f"'columns' has to name the key '{missing[0]}', too")
        if self.sequence_by.lower() in (name.lower() for name in self.keys):
            raise _wrong("sequenceBy", "'sequenceBy' tells changes of a row apart, so it can't be one of 'keys'")
        if self.scd_type == 2:
            self._require_versions_fit(listed)
        return self

    def _require_versions_fit(self, listed: set[str]) -> None:
        if self.truncate_when is not None:
            raise _wrong("truncateWhen", "'truncateWhen' needs scdType 1; a history is closed row by row: 'deleteWhen'")
        if self.sequence_by.lower() in listed:
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
