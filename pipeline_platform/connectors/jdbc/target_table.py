"""The table that is written to, and whether one that is there already can take a frame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.config_error import nearest
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import find_column, in_sql

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructField, StructType

INTEGERS = frozenset({"integer"})
NUMBERS = frozenset({"integer", "decimal", "float"})
TEXTS = frozenset({"integer", "decimal", "float", "boolean", "string", "date", "timestamp"})
BOOLEANS = frozenset({"boolean"})
BYTES = frozenset({"binary"})
DATES = frozenset({"date"})
TIMES = frozenset({"date", "timestamp"})
ARRAYS = frozenset({"array"})
WRITTEN_AS_TEXT = frozenset({"string"})
"""Types that Spark does not have, such as uuid or json: their values are text in a frame."""


@dataclass(frozen=True)
class TableName:
    """Where a table is, or will be.

    Args:
        schema: The schema, which MySQL calls a database.
        name: The table.
    """

    schema: str
    name: str

    def beside(self, name: str) -> TableName:
        """Another table of the same schema."""
        return replace(self, name=name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class TargetColumn:
    """A column of a table.

    Args:
        name: Its name.
        type: Its type in the system's SQL, so that another column can be made like it.
        holds: The kinds of values that it can hold.
        nullable: Whether a row may go without.
        is_filled: Whether the system has a value of its own for a row that goes without.
        is_computed: Whether the system computes it, so that it can't be written.
        is_instant: Whether it is a point in time, and not what a clock shows somewhere.
        beneath: The type that its type was made of, if that is a domain.
    """

    name: str
    type: str
    holds: frozenset[str]
    nullable: bool = True
    is_filled: bool = False
    is_computed: bool = False
    is_instant: bool = False
    beneath: str | None = None

    @property
    def plain_type(self) -> str:
        """The type of its values."""
        return self.beneath or self.type


@dataclass(frozen=True)
class Pair:
    """A column of the frame, and the one of the table that takes it."""

    field: StructField
    column: TargetColumn


def paired(schema: Iterable[StructField], columns: Sequence[TargetColumn], table: str) -> list[Pair]:
    """Each column of a frame with the one of the table that takes it.

    Args:
        schema: The columns of the frame.
        columns: Of the table.
        table: The table, for messages.

    Raises:
        PipelineExecutionException: The table has no such column, or one of another type, or one that has to be given
            and is not.
    """
    by_name = {column.name: column for column in columns}
    pairs: list[Pair] = []
    for field in schema:
        name = find_column(list(by_name), field.name)
        if name is None:
            raise PipelineExecutionException(
                f"the table {table} has no column '{field.name}'; it has {', '.join(by_name)}",
                hint=nearest(field.name, by_name) or "drop the column, or add it to the table",
            )
        pairs.append(_fitting(Pair(field, by_name[name]), table))
    given = {pair.column.name for pair in pairs}
    for column in columns:
        if column.name not in given and not (column.nullable or column.is_filled or column.is_computed):
            raise PipelineExecutionException(
                f"the table {table} has the column '{column.name}' NOT NULL without a default, and the frame does not "
                "have it",
                hint="add it with enrichData, or give it a default in the table",
            )
    return pairs


def require_types(schema: StructType, table: str) -> None:
    """Raise if no table can be made for a frame.

    Args:
        schema: Of the frame.
        table: The table, for the message.

    Raises:
        PipelineExecutionException: A column has no type that one could be made with.
    """
    for column in schema:
        if kind_of(column.dataType) == "void":
            raise PipelineExecutionException(
                f"the column '{column.name}' is null without a type, and there is no table {table} yet to take the "
                "type from",
                hint=f"cast it with enrichData, for example CAST({in_sql(column.name)} AS STRING), or create the table "
                "first",
            )


def require_typed(schema: Iterable[StructField], names: Collection[str], table: str) -> None:
    """Raise if a table can't get some columns of a frame.

    Args:
        schema: The columns of the frame.
        names: Those that the table gets.
        table: The table, for the message.

    Raises:
        PipelineExecutionException: A column has no type.
    """
    for column in schema:
        if column.name in names and kind_of(column.dataType) == "void":
            raise PipelineExecutionException(
                f"the column '{column.name}' is null without a type, so the table {table} can't be given it",
                hint=f"cast it with enrichData, for example CAST({in_sql(column.name)} AS STRING), or drop it",
            )


def unalterable(place: TableName, what: str) -> PipelineExecutionException:
    """The exception for something whose columns are those of something else.

    Args:
        place: Its name.
        what: What it is, such as a view.
    """
    return PipelineExecutionException(
        f"{place} is {what}, so its columns can't be changed as 'schemaPolicy' says",
        hint="change the table that is beneath it first, or name that one in 'table'",
    )


def _fitting(pair: Pair, table: str) -> Pair:
    kind, column = kind_of(pair.field.dataType), pair.column
    if column.is_computed:
        raise PipelineExecutionException(
            f"the column '{column.name}' of the table {table} is computed by the database and can't be written",
            hint="drop it from the frame first",
        )
    cuts = _kind_within(pair.field.dataType) == "timestamp" and column.plain_type.startswith("date[")
    if (kind not in column.holds and kind != "void") or cuts:
        raise PipelineExecutionException(
            f"the column '{pair.field.name}' is {pair.field.dataType.simpleString()}, and the table {table} has it as "
            f"{column.type}",
            hint="cast it with enrichData to the type of the table's column",
        )
    return pair


def _kind_within(data_type: DataType) -> str:
    from pyspark.sql.types import ArrayType

    return _kind_within(data_type.elementType) if isinstance(data_type, ArrayType) else kind_of(data_type)


def kind_of(data_type: DataType) -> str:
    """What sort of values a type of Spark has, as far as a column of a database minds."""
    from pyspark.sql import types as T

    if isinstance(data_type, T.DecimalType) and data_type.scale == 0:
        return "integer"
    kinds: tuple[tuple[tuple[type[DataType], ...], str], ...] = (
        ((T.IntegralType,), "integer"),
        ((T.DecimalType,), "decimal"),
        ((T.FractionalType,), "float"),
        ((T.BooleanType,), "boolean"),
        ((T.StringType, T.CharType, T.VarcharType), "string"),
        ((T.BinaryType,), "binary"),
        ((T.DateType,), "date"),
        ((T.TimestampType, T.TimestampNTZType), "timestamp"),
        ((T.ArrayType,), "array"),
        ((T.NullType,), "void"),
    )
    return next((kind for types, kind in kinds if isinstance(data_type, types)), "other")
