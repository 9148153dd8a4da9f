"""The extract that stands in a test for the one of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PrivateAttr

from pipeline_platform.config.traits import Traits
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


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
