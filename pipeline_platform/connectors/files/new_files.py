"""The files that an extract reads, each with what tells whether it is new or was changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.listing import FileListing
from pipeline_platform.connectors.files.local_names import require_none_left_out
from pipeline_platform.connectors.storage.folders import files_below
from pipeline_platform.connectors.storage.location import bucket_of
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.known_files import FoundFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What stores call the time and the content of a file: S3, GCS and Azure.
_TIMES = ("LastModified", "updated", "last_modified", "mtime", "created")
_CONTENTS = ("ETag", "etag", "md5Hash", "crc32c")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def found_files(spark: SparkSession, listing: FileListing) -> Sequence[FoundFile]:
    """The files of a listing: those that Spark lists, as the store tells of them.

    A file that comes between the two looks is left for the next run.

    Args:
        spark: The session.
        listing: All files of a place.

    Raises:
        PipelineExecutionException: The store does not tell of them from here, a column would be lacking, or Spark does
            not see one.
        OSError: A local file can't be looked at.
    """
    is_local = _SCHEME.match(listing.place.uri) is None or listing.place.uri.lower().startswith("file:")
    details = _details(listing) if not is_local else None
    if details is not None and not details:
        # Spark takes such a folder for one that is not there.
        return ()
    uncertain = listing.uncertain_files()
    there = listing.of_any_kind(spark)
    paths = listing.paths(there)
    require_none_left_out(uncertain, paths)
    partitions = listing.partitions(there, paths)
    listing.require_none_beside_folders(partitions)
    listing.require_no_column_in_pattern(partitions)
    found = [_local(path) if details is None else _stored(path, details) for path in paths]
    files = [file for file in found if file is not None]
    if paths and not files:
        raise _not_told(listing)
    return files


def _not_told(listing: FileListing) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"when the files of {listing.place.uri} were modified can't be told from here, and so not which are new",
        hint="run where they can be listed from, or leave out 'incremental'",
    )


def _local(path: str) -> FoundFile | None:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        # Taken away meanwhile, or on a disk that is not seen from here.
        return None
    return FoundFile(path, status.st_mtime_ns // 1000, f"{status.st_size} {status.st_mtime_ns}")


def _details(listing: FileListing) -> Mapping[str, Mapping[str, Any]]:
    """What the store says of all files below the place, by their paths in it."""
    base = re.split(r"[*?\[{]", listing.place.uri, maxsplit=1)[0]
    if listing.is_pattern():
        base = base.rpartition("/")[0]
    try:
        return files_below(replace(listing.place, uri=base).path())
    except (OSError, ValueError, ImportError, NotImplementedError) as error:
        if bucket_of(listing.place.uri) is not None:
            raise
        raise _not_told(listing) from error


def _stored(path: str, details: Mapping[str, Mapping[str, Any]]) -> FoundFile | None:
    detail = details.get(_SCHEME.sub("", path))
    if detail is None:
        return None
    time: Any = next((detail[key] for key in _TIMES if detail.get(key) is not None), None)
    if time is None:
        return None
    given = time if isinstance(time, datetime) else _parsed(time)
    modified = (given - _EPOCH) // timedelta(microseconds=1)
    content = next((detail[key] for key in _CONTENTS if detail.get(key)), modified)
    return FoundFile(path, modified, f"{detail['size']} {content}")


def _parsed(time: Any) -> datetime:
    return datetime.fromisoformat(time) if isinstance(time, str) else datetime.fromtimestamp(time, UTC)
