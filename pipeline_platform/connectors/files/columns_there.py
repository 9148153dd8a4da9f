"""The columns of the files that a folder has, as the newest of them says, with no job of Spark's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.avro_schema import AvroSchemaError, parse_avro_record, spark_type
from pipeline_platform.connectors.files.csv_dialect import CsvDialect, header_of
from pipeline_platform.connectors.files.heads import FileHead, heads_of
from pipeline_platform.connectors.files.json_types import keys_in
from pipeline_platform.connectors.files.newest_file import NewestFile
from pipeline_platform.connectors.files.schemas import AVRO_HEADER_BYTES, arrow_schema, avro_schema_in
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.plain_types import plain_columns

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

_SPARK_COLUMNS = b"org.apache.spark.sql.parquet.row.metadata"


@dataclass(frozen=True)
class TextLayout:
    """How the files of a load are written that are csv or json.

    Args:
        dialect: Of csv: how values are set apart.
        has_header: Of csv: whether the first line has the names.
        encoding: By Python's name and Spark's.
        line_sep: What ends a line; None for a line feed.
    """

    dialect: CsvDialect
    has_header: bool
    encoding: str
    line_sep: str | None


@dataclass(frozen=True)
class ColumnsThere:
    """What is known of the columns of a file.

    Args:
        columns: By name, in their order; how many there are, if that is all that is known.
        are_all: Whether it can have no others.
        have_types: Whether they have types.
        are_exact: Whether the types are those that Spark wrote, and not only what the format made of them.
        avro: The schema in the header of an avro file.
    """

    columns: StructType | int
    are_all: bool = True
    have_types: bool = True
    are_exact: bool = True
    avro: str | None = None


def columns_there(
    newest: NewestFile, file_format: str, place: StorageLocation, text: TextLayout
) -> ColumnsThere | None:
    """The columns of the newest file; None if it does not tell.

    Args:
        newest: The file.
        file_format: Spark's name of its format.
        place: The folder; says how to enter it.
        text: How such files are written if they are csv or json.

    Raises:
        PipelineExecutionException: The file is not of its format.
    """
    match file_format:
        case "parquet":
            return _parquet(newest, place)
        case "orc":
            return _noted(newest, have_types=True) or _orc(newest, place)
        case "avro":
            return _avro(newest, place)
        case "csv":
            return _noted(newest, have_types=False) or _csv(newest, place, text)
        case _:
            return _noted(newest, have_types=False) or _json(newest, place, text)


def _noted(newest: NewestFile, *, have_types: bool) -> ColumnsThere | None:
    from pyspark.sql.types import StructType

    if newest.written is None:
        return None
    columns = StructType.fromJson(json.loads(newest.written.columns))
    return ColumnsThere(columns, have_types=have_types)


def _parquet(newest: NewestFile, place: StorageLocation) -> ColumnsThere:
    from pyspark.sql.types import StructType

    fields = _footer(newest, "parquet", place)
    metadata: Any = fields.metadata or {}
    said = metadata.get(_SPARK_COLUMNS)
    if said is None:
        return _of_arrow(fields)
    try:
        columns = plain_columns(StructType.fromJson(json.loads(said)))
    except Exception:  # noqa: BLE001
        # A type of somebody's own, whose class is not here.
        return _of_arrow(fields)
    return ColumnsThere(columns)


def _orc(newest: NewestFile, place: StorageLocation) -> ColumnsThere:
    return _of_arrow(_footer(newest, "orc", place))


def _footer(newest: NewestFile, file_format: str, place: StorageLocation) -> Any:
    import pyarrow

    arrow: Any = pyarrow
    try:
        with (place.path() / newest.name).open("rb") as file:
            return arrow_schema(file, file_format)
    except arrow.ArrowException as error:
        raise _unreadable(newest, file_format, place) from error


def _unreadable(newest: NewestFile, file_format: str, place: StorageLocation) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"the newest file of {place.uri}, {newest.name}, can't be read as {file_format}, so its columns are not known",
        hint="repair it or move it away, as readers of the folder can't read it either; or write to another path",
    )


def _of_arrow(fields: Iterable[Any]) -> ColumnsThere:
    from pyspark.sql.types import StructField, StructType

    columns = plain_columns(StructType([StructField(field.name, _spark_type(field.type)) for field in fields]))
    return ColumnsThere(columns, are_exact=False)


def _spark_type(kind: Any) -> Any:
    from pyspark.errors import PySparkTypeError
    from pyspark.sql.pandas import types
    from pyspark.sql.types import NullType

    of_arrow: Any = types
    try:
        return of_arrow.from_arrow_type(kind, prefer_timestamp_ntz=True)
    except PySparkTypeError:
        # Spark has none, or no name for it: that of the frame's column is taken.
        return NullType()


def _avro(newest: NewestFile, place: StorageLocation) -> ColumnsThere | None:
    from pyspark.sql.types import StructType

    with (place.path() / newest.name).open("rb") as file:
        schema = avro_schema_in(file.read(AVRO_HEADER_BYTES))
    if schema is None:
        raise _unreadable(newest, "avro", place)
    try:
        columns = spark_type(parse_avro_record(schema))
    except AvroSchemaError:
        return None
    assert isinstance(columns, StructType)
    return ColumnsThere(plain_columns(columns), avro=schema)


def _head(newest: NewestFile, place: StorageLocation) -> FileHead | None:
    if newest.size == 0:
        return None
    path = f"{place.uri.rstrip('/')}/{newest.name}"
    return next(iter(heads_of([path], place)), None)


def _csv(newest: NewestFile, place: StorageLocation, text: TextLayout) -> ColumnsThere | None:
    head = _head(newest, place)
    begins = head.text(text.encoding) if head is not None else None
    if head is None or begins is None:
        return None
    if text.line_sep is not None:
        begins = begins.replace(text.line_sep, "\n")
    first = header_of(begins, head.is_whole, text.dialect)
    if not first:
        return None
    return ColumnsThere(_texts(first) if text.has_header else len(first), have_types=False)


def _json(newest: NewestFile, place: StorageLocation, text: TextLayout) -> ColumnsThere | None:
    head = _head(newest, place)
    begins = head.text(text.encoding) if head is not None else None
    names = sorted(keys_in(begins)) if begins else []
    return ColumnsThere(_texts(names), are_all=False, have_types=False) if names else None


def _texts(names: Iterable[str]) -> StructType:
    from pyspark.sql.types import StringType, StructField, StructType

    return StructType([StructField(name, StringType()) for name in names])
