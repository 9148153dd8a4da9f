"""Takes rows out of Avro files: blocks without any stay byte by byte, of the others the records that are left do."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

from pipeline_platform.connectors.files.erasing.key_values import KeyColumn
from pipeline_platform.connectors.files.erasing.parquet_rows import RowsIn
from pipeline_platform.connectors.files.erasing.untyped import arrow
from pipeline_platform.exceptions import PipelineExecutionException

Values = Mapping[str, frozenset[str]]
_SYNC = 16
_MAGIC = b"Obj\x01"


@dataclass(frozen=True)
class _Block:
    """A block of a file.

    Args:
        count: How many records it has.
        raw: Its bytes in the file, with what precedes and follows them.
        data: The records, not compressed.
    """

    count: int
    raw: bytes
    data: bytes


@dataclass(frozen=True)
class _File:
    """An Avro file.

    Args:
        head: Its bytes up to the first block.
        schema: Of its records, as fastavro parses it.
        codec: How blocks are compressed.
        blocks: Its blocks.
    """

    head: bytes
    schema: Any
    codec: str
    blocks: Sequence[_Block]

    def records(self, block: _Block) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """Each record of a block, with its bytes."""
        read: Any = import_module("fastavro").schemaless_reader
        stream, place = io.BytesIO(block.data), 0
        for _ in range(block.count):
            record = read(stream, self.schema, None)
            yield record, block.data[place : stream.tell()]
            place = stream.tell()
        if place != len(block.data):
            raise PipelineExecutionException("an Avro file does not end where its records do")


class AvroRows:
    """Avro files, of any schema."""

    def typed(self, kinds: Mapping[str, Any]) -> Self:
        """The same: a file has its types."""
        return self

    def columns(self, data: bytes) -> Sequence[str]:
        """The columns of a file."""
        return [field["name"] for field in _file(data).schema["fields"]]

    def total(self, data: bytes) -> int:
        """How many rows a file has."""
        return sum(block.count for block in _file(data).blocks)

    def count(self, data: bytes, wanted: Values, texts: frozenset[str]) -> RowsIn:
        """The rows of a file that have one of the values."""
        file, rows, unsearched = _file(data), 0, set[str]()
        keys = [KeyColumn(name, None, values) for name, values in wanted.items()]
        for record, _ in (found for block in file.blocks for found in file.records(block)):
            rows += _is_theirs(record, keys)
            unsearched |= {reason for key in keys if (reason := key.why_unclear(record.get(key.name)))}
        return RowsIn(rows, unsearched=frozenset(unsearched))

    def without(self, data: bytes, wanted: Values) -> bytes:
        """The file without the rows.

        Raises:
            PipelineExecutionException: It is compressed in a way that can't be written again.
        """
        file = _file(data)
        sync, made = file.head[-_SYNC:], [file.head]
        keys = [KeyColumn(name, None, values) for name, values in wanted.items()]
        for block in file.blocks:
            kept = [raw for record, raw in file.records(block) if not _is_theirs(record, keys)]
            if len(kept) == block.count:
                made.append(block.raw)
            elif kept:
                packed = _packed(b"".join(kept), file.codec)
                made.append(_long(len(kept)) + _long(len(packed)) + packed + sync)
        return b"".join(made)


def _is_theirs(record: Mapping[str, Any], keys: Sequence[KeyColumn]) -> bool:
    return any(key.has(record.get(key.name)) for key in keys)


def _file(data: bytes) -> _File:
    import fastavro

    said, start = _head(data)
    schema, codec = json.loads(said["avro.schema"]), said.get("avro.codec", b"null").decode()
    blocks: list[_Block] = []
    place = start
    while place < len(data):
        count, after = _read_long(data, place)
        size, after = _read_long(data, after)
        end = after + size + _SYNC
        blocks.append(_Block(count, data[place:end], _unpacked(data[after : after + size], codec)))
        place = end
    return _File(data[:start], fastavro.parse_schema(schema), codec, blocks)


def _head(data: bytes) -> tuple[dict[str, bytes], int]:
    """What a file says of itself, and where its blocks begin."""
    place, said = len(_MAGIC), dict[str, bytes]()
    if not data.startswith(_MAGIC):
        raise PipelineExecutionException("a file of an Avro folder is none", hint="move it away")
    while True:
        count, place = _read_long(data, place)
        if count == 0:
            return said, place + _SYNC
        if count < 0:
            # Its size in bytes follows, for those who skip it.
            count, (_, place) = -count, _read_long(data, place)
        for _ in range(count):
            size, place = _read_long(data, place)
            name, place = data[place : place + size].decode(), place + size
            size, place = _read_long(data, place)
            said[name], place = data[place : place + size], place + size


def _read_long(data: bytes, place: int) -> tuple[int, int]:
    """A number as Avro writes it, and the place behind it."""
    value, place = _read_digits(data, place)
    return (value >> 1) ^ -(value & 1), place


def _read_digits(data: bytes, place: int) -> tuple[int, int]:
    """A number in digits of seven bits, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place


def _long(value: int) -> bytes:
    """A number that is not negative, as Avro writes it."""
    rest, made = value << 1, bytearray()
    while rest > 0x7F:
        made.append((rest & 0x7F) | 0x80)
        rest >>= 7
    made.append(rest)
    return bytes(made)


def _unpacked(data: bytes, codec: str) -> bytes:
    pa = arrow()

    match codec:
        case "null":
            return data
        case "deflate":
            return zlib.decompress(data, wbits=-15)
        case "snappy":
            # A checksum follows, and the size precedes, as a number of the same kind without a sign.
            size, _ = _read_digits(data, 0)
            return bytes(pa.decompress(data[:-4], decompressed_size=size, codec="snappy", asbytes=True))
        case "bzip2":
            return bz2.decompress(data)
        case "xz":
            return lzma.decompress(data)
        case "zstandard":
            read: Any = pa.input_stream(io.BytesIO(data), compression="zstd")
            return bytes(read.read())
        case _:
            raise PipelineExecutionException(f"avro files that are compressed by {codec} can't be written again")


def _packed(data: bytes, codec: str) -> bytes:
    pa = arrow()

    match codec:
        case "deflate":
            packer = zlib.compressobj(wbits=-15)
            return packer.compress(data) + packer.flush()
        case "snappy":
            return bytes(pa.compress(data, codec="snappy", asbytes=True)) + zlib.crc32(data).to_bytes(4, "big")
        case "bzip2":
            return bz2.compress(data)
        case "xz":
            return lzma.compress(data)
        case "zstandard":
            return bytes(pa.compress(data, codec="zstd", asbytes=True))
        case _:
            return data
