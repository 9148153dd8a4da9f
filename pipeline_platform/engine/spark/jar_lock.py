"""The lock file of the connectors' jars: what their coordinates resolve to, each jar with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline_platform.exceptions import PipelineExecutionException

LOCK_FILE = Path(__file__).with_name("jars.lock.json")
"""Written by `make jar-lock`."""
_HINT = (
    "nothing was kept; find out why the Maven repository, its mirror or ~/.m2/repository has other files for these "
    "coordinates, remove them there and run again"
)


class JarLock(BaseModel):
    """What was resolved when the lock file was written.

    Args:
        coordinates: The Maven coordinates, all resolved together.
        sha256: Of each file by its name, `organisation_artifact-version.jar`, those that pyspark ships too included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinates: tuple[str, ...]
    sha256: Mapping[str, str]

    @classmethod
    def from_jars(cls, coordinates: Collection[str], jars: Sequence[Path]) -> JarLock:
        """The lock of jars that were just resolved.

        Args:
            coordinates: What they were resolved from.
            jars: All of them.
        """
        return cls(coordinates=tuple(sorted(coordinates)), sha256={jar.name: sha256_of(jar) for jar in sorted(jars)})

    def verify(self, coordinates: Collection[str], jars: Sequence[Path]) -> list[str]:
        """Compare jars that were just resolved with the lock.

        Coordinates that are not in the lock, those of connectors from other packages, may bring jars of their own, and
        may replace a locked jar by a newer version.

        Args:
            coordinates: What they were resolved from.
            jars: All of them.

        Returns:
            Names of those that are not in the lock, and so were not verified.

        Raises:
            PipelineExecutionException: A jar has another checksum than the lock; or the coordinates are those of the
                lock, and the jars are not.
        """
        for jar in jars:
            expected = self.sha256.get(jar.name)
            if expected is not None and (found := sha256_of(jar)) != expected:
                raise PipelineExecutionException(
                    f"the jar {jar.name} is not the one in the lock file: expected SHA-256 {expected}, found {found}",
                    hint=_HINT,
                )
        names = {jar.name for jar in jars}
        unknown, absent = sorted(names - {*self.sha256}), sorted({*self.sha256} - names)
        if {*coordinates} == {*self.coordinates} and (unknown or absent):
            told = [f"unexpected {', '.join(unknown)}"] if unknown else []
            told += [f"missing {', '.join(absent)}"] if absent else []
            raise PipelineExecutionException(
                f"the jars of the connectors are not those in the lock file: {'; '.join(told)}", hint=_HINT
            )
        return unknown


@cache
def jar_lock() -> JarLock:
    """The lock of the platform's own connectors."""
    return JarLock.model_validate_json(LOCK_FILE.read_bytes())


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Args:
        file: It is read, but not held in memory.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
