"""Reads files of each format as their step says."""

from __future__ import annotations

import re
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
from pipeline_platform.connectors.files.csv_files import (
    CsvFormat,
    CsvGroup,
    column_names,
    file_end,
    inferred,
    read_group,
    texts_of,
)
from pipeline_platform.connectors.files.heads import MOST_HEADS, WIDE, FileHead, name_of_file, require_format
from pipeline_platform.connectors.files.json_files import JsonFormat, read_records
from pipeline_platform.connectors.files.json_types import found_columns, keys_in
from pipeline_platform.connectors.files.schemas import MOST_FOOTERS, file_columns, folder_values, require_one_schema
from pipeline_platform.connectors.files.source import ReadsFiles, watched_path
from pipeline_platform.connectors.files.stream_columns import columns_of_stream
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.widening import holds

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


def read_files(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    """The files as a batch.

    Raises:
        PipelineExecutionException: There are none, or they are not what the step says.
    """
    match step.format:
        case "csv":
            return _read_csv(spark, listing, step)
        case "json":
            return _read_json(spark, listing, step)
        case _:
            return _read_typed(spark, listing, step)


def stream_files(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    """The files, and those that come, as a stream.

    Raises:
        PipelineExecutionException: As for `read_files`, of the files that are there.
    """
    path = watched_path(listing.place)
    if step.format not in ("csv", "json"):
        return _stream_typed(spark, listing, step, path)
    wanted = _wanted(step)
    assert wanted is not None
    there = listing.of_any_kind(spark)
    paths = listing.paths(there)
    heads = listing.heads(paths)
    partitions = listing.partitions(there, paths, wanted)
    own = [name for name in wanted.names if name not in partitions.names]
    wanted = _with_folders(wanted, partitions)
    reader = spark.readStream.options(**listing.reader_options())

    def load(given: Any) -> DataFrame:
        return given.load(path)

    require_format(heads, step.format, step.encoding or "UTF-8")
    if step.format == "json":
        return _json(reader, load, wanted, partitions, heads, step)
    # Where a file is read in parts, nobody compares its header.
    form = step.csv_format()
    form = replace(form, ends=_ends(heads, form))
    group = CsvGroup(tuple(own) if form.has_header else None, tuple(own), load)
    return read_group(reader, group, wanted, partitions, form)


def _stream_typed(spark: SparkSession, listing: FileListing, step: ReadsFiles, path: str) -> DataFrame:
    """Files that say their columns, and say them for those that are yet to come."""
    reader = spark.readStream.format(step.format).options(**_options(listing, step))
    if step.schema_ is not None and not step.checks_micro_batches():
        return reader.schema(step.schema_).load(path)
    there = read_files(spark, listing, step)
    columns = columns_of_stream(
        listing.paths(there),
        step.format,
        listing.place,
        merged=there.schema if step.merge_schema or step.schema_ is not None else None,
        has_folder_columns=not listing.is_recursive(),
        leaves_out=step.schema_ is not None,
    )
    reader = reader.options(**(columns.option() if columns is not None else {}))
    return reader.schema(there.schema if step.schema_ is None else step.schema_).load(path)


def _options(listing: FileListing, step: ReadsFiles) -> dict[str, str]:
    merged = {"mergeSchema": "true"} if step.merge_schema else {}
    return {**step.options, **merged, **listing.reader_options()}


def _wanted(step: ReadsFiles) -> StructType | None:
    from pyspark.sql.types import StructType

    if step.schema_ is None:
        return None
    schema = StructType.fromDDL(step.schema_)
    assert isinstance(schema, StructType)
    return schema


def _with_folders(wanted: StructType, partitions: StructType) -> StructType:
    """The schema, and after it those columns of folder names that it does not name, as Spark has them."""
    from pyspark.sql.types import StructType

    named = {name.lower() for name in wanted.names}
    return StructType([*wanted.fields, *(field for field in partitions.fields if field.name.lower() not in named)])


def _read_typed(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    """Files that say the types of their columns."""
    reader = spark.read.format(step.format).options(**_options(listing, step))
    wanted = _wanted(step)
    frame = (reader if wanted is None else reader.schema(wanted)).load(listing.place.uri)
    paths = listing.paths(frame)
    if wanted is not None and step.may_change_values():
        _require_types_of_files(spark, listing, paths, wanted, step.format)
    if not step.merge_schema and wanted is None:
        require_one_schema(paths, step.format, listing.place)
    folders = listing.partitions(frame, paths, wanted)
    listing.require_none_beside_folders(folders)
    _require_columns_of_files(listing, paths, wanted, folders, step)
    schema = replace_fields(frame.schema, {field.name: field for field in folders.fields})
    return frame if schema == frame.schema else reader.schema(schema).load(listing.place.uri)


def _require_columns_of_files(
    listing: FileListing, paths: Sequence[str], wanted: StructType | None, folders: StructType, step: ReadsFiles
) -> None:
    """Raise if a column is in the files and in the names of folders, or in the schema alone.

    Raises:
        PipelineExecutionException: There is one.
    """
    if wanted is None and not folders.names:
        return
    found = [columns for _, columns in file_columns(paths, step.format, listing.place)]
    names = {name.partition(".")[0] for columns in found for name in columns or ()}
    _require_no_column_twice([*names], folders)
    if wanted is None or step.merge_schema or not names or None in found or len(paths) > MOST_FOOTERS:
        return
    there = {name.lower() for name in (*names, *folders.names)}
    missing = [name for name in wanted.names if name.partition(".")[0].lower() not in there]
    # Hive names the columns of its ORC files by their place, as Spark knows.
    if missing and not all(name.startswith("_col") for name in names):
        lacking = "" if step.format == "avro" else "; 'mergeSchema' makes null of those that files lack"
        raise PipelineExecutionException(
            f"the schema has the columns {', '.join(missing[:5])}, and no file has; there are "
            f"{', '.join(sorted(names))}",
            hint=f"call the columns as the files do{lacking}",
        )


def _require_types_of_files(
    spark: SparkSession, listing: FileListing, paths: Sequence[str], wanted: StructType, file_format: str
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
    for path, columns in file_columns(paths, file_format, listing.place):
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
                    f"{path} has the column '{field.name}' as {was}, and 'schema' as {kind.simpleString()}, which does "
                    "not have all values of that type",
                    hint=f"write {was} in 'schema', and bring it to another type in a step of its own",
                )


def replace_fields(schema: StructType, given: dict[str, Any]) -> StructType:
    """The schema with the fields that are given in place of those of the same name."""
    from pyspark.sql.types import StructType

    return StructType([given.get(field.name, field) for field in schema.fields])


def _read_json(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    there = listing.of_any_kind(spark)
    paths = listing.paths(there)
    heads = listing.heads(paths)
    require_format(heads, "json", step.encoding or "UTF-8")
    wanted = _wanted(step)
    partitions = listing.partitions(there, paths, wanted)
    listing.require_none_beside_folders(partitions)
    if wanted is None:
        listing.require_any(paths)
        if (step.encoding or "").startswith(WIDE) and not step.multi_line:
            raise PipelineExecutionException(
                f"Spark does not find the types of json lines in {step.encoding}",
                hint="set 'schema'; or 'multiLine', if each file is an array",
            )
        options = {**_json_options(step), **listing.reader_options()}
        wanted = found_columns(spark, listing.place.uri, options, partitions)
        _require_no_column_twice(wanted.names, partitions)
    reader = spark.read.options(**listing.reader_options())
    return _json(reader, _loader(listing, None), _with_folders(wanted, partitions), partitions, heads, step)


def _json_options(step: ReadsFiles) -> dict[str, str]:
    """Options of Spark's own reader of json, which finds the types."""
    options = {**step.options, "multiLine": str(bool(step.multi_line)).lower()}
    if step.encoding is not None:
        options["encoding"] = step.encoding
        if not step.multi_line and step.encoding != "UTF-8":
            # Spark finds the end of a line by itself in UTF-8 alone.
            options.setdefault("lineSep", "\n")
    return options


def _json(
    reader: Any,
    load: Callable[[Any], DataFrame],
    wanted: StructType,
    partitions: StructType,
    heads: Sequence[FileHead],
    step: ReadsFiles,
) -> DataFrame:
    multi_line, encoding = bool(step.multi_line), step.encoding or "UTF-8"
    beginnings = [(head, head.text(encoding) or "") for head in heads]
    for _, text in beginnings:
        _require_no_column_twice([*keys_in(text)], partitions)
    arrays = [head for head, text in beginnings if text.lstrip()[:1] == "["]
    if not multi_line:
        _require_arrays_on_lines(arrays, encoding)
    patterns = {"dateFormat": step.date_format, "timestampFormat": step.timestamp_format}
    options = {**step.options, **{name: pattern for name, pattern in patterns.items() if pattern is not None}}
    line_sep = next((value for name, value in step.options.items() if name.lower() == "linesep"), None)
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


def _read_csv(spark: SparkSession, listing: FileListing, step: ReadsFiles) -> DataFrame:
    from pyspark.sql import types as T

    there = listing.of_any_kind(spark)
    paths = listing.paths(there)
    heads = listing.heads(paths)
    wanted = _wanted(step)
    if wanted is None:
        listing.require_any(paths)
    require_format(heads, "csv", step.encoding or "UTF-8")
    form = step.csv_format()
    is_big = any(head.size > SPLIT_BYTES and not head.is_compressed for head in heads)
    wants_parts = is_big if step.multi_line is None else not step.multi_line
    beginnings = _beginnings(heads, form)
    is_split = wants_parts and _may_be_split(paths, beginnings, form)
    if not is_split:
        _require_one_line_end(beginnings)
    form = replace(form, is_split=True) if is_split else replace(form, ends=_ends(heads, form))
    partitions = listing.partitions(there, paths, wanted)
    listing.require_none_beside_folders(partitions)
    groups = _groups(spark, listing, form, paths, beginnings)
    if not groups:
        assert wanted is not None
        groups = [_whole(listing, None, tuple(wanted.names))]
    _require_no_column_twice([name for group in groups for name in group.names], partitions)
    names = _columns(groups, step)
    if not names and wanted is None:
        raise PipelineExecutionException(
            f"there is no record in the files of {listing.place.uri}", hint="say their columns with 'schema'"
        )
    reader = spark.read.options(**listing.reader_options())
    if wanted is None:
        if step.infer_schema:
            wanted = inferred([texts_of(reader, group, form) for group in groups], names)
        else:
            wanted = T.StructType([T.StructField(name, T.StringType()) for name in names])
    else:
        same = len({tuple(name.lower() for name in group.names) for group in groups}) == 1
        groups = [_fitted(group, wanted, partitions, step, may_rename=same) for group in groups]
    wanted = _with_folders(wanted, partitions)
    frames = [read_group(reader, group, wanted, partitions, form) for group in groups]
    return reduce(lambda one, other: one.unionByName(other), frames)


def _beginnings(heads: Sequence[FileHead], form: CsvFormat) -> list[Beginning]:
    """How the files begin; empty if one of them does not tell."""
    found: list[Beginning] = []
    for head in heads:
        text = head.text(form.encoding)
        if text is not None and form.line_sep is not None:
            text = text.replace(form.line_sep, "\n")
        header = header_of(text, head.is_whole, form.dialect) if text is not None else None
        if text is None or header is None:
            return []
        is_mixed = form.line_sep is None and has_mixed_line_ends(text, form.dialect)
        found.append(Beginning(head.path, form.trimmed(header), ends_in_crlf(text, form.dialect), is_mixed))
    return found


def _require_one_line_end(beginnings: Sequence[Beginning]) -> None:
    """Raise for the first file whose lines end in two ways, of which Spark's reader knows one.

    Raises:
        PipelineExecutionException: There is one.
    """
    mixed = next((beginning.path for beginning in beginnings if beginning.is_mixed), None)
    if mixed is not None:
        raise PipelineExecutionException(
            f"some lines of {mixed} end in CR LF, and others in LF",
            hint="set 'multiLine' to false, by which each line is a record; or write the file with one line end",
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
        text = text if form.line_sep is None else text.replace(form.line_sep, "\n")
        in_quotes = ends_in_quotes(text, form.dialect, is_whole=is_whole)
        if in_quotes:
            raise PipelineExecutionException(
                f"{head.path} ends within a value in quotes",
                hint=f"close the quote, or double it if it is part of a value; if {form.dialect.quote} is no quote in "
                "this file, set 'quote'",
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
        return [_told_by_spark(spark, listing, form)] if paths else []
    kinds = [
        (header if form.has_header else None, column_names(header, has_header=form.has_header), is_crlf, files)
        for (header, is_crlf), files in by_kind.items()
    ]
    if len(kinds) == 1:
        header, names, is_crlf, files = kinds[0]
        if header is not None and header != names and len(paths) > len(beginnings):
            # Spark compares headers with the names of columns, and these were given by it.
            raise PipelineExecutionException(
                f"the header of {files[0]} has a name that is empty or there twice, and there are {len(paths):,} files",
                hint=f"such files are read if there are at most {MOST_HEADS}: read them folder by folder",
            )
        kinds = [(header, names, is_crlf, None)]
    elif len(paths) > len(beginnings):
        one, other, *_ = by_kind.values()
        raise PipelineExecutionException(
            f"{one[0]} and {other[0]} differ in their headers or line ends, and there are {len(paths):,} files",
            hint=f"such files are read if there are at most {MOST_HEADS}: read them folder by folder",
        )
    return [
        CsvGroup(header, names, _loader(listing, files), line_sep="\r\n" if is_crlf else None)
        for header, names, is_crlf, files in kinds
    ]


def _told_by_spark(spark: SparkSession, listing: FileListing, form: CsvFormat) -> CsvGroup:
    """All files with the columns of one of them, where this process can't look into them."""
    options = {**form.reader_options(checks_header=False), **listing.reader_options()}
    found = spark.read.format("csv").options(**options).load(listing.place.uri)
    folders = folder_values(found.inputFiles())
    names = tuple(name for name in found.columns if name not in folders)
    return _whole(listing, names if form.has_header else None, names)


def _whole(listing: FileListing, header: tuple[str, ...] | None, names: tuple[str, ...]) -> CsvGroup:
    return CsvGroup(header, names, _loader(listing, None))


def _loader(listing: FileListing, files: list[str] | None) -> Callable[[Any], DataFrame]:
    """Has Spark's reader read some files of the listing; None for all."""
    place = listing.place

    def load(reader: Any) -> DataFrame:
        if files is None:
            return reader.load(place.uri)
        # Of a pattern the folders that it stands for are none of its columns.
        base = {} if re.search(r"[*?\[{]", place.uri) or place.uri in files else {"basePath": place.uri}
        return reader.options(**base).load([name_of_file(file) for file in files])

    return load


def _columns(groups: Sequence[CsvGroup], step: ReadsFiles) -> list[str]:
    """The names of all columns.

    Raises:
        PipelineExecutionException: Files differ in them, and nobody asked for that.
    """
    first = groups[0]
    names = {name.lower(): name for name in first.names}
    for group in groups[1:]:
        other = {name.lower(): name for name in group.names}
        differ = sorted({*names} ^ {*other})
        if differ and not step.merge_schema and step.schema_ is None:
            raise PipelineExecutionException(
                f"csv files of the folder differ in their columns: {', '.join(differ[:5])} "
                f"{'is' if len(differ) == 1 else 'are'} not in all of them",
                hint="set 'mergeSchema' to have all columns, or name those to read in 'schema'",
            )
        names = {**other, **names}
    return list({**{name.lower(): name for name in first.names}, **names}.values())


def _fitted(
    group: CsvGroup, wanted: StructType, partitions: StructType, step: ReadsFiles, *, may_rename: bool
) -> CsvGroup:
    """The group with its columns named as the schema has them.

    Args:
        group: Files with the same header.
        wanted: The columns of the schema.
        partitions: Columns whose values stand in the names of folders.
        step: The step.
        may_rename: Whether the columns may have other names in the schema, by which their order is told.

    Raises:
        PipelineExecutionException: The schema and the header do not fit together.
    """
    own = [name for name in wanted.names if name.lower() not in {p.lower() for p in partitions.names}]
    there = [name.lower() for name in group.names]
    missing = [name for name in own if name.lower() not in there]
    if not missing or (step.merge_schema and len(missing) < len(own)):
        return group
    in_place = all(name.lower() not in there or there[index] == name.lower() for index, name in enumerate(own))
    if may_rename and len(own) == len(there) and in_place:
        # A schema that names the columns anew, in their order.
        return replace(group, columns=tuple(own))
    raise PipelineExecutionException(
        f"the schema has the columns {', '.join(missing[:5])}, and the header of the files has not; "
        f"there are {', '.join(group.names)}",
        hint="call the columns as the header does; 'mergeSchema' makes null of columns that some files lack",
    )


def _require_no_column_twice(names: Sequence[str], partitions: StructType) -> None:
    """Raise if a column of the files has the name of one whose values stand in the names of folders.

    Raises:
        PipelineExecutionException: There is one.
    """
    folders = {name.lower() for name in partitions.names}
    twice = sorted(name for name in {*names} if name.lower() in folders)
    if twice:
        raise PipelineExecutionException(
            f"the column {twice[0]} stands in the files and in the names of their folders",
            hint="rename the folders; or set 'recursiveFileLookup' in 'options', and their names are no columns",
        )
