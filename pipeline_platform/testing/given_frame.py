"""The extracts that stand in a test for those of the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PrivateAttr

from pipeline_platform.config.traits import Traits
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


class GivenFrame(Extract):
    """Rows that somebody has written into a test."""

    method: ClassVar[str] = "given"

    _frame: DataFrame | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, frame: DataFrame) -> Self:
        """One that gives a frame.

        Args:
            frame: The frame.
        """
        given = cls()
        given._frame = frame
        return given

    def traits(self) -> Traits:
        return Traits(is_repeatable=True)

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        assert self._frame is not None
        return self._frame


class GivenStream(Extract):
    """A stream of rows that somebody has written into a test, of which each micro-batch is a file."""

    method: ClassVar[str] = "given"

    _folder: Path | None = PrivateAttr(default=None)
    _schema: StructType | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, folder: Path, schema: StructType) -> Self:
        """One that reads the Parquet files of a folder, the oldest first.

        Args:
            folder: The folder.
            schema: Of the files.
        """
        given = cls()
        given._folder, given._schema = folder, schema
        return given

    def traits(self) -> Traits:
        return Traits(is_stream=True, is_repeatable=True, checks_micro_batches=False)

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        assert self._folder is not None
        assert self._schema is not None
        reader = spark.readStream.schema(self._schema).option("maxFilesPerTrigger", 1)
        return reader.parquet(self._folder.as_uri())
