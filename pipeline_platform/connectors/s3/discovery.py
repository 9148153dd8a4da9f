"""The folders of a bucket that hold files, and the pipeline that would load each."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pipeline_platform.connectors.s3.source import FromS3
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import StorageLocation, bucket_of
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.steps.discovery import Care, Discovery, Finding, Wishes, pipeline_names, size_text

_CHOSEN = "folders"
_MOST_FILES = 100_000
_FORMATS = {
    "parquet": "parquet",
    "csv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "avro": "avro",
    "orc": "orc",
}
_CODECS = frozenset({"gz", "gzip", "bz2", "zst", "zstd", "snappy", "lz4", "deflate"})
_LOG = "_delta_log"
_COLUMN = re.compile(r"[^=/]+=[^/]*")
_DATE = re.compile(r"\d+|\d{4}-\d\d(-\d\d)?")
_PATTERN = re.compile(r"[*?\[{\\]")


@dataclass(frozen=True)
class StoredFile:
    """A file of a bucket.

    Args:
        key: Its path in the bucket.
        size: How many bytes it has.
        changed: When it was written.
    """

    key: str
    size: int
    changed: datetime


@dataclass(frozen=True)
class FileFolder:
    """Files that are read as one.

    Args:
        path: Of the folder in the bucket; empty for the bucket itself.
        format: `delta`, that of the files, `several` or `other`.
        files: How many there are.
        size: Of all.
        newest: When the last one was written.
        dated: Whether they are in folders below it that are dates or numbers.
        columns: The columns that names of folders below it are.
    """

    path: str
    format: str
    files: int
    size: int
    newest: datetime
    dated: bool
    columns: Sequence[str]


class S3Discovery(Discovery[FromS3]):
    """The folders of a bucket that hold files, told by the files' names."""

    method = FromS3
    keys = ("bucket", "endpoint", "region", "credentialPath")
    asked_with: ClassVar[Mapping[str, Any]] = {"path": "/", "format": "parquet"}
    patterns: ClassVar[Mapping[str, str]] = {
        _CHOSEN: "Only folders of these paths, such as 'raw/*'. May be given repeatedly.",
    }
    things = "folders with files"

    def findings(self, config: FromS3, credentials: Credentials | None, wishes: Wishes) -> Sequence[Finding]:
        place = config.place(credentials)
        require_bucket(place)
        files = list(_files(place))
        folders = folders_of(files)
        names = pipeline_names({folder.path: folder.path or config.bucket for folder in folders})
        care = [Care("", "not all", f"only the first {_MOST_FILES:,} files were looked at")]
        return [
            _finding(folder, names[folder.path], folders, care if len(files) >= _MOST_FILES else [], wishes)
            for folder in folders
            if not wishes.given(_CHOSEN) or wishes.match(_CHOSEN, folder.path)
        ]


def _files(place: StorageLocation) -> Iterator[StoredFile]:
    """The files of a bucket, in the order of their keys, up to a limit."""
    from s3fs import S3FileSystem

    files: Any = S3FileSystem(**place.fsspec_options())
    following: dict[str, str] = {}
    found = 0
    while found < _MOST_FILES:
        page: Mapping[str, Any] = files.call_s3("list_objects_v2", Bucket=bucket_of(place.uri), **following)
        for entry in page.get("Contents", ()):
            found += 1
            yield StoredFile(entry["Key"], entry["Size"], entry["LastModified"])
        if not page.get("IsTruncated"):
            return
        following = {"ContinuationToken": page["NextContinuationToken"]}


def folders_of(files: Iterable[StoredFile]) -> list[FileFolder]:
    """The folders that files are read from, in order.

    Folders `name=value` and dates are parts of the one that they are in, and a Delta table is one with all that is
    below it.

    Args:
        files: All of a bucket.
    """
    there = [file for file in files if not file.key.endswith("/")]
    tables = {file.key.partition(f"/{_LOG}/")[0] for file in there if f"/{_LOG}/" in file.key}
    grouped: dict[str, list[StoredFile]] = defaultdict(list)
    for file in there:
        table = next((above for above in _above(file.key) if above in tables), None)
        if table is not None or not _is_hidden(file.key):
            grouped[table if table is not None else _root(file.key)].append(file)
    return [_folder(path, of_it, path in tables) for path, of_it in sorted(grouped.items())]


