"""Carries out the pipelines of a version up to their loads: what each load is given, and nothing that is written."""

from __future__ import annotations

from collections.abc import Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.replacement import ALL_ROWS
from pipeline_platform.config.step import Step
from pipeline_platform.config.uris import shown_place
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.in_environment import reading_what_is_there
from pipeline_platform.engine.preview import Previews, preview_steps, previewed
from pipeline_platform.engine.spark.session import planning_session
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.planning.frames import Failure
from pipeline_platform.planning.sources import Sample, Sources, extracts_of
from pipeline_platform.planning.versions import Version
from pipeline_platform.step_rows import chosen_partition
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.testing.given_frame import GivenFrame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class GivenToLoad:
    """The rows that a load is given.

    Args:
        step: The load.
        frame: The rows, which are kept.
        hidden: Names of the columns whose values are not shown to everyone.
        keeps_rows: Whether the table may have other rows, too, once these are written.
    """

    step: Step
    frame: DataFrame
    hidden: Set[str]
    keeps_rows: bool

    @property
    def config(self) -> Load:
        """The config of the load."""
        assert isinstance(self.step.config, Load)
        return self.step.config


@dataclass
class CarriedOut:
    """What came of a pipeline.

    Args:
        loads: What its loads are given, by step index; of a run that fails, those before.
        failure: What its run fails at.
        left_out: Why it was not carried out, where nothing is wrong with it.
        cut: Pipeline and name of the extracts of which only the first rows were read, those above included.
        notes: What someone should know of it.
    """

    loads: dict[int, GivenToLoad] = field(default_factory=dict[int, GivenToLoad])
    failure: Failure | None = None
    left_out: str | None = None
    cut: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    notes: list[str] = field(default_factory=list[str])

    def into(self, dataset: Dataset) -> GivenToLoad | None:
        """What the load is given that writes a dataset; None if the run did not get there.

        Args:
            dataset: The dataset, which no other load writes.
        """
        return next((one for one in self.loads.values() if one.config.dataset() == dataset), None)


class _LeftOutError(Exception):
    """A pipeline is not carried out, and nothing is wrong with it."""


