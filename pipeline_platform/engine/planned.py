"""What was found out about a run before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from pipeline_platform.config.step import Step
from pipeline_platform.engine.counting import RowCountObservation
from pipeline_platform.engine.quarantine import PlannedBadRecords, PlannedQuarantine
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.validation import ValidationBlock
from pipeline_platform.metrics.run import ColumnMetrics
from pipeline_platform.steps.cursor import CursorMove
from pipeline_platform.steps.load import PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Lineage = Mapping[str, Sequence[tuple[int, str]]]
"""By output column: the (step index, column) pairs it is derived from."""


@dataclass(frozen=True)
class PlannedFrame:
    """The frame that a step makes.

    Args:
        step: An extract or a transform.
        frame: The frame; rows that validations of it take out are not in it.
        columns: Its columns.
        lineage: What they are derived from; empty for an extract.
        observation: Counts the rows, where that is needed.
        bad_records: What of the source can't be used and is to be kept.
        earlier: What it was before validations took rows out of it, each with the place of the first of them among the
            steps in turn.
    """

    step: Step
    frame: DataFrame
    columns: Sequence[ColumnMetrics]
    lineage: Lineage
    observation: RowCountObservation | None
    bad_records: PlannedBadRecords | None
    earlier: Sequence[tuple[int, DataFrame]] = ()

    def frame_before(self, place: int) -> DataFrame:
        """The frame as a step finds it, or leaves it.

        Args:
            place: Of the step among the steps in turn.
        """
        return next((frame for first, frame in self.earlier if place < first), self.frame)


@dataclass(frozen=True)
class ValidatedLoad:
    """A validation block that has no pass of its own: the load after it fails at the first row that breaks a rule.

    Args:
        block: The block.
        text: What the load fails with then.
    """

    block: ValidationBlock
    text: str


@dataclass(frozen=True)
class PlannedLoad:
    """A load that its sink can take.

    Args:
        step: The load.
        prepared: What writes it.
        uri: What is written.
        columns: The columns of the frame.
        lineage: What they are derived from.
        observation: Counts the rows, for a sink that does not say how many it took.
        bad_records: What of the frame the sink can't store and is to be kept.
        validated: The validations that are carried out by it.
        cursor: Where it gets to in a source of which only what is new was read.
    """

    step: Step
    prepared: PreparedLoad
    uri: str
    columns: Sequence[ColumnMetrics]
    lineage: Lineage
    observation: RowCountObservation | None
    bad_records: PlannedBadRecords | None
    validated: ValidatedLoad | None = None
    cursor: CursorMove | None = None


@dataclass(frozen=True)
class PlannedBlock:
    """A validation block, and its quarantines, one for each path."""

    block: ValidationBlock
    quarantines: tuple[PlannedQuarantine, ...]


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Args:
        scope: What of the pipeline is run.
        frames: What extracts and transforms make, by step index.
        actions: Validations and loads, in the order of the steps; validations that a load carries out are part of it.
        hints: What someone should know of it.
        persisted: Releases the frames that are kept until the run ends; whoever has the plan closes it.
    """

    scope: RunScope
    frames: Mapping[int, PlannedFrame]
    actions: tuple[PlannedBlock | PlannedLoad, ...]
    hints: tuple[str, ...]
    persisted: ExitStack

    @property
    def loads(self) -> list[PlannedLoad]:
        """The loads, in their order."""
        return [action for action in self.actions if isinstance(action, PlannedLoad)]

    @property
    def bad_records(self) -> list[PlannedBadRecords]:
        """Records that no step can use, in the order of the steps; written before the first load."""
        found = (planned.bad_records for planned in (*self.frames.values(), *self.loads))
        return sorted((one for one in found if one is not None), key=lambda one: one.step.index)

    def writes(self) -> Iterator[tuple[Step, str, PreparedLoad]]:
        """Everything that is written: for which step, where, and how."""
        for action in self.actions:
            match action:
                case PlannedLoad():
                    yield action.step, action.uri, action.prepared
                case PlannedBlock():
                    for quarantine in action.quarantines:
                        yield quarantine.step, quarantine.uri, quarantine.prepared
        for bad_records in self.bad_records:
            yield bad_records.step, bad_records.uri, bad_records.prepared

    def quarantine_of(self, step: Step) -> str | None:
        """URI of the table with what a step takes out; None if it takes nothing out, or that is not kept."""
        bad_records = (one.uri for one in self.bad_records if one.step.index == step.index)
        blocks = (action for action in self.actions if isinstance(action, PlannedBlock))
        taken = (
            quarantine.uri for block in blocks for quarantine in block.quarantines if step.index in quarantine.takers
        )
        return next(chain(bad_records, taken), None)
