"""What is known of each key, in order: changes that are loaded, rows of the table, and changes that are remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.connectors.delta.changes.columns import ChangeColumns, FrameChanges, common_type, comparable
from pipeline_platform.connectors.delta.changes.config import VALID_TO
from pipeline_platform.connectors.delta.errors import CONFLICTING_CHANGES, INCOMPLETE_CHANGE
from pipeline_platform.frames.by_name import by_name
from pipeline_platform.frames.columns import HELPER_PREFIX, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType
    from pyspark.sql.window import WindowSpec

KEY, SEQUENCE = f"{HELPER_PREFIX}key", f"{HELPER_PREFIX}sequence"
DELETED, TRUNCATED = f"{HELPER_PREFIX}deleted", f"{HELPER_PREFIX}truncated"
ROW = f"{HELPER_PREFIX}row"
"""The values that a change gives the row; null of a delete."""
LOADED, STORED, REMEMBERED = f"{HELPER_PREFIX}loaded", f"{HELPER_PREFIX}stored", f"{HELPER_PREFIX}remembered"
"""Where a change is known from; it may be from several."""
UNTIL = f"{HELPER_PREFIX}until"
"""When the table says that the version ends."""
_ORIGINS = (LOADED, STORED, REMEMBERED)


def change_events(given: FrameChanges) -> DataFrame:
    """The rows of a frame as changes, made to fail while they are read at one without key or sequence.

    Args:
        given: The frame.
    """
    from pyspark.sql import functions as F

    frame, columns = given.frame, given.columns
    truncated, deleted = _holds(given.changes.truncate_when), _holds(given.changes.delete_when)
    missing = F.lit(None).cast("string")
    for name in reversed(columns.keys):
        missing = F.when(F.col(quoted(name)).isNull() & ~truncated, F.lit(name)).otherwise(missing)
    missing = F.when(F.col(quoted(columns.sequence)).isNull(), F.lit(columns.sequence)).otherwise(missing)
    failed = F.raise_error(F.concat(F.lit(f"{INCOMPLETE_CHANGE} "), missing)).cast("boolean")
    complete = frame.filter(F.when(missing.isNotNull(), failed).otherwise(F.lit(True)))
    kept = ~(deleted | truncated)
    return complete.select(
        F.when(~truncated, _key(columns, frame.schema)).alias(KEY),
        _common(columns.sequence, frame.schema).alias(SEQUENCE),
        deleted.alias(DELETED),
        truncated.alias(TRUNCATED),
        *(F.when(kept, F.col(quoted(name))).alias(name) for name in columns.stored),
    )


def timeline(
    events: DataFrame,
    are_few: bool,
    table: DataFrame | None,
    memory: DataFrame | None,
    columns: ChangeColumns,
    truncated_at: str | None = None,
) -> DataFrame:
    """What is known of the keys that are loaded, each change once, made to fail while it is read at two that differ.

    Args:
        events: The changes that are loaded.
        are_few: Whether their keys can be sent to every executor.
        table: The table; None if there is none.
        memory: What is remembered; None if nothing is.
        columns: The columns that changes are about.
        truncated_at: The sequence of the newest truncation that is loaded, as SQL; None if there is none.
    """
    from pyspark.sql import functions as F

    values = [F.col(quoted(name)) for name in columns.stored]
    loaded = events.filter(~F.col(TRUNCATED))
    keys = F.broadcast(loaded.select(KEY)) if are_few else loaded.select(KEY)
    known = loaded.select(KEY, SEQUENCE, DELETED, *_from(LOADED), *values)
    if table is not None:
        rows = stored_rows(table, columns).join(keys, KEY, "left_semi")
        known = known.unionByName(rows, allowMissingColumns=True)
    if memory is not None:
        facts = _in_types_of(events, memory.toDF(KEY, SEQUENCE, DELETED), columns)
        facts = facts.withColumns(_flags(REMEMBERED)).join(keys, KEY, "left_semi")
        known = known.unionByName(facts, allowMissingColumns=True)
    if UNTIL not in known.columns:
        known = known.withColumn(UNTIL, F.lit(None).cast(events.schema[SEQUENCE].dataType))
    if columns.carried:
        known = _with_carried(known, columns, truncated_at)
        values += [F.col(quoted(name)) for name in columns.carried]
    row = F.when(~F.col(DELETED) & (F.col(LOADED) | F.col(STORED)), F.struct(*values))
    known = known.select(KEY, SEQUENCE, DELETED, UNTIL, *_ORIGINS, row.alias(ROW))
    if columns.has_versions and memory is not None:
        # A change that is remembered and is no delete has left the row as it was.
        before = F.last(F.when(F.col(STORED), F.col(ROW)), ignorenulls=True).over(in_order())
        is_repeat = ~F.col(DELETED) & F.col(ROW).isNull()
        known = known.withColumn(ROW, F.when(is_repeat, before).otherwise(F.col(ROW)))
        known = known.filter(F.col(DELETED) | F.col(ROW).isNotNull())
    return _each_once(known, columns)


def stored_rows(table: DataFrame, columns: ChangeColumns) -> DataFrame:
    """The rows of the table as the changes that they are of.

    Args:
        table: The table.
        columns: The columns that changes are about.
    """
    from pyspark.sql import functions as F

    there = {field.name.lower(): field.dataType for field in table.schema}
    has_sequence = columns.sequence_in_table.lower() in there
    ordered_by = columns.types.get(columns.sequence)
    sequence = _common(columns.sequence_in_table, table.schema, ordered_by) if has_sequence else F.lit(None)

    def value(name: str) -> Column:
        stored = F.col(quoted(name))
        return by_name(stored, there[name.lower()], columns.types[name]) if name in columns.types else stored

    return table.select(
        _key(columns, table.schema).alias(KEY),
        sequence.alias(SEQUENCE),
        F.lit(False).alias(DELETED),
        *_from(STORED),
        *([_common(VALID_TO, table.schema, ordered_by).alias(UNTIL)] if columns.has_versions else []),
        *(value(name).alias(name) for name in columns.written if name.lower() in there),
    )


def in_order() -> WindowSpec:
    """The changes of each key in their order."""
    from pyspark.sql import Window

    return Window.partitionBy(KEY).orderBy(SEQUENCE)


def compared(frame: DataFrame) -> Column:
    """The values of a change, as they are compared with those of another."""
    from pyspark.sql import functions as F

    return comparable(F.col(ROW), frame.schema[ROW].dataType)


def _each_once(known: DataFrame, columns: ChangeColumns) -> DataFrame:
    """Changes that are known from several places, or were loaded twice, as one; they have to say the same."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    same = Window.partitionBy(KEY, SEQUENCE)
    says = F.struct(F.col(DELETED), compared(known).alias("row"))
    shown = [
        F.concat(F.lit(f"{name} "), F.col(KEY).getField(f"_{place}").cast("string"))
        for place, name in enumerate(columns.keys)
    ]
    text = F.concat(
        F.lit(f"{CONFLICTING_CHANGES} "), F.concat_ws(", ", *shown, F.concat(F.lit(f"{columns.sequence} "), SEQUENCE))
    )
    # Rows of a table that was loaded otherwise may have no sequence.
    differs = F.col(SEQUENCE).isNotNull() & ~says.eqNullSafe(F.first(says).over(same))
    repeats = F.coalesce(F.lag(SEQUENCE).over(in_order()) == F.col(SEQUENCE), F.lit(False))
    origins = {name: F.max(name).over(same) for name in (*_ORIGINS, UNTIL)}
    marked = known.withColumns({"_differs": differs, "_repeats": repeats, **origins})
    failed = F.raise_error(text).cast("boolean")
    once = F.when(F.col("_differs"), failed).otherwise(~F.col("_repeats"))
    return marked.filter(once).drop("_differs", "_repeats")