class VersionRows:
    """Carries out pipelines of a version, one after the other; each reads what those before it hand to their loads."""

    def __init__(self, version: Version, sample: Sample, sources: Sources, hidden: Set[str], kept: ExitStack) -> None:
        """Begin with none.

        Args:
            version: The version.
            sample: What of the sources is looked at.
            sources: Reads them.
            hidden: Names, in lower case, of the columns that any pipeline marks as sensitive.
            kept: Releases the rows that are kept.
        """
        self.version = version
        self._sample = sample
        self._sources = sources
        self._hidden = hidden
        self._kept = kept
        self._done: dict[str, CarriedOut] = {}

    def carry_out(self, pipeline: PipelineConfig) -> CarriedOut:
        """What the loads of a pipeline are given.

        Args:
            pipeline: One of the version, after those that write what it reads.
        """
        done = self._done[pipeline.name] = CarriedOut()
        try:
            partition = self._partition(pipeline)
            if missing := [name for name in pipeline.variables if name not in pipeline.values]:
                raise _LeftOutError(f"its variable {missing[0]} has no default")
            if pipeline.mode == "streaming":
                done.notes.append("the stream is read as a batch: what is there now")
            with planning_session(pipeline) as spark:
                self._carry_out(pipeline, partition, spark, done)
        except _LeftOutError as error:
            done.left_out = str(error)
        except PipelineException as error:
            done.failure = self._failure(pipeline, error)
        return done

    def _partition(self, pipeline: PipelineConfig) -> Partition | None:
        if pipeline.partitions is None:
            return None
        if self._sample.partition is None:
            raise _LeftOutError("it has partitions, and --partition KEY says which one is compared")
        return chosen_partition(pipeline, self._sample.partition)

    def _carry_out(
        self, pipeline: PipelineConfig, partition: Partition | None, spark: SparkSession, done: CarriedOut
    ) -> None:
        loads = [step for step in pipeline.steps if step.type == "load"]
        needed = {index for step in loads for index in preview_steps(pipeline, step)}
        pipeline.require_ready(needed, partition)
        credentials = self._kept.enter_context(closing(RunCredentials.from_environment("plan", pipeline.location)))
        resolved = reading_what_is_there(pipeline.resolve(needed, partition), spark, credentials, needed)
        given: dict[int, DataFrame] = {}
        hidden: dict[int, Set[str]] = {}
        for step, config in extracts_of(pipeline, needed):
            hidden[step.index] = self._hidden
            if (above := self._written_above(pipeline, step, config, done)) is not None:
                given[step.index] = above.frame
                hidden[step.index] = self._hidden | {name.lower() for name in above.hidden}
                continue
            found = self._sources.rows(pipeline, resolved.steps[step.index], spark, credentials, partition)
            given[step.index] = found.frame
            done.cut += [(pipeline.name, step.name)] if found.is_cut else []
        steps = tuple(
            replace(step, config=GivenFrame.of(given[step.index]), production=None, note=None)
            if step.index in given
            else step
            for step in pipeline.steps
        )
        carried = pipeline.model_copy(update={"steps": steps})
        previews = self._kept.enter_context(previewed(carried, loads, spark, credentials, partition, hidden=hidden))
        for load in loads:
            self._keep(pipeline, load, previews, done)

    def _keep(self, pipeline: PipelineConfig, load: Step, previews: Previews, done: CarriedOut) -> None:
        assert isinstance(load.config, Load)
        looked_at = previews.of(load)
        with error_context(load, pipeline):
            # Here the settings of the pipeline hold, and what fails is the fault of this version.
            frame = looked_at.frame.persist()
            self._kept.callback(frame.unpersist)
            frame.count()
        keeps_rows = pipeline.partitions is not None or load.config.replaces() != ALL_ROWS
        done.loads[load.index] = GivenToLoad(load, frame, looked_at.hidden, keeps_rows)

    def _written_above(
        self, pipeline: PipelineConfig, step: Step, config: Extract, done: CarriedOut
    ) -> GivenToLoad | None:
        """What a pipeline that was carried out hands to the load that writes what is read; None if none does.

        Raises:
            _LeftOutError: It is not known what would be read.
        """
        dataset = config.dataset()
        writers = self.version.project.writers_of(dataset, pipeline) if dataset is not None else []
        carried = [writer.name for writer, _ in writers if writer.name in self._done]
        if dataset is None or not carried:
            return None
        place = shown_place(dataset.location)
        if not config.reads_as_written():
            done.notes.append(f"'{step.name}' reads {place} as it is, without the rows that {carried[0]} would write")
            return None
        if len(writers) > 1:
            names = ", ".join(dict.fromkeys(writer.name for writer, _ in writers))
            raise _LeftOutError(f"it reads {place}, which has the rows of several loads, of {names}")
        above = self._done[carried[0]].into(dataset)
        # What is handed on where changes are applied are not the rows of the table.
        if above is None or getattr(above.config, "mode", None) == "applyChanges":
            raise _LeftOutError(f"it reads {place}, and it is not known what {carried[0]} would leave there")
        done.cut += self._done[carried[0]].cut
        if above.keeps_rows:
            done.notes.append(f"'{step.name}' reads what {carried[0]} hands to {place}, and not what is there already")
        return above

    def _failure(self, pipeline: PipelineConfig, error: PipelineException) -> Failure:
        index = error.location.step_index if error.location is not None else None
        step = pipeline.steps[index] if index is not None and index < len(pipeline.steps) else None
        shown = self.version.revision.shown
        return Failure(shown(error.message), step, shown(error.hint) if error.hint is not None else None)
