"""Schema enforcement: what Delta Lake would refuse of a frame while it writes is told before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import field_named, in_sql
from pipeline_platform.frames.storable import field_names

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField, StructType

_COLUMN_MAPPING = "delta.columnMapping.mode"
TYPE_WIDENING = "delta.enableTypeWidening"
"""The property of a table whose columns may get wider types."""
_COLUMN_MAPPING_DEFAULT = "spark.databricks.delta.properties.defaults.columnMapping.mode"
# Where Spark keeps that a text is a CHAR or a VARCHAR.
_CHAR_TYPE = "__CHAR_VARCHAR_TYPE_STRING"
_NOT_IN_NAMES = " ,;{}()\n\t="


def require_partitions(path: str, wanted: Sequence[str], existing: Sequence[str]) -> None:
    """Require that the columns that a step partitions by are those of the table.

    Args:
        path: Of the table, for the message.
        wanted: The step's columns; none if it leaves them to the table.
        existing: The table's.

    Raises:
        PipelineExecutionException: They are others.
    """
    if wanted and [name.lower() for name in wanted] != [name.lower() for name in existing]:
        have = ", ".join(existing) or "nothing"
        raise PipelineExecutionException(
            f"the table at {path} is partitioned by {have}, and 'partitionBy' says {', '.join(wanted)}",
            hint="leave 'partitionBy' out, or write with mode overwrite and overwriteSchema",
        )


def require_no_padding(frame: DataFrame, table: StructType, path: str) -> None:
    """Require that texts are not written into columns in which an earlier version has padded those of MySQL.

    Args:
        frame: What is written.
        table: The table's columns.
        path: Of the table, for the message.

    Raises:
        PipelineExecutionException: The table has such a column: a merge by it would find none of its rows, and Spark
            shows its values with blanks behind them, whatever is written.
    """
    for column in table:
        given = field_named(frame.schema, column.name)
        is_mysqls = column.metadata.get("jdbcClientType") == "CHAR"
        if is_mysqls and given is not None and _is_char(column) and not _is_char(given):
            raise PipelineExecutionException(
                f"the column '{column.name}' of the table at {path} is {column.metadata[_CHAR_TYPE]}: an earlier "
                "version read texts of MySQL with blanks behind them, and now they come without",
                hint="load all rows anew, with the table removed or mode overwrite and overwriteSchema; or, in Spark's "
                f"SQL, ALTER TABLE ... ALTER COLUMN {column.name} TYPE STRING, then UPDATE ... SET {column.name} = "
                f"rtrim({column.name}), for each such column",
            )


def _is_char(column: StructField) -> bool:
    return str(column.metadata.get(_CHAR_TYPE, "")).startswith("char(")


def require_names(frame: DataFrame, names: Sequence[str], properties: Mapping[str, str | None]) -> None:
    """Require that Delta takes the names of columns.

    Args:
        frame: Of the session that writes.
        names: The columns that are new to the table.
        properties: The table's; none of a new one.

    Raises:
        PipelineExecutionException: One has a character that needs column mapping, which is off.
    """
    default = frame.sparkSession.conf.get(_COLUMN_MAPPING_DEFAULT, None)
    if (properties.get(_COLUMN_MAPPING) or default or "none") != "none":
        return
    for name in names:
        if any(character in _NOT_IN_NAMES for character in name):
            raise PipelineExecutionException(
                f"Delta does not allow the column name '{name}': it has one of the characters ' ,;{{}}()=', "
                "a tab or a new line",
                hint=f"rename it, or set '{_COLUMN_MAPPING_DEFAULT}' to 'name' in sparkConf for a new table",
            )


def require_schema(
    frame: DataFrame,
    table: StructType,
    path: str,
    properties: Mapping[str, str | None],
    *,
    merge_schema: bool,
    whole_rows: bool,
) -> None:
    """Require that the columns of a frame fit those of the table.

    Args:
        frame: What is written.
        table: The table's columns.
        path: Of the table, for the message.
        properties: The table's.
        merge_schema: Whether columns are added to the table, and widened where its properties allow it.
        whole_rows: Whether the frame has to have every column of the table.

    Raises:
        PipelineExecutionException: A column is missing, new to the table, or of another type.
    """
    from pyspark.sql.types import StructType

    existing = {field.name.lower(): field for field in table}
    added = _added(frame.schema, table)
    if added and not merge_schema:
        has = ", ".join(field.name for field in table)
        raise PipelineExecutionException(
            f"the table at {path} has no column '{added[0]}'; it has {has}",
            hint='drop the column, or set \'schemaPolicy\', such as to {"newColumns": "add"}',
        )
    require_names(frame, [*added, *_new_fields(frame.schema, table)], properties)
    may_widen = properties.get(TYPE_WIDENING) == "true"
    for field in frame.schema:
        target = existing.get(field.name.lower())
        if target is not None and not _fits(field.dataType, target.dataType, may_widen=may_widen and merge_schema):
            wanted = target.dataType.simpleString()
            hint = f"cast it with enrichData: CAST({in_sql(field.name)} AS {wanted})"
            if widens(target.dataType, field.dataType):
                hint = (
                    'set \'schemaPolicy\' to {"typeChanges": "widen"}, which gives the table\'s column the wider type'
                )
            if isinstance(target.dataType, StructType):
                hint = "give it the fields of the table's column"
            if may_widen and _fits(field.dataType, target.dataType, may_widen=True):
                hint = "set 'mergeSchema', which widens the table's column"
            raise PipelineExecutionException(
                f"the column '{field.name}' is {field.dataType.simpleString()}, and the table at "
                f"{path} has it as {wanted}",
                hint=hint,
            )
    missing = _added(table, frame.schema)
    if whole_rows and missing and not merge_schema:
        raise PipelineExecutionException(
            f"the frame has no column '{missing[0]}', which the table at {path} has, and a merge writes whole rows",
            hint=(
                "add the column, or set 'mergeSchema', which leaves it unchanged in existing rows and null in new ones"
            ),
        )


def _fits(source: DataType, target: DataType, *, may_widen: bool) -> bool:
    """Whether Delta takes a column of the source's type; `may_widen`: or gives the table's the wider one."""
    from pyspark.sql.types import ArrayType, ByteType, IntegerType, MapType, NullType, ShortType, StructType

    if isinstance(source, StructType) and isinstance(target, StructType):
        fields = {field.name.lower(): field.dataType for field in target}
        return all(
            _fits(field.dataType, fields.get(field.name.lower(), field.dataType), may_widen=may_widen)
            for field in source
        )
    if isinstance(source, ArrayType) and isinstance(target, ArrayType):
        return _fits(source.elementType, target.elementType, may_widen=may_widen)
    if isinstance(source, MapType) and isinstance(target, MapType):
        return _fits(source.keyType, target.keyType, may_widen=may_widen) and _fits(
            source.valueType, target.valueType, may_widen=may_widen
        )
    # The one family of types that Delta converts on write.
    widths = (ByteType, ShortType, IntegerType)
    return (
        source == target
        or isinstance(source, NullType)
        or (isinstance(source, widths) and isinstance(target, widths))
        or (may_widen and widens(target, source))
    )


def widens(target: DataType, source: DataType) -> bool:
    """Whether Delta gives a column of the table the wider type of the frame, as its protocol lists them.

    Args:
        target: The type in the table.
        source: The type in the frame.
    """
    from pyspark.sql.types import (
        ByteType,
        DecimalType,
        DoubleType,
        FloatType,
        IntegerType,
        LongType,
        ShortType,
    )

    widths: list[type[DataType]] = [ByteType, ShortType, IntegerType, LongType]
    small = isinstance(target, ByteType | ShortType | IntegerType)
    match target, source:
        case (FloatType(), DoubleType()):
            return True
        case (_, DoubleType()):
            return small
        case (DecimalType(), DecimalType()):
            more = source.scale - target.scale
            return more >= 0 and source.precision - target.precision >= more
        case (_, DecimalType()) if type(target) in widths:
            return source.precision - source.scale >= (10 if small else 20)
        case _ if type(target) in widths and type(source) in widths:
            return widths.index(type(source)) >= widths.index(type(target))
        case _:
            return False


def _added(source: StructType, target: StructType, prefix: str = "") -> list[str]:
    """Fields, nested ones included, that only the source has."""
    from pyspark.sql.types import StructType

    known = {field.name.lower(): field.dataType for field in target}
    added: list[str] = []
    for field in source:
        there = known.get(field.name.lower())
        if there is None:
            added.append(prefix + field.name)
        elif isinstance(field.dataType, StructType) and isinstance(there, StructType):
            added += _added(field.dataType, there, f"{prefix}{field.name}.")
    return added


def _new_fields(source: StructType, target: StructType) -> list[str]:
    """Names, at any depth and in arrays and maps, too, that only the source has."""
    known = set(field_names(target))
    return [name for name in field_names(source) if name not in known]
