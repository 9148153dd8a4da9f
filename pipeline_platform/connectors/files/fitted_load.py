"""A load of files beside others: compared with the newest of them, and given its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.schema_policy import FileSchemaPolicy
from pipeline_platform.connectors.files.avro_resolution import logical_difference
from pipeline_platform.connectors.files.avro_schema import (
    AvroSchemaError,
    avro_schema_of,
    parse_avro_record,
    spark_type,
)
from pipeline_platform.connectors.files.columns_there import ColumnsThere, TextLayout, columns_there
from pipeline_platform.connectors.files.committer import FileCommitter
from pipeline_platform.connectors.files.newest_file import NewestFile, WrittenColumns
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.by_name import by_name, joint_type
from pipeline_platform.frames.columns import field_named, quoted
from pipeline_platform.frames.plain_types import plain_columns
from pipeline_platform.frames.schema_drift import SchemaChange, schema_drift
from pipeline_platform.steps.load import LoadResult

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType

# Types that a format stores alike. Of the sorts that only Spark tells apart it does so in a footer of its own.
_ALIKE = ({"timestamp", "timestamp_ntz"}, {"int", "interval_ym"}, {"bigint", "interval_dt", "timestamp_ntz"})
_ALIKE_IN_AVRO = ({"tinyint", "smallint", "int"},)


@dataclass(frozen=True)
class FileLayout:
    """How the files of a load are written, as far as others lie beside them.

    Args:
        format: Spark's name of their format.
        text: Of csv and json.
        partition_by: Columns that become folders.
        policy: What happens to differences.
        avro_schema: Of avro: the schema to write with; None for that of the frame.
    """

    format: str
    text: TextLayout
    partition_by: Sequence[str]
    policy: FileSchemaPolicy
    avro_schema: str | None = None


@dataclass(frozen=True)
class FittedFrame:
    """A frame that has the columns of the files that are there.

    Args:
        frame: What is written.
        changes: How what was given was different.
        columns: What the files are to hold.
    """

    frame: DataFrame
    changes: Sequence[SchemaChange]
    columns: WrittenColumns


@dataclass(frozen=True)
class FittedLoad:
    """A load of files that was compared with those that are there.

    Args:
        committer: Publishes it.
        frame: What is written.
        changes: How what was given was different.
    """

    committer: FileCommitter
    frame: DataFrame
    changes: Sequence[SchemaChange]

    def write(self) -> LoadResult:
        """Write aside, then publish."""
        written = self.committer.write()
        return replace(written, schema_changes=self.changes if written.skipped is None else ())

    def last_batch(self) -> int | None:
        """The newest micro-batch of the stream that is published, or written in full and sure to be."""
        return self.committer.last_batch()

    def clean(self) -> None:
        """Remove what is left of an attempt that was not published."""
        self.committer.clean()


def fitted_to_files(
    frame: DataFrame, layout: FileLayout, place: StorageLocation, newest: NewestFile | None
) -> FittedFrame:
    """The frame, with the columns of the newest file that is there, in their order.

    Args:
        frame: What is loaded.
        layout: How it is written.
        place: The folder.
        newest: The file; None if there is none to compare with.

    Raises:
        PipelineExecutionException: A difference is not allowed.
    """
    told = f"{newest.name} in {place.uri}" if newest is not None else ""
    there = None
    if newest is not None:
        _require_layout(newest, layout, told)
        there = columns_there(newest, layout.format, place, layout.text)
    changes: Sequence[SchemaChange] = ()
    own = _own_columns(frame, layout)
    if there is not None:
        known = _known(there, own, layout.format, told)
        changes = schema_drift(own, known, told, layout.policy, _never, has_variants=False).changes
        if layout.avro_schema is None:
            wanted = _wanted(known, own, layout.policy)
            frame, own = _with_columns(frame, own, wanted, layout.partition_by), wanted
        _require_meaning(there, own, layout, told)
    written = WrittenColumns(format=layout.format, columns=own.json(), has_header=layout.text.has_header)
    return FittedFrame(frame, changes, written)


def _own_columns(frame: DataFrame, layout: FileLayout) -> StructType:
    """What the files would hold if nothing else were there."""
    from pyspark.sql.types import StructType

    folders = {name.lower() for name in layout.partition_by}
    own = StructType([field for field in frame.schema if field.name.lower() not in folders])
    if layout.avro_schema is not None:
        try:
            said = spark_type(parse_avro_record(layout.avro_schema))
        except AvroSchemaError:
            # Spark says what is wrong with it, if anything is.
            return plain_columns(own)
        assert isinstance(said, StructType)
        own = said
    return plain_columns(own)


def _require_layout(newest: NewestFile, layout: FileLayout, told: str) -> None:
    """Raise unless readers can read the files as one.

    Raises:
        PipelineExecutionException: They are of two formats, in folders of other columns, or only some have a header.
    """
    hint = "write to another path, or with mode overwrite, which replaces all"
    if newest.format is not None and newest.format != layout.format:
        raise PipelineExecutionException(
            f"{told} is {newest.format}, and {layout.format} files beside it could not be read with it", hint=hint
        )
    folders = newest.folders()
    if [name.lower() for name in folders] != [name.lower() for name in layout.partition_by]:
        has = f"in folders by {', '.join(folders)}" if folders else "in no folder of a column"
        says = f"says {', '.join(layout.partition_by)}" if layout.partition_by else "is not there"
        raise PipelineExecutionException(
            f"{told} is {has}, and 'partitionBy' {says}", hint=f"partition the load as the files are; or {hint}"
        )
    written = newest.written
    if layout.format == "csv" and written is not None and written.has_header != layout.text.has_header:
        has = "has a header" if written.has_header else "has no header"
        raise PipelineExecutionException(
            f"{told} {has}, and 'header' is {str(layout.text.has_header).lower()}",
            hint=f"set 'header' as it was; or {hint}",
        )


def _known(there: ColumnsThere, own: StructType, file_format: str, told: str) -> StructType:
    """The columns of the file, with the frame's types where the file says no others.

    Raises:
        PipelineExecutionException: Without names, there are more of them, or fewer.
    """
    from pyspark.sql.types import StructField, StructType

    if isinstance(there.columns, int):
        if there.columns != len(own):
            raise PipelineExecutionException(
                f"{told} has no header and {there.columns} columns, and the frame has {len(own)}: "
                f"{', '.join(own.names)}",
                hint="give the frame these columns, in their order; or write to another path",
            )
        return own
    found = [(field, field_named(own, field.name)) for field in there.columns]
    fields = [
        StructField(field.name, mine.dataType if mine is not None else field.dataType)
        if mine is None or not there.have_types
        else StructField(field.name, _seen_as(field.dataType, mine.dataType, file_format, is_exact=there.are_exact))
        for field, mine in found
    ]
    if there.are_all:
        return StructType(fields)
    return StructType([*own, *(field for field, mine in found if mine is None)])


def _seen_as(there: DataType, own: DataType, file_format: str, *, is_exact: bool) -> DataType:
    """The type of a file's column, with the frame's types in it where both are stored alike."""
    from pyspark.sql import types as T

    def seen(one: DataType, other: DataType) -> DataType:
        return _seen_as(one, other, file_format, is_exact=is_exact)

    match there, own:
        case T.StructType(), T.StructType():
            pairs = [(field, field_named(own, field.name)) for field in there]
            return T.StructType(
                [
                    T.StructField(
                        field.name, seen(field.dataType, mine.dataType) if mine is not None else field.dataType
                    )
                    for field, mine in pairs
                ]
            )
        case T.ArrayType(), T.ArrayType():
            return T.ArrayType(seen(there.elementType, own.elementType))
        case T.MapType(), T.MapType():
            return T.MapType(seen(there.keyType, own.keyType), seen(there.valueType, own.valueType))
        case _:
            pass
    kinds = {_kind(there), _kind(own)}
    alike = (*(_ALIKE_IN_AVRO if file_format == "avro" else ()), *(() if is_exact else _ALIKE))
    is_unknown = isinstance(there, T.NullType) and not is_exact
    return own if is_unknown or any(kinds <= each for each in alike) else there


def _kind(kind: DataType) -> str:
    from pyspark.sql import types as T

    if isinstance(kind, T.YearMonthIntervalType):
        return "interval_ym"
    return "interval_dt" if isinstance(kind, T.DayTimeIntervalType) else kind.simpleString()


def _never(_target: DataType, _source: DataType) -> bool:
    """Files get no wider types."""
    return False


def _wanted(known: StructType, own: StructType, policy: FileSchemaPolicy) -> StructType:
    """The columns that are written: those that are there, and behind them the new ones that a policy lets in."""
    from pyspark.sql.types import StructType

    wanted = joint_type(known, own) if policy.new_columns == "add" else known
    assert isinstance(wanted, StructType)
    return wanted


def _with_columns(frame: DataFrame, own: StructType, wanted: StructType, folders: Sequence[str]) -> DataFrame:
    """The frame with the columns that are wanted, in their order and spelling, and those of folders after them."""
    from pyspark.sql import functions as F

    if own == wanted:
        return frame

    def column(name: str, kind: DataType) -> Column:
        given = field_named(own, name)
        if given is None:
            return F.lit(None).cast(kind).alias(name)
        value = by_name(F.col(quoted(given.name)), given.dataType, kind)
        return value if given.name == name and given.dataType == kind else value.alias(name)

    are_folders = {name.lower() for name in folders}
    rest = [F.col(quoted(name)) for name in frame.columns if name.lower() in are_folders]
    return frame.select(*(column(field.name, field.dataType) for field in wanted), *rest)


def _require_meaning(there: ColumnsThere, own: StructType, layout: FileLayout, told: str) -> None:
    """Raise where avro files have logical types that differ from those of the file, which Avro does not notice.

    Raises:
        PipelineExecutionException: Values of one would be taken for others.
    """
    if there.avro is None:
        return
    try:
        mine = layout.avro_schema or avro_schema_of(own, "topLevelRecord", "")
    except AvroSchemaError:
        return
    why = logical_difference(mine, there.avro)
    if why is not None:
        raise PipelineExecutionException(
            f"values of {told} would be taken for others beside those of this load: {why}",
            hint="write with the logical types that are there, or to another path",
        )
