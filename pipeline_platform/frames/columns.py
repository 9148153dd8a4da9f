"""Columns that a config names: found in a frame, whatever characters they have, or missed with a hint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline_platform.config.config_error import nearest
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructField, StructType

_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
HELPER_PREFIX = "__pipeline_platform_"
"""Columns with this prefix are the platform's own and never reach a sink."""


def quoted(name: str) -> str:
    """A column name as Spark SQL, so that dots and spaces are part of it."""
    return f"`{name.replace('`', '``')}`"


def in_sql(name: str) -> str:
    """A column name as people write it in Spark SQL: in backticks only where it needs them."""
    return name if _PLAIN.fullmatch(name) else quoted(name)


def find_column(columns: Sequence[str], name: str) -> str | None:
    """The column of this name, as the frame spells it; Spark does not tell upper from lower case."""
    if name in columns:
        return name
    return next((column for column in columns if column.lower() == name.lower()), None)


def field_named(columns: StructType, name: str) -> StructField | None:
    """The column, or field, of this name; Spark does not tell upper from lower case.

    Args:
        columns: The columns there are.
        name: The name wanted.
    """
    return next((column for column in columns if column.name.lower() == name.lower()), None)


def own_column(columns: Sequence[str], name: str, frame: str | None = None) -> str:
    """As `find_column`, for a column that has to be there.

    Args:
        columns: The columns there are.
        name: The column wanted.
        frame: Registered name of the frame, for the message.

    Raises:
        PipelineExecutionException: There is none of this name.
    """
    found = find_column(columns, name)
    if found is None:
        where = f" in '{frame}'" if frame is not None else ""
        raise PipelineExecutionException(
            f"there is no column '{name}'{where}; the columns are {', '.join(columns)}",
            hint=nearest(name, columns) or "write the name exactly as one of them",
        )
    return found


def column(columns: Sequence[str], name: str) -> Column:
    """As `own_column`, as an expression.

    Raises:
        PipelineExecutionException: There is none of this name.
    """
    from pyspark.sql import functions as F

    return F.col(quoted(own_column(columns, name)))


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, however they are spelled."""
    listed = list(names)
    counts = Counter(name.lower() for name in listed)
    return list({name.lower(): name for name in listed if counts[name.lower()] > 1}.values())


def column_of(frame: DataFrame, name: str) -> Column:
    """A column of the frame by its whole name, dots included.

    Raises:
        PipelineExecutionException: There is none of this name.
    """
    return column(own_columns(frame), name)


def require_text(frame: DataFrame, name: str, why: str) -> None:
    """Make sure that a column of the frame holds texts.

    Args:
        frame: The frame.
        name: The column, which is there.
        why: What needs it to be so.

    Raises:
        PipelineExecutionException: It holds something else.
    """
    from pyspark.sql.types import CharType, StringType, VarcharType

    field = field_named(frame.schema, name)
    if field is not None and not isinstance(field.dataType, (StringType, CharType, VarcharType)):
        raise PipelineExecutionException(
            f"'{name}' is {field.dataType.simpleString()}, and {why}", hint="cast it to string with enrichData"
        )


def any_of(conditions: Iterable[Column]) -> Column | None:
    """Whether one of the conditions holds; None if there are none."""
    found = None
    for condition in conditions:
        found = condition if found is None else found | condition
    return found


def own_columns(frame: DataFrame) -> list[str]:
    """The frame's columns, without those that the platform has added."""
    return [name for name in frame.columns if not name.startswith(HELPER_PREFIX)]


def nullable_columns(schema: StructType) -> StructType:
    """The same columns, each of which may be NULL.

    Args:
        schema: The columns.
    """
    from pyspark.sql import types as T

    return T.StructType([T.StructField(field.name, field.dataType) for field in schema.fields])