def _above(key: str) -> Iterator[str]:
    parts = key.split("/")[:-1]
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _is_hidden(key: str) -> bool:
    """Whether Spark leaves the file out."""
    return any(part.startswith(("_", ".")) and not _COLUMN.fullmatch(part) for part in key.split("/"))


def _root(key: str) -> str:
    parts = key.split("/")[:-1]
    for place, part in enumerate(parts):
        if _COLUMN.fullmatch(part) or (place and _DATE.fullmatch(part)):
            return "/".join(parts[:place])
    return "/".join(parts)


def _folder(path: str, files: Sequence[StoredFile], is_table: bool) -> FileFolder:
    formats = Counter(_format(file.key) for file in files)
    below = [part for file in files for part in file.key.removeprefix(path).strip("/").split("/")[:-1]]
    columns = dict.fromkeys(part.partition("=")[0] for part in below if _COLUMN.fullmatch(part))
    return FileFolder(
        path,
        "delta" if is_table else next(iter(formats)) if len(formats) == 1 else "several",
        len(files),
        sum(file.size for file in files),
        max(file.changed for file in files),
        dated=not is_table and not all(map(_COLUMN.fullmatch, below)),
        columns=() if is_table else tuple(columns),
    )


def _format(key: str) -> str:
    *_, name = key.split("/")
    words = name.lower().split(".")[1:]
    while words and words[-1] in _CODECS:
        words.pop()
    return _FORMATS.get(words[-1], "other") if words else "other"


def _finding(
    folder: FileFolder, name: str, folders: Sequence[FileFolder], care: Sequence[Care], wishes: Wishes
) -> Finding:
    unwritten = _unwritten(folder, folders)
    shown = {
        "folder": folder.path or "/",
        "format": folder.format,
        "files": f"{folder.files:,}",
        "size": size_text(folder.size),
        "newest": f"{folder.newest:%Y-%m-%d %H:%M}",
        "columns of folders": ", ".join(folder.columns),
    }
    told = {
        "name": folder.path,
        "format": folder.format,
        "files": folder.files,
        "bytes": folder.size,
        "newest": folder.newest.isoformat(),
        "columns": list(folder.columns),
    }
    pipeline = _pipeline(folder, name, wishes) if unwritten is None else None
    return Finding(folder.path or "/", shown, told, care, pipeline, unwritten)


def _unwritten(folder: FileFolder, folders: Sequence[FileFolder]) -> str | None:
    if folder.format == "delta":
        return "it is a Delta table, which fromDeltaLake reads"
    if folder.format not in _FORMATS.values():
        return f"its files are of {folder.format} formats"
    if "${" in folder.path or _PATTERN.search(folder.path):
        return "its name would be read as a pattern or a placeholder"
    if folder.dated and folder.columns:
        return "some of the folders in it are columns, and some are not"
    prefix = f"{folder.path}/" if folder.path else ""
    # Spark looks into all folders for those that are columns.
    if any(other is not folder and other.path.startswith(prefix) for other in folders):
        return "there are folders with other files in it"
    return None


def _pipeline(folder: FileFolder, name: str, wishes: Wishes) -> dict[str, Any]:
    what = f"The files of {folder.path or 'the bucket'}"
    connection = {key: value for key, value in wishes.connection.items() if key != "bucket"}
    source: dict[str, Any] = {
        "bucket": wishes.connection["bucket"],
        "path": folder.path or "/",
        "format": folder.format,
        **({"options": {"recursiveFileLookup": True}} if folder.dated else {}),
        **connection,
    }
    sink = {"path": wishes.table_path(name), "mode": "overwrite"}
    return {
        "name": name,
        "mode": "batch",
        "description": f"{what}: each run reads all of them, and replaces the table.",
        "steps": [
            {"type": "extract", "method": "fromS3", "name": f"{name}_source", "config": source},
            {"type": "load", "method": "toDeltaLake", "name": name, "config": sink},
        ],
    }
