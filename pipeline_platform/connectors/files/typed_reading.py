"""Reads files that say the types of their columns: parquet, orc and avro."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_platform.connectors.files.heads import name_of_file
from pipeline_platform.connectors.files.local_names import require_none_left_out
from pipeline_platform.connectors.files.read_options import ReadOptions
from pipeline_platform.connectors.files.schemas import MOST_FOOTERS, Columns, file_columns, require_one_schema
from pipeline_platform.connectors.files.stream_columns import columns_of_stream
from pipeline_platform.connectors.files.wanted_columns import replace_fields, require_no_column_twice, wanted_columns
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.widening import holds

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.connectors.files.listing import FileListing


def stream_typed(spark: SparkSession, listing: FileListing, how: ReadOptions, path: str) -> DataFrame:
    """Files that say their columns, and say them for those that are yet to come."""
    reader = spark.readStream.format(how.format).options(**_options(listing, how))
    if how.schema is not None and not how.may_change_values:
        return reader.schema(how.schema).load(path)
    there = read_typed(spark, listing, how)
    columns = columns_of_stream(
        listing.paths(there),
        how.format,
        listing.place,
        merged=there.schema if how.merge_schema or how.schema is not None else None,
        has_folder_columns=not listing.is_recursive(),
        leaves_out=how.schema is not None,
    )
    reader = reader.options(**(columns.option() if columns is not None else {}))
    return reader.schema(there.schema if how.schema is None else how.schema).load(path)


def _options(listing: FileListing, how: ReadOptions) -> dict[str, str]:
    merged = {"mergeSchema": "true"} if how.merge_schema else {}
    return {**how.options, **merged, **listing.reader_options()}


def read_typed(spark: SparkSession, listing: FileListing, how: ReadOptions) -> DataFrame:
    """Files that say the types of their columns."""
    reader = spark.read.format(how.format).options(**_options(listing, how))
    wanted = wanted_columns(how.schema)
    uncertain = listing.uncertain_files()
    frame = listing.load(reader if wanted is None else reader.schema(wanted))
    paths = listing.paths(frame)
    require_none_left_out(uncertain, paths)
    folders = listing.partitions(frame, paths, wanted)
    compares = wanted is None and not how.merge_schema and len(paths) > 1
    looks = compares or wanted is not None or folders.names
    found = file_columns(paths, how.format, listing.place) if looks else []
    if wanted is not None and how.may_change_values:
        _require_types_of_files(spark, listing, found, wanted, how.format)
    if compares:
        require_one_schema(found, how.format)
    listing.require_none_beside_folders(folders)
    _require_columns_of_files(found, len(paths), wanted, folders, how)
    schema = replace_fields(frame.schema, {field.name: field for field in folders.fields})
    return frame if schema == frame.schema else listing.load(reader.schema(schema))


def _require_columns_of_files(
    found: Sequence[tuple[str, Columns | None]],
    files: int,
    wanted: StructType | None,
    folders: StructType,
    how: ReadOptions,
) -> None:
    """Raise if a column is in the files and in the names of folders, or in the schema alone.

    Raises:
        PipelineExecutionException: There is one.
    """
    names = {name.partition(".")[0] for _, columns in found for name in columns or ()}
    require_no_column_twice([*names], folders)
    are_all_seen = files <= MOST_FOOTERS and all(columns is not None for _, columns in found)
    if wanted is None or how.merge_schema or not names or not are_all_seen:
        return
    there = {name.lower() for name in (*names, *folders.names)}
    missing = [name for name in wanted.names if name.partition(".")[0].lower() not in there]
    # Hive names the columns of its ORC files by their place, as Spark knows.
    if missing and not all(name.startswith("_col") for name in names):
        lacking = "" if how.format == "avro" else "; with 'mergeSchema', those that some files lack are null"
        raise PipelineExecutionException(
            f"the schema has the columns {', '.join(missing[:5])}, which no file has; the files have "
            f"{', '.join(sorted(names))}",
            hint=f"name the columns as the files do{lacking}",
        )


def _require_types_of_files(
    spark: SparkSession,
    listing: FileListing,
    found: Sequence[tuple[str, Columns | None]],
    wanted: StructType,
    file_format: str,
) -> None:
    """Raise unless the schema's types have every value of the files' types; of many files up to 200 are looked at.

    Of ORC Spark makes another value, or null, of one that the type does not have: 2.0 of 1.999, 1 of 1.9; of Parquet 44
    of 300 for a TINYINT.

    Raises:
        PipelineExecutionException: A type does not have them.
    """
    kinds = {
        field.name.lower(): field.dataType
        for field in wanted.fields
        if file_format == "orc" or re.search("tinyint|smallint", field.dataType.simpleString())
    }
    seen: dict[str, str] = {}
    for path, columns in found:
        news = {name: kind for name, kind in (columns or {}).items() if seen.get(name) != kind}
        seen |= news
        tops = {name.partition(".")[0].lower() for name in news}
        if not tops & {*kinds}:
            continue
        for field in (
            spark.read.format(file_format).options(**listing.reader_options()).load(name_of_file(path)).schema.fields
        ):
            kind = kinds.get(field.name.lower())
            if kind is not None and not holds(kind, field.dataType):
                was = field.dataType.simpleString()
                raise PipelineExecutionException(
                    f"{path} has the column '{field.name}' as {was}, and 'schema' has it as {kind.simpleString()}, "
                    "which can't hold all values of that type",
                    hint=f"write {was} in 'schema', and convert it in a step of its own",
                )
