"""What `changes` names, found in a frame: the keys, the order, and the columns of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.connectors.delta.changes.config import CURRENT, VALID_FROM, VALID_TO, VERSION_COLUMNS, Changes
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX, own_column, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType


_VERSIONS = tuple(name.lower() for name in VERSION_COLUMNS)
_LOADED_AT = f"{HELPER_PREFIX}loaded_at"


@dataclass(frozen=True)
class ChangeColumns:
    """The columns that changes are about, as the frame spells them.

    Args:
        keys: Those that identify a row of the table.
        sequence: The one that says which change is the later one.
        stored: Those of the frame that the table gets.
        has_versions: Whether the table has a row for each version.
        carried: Those that only the table has: a change leaves them as they were.
        types: With a `schemaPolicy`: types that hold what the frame, the table and what is remembered have in a column,
            by its name. The frame has these, and the table gets them.
    """

    keys: tuple[str, ...]
    sequence: str
    stored: tuple[str, ...]
    has_versions: bool
    carried: tuple[str, ...] = ()
    types: Mapping[str, DataType] = field(default_factory=dict[str, "DataType"])

    @property
    def written(self) -> tuple[str, ...]:
        """The columns of a row of the table, but those that say when it was valid."""
        return (*self.stored, *self.carried)

    @property
    def sequence_in_table(self) -> str:
        """The table's column that holds the sequence of a row's change."""
        return VALID_FROM if self.has_versions else self.sequence

    def in_table(self, name: str) -> str:
        """The table's column that holds what a column of the changes has.

        Args:
            name: Of the column.
        """
        return self.sequence_in_table if name == self.sequence else name


@dataclass(frozen=True)
class FrameChanges:
    """A frame whose rows are changes.

    Args:
        frame: The rows.
        changes: How they are read.
        columns: The columns that they are about.
    """

    frame: DataFrame
    changes: Changes
    columns: ChangeColumns

    def in_table(self) -> DataFrame:
        """A frame with the columns of the table: what the table is held against, not what is written."""
        from pyspark.sql import functions as F

        columns = [F.col(quoted(name)) for name in self.columns.stored]
        columns += [F.lit(None).cast(self.columns.types[name]).alias(name) for name in self.columns.carried]
        if self.columns.has_versions:
            sequence = F.col(quoted(self.columns.sequence))
            columns += [sequence.alias(VALID_FROM), sequence.alias(VALID_TO), F.lit(True).alias(CURRENT)]
        return self.frame.select(*columns)

    def require_fit(self, table: StructType, path: str, policy: SchemaPolicy | None) -> None:
        """Require that a table that is there can be changed by them.

        Args:
            table: The table's columns.
            path: Of the table, for the message.
            policy: What happens where its columns are others; None if they have to be the same.

        Raises:
            PipelineExecutionException: It has no history, or one that they would break, or a column that they know
                nothing of.
        """
        there = {field.name.lower() for field in table}
        missing = [name for name in VERSION_COLUMNS if self.columns.has_versions and name.lower() not in there]
        if missing:
            raise PipelineExecutionException(
                f"the table at {path} has no column '{missing[0]}': it holds no history that changes could be added to",
                hint="load the history into a table of its own, by another path",
            )
        own = {name.lower() for name in self.in_table().columns}
        if policy is not None:
            if not own & set(_VERSIONS) and there.issuperset(_VERSIONS):
                raise PipelineExecutionException(
                    f"the table at {path} holds a history, with a row for each version, and the changes are of a table "
                    "with one row for each key",
                    hint="set 'scdType' 2 in 'changes', or load them into another path",
                )
            return
        unknown = [field.name for field in table if field.name.lower() not in own]
        if unknown:
            raise PipelineExecutionException(
                f"the changes have no column '{unknown[0]}', which the table at {path} has, and a change is of whole "
                "rows",
                hint="add the column to the frame, and to 'columns' in 'changes' if it names some",
            )


def frame_changes(frame: DataFrame, changes: Changes) -> FrameChanges:
    """Find what `changes` names in a frame.

    Args:
        frame: The rows.
        changes: The config.

    Raises:
        PipelineExecutionException: A column is missing, of a type that has no order, or has a name that the table needs
            for itself.
    """
    from pyspark.sql import functions as F

    keys = tuple(own_column(frame.columns, name) for name in changes.found_by)
    has_versions, of_the_frame = changes.scd_type == 2, frame.columns
    if changes.sequence_by is not None:
        sequence = own_column(frame.columns, changes.sequence_by)
    else:
        sequence = _LOADED_AT
        frame = frame.withColumn(sequence, F.lit(datetime.now(UTC)))
    if changes.columns:
        stored = [own_column(of_the_frame, name) for name in changes.columns]
    else:
        stored = [name for name in of_the_frame if not (has_versions and name == sequence)]
    if not has_versions and not changes.is_snapshot and sequence not in stored:
        stored.append(sequence)
    taken = {name.lower() for name in stored}
    for name in VERSION_COLUMNS if has_versions else ():
        if name.lower() in taken:
            raise PipelineExecutionException(
                f"with scdType 2 the table has a column '{name}' of its own, and the frame has one, too",
                hint="rename it, or leave it out with 'columns' in 'changes'",
            )
    for name in keys:
        _require_simple(name, frame.schema[name].dataType, changes.keys_name)
    _require_ordered(sequence, frame.schema[sequence].dataType)
    return FrameChanges(frame, changes, ChangeColumns(keys, sequence, tuple(stored), has_versions))


def common_type(one: DataType) -> DataType:
    """The type in which values of a column are compared: integers of any width are one."""
    from pyspark.sql.types import IntegralType, LongType

    return LongType() if isinstance(one, IntegralType) else one


def wider(frame_type: DataType, table_type: DataType | None) -> DataType:
    """Of a column of both, the type that holds the values of both; they were found to fit each other."""
    from pyspark.sql.types import ByteType, IntegerType, IntegralType, LongType, ShortType

    if isinstance(frame_type, IntegralType) and isinstance(table_type, IntegralType):
        widths = (ByteType, ShortType, IntegerType, LongType)
        return max(frame_type, table_type, key=lambda found: widths.index(type(found)))
    return frame_type


def comparable(value: Column, data_type: DataType) -> Column:
    """The value in a form that Spark compares: it has no order for maps and variants.

    Args:
        value: The value.
        data_type: Its type.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    from pipeline_platform.frames.nested_values import types_in

    if not any(isinstance(inner, T.MapType | T.VariantType) for inner in types_in(data_type)):
        return value
    match data_type:
        case T.StructType():
            fields = [comparable(value.getField(field.name), field.dataType) for field in data_type.fields]
            named = [field.alias(f"_{place}") for place, field in enumerate(fields)]
            return F.when(value.isNotNull(), F.struct(*named))
        case T.ArrayType():
            return F.transform(value, lambda item: comparable(item, data_type.elementType))
        case T.MapType():
            entries = F.map_entries(value)
            return F.array_sort(
                F.transform(
                    entries,
                    lambda entry: F.struct(
                        comparable(entry.getField("key"), data_type.keyType).alias("key"),
                        comparable(entry.getField("value"), data_type.valueType).alias("value"),
                    ),
                )
            )
        case _:
            # Of a variant, which keeps its fields in order.
            return F.to_json(value)


def _require_simple(name: str, data_type: DataType, key: str) -> None:
    from pyspark.sql.types import ArrayType, MapType, StructType, VariantType

    if isinstance(data_type, ArrayType | MapType | StructType | VariantType):
        raise PipelineExecutionException(
            f"the key '{name}' is {data_type.simpleString()}: no row can be found by it",
            hint=f"take columns of simple types for '{key}', such as a number or a text",
        )


def _require_ordered(name: str, data_type: DataType) -> None:
    from pyspark.sql import types as T

    ordered = T.IntegralType | T.DecimalType | T.DateType | T.TimestampType | T.TimestampNTZType | T.StringType
    if not isinstance(data_type, ordered):
        raise PipelineExecutionException(
            f"'sequenceBy' names '{name}', and a {data_type.simpleString()} is no order of changes",
            hint="take an integer, a decimal, a date, a timestamp or a text; cast it with enrichData if need be",
        )
