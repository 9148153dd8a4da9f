"""What a load changes of the columns of a table that is there already, as its `schemaPolicy` allows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.contracts.physical_type import Kind, physical_type
from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.connectors.jdbc.target_table import TargetColumn, require_typed
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import field_named
from pipeline_platform.frames.fitted_frame import fitted_frame
from pipeline_platform.frames.number_types import number_type
from pipeline_platform.frames.schema_drift import RESCUED, SchemaChange, schema_drift
from pipeline_platform.frames.widening import holds

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructType

_MOST_DIGITS = 38
_VARCHAR = re.compile(r"^(character varying|varchar)\((\d+)\)(?!\[)")
_UNSIGNED = re.compile(r"^(?P<type>(decimal|float|double)\b.*?) unsigned")


@dataclass(frozen=True)
class TableChanges:
    """What is different between a load and its table, and what the table gets for it.

    Args:
        added: Columns that it gets.
        widened: Columns that get another type, as the table spells them, with the type that they had.
        told: What is different, for people.
        limited: Columns of text that may get more room.
        unlimited: The system's type for text of any length.
    """

    added: tuple[str, ...] = ()
    widened: Mapping[str, str] | None = None
    told: tuple[SchemaChange, ...] = ()
    limited: Collection[str] = ()
    unlimited: str = "text"

    def with_grown(self, before: Sequence[TargetColumn], after: Sequence[TargetColumn]) -> tuple[SchemaChange, ...]:
        """What is different, with the columns of text that were given more room.

        Args:
            before: The columns of the table.
            after: Those that it has now.
        """
        types = {column.name: column.type for column in after}
        grown = (
            SchemaChange(column.name, "widened", column.type, types[column.name])
            for column in before
            if column.name in self.limited and types.get(column.name, column.type) != column.type
        )
        return (*self.told, *grown)

    @property
    def names(self) -> list[str]:
        """The columns that are added or get another type."""
        return [*self.added, *(self.widened or {})]

    def applied(self, columns: Sequence[TargetColumn], made: Sequence[TargetColumn]) -> list[TargetColumn]:
        """The columns of the table, as it is to be; those of text that may get more room with any room.

        Args:
            columns: Those it has.
            made: Those that are added or get another type, with the types that the frame's columns have in this
                system.
        """
        types = {column.name.lower(): column for column in made}
        there = [
            replace(column, type=types[column.name.lower()].type, holds=types[column.name.lower()].holds)
            if column.name in (self.widened or {})
            else column
            for column in columns
        ]
        there = [
            replace(column, type=_VARCHAR.sub(self.unlimited, column.type)) if column.name in self.limited else column
            for column in there
        ]
        return [*there, *(replace(types[name.lower()], nullable=True) for name in self.added)]


def fitted(
    frame: DataFrame,
    columns: Sequence[TargetColumn],
    table: str,
    policy: SchemaPolicy,
    keys: Collection[str],
    system: str,
) -> tuple[DataFrame, TableChanges]:
    """The frame, with the columns that its table has or gets, and what the table gets.

    Args:
        frame: What is loaded.
        columns: Those of the table.
        table: The table, for messages.
        policy: What happens to differences.
        keys: Columns that rows are found by.
        system: By whose SQL types are read.

    Raises:
        PipelineExecutionException: A difference is not allowed.
    """
    known = _as_spark_has(frame.schema, columns, system)
    told = f"the table at {table}"
    drift = schema_drift(frame.schema, known, told, policy, _widens, keys=keys, has_variants=False)
    taken = fitted_frame(frame, drift)
    names = {column.name.lower() for column in columns}
    added = tuple(name for name in taken.columns if name.lower() not in names)
    wider = {change.column.lower() for change in drift.changes if change.change == "widened"}
    widened = {column.name: column.type for column in columns if column.name.lower() in wider}
    require_typed(taken.schema, added, table)
    if drift.rescued:
        _require_room_for_json(columns, table)
    _require_own_types([column for column in columns if column.name in widened], frame.schema, table)
    limited = _limited(taken.schema, columns, keys) if policy.type_changes != "fail" else ()
    return taken, TableChanges(added, widened, drift.changes, limited, "longtext" if system == "mysql" else "text")


def room_of(column: TargetColumn) -> int | None:
    """How many characters a column of text has room for; None if there is no such limit.

    Args:
        column: The column.
    """
    found = _VARCHAR.match(column.type)
    return int(found[2]) if found else None


def signed_as(before: str, after: str) -> str:
    """A wider type that keeps out negative numbers if the one before did.

    Args:
        before: The type that a column has, of those that have a fraction.
        after: The one that it gets.
    """
    return f"{after} unsigned" if _UNSIGNED.match(before) else after


def with_room(column: TargetColumn, length: int) -> str:
    """The type of a column of text, with room for more characters.

    Args:
        column: The column.
        length: How many.
    """
    return _VARCHAR.sub(lambda found: f"{found[1]}({length})", column.type)


def _limited(frame: StructType, columns: Sequence[TargetColumn], keys: Collection[str]) -> tuple[str, ...]:
    from pyspark.sql.types import StringType

    texts = {field.name.lower() for field in frame if isinstance(field.dataType, StringType)}
    texts -= {name.lower() for name in keys}
    return tuple(column.name for column in columns if column.name.lower() in texts and room_of(column) is not None)


def _require_room_for_json(columns: Sequence[TargetColumn], table: str) -> None:
    for column in columns:
        if column.name.lower() == RESCUED and "string" not in column.holds:
            raise PipelineExecutionException(
                f"the table {table} has the column '{column.name}' as {column.type}, and 'newColumns' quarantine keeps "
                "values as JSON in it",
                hint="rename that column of the table or make it text, or set 'newColumns' to ignore",
            )


def _require_own_types(columns: Sequence[TargetColumn], frame: StructType, table: str) -> None:
    """Raise if the type of one of these columns is a domain, which may be that of others, too, and has its rules."""
    for column in columns:
        field = field_named(frame, column.name)
        if column.beneath is not None and field is not None:
            raise PipelineExecutionException(
                f"the column '{field.name}' is {field.dataType.simpleString()}, and the table {table} has it as the "
                f"domain {column.type}, {column.beneath}, which the load does not change",
                hint="cast it with enrichData to what the domain holds, or give the column another type yourself",
            )


def _as_spark_has(frame: StructType, columns: Sequence[TargetColumn], system: str) -> StructType:
    """The columns of a table, numbers with the types that they have there, and others as the frame has them.

    Whether a column takes other values, what else is asked of a load tells. What the system fills in is not missing.
    """
    from pyspark.sql import types as T

    fields: list[T.StructField] = []
    for column in columns:
        given = field_named(frame, column.name)
        kind = _spark_type(column.plain_type, system)
        if given is not None:
            is_number = isinstance(given.dataType, T.NumericType) and isinstance(kind, T.NumericType)
            fields.append(T.StructField(column.name, kind if is_number and kind is not None else given.dataType))
        elif not (column.is_filled or column.is_computed):
            fields.append(T.StructField(column.name, kind or T.StringType()))
    return T.StructType(fields)


def _spark_type(name: str, system: str) -> DataType | None:
    """What a type is to Spark; None if Spark has none that is the same."""
    from pyspark.sql import types as T

    # Without a sign it has the same digits, and what reads types knows it only with one.
    unsigned = _UNSIGNED.match(name)
    found = physical_type(unsigned["type"] if unsigned else name, system)
    if found is None:
        return None
    if found.kind == "decimal":
        is_known = found.precision is not None and found.precision <= _MOST_DIGITS
        return T.DecimalType(found.precision or 0, found.scale) if is_known else None
    kinds: Mapping[Kind, DataType] = {
        "boolean": T.BooleanType(),
        "date": T.DateType(),
        "timestamp": T.TimestampType(),
        "binary": T.BinaryType(),
    }
    return number_type(found.kind) or kinds.get(found.kind)


def _widens(target: DataType, source: DataType) -> bool:
    """Whether a column can be given the frame's type, of the same sort of numbers, in which its values stay exact."""
    from pyspark.sql import types as T

    sorts = (T.IntegralType, T.DecimalType, (T.FloatType, T.DoubleType))
    return any(isinstance(target, sort) and isinstance(source, sort) for sort in sorts) and holds(source, target)
