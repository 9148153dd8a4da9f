"""`schemaPolicy`: what happens to a load whose columns are no longer those of its table."""

from __future__ import annotations

from typing import Annotated, Literal

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import one_of


class SchemaPolicy(FormatModel):
    """What happens where the columns of a frame are not those of the table; what is not named fails the load.

    Columns are compared as Spark does, without regard to case. Of a column with fields, each field is looked at.
    """

    new_columns: Annotated[
        Literal["fail", "add", "ignore", "quarantine"], one_of("fail", "add", "ignore", "quarantine")
    ] = "fail"
    """Columns that the table does not have: `add` adds them to it; `ignore` leaves them out; `quarantine` leaves them
    out and keeps their values, as a JSON object for each row that has any, in the table's column `_rescued_data`."""
    missing_columns: Annotated[Literal["fail", "allow"], one_of("fail", "allow")] = "fail"
    """Columns that only the table has: with `allow` they are NULL in new rows, and what they were in rows that a merge
    updates."""
    type_changes: Annotated[Literal["fail", "widen", "variant"], one_of("fail", "widen", "variant")] = "fail"
    """Columns whose type is not the table's: `widen` casts values to the table's type where it holds each of them, and
    else gives the table's column the wider type, if there is one for both; `variant` does the same, and where there is
    none loads the values into a column of their own, such as `amount__v_string`, while `amount` is NULL."""


class DatabaseSchemaPolicy(SchemaPolicy):
    """As `SchemaPolicy`, for a table of a database."""

    type_changes: Annotated[Literal["fail", "widen"], one_of("fail", "widen")] = "fail"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Columns that have no room for the frame's values: `widen` gives an integer, a decimal or a floating-point column
    a wider type of its sort where the frame has one, and a `varchar` room for the longest text of the load. With `fail`
    a wider type of number is refused, and so is a text that is too long."""


class FileSchemaPolicy(SchemaPolicy):
    """What happens where the columns of a frame are not those of the files that are there; what is not named fails.

    Files that are there stay as they are.
    """

    new_columns: Annotated[Literal["fail", "add", "ignore"], one_of("fail", "add", "ignore")] = "fail"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Columns that the files do not have: `add` writes them, behind the others; `ignore` leaves them out."""
    missing_columns: Annotated[Literal["fail", "allow"], one_of("fail", "allow")] = "fail"
    """Columns that only the files have: with `allow` they are written as NULL."""
    type_changes: Annotated[Literal["fail", "widen"], one_of("fail", "widen")] = "fail"  # pyright: ignore[reportIncompatibleVariableOverride]
    """parquet, orc and avro: columns whose type is not that of the files: `widen` casts values to the type of the
    files where it holds each of them; a wider type is refused, since files do not change."""
