"""What the engine asks of every extract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pipeline_platform.config.placeholders import has_placeholder, partition_parts, with_partition
from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.sql import date_columns
from pipeline_platform.config.step import StepType
from pipeline_platform.steps.base import FrameOutput

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.types import StructType

    from pipeline_platform.config.step_over_range import RangeStep
    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.steps.dataset import Dataset


@dataclass(frozen=True)
class BadRecords:
    """Records of a source that can't be used.

    Args:
        frame: The records, and why.
        path: Delta table to keep them in; by default beside the first sink.
    """

    frame: DataFrame
    path: str | None


@dataclass(frozen=True)
class SourceState:
    """What a dataset is at the moment, for the sensor that runs a pipeline when it has changed.

    Args:
        text: A short text that is another one when the dataset has changed.
        is_empty: Whether there is nothing to read, which is no reason for a run.
    """

    text: str
    is_empty: bool = False


class Extract(FrameOutput):
    """Reads a dataset into a frame."""

    step_type: ClassVar[StepType] = "extract"
    column_keys: ClassVar[frozenset[str]] = frozenset({"schema_"})

    def reads_primary(self) -> bool:
        return False

    def over_range(self, step: RangeStep) -> RangeFrame:
        if self.reads_increments():
            raise OneByOne("remembers for each partition where it has come")
        if self.uses_partition():
            raise OneByOne("is not known to treat each partition by itself")
        schema = getattr(self, "schema_", None)
        return RangeFrame(step.origin, dates=date_columns(schema) if isinstance(schema, str) else frozenset())

    def dataset(self) -> Dataset | None:
        """What is read; None for a generated frame."""
        return None

    def read_place(self, texts: Mapping[str, str]) -> str | None:
        places = {name: getattr(self, name, None) for name in ("path", "table")}
        divided = {name: place for name, place in places.items() if isinstance(place, str) and partition_parts(place)}
        changed = {name: with_partition(place, texts) for name, place in divided.items()}
        dataset = (self.model_copy(update=changed) if changed else self).dataset()
        return dataset.location if dataset is not None else None

    def is_there(self, spark: SparkSession, credentials: Credentials | None) -> bool:
        """Whether there is anything at the place that is read; asked of what `read_from` gave.

        Args:
            spark: The session.
            credentials: As for `read`.

        Raises:
            PipelineException: It can't be told.
        """
        return True

    def position_in(self) -> Mapping[str, Any]:
        dataset = self.dataset()
        return {"dataset": dataset.uri} if dataset is not None else {}

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        """Build the batch frame; nothing is read yet but schemas.

        Args:
            spark: The session.
            credentials: Those of the step's system; None if it has none, or lets the step in without.

        Raises:
            PipelineException: There is nothing to read, or not what the config says.
        """
        raise NotImplementedError(f"'{self.method}' is not available in this version")

    def declared_columns(self, spark: SparkSession) -> StructType | None:
        """The columns of the frame, where the config alone says which they are; None where the source is to be asked.

        Args:
            spark: The session.
        """
        from pyspark.errors import PySparkException
        from pyspark.sql import types as T

        written = getattr(self, "schema_", None)
        if not isinstance(written, str) or has_placeholder(written):
            return None
        try:
            return cast("StructType", T.StructType.fromDDL(written))
        except PySparkException:
            # What is wrong with it is told where it is read.
            return None

    def reads_as_written(self) -> bool:
        """Whether the frame has the very columns of the frame that another pipeline loads into the dataset."""
        return False

    def reads_by_place(self) -> bool:
        """Whether the columns that the config declares are those of the source by their order, whatever their names."""
        return False

    def settled(self, spark: SparkSession, credentials: Credentials | None, failure: str | None = None) -> Self:
        """The extract with what has to be the same for as long as it is read: itself, where there is no such thing.

        Args:
            spark: The session.
            credentials: As for `read`.
            failure: Of one that is settled: what reading failed at. If it knows now what it did not then, another one
                is returned, and reading is planned again.

        Raises:
            PipelineException: It can't be told.
        """
        return self

    def answer(self, credentials: Credentials | None) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        """The names of the columns and all rows, by the system's own client; of those with `answers_queries`.

        Args:
            credentials: Those of the step's system; None if it lets the step in without.

        Raises:
            PipelineException: As `read`.
        """
        raise NotImplementedError(f"'{self.method}' can't be asked without Spark")

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        """Build the frame of a stream; asked of those that say that they are one.

        Args:
            spark: The session.
            credentials: As for `read`.

        Raises:
            PipelineException: As `read`.
        """
        raise NotImplementedError(f"'{self.method}' can't be read as a stream")

    def source_ids(self, spark: SparkSession, credentials: Credentials | None) -> Mapping[str, str]:
        """For a stream: what it reads, by name, and of each an id that another one of the same name would not have.

        The offsets of a checkpoint mean nothing in a dataset that was made anew. Empty where that can't be told, and
        where Spark itself finds it out.

        Args:
            spark: The session.
            credentials: As for `read`.
        """
        return {}

    def source_state(self, credentials: Credentials | None) -> SourceState | None:
        """What tells whether the dataset has changed; asked of one that is watched, without a JVM.

        Args:
            credentials: As for `read`.

        Returns:
            None if there is no dataset yet, or none any more.

        Raises:
            PipelineException: It can't be told.
        """
        raise NotImplementedError(f"'{self.method}' can't be watched")

    def known_bytes(self) -> int | None:
        """Bytes that a batch reads at most, as far as that is known without a JVM and a network; None if it is not."""
        return None

    def check_micro_batch(self, query: StreamingQuery, credentials: Credentials | None) -> None:
        """For a stream: look at what the micro-batch that runs is about to load; asked of those whose traits say so.

        Args:
            query: The query, which has planned the micro-batch.
            credentials: As for `read`.

        Raises:
            PipelineException: It must not be loaded; the stream ends.
        """

    def bad_records(self, frame: DataFrame) -> BadRecords | None:
        """What of the frame that was read can't be used and is to be kept aside; None for nothing."""
        return None

    def accepted(self, frame: DataFrame) -> DataFrame:
        """What goes on of the frame that was read."""
        return frame

    def counts_malformed(self) -> bool:
        """Whether records that can't be used go on, so that they are to be counted by their mark."""
        return False
