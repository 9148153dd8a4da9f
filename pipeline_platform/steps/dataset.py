"""What a pipeline reads from or writes to, named so that two spellings of one place are one dataset."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline_platform.redaction import redact_urls

_S3_SCHEMES = ("s3a", "s3n")
# As Hadoop reads a path: what has no scheme of two letters or more is local, and nothing is a query or a fragment.
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(//(?P<authority>[^/]*))?(?P<path>.*)", re.DOTALL)


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
        place = place.removeprefix(f"{self.system}://")
        words = [re.sub(r"\W+", "_", word, flags=re.ASCII).strip("_") for word in re.split(r"[/:?]+", place)]
        return (self.system, *(word for word in words if word))


def at_path(path: str, system: str = "files") -> Dataset:
    """The dataset at a local path or URI; plain files on S3 belong to the system `s3`."""
    uri = redact_urls(normalized_uri(path))
    return Dataset("s3" if system == "files" and uri.startswith("s3://") else system, uri)


def vault_secret(path: str) -> str:
    """One spelling for one secret: the API path `secret/data/postgres` is the logical `secret/postgres`."""
    mount, _, rest = path.strip("/").partition("/")
    return f"{mount}/{rest.removeprefix('data/')}" if rest else mount


def normalized_uri(path: str) -> str:
    """One spelling for one place: an absolute URI without a trailing slash, `s3a` as `s3`."""
    uri = _URI.fullmatch(path)
    if uri is None or uri["scheme"].lower() == "file":
        return Path(os.path.abspath(unquote(uri["path"]) if uri else path)).as_uri()
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
