"""Reads csv files as their step says: by the headers of each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.csv_dialect import (
    ends_in_crlf,
    ends_in_quotes,
    has_mixed_line_ends,
    header_of,
)
from pipeline_platform.connectors.files.csv_files import CsvGroup, column_names, inferred, read_group, texts_of
from pipeline_platform.connectors.files.csv_format import CsvFormat
from pipeline_platform.connectors.files.csv_malformed import file_end
from pipeline_platform.connectors.files.heads import MOST_HEADS, WIDE, FileHead
from pipeline_platform.connectors.files.read_options import ReadOptions
from pipeline_platform.connectors.files.schemas import folder_values
from pipeline_platform.connectors.files.wanted_columns import require_no_column_twice, wanted_columns, with_folders
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.new_files import NoRecordError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.connectors.files.listing import FileListing

SPLIT_BYTES = 128 << 20
"""A csv file larger than that is read in parts; Spark reads so much in a task, `spark.sql.files.maxPartitionBytes`."""


@dataclass(frozen=True)
class Beginning:
    """How a csv file begins.

    Args:
        path: As Spark takes it.
        header: The values of its first record.
        is_crlf: Whether its lines end in CR LF.
        is_mixed: Whether some end in CR LF, and others do not.
    """

    path: str
    header: tuple[str, ...]
    is_crlf: bool
    is_mixed: bool


def read_csv(spark: SparkSession, listing: FileListing, how: ReadOptions) -> DataFrame:
    """The files as a batch.

    Raises:
        PipelineExecutionException: There are none, or they are not what the step says.
    """
    from pyspark.sql import types as T

    wanted = wanted_columns(how.schema)
    files = listing.text_files(spark, "csv", how.charset, wanted)
    paths, heads, partitions = files.paths, files.heads, files.partitions
    form = how.csv
    is_big = any(head.size > SPLIT_BYTES and not head.is_compressed for head in heads)
    wants_parts = is_big if how.multi_line is None else not how.multi_line
    beginnings = _beginnings(heads, form)
    is_split = wants_parts and _may_be_split(paths, beginnings, form)
    if not is_split:
        _require_one_line_end(beginnings)
    form = replace(form, is_split=True) if is_split else replace(form, ends=_ends(heads, form))
    groups = _groups(spark, listing, form, paths, beginnings)
    if not groups and wanted is not None:
        # Nothing in any file: the columns are those that are wanted.
        folders = {name.lower() for name in partitions.names}
        groups = [_whole(listing, None, tuple(name for name in wanted.names if name.lower() not in folders))]
    require_no_column_twice([name for group in groups for name in group.names], partitions)
    names = _columns(groups, how)
    if not names and wanted is None:
        raise NoRecordError(
            f"there is no record in the files of {listing.place.uri}", hint="name their columns with 'schema'"
        )
    reader = spark.read.options(**listing.reader_options())
    if wanted is None:
        if how.infer_schema:
            wanted = inferred([texts_of(reader, group, form) for group in groups], names, listing.known)
        else:
            wanted = T.StructType([T.StructField(name, T.StringType()) for name in names])
    else:
        same = len({tuple(name.lower() for name in group.names) for group in groups}) == 1
        groups = [_fitted(group, wanted, partitions, how, may_rename=same) for group in groups]
    wanted = with_folders(wanted, partitions)
    frames = [read_group(reader, group, wanted, partitions, form) for group in groups]
    return reduce(lambda one, other: one.unionByName(other), frames)


def _beginnings(heads: Sequence[FileHead], form: CsvFormat) -> list[Beginning]:
    """How the files begin; empty if one of them does not tell."""
    found: list[Beginning] = []
    for head in heads:
        text = head.text(form.encoding)
        if text is None:
            return []
        text = form.with_line_feeds(text)
        header = header_of(text, head.is_whole, form.dialect)
        if header is None:
            return []
        is_mixed = form.line_sep is None and has_mixed_line_ends(text, form.dialect)
        found.append(Beginning(head.path, form.trimmed(header), ends_in_crlf(text, form.dialect), is_mixed))
    return found


def whole_format(heads: Sequence[FileHead], form: CsvFormat) -> CsvFormat:
    """How files are written that are each read as a whole.

    Raises:
        PipelineExecutionException: The lines of one end in two ways, or it ends within quotes.
    """
    _require_one_line_end(_beginnings(heads, form))
    return replace(form, ends=_ends(heads, form))


def _require_one_line_end(beginnings: Sequence[Beginning]) -> None:
    """Raise for the first file whose lines end in two ways, of which Spark's reader knows one.

    Raises:
        PipelineExecutionException: There is one.
    """
    mixed = next((beginning.path for beginning in beginnings if beginning.is_mixed), None)
    if mixed is not None:
        raise PipelineExecutionException(
            f"some lines of {mixed} end in CR LF, and others in LF",
            hint=(
                "set 'multiLine' to false, which makes each line a record; or write the file with one kind of "
                "line ending"
            ),
        )


def _may_be_split(paths: Sequence[str], beginnings: Sequence[Beginning], form: CsvFormat) -> bool:
    """Whether each line may be parsed by itself, and every header was seen: nobody compares it afterwards.

    Spark leaves out lines of blanks, which are values of a single column, and where blanks separate values.
    """
    has_blank_lines = not form.dialect.delimiter.strip() or any(len(beginning.header) == 1 for beginning in beginnings)
    return len(beginnings) == len(paths) and not has_blank_lines and not form.encoding.startswith(WIDE)


def _ends(heads: Sequence[FileHead], form: CsvFormat) -> frozenset[str]:
    """What `file_end` gives for files whose last characters do not tell whether they end within quotes.

    Raises:
        PipelineExecutionException: A file ends within quotes, so that nobody knows where its last record begins.
    """
    ends: set[str] = set()
    for head in heads:
        text, is_whole = head.end(form.encoding) or ("", True)
        text = form.with_line_feeds(text)
        in_quotes = ends_in_quotes(text, form.dialect, is_whole=is_whole)
        if in_quotes:
            raise PipelineExecutionException(
                f"{head.path} ends within a value in quotes",
                hint=(
                    f"close the quote, or double it if it is part of a value; if {form.dialect.quote} is not the "
                    "quote character of this file, set 'quote'"
                ),
            )
        if in_quotes is None and not is_whole:
            ends.add(file_end(text))
    return frozenset(ends)


def _groups(
    spark: SparkSession, listing: FileListing, form: CsvFormat, paths: Sequence[str], beginnings: Sequence[Beginning]
) -> list[CsvGroup]:
    """The files by what their first record says, and how their lines end."""
    by_kind: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    first: tuple[str, ...] | None = None
    for beginning in beginnings:
        if beginning.header:
            first = first or beginning.header
            # Without a header, the first record says how many columns there are.
            kind = (beginning.header if form.has_header else first, beginning.is_crlf)
            by_kind.setdefault(kind, []).append(beginning.path)
    if not by_kind:
        return [_told_by_spark(spark, listing, form)] if len(paths) > len(beginnings) else []
    kinds = [
        (header if form.has_header else None, column_names(header, has_header=form.has_header), is_crlf, files)
        for (header, is_crlf), files in by_kind.items()
    ]
    if len(kinds) == 1:
        header, names, is_crlf, files = kinds[0]
        if header is not None and header != names and len(paths) > len(beginnings):
            # Spark compares headers with the names of columns, and these were given by it.
            raise PipelineExecutionException(
                f"the header of {files[0]} has an empty or duplicate name, and there are {len(paths):,} files",
                hint=f"such files can be read only if there are at most {MOST_HEADS}: read them folder by folder",
            )
        kinds = [(header, names, is_crlf, None)]
    elif len(paths) > len(beginnings):
        one, other, *_ = by_kind.values()
        raise PipelineExecutionException(
            f"{one[0]} and {other[0]} differ in their headers or line ends, and there are {len(paths):,} files",
            hint=f"such files can be read only if there are at most {MOST_HEADS}: read them folder by folder",
        )
    return [
        CsvGroup(header, names, _loader(listing, files), line_sep="\r\n" if is_crlf else None)
        for header, names, is_crlf, files in kinds
    ]


def _told_by_spark(spark: SparkSession, listing: FileListing, form: CsvFormat) -> CsvGroup:
    """All files with the columns of one of them, where this process can't look into them."""
    options = {**form.reader_options(checks_header=False), **listing.reader_options()}
    found = listing.load(spark.read.format("csv").options(**options))
    folders = folder_values(found.inputFiles())
    names = tuple(name for name in found.columns if name not in folders)
    return _whole(listing, names if form.has_header else None, names)


