"""Whether files have changed since they were looked at last, told by their listing alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.storage.folders import files_below, files_matching
from pipeline_platform.steps.extract import SourceState

if TYPE_CHECKING:
    from upath import UPath

# What a store says of a file that is another one after it was written anew: local, S3, GCS and Azure.
_CHANGES = ("size", "mtime", "LastModified", "ETag", "updated", "last_modified", "etag")


def state_of_files(place: UPath) -> SourceState | None:
    """What is another one when files were added, changed or removed; None if there are none.

    Args:
        place: A folder, a file, or a pattern.
    """
    found = {**files_below(place), **files_matching(place)}
    base = re.split(r"[*?\[{]", place.path, maxsplit=1)[0].rstrip("/")
    shown = {path: detail for path, detail in found.items() if not _is_hidden(path.removeprefix(base))}
    if not shown:
        return None
    digest = hashlib.sha256()
    for path in sorted(shown):
        digest.update(f"{path}\0{_version(shown[path])}\n".encode())
    return SourceState(digest.hexdigest()[:16])


def _is_hidden(path: str) -> bool:
    # As Spark: what is written at the moment, or by the way.
    return any(part.startswith((".", "_")) and "=" not in part for part in path.split("/"))


def _version(detail: Mapping[str, Any]) -> str:
    return " ".join(str(detail[key]) for key in _CHANGES if key in detail)
