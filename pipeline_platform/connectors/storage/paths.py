"""Paths and URIs of files: one spelling for one place, and what Spark is to be given."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from pipeline_platform.redaction import redact_urls
from pipeline_platform.steps.dataset import Dataset

_S3_SCHEMES = ("s3a", "s3n")
# More of them take longer to look at than they are worth.
_MANY_FILES = 2000
# As Hadoop reads a path: what has no scheme of two letters or more is local, and nothing is a query or a fragment.
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(//(?P<authority>[^/]*))?(?P<path>.*)", re.DOTALL)


def at_path(path: str, system: str = "files") -> Dataset:
    """The dataset at a local path or URI; plain files on S3 belong to the system `s3`."""
    uri = redact_urls(normalized_uri(path))
    return Dataset("s3" if system == "files" and uri.startswith("s3://") else system, uri)


def normalized_uri(path: str) -> str:
    """One spelling for one place: an absolute URI without a trailing slash, `s3a` as `s3`."""
    uri = _URI.fullmatch(path)
    if uri is None or uri["scheme"].lower() == "file":
        return _local(uri, path).as_uri()
    scheme = "s3" if uri["scheme"].lower() in _S3_SCHEMES else uri["scheme"].lower()
    return f"{scheme}://{uri['authority'] or ''}/{re.sub(r'/+', '/', uri['path']).strip('/')}"


def spark_path(path: str) -> str:
    """The path as Spark is to be given it.

    A local one is made absolute, since the JVM may run in another folder. `s3` is Hadoop's `s3a`: it has dropped what
    had the other names.
    """
    uri = _URI.fullmatch(path)
    if uri is None:
        return os.path.abspath(path)
    return f"s3a{path[len(uri['scheme']) :]}" if uri["scheme"].lower() in ("s3", *_S3_SCHEMES) else path


def local_bytes(path: str) -> int | None:
    """The size of a local file, or of all files below a folder; None if it is not there, or takes long to find out.

    Args:
        path: Local path or URI.
    """
    uri = _URI.fullmatch(path)
    if uri is not None and uri["scheme"].lower() != "file":
        return None
    place = _local(uri, path)
    try:
        if place.is_file():
            return place.stat().st_size
        files = list(islice(place.rglob("*"), _MANY_FILES))
        return sum(file.stat().st_size for file in files) if 0 < len(files) < _MANY_FILES else None
    except OSError:
        return None


def _local(uri: re.Match[str] | None, path: str) -> Path:
    """A local path, which may be written as a URI."""
    return Path(os.path.abspath(unquote(uri["path"]) if uri else path))
