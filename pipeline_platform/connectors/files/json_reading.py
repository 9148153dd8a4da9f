"""Reads json files as their step says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.heads import WIDE, FileHead
from pipeline_platform.connectors.files.json_files import JsonFormat, read_records
from pipeline_platform.connectors.files.json_types import found_columns, keys_in
from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.connectors.files.read_options import ReadOptions
from pipeline_platform.connectors.files.wanted_columns import require_no_column_twice, wanted_columns, with_folders
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.new_files import NoRecordError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.connectors.files.listing import FileListing, TextFiles


def read_json(spark: SparkSession, listing: FileListing, how: ReadOptions) -> DataFrame:
    """The files as a batch.

    Raises:
        PipelineExecutionException: There are none, or they are not what the step says.
    """
    wanted = wanted_columns(how.schema)
    files = listing.text_files(spark, "json", how.charset, wanted)
    partitions = files.partitions
    if wanted is None:
        if (how.encoding or "").startswith(WIDE) and not how.multi_line:
            raise PipelineExecutionException(
                f"Spark can't infer the types of json lines in {how.encoding}",
                hint="set 'schema'; or 'multiLine', if each file is an array",
            )
        options = {**_json_options(how), **listing.reader_options()}
        wanted = found_columns(spark, listing, options, partitions)
        if not wanted.names:
            raise _no_column(listing, files, how.charset)
        require_no_column_twice(wanted.names, partitions)
    reader = spark.read.options(**listing.reader_options())
    return json_records(reader, listing.load, with_folders(wanted, partitions), partitions, files.heads, how)


def _no_column(listing: FileListing, files: TextFiles, charset: str) -> PipelineExecutionException:
    """Why no column was found: there is no record at all, or none with a key that is not a folder's.

    Raises:
        PipelineExecutionException: There is one that is.
    """
    for head in files.heads:
        require_no_column_twice([*keys_in(head.text(charset) or "")], files.partitions)
    hint = "name the columns with 'schema'"
    # An object would have a brace.
    are_empty = [head.is_whole and not (head.text(charset) or "").strip(" \t\r\n[]") for head in files.heads]
    if len(are_empty) == len(files.paths) and all(are_empty):
        return NoRecordError(f"there is no record in the files of {listing.place.uri}", hint=hint)
    return PipelineExecutionException(f"no object in the files of {listing.place.uri} has a key", hint=hint)


def _json_options(how: ReadOptions) -> dict[str, str]:
    """Options of Spark's own reader of json, which finds the types."""
    options = {**how.options, "multiLine": str(bool(how.multi_line)).lower()}
    if how.encoding is not None:
        options["encoding"] = how.encoding
        if not how.multi_line and how.encoding != "UTF-8":
            # Spark finds the end of a line by itself in UTF-8 alone.
            options.setdefault("lineSep", "\n")
    return options


def json_records(
    reader: Any,
    load: Callable[[Any], DataFrame],
    wanted: StructType,
    partitions: StructType,
    heads: Sequence[FileHead],
    how: ReadOptions,
) -> DataFrame:
    """The records of the files, of a batch or of a stream.

    Args:
        reader: Spark's, of a batch or of a stream.
        load: Has it read the files.
        wanted: The columns, by name.
        partitions: Those of them whose values stand in the names of folders.
        heads: How the files begin that are there.
        how: How the files are read.

    Raises:
        PipelineExecutionException: They are not what the step says.
    """
    multi_line, encoding = bool(how.multi_line), how.charset
    beginnings = [(head, head.text(encoding) or "") for head in heads]
    if partitions.names:
        for _, text in beginnings:
            require_no_column_twice([*keys_in(text)], partitions)
    arrays = [head for head, text in beginnings if text.lstrip()[:1] == "["]
    if not multi_line:
        _require_arrays_on_lines(arrays, encoding)
    patterns = {"dateFormat": how.formats.date, "timestampFormat": how.formats.timestamp}
    options = {**how.options, **{name: pattern for name, pattern in patterns.items() if pattern is not None}}
    line_sep = option_of(how.options, "lineSep")
    has_arrays, has_found_types = multi_line or bool(arrays), how.schema is None
    form = JsonFormat(encoding, multi_line, has_arrays, line_sep, options, has_found_types)
    return read_records(reader.options(**how.options), load, wanted, partitions, form)


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
