"""How the files of a sink are looked into and written again without some rows, by their format and compression."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

from pipeline_platform.connectors.files.erasing.parquet_rows import RowsIn, matching
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.exceptions import PipelineExecutionException

Values = Mapping[str, frozenset[str]]


class TextRows(Protocol):
    """What is known of files of text."""

    def typed(self, kinds: Mapping[str, Any]) -> Self:
        """The same with pyarrow's types of columns."""
        ...

    def columns(self, data: bytes) -> Sequence[str]:
        """The columns of a file."""
        ...

    def total(self, data: bytes) -> int:
        """How many rows a file has."""
        ...

    def count(self, data: bytes, wanted: Values, texts: frozenset[str]) -> RowsIn:
        """The rows of a file that have one of the values, and those that hold a text as a word."""
        ...

    def without(self, data: bytes, wanted: Values) -> bytes:
        """The file without the rows that have one of the values."""
        ...


# As Hadoop names them, and pyarrow.
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def unpacked(name: str, data: bytes) -> bytes:
    """What is in a file of text.

    Args:
        name: Its name, which tells how it is compressed.
        data: Its bytes.

    Raises:
        PipelineExecutionException: It is compressed otherwise.
    """
    pa = arrow()

    ending = PurePosixPath(name).suffix
    if ending == ".deflate":
        return zlib.decompress(data)
    if ending in _UNREADABLE:
        raise PipelineExecutionException(
            f"files that are compressed as {ending} can't be written again",
            hint="load them once with gzip, zstd, bzip2 or no compression",
        )
    codec = _CODECS.get(ending)
    if codec is None:
        return data
    read: Any = pa.input_stream(io.BytesIO(data), compression=codec)
    return bytes(read.read())


_UNREADABLE = (".lz4", ".snappy")


def packed(name: str, data: bytes) -> bytes:
    """The bytes of a file of text.

    Args:
        name: Its name, which tells how it is compressed.
        data: What is in it.
    """
    pa = arrow()

    ending = PurePosixPath(name).suffix
    if ending == ".deflate":
        return zlib.compress(data)
    codec = _CODECS.get(ending)
    if codec is None:
        return data
    written = io.BytesIO()
    # It closes what it writes to.
    sink: Any = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    written.write(sink.getvalue().to_pybytes())
    return written.getvalue()


def parquet_without(data: bytes, wanted: Values) -> bytes:
    """A Parquet file without rows: its row groups, columns, types, codecs and what Spark notes in it as they were.

    Args:
        data: The file.
        wanted: By column, the values as text.

    Raises:
        PipelineExecutionException: pyarrow would write something otherwise.
    """
    pa = arrow()
    pq = arrow("parquet")

    old: Any = pq.ParquetFile(pa.BufferReader(data))
    schema: Any = old.schema_arrow
    theirs = matching(schema, {(name,): values for name, values in wanted.items()})
    codecs: dict[str, str] = {}
    for group in range(old.metadata.num_row_groups):
        of_group: Any = old.metadata.row_group(group)
        for column in map(of_group.column, range(of_group.num_columns)):
            codecs[column.path_in_schema] = "NONE" if column.compression == "UNCOMPRESSED" else column.compression
    written = io.BytesIO()
    kept: list[Any] = []
    has_integers = any(
        old.schema.column(place).physical_type in ("INT32", "INT64")
        and "Decimal" in str(old.schema.column(place).logical_type)
        for place in range(len(old.schema))
    )
    writer: Any = pq.ParquetWriter(
        written, schema, compression=codecs or "snappy", store_schema=False, store_decimal_as_integer=has_integers
    )
    with writer:
        for group in range(old.metadata.num_row_groups):
            rows: Any = old.read_row_group(group)
            left = rows if theirs is None else rows.filter(~theirs)
            kept.append(left)
            writer.write_table(left, row_group_size=max(left.num_rows, 1))
    new: Any = pq.ParquetFile(pa.BufferReader(written.getvalue()))
    again: Any = new.read()
    expected: Any = pa.concat_tables(kept) if kept else schema.empty_table()
    if not new.schema.equals(old.schema) or not _is_same(again, expected):
        raise PipelineExecutionException(
            "a Parquet file can't be written again with all other rows as they are: it has types that pyarrow writes "
            "otherwise, such as INT96 timestamps",
            hint="load it again with the platform, which writes other ones, or erase the rows from it yourself",
        )
    return written.getvalue()


def _is_same(some: Any, others: Any) -> bool:
    # NaN is no NaN for pyarrow.
    return some.equals(others) or (
        some.schema.equals(others.schema) and repr(some.to_pylist()) == repr(others.to_pylist())
    )
