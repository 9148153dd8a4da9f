"""How the columns of a database's source are read, so that no value of theirs becomes another one in the frame.

What a type alone shows to be too wide is refused at planning. Where it depends on the values, the database itself looks
at each row that is read: a condition on the rows, so that indexes serve a filter as before, which raises an error for a
value that a frame can't hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

MOST_DIGITS = 38
What = Literal["number", "date", "time", "nested array"]
"""What a value is that a frame can't hold: a point in time is a date, and a time of day a time."""


@dataclass(frozen=True)
class SourceColumn:
    """How one column is read.

    Args:
        name: Its name.
        expression: What is read in its place, as the system's SQL; None for the column itself.
        condition: Raises an error, as the system's SQL, for a value that a frame can't hold, and is true of any other;
            None if a frame can hold all.
        data_type: What the frame has in place of the expression's type.
        taken_for: What Spark is to take the expression for, in place of what the driver says of it. A filter of the
            column still reaches the database, as it does not with `data_type`.
        held: True of the values that a frame can hold, as the system's SQL; None if it can hold all.
    """

    name: str
    expression: str | None = None
    condition: str | None = None
    data_type: DataType | None = None
    taken_for: DataType | None = None
    held: str | None = None


def guarded(source: str, columns: Sequence[tuple[str, SourceColumn]]) -> str:
    """The source with its columns as they are to be read.

    Args:
        source: A table, or a query with a name, as the system's SQL.
        columns: Each with its name as the system's SQL.
    """
    conditions = [column.condition for _, column in columns if column.condition is not None]
    is_plain = all(column.expression is None for _, column in columns)
    if is_plain and not conditions:
        return source
    read = [f"{column.expression} AS {name}" if column.expression else name for name, column in columns]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"(SELECT {'*' if is_plain else ', '.join(read)} FROM {source}{where}) AS guarded"


def taken_types(columns: Sequence[SourceColumn]) -> dict[str, str]:
    """Options of Spark's JDBC reader for what it is to take the columns for."""
    types = [f"{quoted(one.name)} {one.taken_for.simpleString()}" for one in columns if one.taken_for is not None]
    return {"customSchema": ", ".join(types)} if types else {}


def in_own_types(frame: DataFrame, columns: Sequence[SourceColumn]) -> DataFrame:
    """The frame with the types that its columns have in the source, where they were read in another."""
    from pyspark.sql import functions as F

    types = {column.name: column.data_type for column in columns if column.data_type is not None}
    if not types:
        return frame
    fields = [(name, F.col(quoted(name)), types.get(name)) for name in frame.columns]
    return frame.select(
        *[field.cast(type_).alias(name) if type_ is not None else field for name, field, type_ in fields]
    )


def complaint(name: str, what: What) -> str:
    """What the error says of a value of this column; as `unheld` finds it."""
    return f"a {what} that a frame cannot hold, in the column [{name}] of the source"


def unheld(what: What) -> str:
    """What the database says of such a value: a regular expression, as the column's name is part of it."""
    return rf"a {what} that a frame cannot hold, in the column \[.*\] of the source"


def too_wide(name: str, type_: str, narrower: str, text: str) -> PipelineExecutionException:
    """The error for a column whose type has more digits than a frame can hold.

    Args:
        name: The column.
        type_: Its type in the system's SQL.
        narrower: A type of the system's that a frame can hold.
        text: The system's type for text.
    """
    return PipelineExecutionException(
        f"the column '{name}' of the source is {type_}, and a frame can't hold more than {MOST_DIGITS} digits",
        hint=f"read it with 'query', as what its values need: CAST({name} AS {narrower}), or CAST({name} AS {text})",
    )
