"""Paths and URIs of files: their datasets, what Spark is to be given, and how large they are here."""

from __future__ import annotations

import os
from itertools import islice

from pipeline_platform.config.uris import S3_SCHEMES, URI, local_path, normalized_uri
from pipeline_platform.redaction import redact_urls
from pipeline_platform.steps.dataset import Dataset

# More of them take longer to look at than they are worth.
_MANY_FILES = 2000


def at_path(path: str, system: str = "files") -> Dataset:
    """The dataset at a local path or URI; plain files on S3 belong to the system `s3`."""
    uri = redact_urls(normalized_uri(path))
    return Dataset("s3" if system == "files" and uri.startswith("s3://") else system, uri)


def spark_path(path: str) -> str:
    """The path as Spark is to be given it.

    A local one is made absolute, since the JVM may run in another folder. `s3` is Hadoop's `s3a`: it has dropped what
    had the other names.
    """
    uri = URI.fullmatch(path)
    if uri is None:
        return os.path.abspath(path)
    return f"s3a{path[len(uri['scheme']) :]}" if uri["scheme"].lower() in ("s3", *S3_SCHEMES) else path


def local_bytes(path: str) -> int | None:
    """The size of a local file, or of all files below a folder; None if it is not there, or takes long to find out.

    Args:
        path: Local path or URI.
    """
    place = local_path(path)
    if place is None:
        return None
    try:
        if place.is_file():
            return place.stat().st_size
        files = list(islice(place.rglob("*"), _MANY_FILES))
        return sum(file.stat().st_size for file in files) if 0 < len(files) < _MANY_FILES else None
    except OSError:
        return None
