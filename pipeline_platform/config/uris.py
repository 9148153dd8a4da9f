"""Paths and URIs: one spelling for one place."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

S3_SCHEMES = ("s3a", "s3n")
"""Other names of `s3`."""
# As Hadoop reads a path: what has no scheme of two letters or more is local, and nothing is a query or a fragment.
URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(//(?P<authority>[^/]*))?(?P<path>.*)", re.DOTALL)
"""A path with a scheme."""


def normalized_uri(path: str) -> str:
    """One spelling for one place: an absolute URI without a trailing slash, `s3a` as `s3`."""
    if (local := local_path(path)) is not None:
        return local.as_uri()
    uri = URI.fullmatch(path)
    assert uri is not None
    scheme = "s3" if uri["scheme"].lower() in S3_SCHEMES else uri["scheme"].lower()
    return f"{scheme}://{uri['authority'] or ''}/{re.sub(r'/+', '/', uri['path']).strip('/')}"


def local_path(path: str) -> Path | None:
    """A local path, which may be written as a URI; None of one that is elsewhere."""
    uri = URI.fullmatch(path)
    if uri is not None and uri["scheme"].lower() != "file":
        return None
    return Path(os.path.abspath(unquote(uri["path"]) if uri else path))


def shown_place(place: str) -> str:
    """A place as people name it: a local one relative to the folder that they are in, if it is below that.

    Args:
        place: A path, URI, or whatever else is the place of a dataset.
    """
    local = local_path(place) if place.startswith(("/", "file:")) else None
    return os.path.relpath(local) if local is not None and local.is_relative_to(Path.cwd()) else place
