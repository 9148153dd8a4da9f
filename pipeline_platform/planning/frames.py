"""The columns of every frame of a version, as Spark plans them; no row is read, and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.plan import plan
from pipeline_platform.engine.planned import Lineage, PlannedFrame
from pipeline_platform.engine.spark.session import planning_session
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import CredentialException, PipelineConfigurationException, PipelineException
from pipeline_platform.frames.columns import nullable_columns
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.planning.versions import Version
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.transform import Transform
from pipeline_platform.testing.given_frame import GivenFrame
from pipeline_platform.testing.given_rows import given_schema
from pipeline_platform.testing.reading import PipelineTest, files_of_tests, read_tests

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType


@dataclass(frozen=True)
class FrameColumns:
    """The columns of a frame.

    Args:
        schema: Their names and types.
        lineage: What they are derived from; empty for an extract.
        expressions: What computes those that are no column of an input.
    """

    schema: StructType
    lineage: Lineage
    expressions: Mapping[str, str]


@dataclass(frozen=True)
class Failure:
    """Why a pipeline can't be planned.

    Args:
        message: In words.
        step: Where, if that is known.
        hint: What to do.
    """

    message: str
    step: Step | None = None
    hint: str | None = None


@dataclass(frozen=True)
class PipelineFrames:
    """What Spark makes of a pipeline.

    Args:
        frames: The columns of each extract and transform, by step index; none of a pipeline that can't be planned.
        failure: Why it can't be planned.
        unknown: Why nothing can be said of it.
        refused: What of its loads would be refused by a table that the version before has written, by step index.
        judged: Indices of the loads that can say so.
    """

    frames: Mapping[int, FrameColumns] = field(default_factory=dict[int, FrameColumns])
    failure: Failure | None = None
    unknown: str | None = None
    refused: Mapping[int, Failure] = field(default_factory=dict[int, Failure])
    judged: Set[int] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether there are frames."""
        return self.failure is None and self.unknown is None

    def loaded(self, pipeline: PipelineConfig) -> dict[Dataset, tuple[Load, StructType]]:
        """What its loads write, by dataset.

        Args:
            pipeline: The pipeline.
        """
        return {
            step.config.dataset(): (step.config, self.frames[step.inputs[0].step].schema)
            for step in pipeline.steps
            if isinstance(step.config, Load) and step.inputs[0].step in self.frames
        }


class _UnknownSourceError(Exception):
    """Nobody says which columns a source has."""


