"""The first bytes of files, which show whether they are of the format they are read as; and the last ones."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

HEAD_BYTES = 1 << 16
"""So much of a file is looked at, at either end."""
MOST_HEADS = 1000
"""So many files of a dataset are looked at when a run is planned, spread over all of them."""
WIDE = ("UTF-16", "UTF-32")
"""What encodings begin with in which a line break is more than one byte."""
_THREADS = 16

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PAR1", "parquet"),
    (b"Obj\x01", "avro"),
    (b"ORC", "orc"),
    (b"%PDF-", "a PDF"),
    (b"SQLite format 3\x00", "a SQLite database"),
)
_SUFFIXES = {"gzip": (".gz",), "bzip2": (".bz2",), "Zstandard": (".zst", ".zstd"), "xz": (".xz",)}
_COMPRESSED = (".gz", ".bz2", ".zst", ".zstd", ".xz", ".deflate", ".snappy", ".lz4")
_UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, HEAD_BYTES),
    ".deflate": lambda data: zlib.decompressobj().decompress(data, HEAD_BYTES),
    ".bz2": lambda data: bz2.BZ2Decompressor().decompress(data, HEAD_BYTES),
}
# These read on where a file has several parts.
_OPENERS: dict[str, Callable[[io.BytesIO], io.BufferedIOBase]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": lambda file: bz2.BZ2File(file),
}
_BOMS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_TEXT_FORMATS = ("csv", "json")


@dataclass(frozen=True)
class FileHead:
    """How a file begins, and how it ends.

    Args:
        path: As Spark takes it.
        size: Its bytes, as they lie there.
        data: Its first bytes, as they lie there.
        tail: Its last bytes that are not among them.
    """

    path: str
    size: int
    data: bytes
    tail: bytes

    @property
    def suffix(self) -> str:
        """What the name ends with, in lower case."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def is_compressed(self) -> bool:
        """Whether Spark unpacks the file, going by its name."""
        return self.suffix in _COMPRESSED

    @property
    def is_whole(self) -> bool:
        """Whether `content` is all of the file; of a compressed one, whether there is nothing in it."""
        if self.size > HEAD_BYTES or not self.is_compressed:
            return self.size <= HEAD_BYTES
        opened = _OPENERS.get(self.suffix)
        try:
            return opened is not None and opened(io.BytesIO(self.data)).read(1) == b""
        except (OSError, EOFError):
            return False

    def content(self) -> bytes | None:
        """The first bytes of what is in it; None for a compression that only Spark unpacks."""
        if not self.is_compressed:
            return self.data
        unpack = _UNPACKERS.get(self.suffix)
        try:
            return unpack(self.data) if unpack is not None else None
        except (zlib.error, OSError, EOFError):
            return None

    def text(self, encoding: str) -> str | None:
        """The first characters; None as for `content`.

        Raises:
            PipelineExecutionException: The bytes are not of that encoding.
        """
        content = self.content()
        if content is None:
            return None
        name = "utf-8-sig" if encoding == "UTF-8" else encoding
        try:
            # The last character may be cut off.
            return codecs.getincrementaldecoder(name)("strict").decode(content, final=self.is_whole)
        except UnicodeDecodeError as error:
            raise PipelineExecutionException(
                f"{self.path} is not {encoding}: byte {content[error.start]:#04x} at {error.start}",
                hint="set 'encoding' to the encoding of the file, such as ISO-8859-1 or UTF-16",
            ) from None

    def end(self, encoding: str) -> tuple[str, bool] | None:
        """The last characters, and whether they are all; None where they can't be told.

        Args:
            encoding: Of the text; bytes that are not of it are replaced.
        """
        is_whole = self.size == len(self.data) + len(self.tail)
        if self.is_compressed or (not is_whole and encoding.startswith(WIDE)):
            return None
        data = self.data + self.tail if is_whole else self.tail
        return codecs.decode(data, "utf-8-sig" if encoding == "UTF-8" else encoding, "replace"), is_whole


def plain_path(uri: str) -> str:
    """The path of a file that Spark has listed, as Spark and Hadoop take it: nothing in it is quoted."""
    return unquote(urlsplit(uri).path) if uri.startswith("file:") else unquote(uri)


