"""What a pipeline reads from or writes to, named so that two spellings of one place are one dataset."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


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


def vault_secret(path: str) -> str:
    """One spelling for one secret: the API path `secret/data/postgres` is the logical `secret/postgres`."""
    mount, _, rest = path.strip("/").partition("/")
    return f"{mount}/{rest.removeprefix('data/')}" if rest else mount
