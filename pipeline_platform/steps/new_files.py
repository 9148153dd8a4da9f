"""Extracts of files that read only those that no load has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_platform.config.incremental import NewFiles
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.steps.incremental import ReadsWhatIsNew

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.steps.known_files import FoundFile


class NoRecordError(PipelineExecutionException):
    """There is no record in the files, which alone would say what their columns are."""


class ReadsNewFiles(ReadsWhatIsNew):
    """An extract that can read the files that are new."""

    incremental: NewFiles | None = None
    """Batch: read only files that no load has loaded; `{}` is enough. Which they are is part of what the load commits,
    so that each file is loaded once, whenever a run is killed; `pipeline-platform cursor` shows and sets it."""

    def reads_increments(self) -> bool:
        return self.incremental is not None

    def loads_again(self) -> bool:
        return self.incremental is not None and self.incremental.changed_files == "load"

    def names_columns(self) -> bool:
        """Whether the columns are the same whatever is in the files."""
        return False

    def found_files(self, spark: SparkSession, credentials: Credentials | None) -> Sequence[FoundFile]:
        """The files that `read` would read.

        Args:
            spark: The session.
            credentials: As for `read`.

        Raises:
            PipelineException: As `read`; or when they were modified can't be told.
        """
        raise NotImplementedError(f"'{self.method}' does not list its files")

    def read_files(
        self, spark: SparkSession, credentials: Credentials | None, paths: Sequence[str], known: StructType | None
    ) -> DataFrame:
        """As `read`, of some of the files.

        Args:
            spark: The session.
            credentials: As for `read`.
            paths: Of `found_files`, one at least.
            known: The columns of other files that were read before: where a type has to be found in the values, and
                that one has all of them, it is taken.

        Raises:
            PipelineException: As `read`; `NoRecordError` if the columns can't be told, as there is no row.
        """
        raise NotImplementedError(f"'{self.method}' does not read single files")