def name_of_file(path: str) -> str:
    """The path of a file as a pattern that means nothing but it, whatever characters it has."""
    return re.sub(r"([*?{}\[\]\\])", r"\\\1", path)


def spread(paths: Sequence[str], most: int) -> Sequence[str]:
    """At most so many of the files, spread over all of them."""
    return paths if len(paths) <= most else paths[:: -(-len(paths) // most)]


def heads_of(paths: Sequence[str], place: StorageLocation) -> list[FileHead]:
    """How the files begin, as far as this process can look; at most `MOST_HEADS` of them, spread over all.

    Args:
        paths: Files, as Spark takes them.
        place: Where they are; says how to enter it.
    """
    chosen = spread(paths, MOST_HEADS)
    if not chosen:
        return []
    with ThreadPoolExecutor(min(_THREADS, len(chosen))) as threads:
        found = [threads.submit(_head, path, place) for path in chosen]
    return [head for future in found if (head := future.result()) is not None]


def _head(path: str, place: StorageLocation) -> FileHead | None:
    try:
        with replace(place, uri=path).path().open("rb") as file:
            data = file.read(HEAD_BYTES)
            size = file.seek(0, io.SEEK_END)
            file.seek(max(len(data), size - HEAD_BYTES))
            tail = file.read()
    except (OSError, ValueError, ImportError, NotImplementedError):
        # A file of a cluster that this machine does not see: Spark will say what it finds there.
        return None
    return FileHead(path, size, data, tail)


def require_format(heads: Sequence[FileHead], file_format: str, encoding: str) -> None:
    """Raise for the first file that shows by its first bytes that it is something else.

    Args:
        heads: How the files begin.
        file_format: What they are read as, by Spark's name.
        encoding: Of csv and json: what they are decoded with.

    Raises:
        PipelineExecutionException: A file is of another format, or not of that encoding.
    """
    for head in heads:
        kind = next((name for magic, name in _MAGIC if head.data.startswith(magic)), None)
        if kind is not None and kind != file_format and head.suffix not in _SUFFIXES.get(kind, ()):
            raise PipelineExecutionException(
                f"{head.path} is read as {file_format}, but it is {kind}", hint=_instead(kind, head)
            )
        if file_format in _TEXT_FORMATS:
            _require_text(head, file_format, encoding)


def _instead(kind: str, head: FileHead) -> str:
    if kind in ("parquet", "avro", "orc"):
        return f"set 'format' to {kind}"
    if kind in _SUFFIXES:
        return f"give the file a name that ends in {_SUFFIXES[kind][0]}, or unpack it: Spark goes by the name"
    return f"put the data into a file of its own, and take {PurePosixPath(head.path).name} out of the folder"


def _is_no_text(content: bytes, encoding: str) -> bool:
    """Whether NULs show that these are other characters than those of single bytes, or none at all."""
    if encoding != "UTF-8":
        return b"\0" in content
    # A text may hold one. Of UTF-16 every other byte is, as long as it is Latin.
    return max(content[::2].count(0), content[1::2].count(0)) * 4 > len(content)


def _require_text(head: FileHead, file_format: str, encoding: str) -> None:
    content = head.content()
    if content is None:
        return
    bom = next((name for mark, name in _BOMS if content.startswith(mark)), None)
    wide = encoding.startswith(WIDE)
    if bom is not None and not wide:
        raise PipelineExecutionException(f"{head.path} is {bom}, not {encoding}", hint=f"set 'encoding' to {bom}")
    if not wide and _is_no_text(content, encoding):
        raise PipelineExecutionException(
            f"{head.path} is not text in {encoding}: there is a NUL at byte {content.index(0)}",
            hint="set 'encoding' if it is UTF-16 or UTF-32; otherwise the file is not text, or is damaged",
        )
    begins = head.text(encoding) or ""
    if begins.lstrip()[:15].lower().startswith(("<!doctype html", "<html", "<?xml")):
        raise PipelineExecutionException(
            f"{head.path} is read as {file_format}, but it is an HTML or XML page",
            hint="look at the file: a server may have answered with an error page or a login form",
        )
