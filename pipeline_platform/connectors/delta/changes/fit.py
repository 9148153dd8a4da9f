"""Changes that are brought to the columns of their table, as a `schemaPolicy` allows.

What is known of a key is in three places: the changes, the table, and what is remembered beside it. Each may have a
wider type than the others: a load that was killed, or had nothing to write to the table, leaves them so. So the changes
get types that hold the values of all three, and whichever is narrower gets them with the commit that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_platform.config.schema_policy import SchemaPolicy
from pipeline_platform.connectors.delta.changes.columns import ChangeColumns, FrameChanges, common_type
from pipeline_platform.connectors.delta.changes.memory import ChangeMemory
from pipeline_platform.connectors.delta.schema_enforcement import widens
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.by_name import by_name, joint_type
from pipeline_platform.frames.columns import field_named, in_sql, quoted
from pipeline_platform.frames.fitted_frame import fitted_frame, shaped
from pipeline_platform.frames.schema_drift import Drift, schema_drift
from pipeline_platform.frames.widening import holds

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


def fitted_changes(
    given: FrameChanges,
    table: StructType | None,
    place: StorageLocation,
    policy: SchemaPolicy,
    partitions: Sequence[str],
) -> tuple[FrameChanges, Drift | None]:
    """The changes, with the columns that their table has or gets, and how they were different from it.

    Args:
        given: The changes.
        table: The table's columns; None if there is none yet.
        place: Where the table is.
        policy: What happens to differences.
        partitions: The columns that the table is partitioned by.

    Raises:
        PipelineExecutionException: A difference is not allowed.
    """
    memory = ChangeMemory(place, given.columns)
    remembered = {} if given.changes.is_snapshot else memory.types()
    if policy.type_changes == "widen":
        given = _held_by_memory(given, remembered)
    drift = None
    if table is None:
        given = replace(given, columns=replace(given.columns, types=_types(given, given.in_table().schema, None)))
    else:
        _require_found_by(given, table, place.uri, policy)
        told = f"the table at {place.uri}"
        drift = schema_drift(given.in_table().schema, table, told, policy, widens, fixed=partitions)
        _require_whole_values(drift, table, place.uri)
        given = _fitted(given, drift, table)
    wanted = {name: common_type(given.columns.types[name]) for name in remembered}
    _require_memory_fits(wanted, remembered, place.uri, policy)
    if wanted != remembered:
        memory.require_may_widen()
    return given, drift


def _held_by_memory(given: FrameChanges, remembered: Mapping[str, DataType]) -> FrameChanges:
    """The changes, whose keys and sequence have the types of those that are remembered, if these hold more."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import NumericType

    wider = {
        name: kind
        for name, kind in remembered.items()
        if (has := common_type(given.frame.schema[name].dataType)) != kind
        and isinstance(has, NumericType)
        and isinstance(kind, NumericType)
        and holds(kind, has)
    }
    if not wider:
        return given
    frame = given.frame.withColumns({name: F.col(quoted(name)).cast(kind) for name, kind in wider.items()})
    return replace(given, frame=frame)


def _fitted(given: FrameChanges, drift: Drift, table: StructType) -> FrameChanges:
    from pyspark.sql import functions as F

    columns, fitted = given.columns, {column.name: column for column in drift.columns}
    stored = tuple(name for name in columns.stored if name in fitted)
    has = fitted_frame(given.in_table(), drift).schema
    types = _types(replace(given, columns=replace(columns, stored=stored)), has, table)
    values = {
        name: by_name(shaped(F.col(quoted(name)), fitted[name].shape), has[name].dataType, types[name])
        for name in stored
        if fitted[name].shape is not None or has[name].dataType != types[name]
    }
    if columns.has_versions and types[columns.sequence] != given.frame.schema[columns.sequence].dataType:
        values[columns.sequence] = F.col(quoted(columns.sequence)).cast(types[columns.sequence])
    own = {name.lower() for name in has.names}
    carried = {field.name: field.dataType for field in table if field.name.lower() not in own}
    frame = given.frame.withColumns(values) if values else given.frame
    kept = replace(columns, stored=stored, carried=tuple(carried), types={**types, **carried})
    return replace(given, frame=frame, columns=kept)


def _types(given: FrameChanges, has: StructType, table: StructType | None) -> dict[str, DataType]:
    """By the name of a column: the type that holds what the changes and the table have in it."""
    columns = given.columns
    types: dict[str, DataType] = {}
    for name in (*columns.stored, *((columns.sequence,) if columns.has_versions else ())):
        place = columns.in_table(name)
        found = field_named(table, place) if table is not None else None
        types[name] = joint_type(has[place].dataType, found.dataType) if found is not None else has[place].dataType
    return types


def require_still_held(columns: ChangeColumns, table: StructType, path: str) -> None:
    """Require that changes that were brought to the columns of their table hold what it has now.

    Args:
        columns: Those of the changes.
        table: Those of the table, as it is now.
        path: Of the table, for the message.

    Raises:
        PipelineExecutionException: Another load has changed them meanwhile.
    """
    for name, kind in columns.types.items():
        place = columns.in_table(name)
        found = field_named(table, place)
        if found is not None and not holds(kind, found.dataType):
            raise PipelineExecutionException(
                f"the table at {path} has '{place}' as {found.dataType.simpleString()} now: another load changed it",
                hint="run again; let one pipeline at a time write to a table that changes are applied to",
                retryable=True,
            )


def _require_found_by(given: FrameChanges, table: StructType, path: str, policy: SchemaPolicy) -> None:
    columns = given.columns
    for name in columns.keys:
        if field_named(table, name) is None:
            raise PipelineExecutionException(
                f"'{given.changes.keys_name}' names '{name}', and the table at {path} has no such column",
                hint=f"load it into another path, or name columns of the table in '{given.changes.keys_name}'",
            )
    is_left_out = policy.new_columns == "ignore" and columns.sequence in columns.stored
    if is_left_out and field_named(table, columns.sequence) is None:
        raise PipelineExecutionException(
            f"the table at {path} has no column '{columns.sequence}', which says which change a row is of, and "
            "'newColumns' ignore leaves it out",
            hint="set 'newColumns' to add, or load the changes into another path",
        )


def _require_whole_values(drift: Drift, table: StructType, path: str) -> None:
    for change in drift.changes:
        if change.change == "missing" and change.column not in table.names:
            raise PipelineExecutionException(
                f"the changes have no field '{change.column}', which the table at {path} has, and a change is of whole "
                "values",
                hint="add the field, for example with enrichData",
            )


def _require_memory_fits(
    wanted: Mapping[str, DataType], remembered: Mapping[str, DataType], path: str, policy: SchemaPolicy
) -> None:
    for name, kind in remembered.items():
        can_widen = widens(kind, wanted[name])
        if wanted[name] == kind or (can_widen and policy.type_changes == "widen"):
            continue
        cast = f"cast it with enrichData: CAST({in_sql(name)} AS {kind.simpleString()})"
        raise PipelineExecutionException(
            f"the column '{name}' is {wanted[name].simpleString()}, and the changes that are remembered beside the "
            f"table at {path} have it as {kind.simpleString()}",
            hint="set 'typeChanges' to widen" if can_widen else cast,
        )