def _whole(listing: FileListing, header: tuple[str, ...] | None, names: tuple[str, ...]) -> CsvGroup:
    return CsvGroup(header, names, _loader(listing, None))


def _loader(listing: FileListing, files: list[str] | None) -> Callable[[Any], DataFrame]:
    """Has Spark's reader read some files of the listing; None for all."""
    return lambda reader: listing.load(reader, files)


def _columns(groups: Sequence[CsvGroup], how: ReadOptions) -> list[str]:
    """The names of all columns.

    Raises:
        PipelineExecutionException: Files differ in them, and nobody asked for that.
    """
    if not groups:
        return []
    first = groups[0]
    names = {name.lower(): name for name in first.names}
    for group in groups[1:]:
        other = {name.lower(): name for name in group.names}
        differ = sorted({*names} ^ {*other})
        if differ and not how.merge_schema and how.schema is None:
            raise PipelineExecutionException(
                f"the csv files in the folder differ in their columns: {', '.join(differ[:5])} "
                f"{'is' if len(differ) == 1 else 'are'} not in all of them",
                hint="set 'mergeSchema' to have all columns, or name those to read in 'schema'",
            )
        names = {**other, **names}
    return list({**{name.lower(): name for name in first.names}, **names}.values())


def _fitted(
    group: CsvGroup, wanted: StructType, partitions: StructType, how: ReadOptions, *, may_rename: bool
) -> CsvGroup:
    """The group with its columns named as the schema has them.

    Args:
        group: Files with the same header.
        wanted: The columns of the schema.
        partitions: Columns whose values stand in the names of folders.
        how: How the files are read.
        may_rename: Whether the columns may have other names in the schema, by which their order is told.

    Raises:
        PipelineExecutionException: The schema and the header do not fit together.
    """
    own = [name for name in wanted.names if name.lower() not in {p.lower() for p in partitions.names}]
    there = [name.lower() for name in group.names]
    missing = [name for name in own if name.lower() not in there]
    if not missing or (how.merge_schema and len(missing) < len(own)):
        return group
    in_place = all(name.lower() not in there or there[index] == name.lower() for index, name in enumerate(own))
    if may_rename and len(own) == len(there) and in_place:
        # A schema that names the columns anew, in their order.
        return replace(group, columns=tuple(own))
    raise PipelineExecutionException(
        f"the schema has the columns {', '.join(missing[:5])}, which the header of the files lacks; it has "
        f"{', '.join(group.names)}",
        hint="name the columns as the header does; with 'mergeSchema', columns that some files lack are null",
    )
