"""Names of ops: Dagster wants those of jobs and of ops to differ, and a job has the name of its pipeline."""

from __future__ import annotations

from collections.abc import Iterable


class OpNames:
    """Gives each op a name of its own.

    Args:
        jobs: Names that the jobs have.
    """

    def __init__(self, jobs: Iterable[str]) -> None:
        self._taken = set(jobs)

    def is_free(self, name: str) -> bool:
        """Whether no job and no op has this name."""
        return name not in self._taken

    def take(self, wanted: str) -> str:
        """This name, or the nearest that is free."""
        name = wanted
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name
