"""The rows that both versions of a pipeline are carried out on: read once where both read the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.planning.normal_form import fingerprint, step_form
from pipeline_platform.steps.extract import Extract

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Sample:
    """What of the sources is looked at.

    Args:
        limit: How many rows of each extract at most; None for all.
        partition: Key of what is loaded of pipelines with partitions, of which all rows are read.
        key: The columns by which rows are compared, where a load has them and no key of its own.
        examples: How many rows are shown of each kind.
    """

    limit: int | None = None
    partition: str | None = None
    key: tuple[str, ...] = ()
    examples: int = 5


@dataclass(frozen=True)
class SourceRows:
    """The rows of an extract.

    Args:
        frame: The rows.
        is_cut: Whether there may be more of them.
    """

    frame: DataFrame
    is_cut: bool = False


class Sources:
    """Reads extracts, each one once that two versions have in common."""

    def __init__(self, sample: Sample, kept: ExitStack) -> None:
        """Begin with none.

        Args:
            sample: What of them is looked at.
            kept: Releases the rows that are kept.
        """
        self._sample = sample
        self._kept = kept
        self._read: dict[str, SourceRows | PipelineException] = {}

    def rows(
        self,
        pipeline: PipelineConfig,
        step: Step,
        spark: SparkSession,
        credentials: RunCredentials,
        partition: Partition | None,
    ) -> SourceRows:
        """The rows of an extract.

        Args:
            pipeline: The pipeline.
            step: The extract, its placeholders replaced.
            spark: The session, with the settings of the pipeline.
            credentials: Where each step gets those of its system.
            partition: What is loaded.

        Raises:
            PipelineException: It can't be read; it names the step.
        """
        said = fingerprint(step_form(step), pipeline.spark_settings(), partition and partition.keys)
        if said not in self._read:
            try:
                self._read[said] = self._rows(step, spark, credentials, partition)
            except PipelineException as error:
                self._read[said] = error
        found = self._read[said]
        if isinstance(found, PipelineException):
            raise found
        return found

    def _rows(
        self, step: Step, spark: SparkSession, credentials: RunCredentials, partition: Partition | None
    ) -> SourceRows:
        config = step.config
        assert isinstance(config, Extract)
        # Which rows of a source are those of a partition is known at the load.
        limit = self._sample.limit if partition is None else None
        with error_context(step):
            frame = config.accepted(config.read(spark, credentials_for(credentials, config, step)))
            if limit is None and step.traits.is_repeatable:
                return SourceRows(frame)
            # Another pass could get other rows.
            kept = (frame.limit(limit) if limit is not None else frame).persist()
            self._kept.callback(kept.unpersist)
            return SourceRows(kept, is_cut=kept.count() == limit)


def extracts_of(pipeline: PipelineConfig, steps: set[int]) -> Iterator[tuple[Step, Extract]]:
    """The extracts among some steps.

    Args:
        pipeline: The pipeline.
        steps: Indices of the steps.
    """
    for step in pipeline.steps:
        if step.index in steps and isinstance(step.config, Extract):
            yield step, step.config