class VersionFrames:
    """The frames of the pipelines of a version, each planned when it is first asked for."""

    def __init__(
        self,
        version: Version,
        methods: Methods,
        shared: dict[str, PipelineFrames],
        changed: Set[str],
        tables: Mapping[Dataset, tuple[Load, StructType]] | None = None,
    ) -> None:
        """Begin with none.

        Args:
            version: The version.
            methods: The methods a step may name.
            shared: What was planned of pipelines that are the same in both versions, and read the same.
            changed: Names of the others.
            tables: What tables the version before has written.
        """
        self.version = version
        self._methods = methods
        self._shared = shared
        self._changed = changed
        self._tables = tables or {}
        self._own: dict[str, PipelineFrames] = {}
        self._begun: set[str] = set()
        self._tests: list[PipelineTest] | None = None

    def of(self, pipeline: PipelineConfig) -> PipelineFrames:
        """What Spark makes of a pipeline.

        Args:
            pipeline: One of the version.
        """
        kept = self._own if pipeline.name in self._changed else self._shared
        if pipeline.name not in kept:
            if pipeline.name in self._begun:
                return PipelineFrames(unknown=f"'{pipeline.name}' reads what is made of its own tables")
            self._begun.add(pipeline.name)
            kept[pipeline.name] = self._planned(pipeline)
        return kept[pipeline.name]

    def _planned(self, pipeline: PipelineConfig) -> PipelineFrames:
        try:
            given = self._given(pipeline)
            partition = _any_partition(pipeline)
            if missing := [name for name in pipeline.variables if name not in pipeline.values]:
                return PipelineFrames(unknown=f"its variable {missing[0]} has no default")
            with (
                planning_session(pipeline) as spark,
                closing(RunCredentials.from_environment("plan", pipeline.location)) as credentials,
            ):
                return self._frames(pipeline, given, spark, credentials, partition)
        except _UnknownSourceError as error:
            return PipelineFrames(unknown=str(error))
        except CredentialException as error:
            return PipelineFrames(unknown=self._told(error))
        except PipelineException as error:
            index = error.location.step_index if error.location is not None else None
            step = pipeline.steps[index] if index is not None else None
            return PipelineFrames(failure=Failure(self._told(error), step, error.hint))

    def _told(self, error: PipelineException) -> str:
        return self.version.revision.shown(error.message)

    def _frames(
        self,
        pipeline: PipelineConfig,
        given: Mapping[int, StructType],
        spark: SparkSession,
        credentials: RunCredentials,
        partition: Partition | None,
    ) -> PipelineFrames:
        steps = tuple(
            replace(step, config=GivenFrame.of(empty_frame(spark, nullable_columns(given[step.index]))))
            if step.index in given
            else step
            for step in pipeline.steps
        )
        wanted = {step.index for step in steps if step.type != "load"}
        resolved = pipeline.model_copy(update={"steps": steps}).resolve(wanted, partition)
        names = {step.name for step in steps if step.type != "load"}
        planned = plan(resolved, spark, "plan", credentials, names, partition=partition, writes=False)
        with planned.persisted:
            frames = {index: _columns(pipeline.steps[index], one) for index, one in planned.frames.items()}
            refused: dict[int, Failure] = {}
            judged: set[int] = set()
            for step in pipeline.steps:
                if isinstance(step.config, Load) and step.config.dataset() in self._tables:
                    former, table = self._tables[step.config.dataset()]
                    try:
                        if step.config.require_fit(planned.frames[step.inputs[0].step].frame, table, former):
                            judged.add(step.index)
                    except PipelineException as error:
                        refused[step.index] = Failure(self._told(error), step, error.hint)
            return PipelineFrames(frames, refused=refused, judged=judged)

    def _given(self, pipeline: PipelineConfig) -> dict[int, StructType]:
        """The columns of each extract.

        Raises:
            _UnknownSourceError: Nobody says which they are.
            PipelineException: There is no session.
        """
        found: dict[int, StructType] = {}
        for step in pipeline.steps:
            if isinstance(step.config, Extract):
                found[step.index] = self._source(pipeline, step, step.config)
        return found

    def _source(self, pipeline: PipelineConfig, step: Step, config: Extract) -> StructType:
        """The columns of a source: those that the config declares, or of the load of another pipeline, or of the rows
        of a test, or, where nothing else says so, of the source itself.
        """
        with planning_session(pipeline) as spark:
            if (declared := config.declared_columns(spark)) is not None:
                return declared
            dataset = config.dataset()
            if dataset is not None and config.reads_as_written():
                for writer, _ in self.version.project.writers_of(dataset, pipeline):
                    frames = self.of(writer)
                    if not frames.is_known:
                        why = f"are not known: {frames.unknown}" if frames.unknown else "can't be planned"
                        raise _UnknownSourceError(f"it reads a table of '{writer.name}', of which the columns {why}")
                    return frames.loaded(writer)[dataset][1]
                if dataset in self._tables:
                    # Nobody writes it any more, and it stays as it is.
                    return self._tables[dataset][1]
            if (tested := self._tested(pipeline, step)) is not None:
                return tested
        return _read(pipeline, step)

    def _tested(self, pipeline: PipelineConfig, step: Step) -> StructType | None:
        if self._tests is None:
            self._tests = []
            for file in files_of_tests(self.version.revision.folder):
                try:
                    self._tests += read_tests(file, self._methods)
                except PipelineConfigurationException:
                    # What is wrong with it is for `test` to tell.
                    continue
        for test in self._tests:
            given = test.case.given.get(step.name)
            if test.pipeline.name == pipeline.name and given is not None:
                try:
                    return given_schema(step, given, test.place / "given" / step.name)
                except PipelineConfigurationException:
                    continue
        return None


def _read(pipeline: PipelineConfig, step: Step) -> StructType:
    """The columns of a source, as it has them now."""
    try:
        partition = _any_partition(pipeline)
        pipeline.require_extras({step.index})
        resolved = pipeline.resolve({step.index}, partition).steps[step.index]
        config = resolved.config
        assert isinstance(config, Extract)
        with (
            planning_session(pipeline) as spark,
            closing(RunCredentials.from_environment("plan", pipeline.location)) as credentials,
            error_context(resolved),
        ):
            return config.accepted(config.read(spark, credentials_for(credentials, config, resolved))).schema
    except PipelineException as error:
        raise _UnknownSourceError(
            f"nobody says which columns '{step.name}' has, and the source can't be asked: {error.message}; a 'schema' "
            "of the step, or rows of a test, would do"
        ) from error


def _columns(step: Step, planned: PlannedFrame) -> FrameColumns:
    config = step.config.as_written
    expressions: Mapping[str, str] = config.expressions() if isinstance(config, Transform) else {}
    return FrameColumns(planned.frame.schema, planned.lineage, expressions)


def _any_partition(pipeline: PipelineConfig) -> Partition | None:
    if pipeline.partitions is None:
        return None
    # Dagster says which there are, and only those who have partitions wait for its import.
    from pipeline_platform.resources.partitions import partition_of, partitions_definition

    is_dynamic = pipeline.partitions.type == "dynamic"
    keys = ["plan"] if is_dynamic else partitions_definition(pipeline.partitions).get_partition_keys()
    if not keys:
        raise _UnknownSourceError("it has no partition yet, so it can't be planned")
    return partition_of(pipeline.partitions, keys[-1:])
