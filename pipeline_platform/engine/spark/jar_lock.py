"""The lock of the connectors' jars: which files their coordinates resolve to, each with its checksum."""

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
    "nothing was kept. Find out why the Maven repository, a mirror of it or ~/.m2/repository has something else under "
    "these coordinates, and take it out there"
)


class JarLock(BaseModel):
    """What was resolved when the lock was written.

    Args:
        coordinates: The Maven coordinates, all resolved together.
        sha256: Of each file by its name, `organisation_artifact-version.jar`, those that pyspark ships too included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinates: tuple[str, ...]
    sha256: Mapping[str, str]

    @classmethod
    def of(cls, coordinates: Collection[str], jars: Sequence[Path]) -> JarLock:
        """The lock of files that were just resolved.

        Args:
            coordinates: What they were resolved from.
            jars: The files.
        """
        return cls(coordinates=tuple(sorted(coordinates)), sha256={jar.name: sha256_of(jar) for jar in sorted(jars)})

    def verify(self, coordinates: Collection[str], jars: Sequence[Path]) -> list[str]:
        """Hold files that were just resolved against the lock.

        Coordinates that are not in the lock, those of connectors of other packages, may bring files of their own, and
        may replace one that is in it by a newer version.

        Args:
            coordinates: What they were resolved from.
            jars: All of the files.

        Returns:
            Names of those that the lock does not know, and so were not verified.

        Raises:
            PipelineExecutionException: A file is not the one that is locked; or the coordinates are those of the lock,
                and the files are not.
        """
        for jar in jars:
            expected = self.sha256.get(jar.name)
            if expected is not None and (found := sha256_of(jar)) != expected:
                raise PipelineExecutionException(
                    f"the jar {jar.name} is not the one that is locked: "
                    f"its SHA-256 is {found}, and should be {expected}",
                    hint=_HINT,
                )
        names = {jar.name for jar in jars}
        unknown, absent = sorted(names - {*self.sha256}), sorted({*self.sha256} - names)
        if {*coordinates} == {*self.coordinates} and (unknown or absent):
            told = [f"{', '.join(unknown)} should not be there"] if unknown else []
            told += [f"{', '.join(absent)} should"] if absent else []
            raise PipelineExecutionException(
                f"the jars of the connectors are not those that are locked: {' and '.join(told)}", hint=_HINT
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
