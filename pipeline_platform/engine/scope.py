"""What of a pipeline is run, and as which load."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.counting import (
    consumers,
    count_source,
    counting_note,
    reporting_loads,
    through_row_keeping,
)
from pipeline_platform.frames.columns import find_column
from pipeline_platform.frames.partition_rows import PartitionRows, partition_rows
from pipeline_platform.steps.load import Load, LoadRun
from pipeline_platform.steps.transform import Transform
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class MicroBatch:
    """Rows of a stream that are loaded together.

    Args:
        frame: The rows, as the head of the stream has them.
        number: Spark's number of them.
        load_ids: For each load, by its index: what its load id adds to that of the query.
    """

    frame: DataFrame
    number: int
    load_ids: Mapping[int, str]


@dataclass(frozen=True)
class Replayed:
    """Rows of a quarantine, which take the way once more that they were taken out of.

    Args:
        frame: The rows.
        head: Index of the step whose frame they stand in for.
        steps: Indices of the steps that are run, that one included.
    """

    frame: DataFrame
    head: int
    steps: frozenset[int]


@dataclass(frozen=True)
class RunScope:
    """What of a pipeline is run, and as which load.

    Args:
        pipeline: The pipeline, its environment variables replaced.
        selection: Names of the steps to run; None for all.
        needed: Indices of the steps that are built: those, and what they need.
        credentials: Where each step gets those of its system.
        load_id: The same for every attempt at the same load.
        micro_batch: What of a stream is loaded; None in a batch pipeline.
        partition: What a pipeline with partitions loads; None for any other.
        writes: Whether anything is written; not even to a quarantine where somebody only looks at rows.
        replayed: Rows of a quarantine that are loaded; None in any other run.
    """

    pipeline: PipelineConfig
    selection: Set[str] | None
    needed: Set[int]
    credentials: RunCredentials
    load_id: str
    micro_batch: MicroBatch | None = None
    partition: Partition | None = None
    writes: bool = True
    replayed: Replayed | None = None

    @property
    def given(self) -> DataFrame | None:
        """The rows that stand in for those of the step `head`; None where every step reads or makes its own."""
        given = self.micro_batch or self.replayed
        return given.frame if given is not None else None

    @property
    def head(self) -> int | None:
        """Index of the step whose rows are given; None if those of none are."""
        if self.replayed is not None:
            return self.replayed.head
        return self.pipeline.shape.head if self.micro_batch is not None else None

    def is_replayed(self, step: Step) -> bool:
        """Whether rows of a quarantine stand in for those of a step, as they were once it had let them through."""
        return self.replayed is not None and step.index == self.replayed.head

    @property
    def streamed(self) -> Set[int]:
        """Indices of the steps that have made the rows that are given; none where none are."""
        if self.replayed is not None:
            return self.pipeline.upstream_of({self.replayed.head})
        return self.pipeline.shape.streamed if self.micro_batch is not None else frozenset[int]()

    def count_source(self, step: Step) -> Step:
        """The step of the scope whose count is also this step's."""
        source = count_source(self.pipeline, step)
        head = self.head
        return self.pipeline.steps[head] if head is not None and source.index in self.streamed else source

    def counting_note(self, step: Step) -> str | None:
        """Why a step's rows are not counted, or None if they are."""
        note = counting_note(self.pipeline, step)
        if note is not None or self.partition is None or not step.traits.pushes_down_filters:
            return note
        if step.type == "extract" and any(other.type == "load" for other in through_row_keeping(self.pipeline, step)):
            return "not counted: only the rows of the partition are read"
        return None

    def reporting_loads(self, step: Step) -> list[Step]:
        """The loads that write exactly this step's rows and say how many they wrote."""
        # With partitions, they write those of one.
        return reporting_loads(self.pipeline, step, self.needed) if self.partition is None else []

    def is_loaded_after(self, step: Step) -> bool:
        """Whether the pipeline loads anything after a step."""
        return any(other.type == "load" for other in self.pipeline.after(step))

    def partition_rows(self, step: Step, frame: DataFrame) -> PartitionRows | None:
        """The rows of a frame that a load takes; None for all of them.

        Raises:
            PipelineExecutionException: It does not show which they are.
        """
        config = step.config
        assert isinstance(config, Load)
        if self.partition is None:
            return None
        if find_column(frame.columns, self.partition.column) is None and config.names_partition_in_place():
            return None
        return partition_rows(self.partition, frame.schema)

    def own_rows(self, step: Step, frame: DataFrame) -> PartitionRows | None:
        """The rows of a frame that are the run's own, where each goes to the loads by itself; None for all of them.

        Args:
            step: The step that makes the frame.
            frame: The frame.

        Raises:
            PipelineExecutionException: As the loads would raise it.
        """
        if self.partition is None or find_column(frame.columns, self.partition.column) is None:
            return None
        is_alone = _reaches_loads(self.pipeline, step, self.partition.column)
        return partition_rows(self.partition, frame.schema) if is_alone else None

    def load_run(
        self,
        step: Step,
        query_name: str,
        credentials: Credentials | None,
        part: str = "",
        rows: PartitionRows | None = None,
    ) -> LoadRun:
        """The load of a step, or of a part of it."""
        number = self.micro_batch.number if self.micro_batch is not None else None
        added = f"{step.name}{part}"
        if self.micro_batch is not None and not part:
            added = self.micro_batch.load_ids.get(step.index, added)
        load_id = f"{self.load_id}/{added}" if added else self.load_id
        if self.partition is not None:
            # One run at the terminal may load several, one after the other.
            load_id = f"{load_id}/{self.partition.load_key}"
        return LoadRun(load_id, query_name, credentials, run_id=self.credentials.run_id, batch=number, rows=rows)


def _reaches_loads(pipeline: PipelineConfig, step: Step, column: str) -> bool:
    """Whether whatever becomes of a step's rows, to the loads, keeps each of them with its value in a column."""
    found = consumers(pipeline, step)
    return any(other.type != "validate" for other in found) and all(
        _passes_on(pipeline, step, other, column) for other in found
    )


def _passes_on(pipeline: PipelineConfig, step: Step, other: Step, column: str) -> bool:
    config = other.config
    if isinstance(config, Validate):
        # One that looks something up in the frame may find it in a row of any partition.
        return all(edge.step != step.index for edge in other.inputs[1:])
    if isinstance(config, Transform):
        changed = {name.lower() for name in config.expressions()}
        keeps = other.traits.keeps_rows and not other.traits.is_stateful and column.lower() not in changed
        return keeps and _reaches_loads(pipeline, other, column)
    return isinstance(config, Load)
