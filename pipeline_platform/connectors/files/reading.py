"""Reads files of each format as their step says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.csv_files import (
    CsvGroup,
    read_group,
)
from pipeline_platform.connectors.files.csv_reading import read_csv, whole_format
from pipeline_platform.connectors.files.heads import require_format
from pipeline_platform.connectors.files.json_reading import json_records, read_json
from pipeline_platform.connectors.files.source import ReadsFiles, watched_path
from pipeline_platform.connectors.files.typed_reading import read_typed, stream_typed
from pipeline_platform.connectors.files.wanted_columns import wanted_columns, with_folders

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.connectors.files.listing import FileListing


def read_files(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    """The files as a batch.

    Raises:
        PipelineExecutionException: There are none, or they are not what the step says.
    """
    match step.format:
        case "csv":
            return read_csv(spark, listing, step)
        case "json":
            return read_json(spark, listing, step)
        case _:
            return read_typed(spark, listing, step)


def stream_files(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    """The files, and those that come, as a stream.

    Raises:
        PipelineExecutionException: As for `read_files`, of the files that are there.
    """
    path = watched_path(listing.place)
    if step.format not in ("csv", "json"):
        return stream_typed(spark, listing, step, path)
    wanted = wanted_columns(step)
    assert wanted is not None
    there = listing.of_any_kind(spark)
    paths = listing.paths(there)
    heads = listing.heads(paths)
    partitions = listing.partitions(there, paths, wanted)
    listing.require_none_beside_folders(partitions)
    own = [name for name in wanted.names if name not in partitions.names]
    wanted = with_folders(wanted, partitions)
    reader = spark.readStream.options(**listing.reader_options())

    def load(given: Any) -> DataFrame:
        return given.load(path)

    require_format(heads, step.format, step.encoding or "UTF-8")
    if step.format == "json":
        return json_records(reader, load, wanted, partitions, heads, step)
    # Where a file is read in parts, nobody compares its header.
    form = whole_format(heads, step)
    group = CsvGroup(tuple(own) if form.has_header else None, tuple(own), load)
    return read_group(reader, group, wanted, partitions, form)
