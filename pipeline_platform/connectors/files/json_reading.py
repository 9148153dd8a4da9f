"""Reads json files as their step says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.heads import WIDE, FileHead, require_format
from pipeline_platform.connectors.files.json_files import JsonFormat, read_records
from pipeline_platform.connectors.files.json_types import found_columns, keys_in
from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.connectors.files.source import ReadsFiles
from pipeline_platform.connectors.files.wanted_columns import require_no_column_twice, wanted_columns, with_folders
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.connectors.files.listing import FileListing


def read_json(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    """The files as a batch.

    Raises:
        PipelineExecutionException: There are none, or they are not what the step says.
    """
    there = listing.of_any_kind(spark)
    paths = listing.paths(there)
    heads = listing.heads(paths)
    require_format(heads, "json", step.encoding or "UTF-8")
    wanted = wanted_columns(step)
    partitions = listing.partitions(there, paths, wanted)
    listing.require_none_beside_folders(partitions)
    if wanted is None:
        listing.require_any(paths)
        if (step.encoding or "").startswith(WIDE) and not step.multi_line:
            raise PipelineExecutionException(
                f"Spark can't infer the types of json lines in {step.encoding}",
                hint="set 'schema'; or 'multiLine', if each file is an array",
            )
        options = {**_json_options(step), **listing.reader_options()}
        wanted = found_columns(spark, listing.place.uri, options, partitions)
        require_no_column_twice(wanted.names, partitions)
    reader = spark.read.options(**listing.reader_options())

    def load(given: Any) -> DataFrame:
        return given.load(listing.place.uri)

    return json_records(reader, load, with_folders(wanted, partitions), partitions, heads, step)


def _json_options(step: ReadsFiles) -> dict[str, str]:
    """Options of Spark's own reader of json, which finds the types."""
    options = {**step.options, "multiLine": str(bool(step.multi_line)).lower()}
    if step.encoding is not None:
        options["encoding"] = step.encoding
        if not step.multi_line and step.encoding != "UTF-8":
            # Spark finds the end of a line by itself in UTF-8 alone.
            options.setdefault("lineSep", "\n")
    return options


def json_records(
    reader: Any,
    load: Callable[[Any], DataFrame],
    wanted: StructType,
    partitions: StructType,
    heads: Sequence[FileHead],
    step: ReadsFiles,
) -> DataFrame:
    """The records of the files, of a batch or of a stream.

    Args:
        reader: Spark's, of a batch or of a stream.
        load: Has it read the files.
        wanted: The columns, by name.
        partitions: Those of them whose values stand in the names of folders.
        heads: How the files begin that are there.
        step: The step.

    Raises:
        PipelineExecutionException: They are not what the step says.
    """
    multi_line, encoding = bool(step.multi_line), step.encoding or "UTF-8"
    beginnings = [(head, head.text(encoding) or "") for head in heads]
    if partitions.names:
        for _, text in beginnings:
            require_no_column_twice([*keys_in(text)], partitions)
    arrays = [head for head, text in beginnings if text.lstrip()[:1] == "["]
    if not multi_line:
        _require_arrays_on_lines(arrays, encoding)
    patterns = {"dateFormat": step.date_format, "timestampFormat": step.timestamp_format}
    options = {**step.options, **{name: pattern for name, pattern in patterns.items() if pattern is not None}}
    line_sep = option_of(step.options, "lineSep")
    has_arrays, has_found_types = multi_line or bool(arrays), step.schema_ is None
    form = JsonFormat(encoding, multi_line, has_arrays, line_sep, options, has_found_types)
    return read_records(reader.options(**step.options), load, wanted, partitions, form)


def _require_arrays_on_lines(arrays: Sequence[FileHead], encoding: str) -> None:
    """Raise for the first of files that begin with an array whose array goes on after its first line.

    Raises:
        PipelineExecutionException: There is one.
    """
    for head in arrays:
        first, line_end, _ = (head.text(encoding) or "").strip().partition("\n")
        if line_end and not first.rstrip().endswith("]"):
            raise PipelineExecutionException(
                f"{head.path} holds an array over several lines, and one record is expected on each line",
                hint="set 'multiLine' to true",
            )
