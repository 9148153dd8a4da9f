"""Reads files of each format as their step says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.csv_files import (
    CsvGroup,
    read_group,
)
from pipeline_platform.connectors.files.csv_reading import read_csv, whole_format
from pipeline_platform.connectors.files.json_reading import json_records, read_json
from pipeline_platform.connectors.files.listing import FileListing, watched_path
from pipeline_platform.connectors.files.read_options import ReadOptions
from pipeline_platform.connectors.files.typed_reading import read_typed, stream_typed
from pipeline_platform.connectors.files.wanted_columns import wanted_columns, with_folders

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def read_files(spark: SparkSession, listing: FileListing, how: ReadOptions) -> DataFrame:
    """The files as a batch.

    Raises:
        PipelineExecutionException: There are none, or they are not what the step says.
    """
    match how.format:
        case "csv":
            return read_csv(spark, listing, how)
        case "json":
            return read_json(spark, listing, how)
        case _:
            return read_typed(spark, listing, how)


def stream_files(spark: SparkSession, listing: FileListing, how: ReadOptions) -> DataFrame:
    """The files, and those that come, as a stream.

    Raises:
        PipelineExecutionException: As for `read_files`, of the files that are there.
    """
    path = watched_path(listing.place)
    if how.format not in ("csv", "json"):
        return stream_typed(spark, listing, how, path)
    wanted = wanted_columns(how.schema)
    assert wanted is not None
    files = listing.text_files(spark, how.format, how.charset, wanted)
    partitions = files.partitions
    own = [name for name in wanted.names if name not in partitions.names]
    wanted = with_folders(wanted, partitions)
    reader = spark.readStream.options(**listing.reader_options())

    def load(given: Any) -> DataFrame:
        return given.load(path)

    if how.format == "json":
        return json_records(reader, load, wanted, partitions, files.heads, how)
    # Where a file is read in parts, nobody compares its header.
    form = whole_format(files.heads, how.csv)
    group = CsvGroup(tuple(own) if form.has_header else None, tuple(own), load)
    return read_group(reader, group, wanted, partitions, form)
