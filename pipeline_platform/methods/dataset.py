"""What a pipeline reads from or writes to, named so that two spellings of one place are one dataset."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline_platform.credentials.redaction import redact

_S3_SCHEMES = ("s3a", "s3n")


@dataclass(frozen=True)
class Dataset:
    """A table, path, topic or bucket folder.

    Args:
        system: The system it lives in, as Dagster's `kinds` name it.
        location: Its normalized place there; equal for equal datasets.
    """

    system: str
    location: str

    @property
    def uri(self) -> str:
        """The location as people and tools can open it."""
        return self.location

    @property
    def key(self) -> tuple[str, ...]:
        """A name for it in a few words of letters, digits and underscores, system first."""
        place = self.location
        if place.startswith("file://"):
            local = unquote(urlsplit(place).path)
            relative = os.path.relpath(local)
            place = local if relative.startswith("..") else relative
        words = [re.sub(r"\W+", "_", word, flags=re.ASCII).strip("_") for word in re.split(r"[/:?]+", place)]
        return (self.system, *(word for word in words if word))


def at_path(path: str, system: str = "files") -> Dataset:
    """The dataset at a local path or URI."""
    return Dataset(system, redact(normalized_uri(path)))


def normalized_uri(path: str) -> str:
    """One spelling for one place: an absolute URI without a trailing slash, `s3a` as `s3`."""
    parts = urlsplit(path)
    if parts.scheme in ("", "file") or len(parts.scheme) == 1:
        local = unquote(parts.path) if parts.scheme == "file" else path
        return Path(os.path.abspath(local)).as_uri()
    scheme = "s3" if parts.scheme in _S3_SCHEMES else parts.scheme
    return f"{scheme}://{parts.netloc}/{re.sub(r'/+', '/', parts.path).strip('/')}"