def _with_carried(known: DataFrame, columns: ChangeColumns, truncated_at: str | None) -> DataFrame:
    """What is known, where changes have what they say nothing of from the row before them, unless it was gone since."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    held = F.struct(*(F.col(quoted(name)) for name in columns.carried))
    nothing = F.struct(*(F.lit(None).cast(columns.types[name]).alias(name) for name in columns.carried))
    is_after = F.coalesce(F.col(SEQUENCE) >= F.expr(truncated_at or "NULL"), F.lit(False))
    up_to_here = Window.partitionBy(KEY, is_after).orderBy(SEQUENCE)
    before = F.last(F.when(F.col(DELETED), nothing).when(F.col(STORED), held), ignorenulls=True).over(up_to_here)
    taken = {
        name: F.when(F.col(LOADED), before.getField(name)).otherwise(F.col(quoted(name))) for name in columns.carried
    }
    return known.withColumns(taken)


def _in_types_of(events: DataFrame, memory: DataFrame, columns: ChangeColumns) -> DataFrame:
    """What is remembered, with keys and sequence as those of the changes, which hold them."""
    from pyspark.sql import functions as F

    if not columns.types:
        return memory
    return memory.withColumns({name: F.col(name).cast(events.schema[name].dataType) for name in (KEY, SEQUENCE)})


def _holds(condition: str | None) -> Column:
    from pyspark.sql import functions as F

    return F.coalesce(F.expr(condition).cast("boolean"), F.lit(False)) if condition is not None else F.lit(False)


def _key(columns: ChangeColumns, schema: StructType) -> Column:
    from pyspark.sql import functions as F

    keys = [_common(name, schema, columns.types.get(name)) for name in columns.keys]
    return F.struct(*(key.alias(f"_{place}") for place, key in enumerate(keys)))


def _common(name: str, schema: StructType, wanted: DataType | None = None) -> Column:
    from pyspark.sql import functions as F

    found = next(field for field in schema if field.name.lower() == name.lower())
    return F.col(quoted(name)).cast(common_type(wanted or found.dataType))


def _flags(origin: str) -> dict[str, Column]:
    from pyspark.sql import functions as F

    return {name: F.lit(name == origin) for name in _ORIGINS}


def _from(origin: str) -> list[Column]:
    return [flag.alias(name) for name, flag in _flags(origin).items()]
