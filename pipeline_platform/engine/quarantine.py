"""Where rows go that are taken out: those that break a rule, and records that can't be used or stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.engine.validation import ValidationBlock, taken_by
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.steps.load import Load, LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class PlannedQuarantine:
    """Where violating rows go, and those of which validations of the block."""

    step: Step
    config: ToDeltaLake
    run: LoadRun
    takers: tuple[int, ...]
    prepared: PreparedLoad
    """Of no rows, by which it was found out that the table can take them."""

    @property
    def uri(self) -> str:
        """The table."""
        return self.config.dataset().uri

    def write(self, violators: DataFrame) -> None:
        """Write its part of the rows that the block took out.

        Raises:
            PipelineException: The table can't be written; it names the step.
        """
        with error_context(self.step):
            self.config.prepare(taken_by(violators, self.takers), self.run).write()


@dataclass(frozen=True)
class PlannedBadRecords:
    """Records that a step can't use, and where they go."""

    step: Step
    prepared: PreparedLoad
    uri: str

    def write(self) -> int | None:
        """Write them, and say how many there are.

        Raises:
            PipelineException: The table can't be written; it names the step.
        """
        with error_context(self.step):
            return self.prepared.write().rows


def write_bad_records(planned: Sequence[PlannedBadRecords]) -> Mapping[int, int | None]:
    """Write the records that can't be used; how many each step took out, by its index.

    Raises:
        PipelineException: A table can't be written; it names the step.
    """
    return {bad_records.step.index: bad_records.write() for bad_records in planned}


def is_quarantined(scope: RunScope, after: Step, source: int) -> bool:
    """Whether rows of a frame that can't be used are written to quarantine.

    They are when the load of the others is part of the run: a check alone, or an extract alone, would write them again
    each time. A pipeline without such a load is there for its quarantine.

    Args:
        scope: What is run.
        after: The step that takes them out.
        source: Index of the step whose frame they are taken out of.
    """
    loads = {
        step.index
        for step in scope.pipeline.steps[after.index + 1 :]
        if step.type == "load" and source in scope.pipeline.upstream_of({step.index})
    }
    return not loads or bool(loads & scope.needed)


def plan_quarantines(scope: RunScope, block: ValidationBlock) -> tuple[PlannedQuarantine, ...]:
    """The quarantines of a block, one for each path, held against their tables.

    Raises:
        PipelineException: A table can't take the rows, or nothing says where they are to go.
    """
    validations = [validation for validation in block.validations if validation.config.on_failure == "quarantine"]
    given = next((v.config.quarantine_path for v in validations if v.config.quarantine_path), None)
    by_path: dict[str, list[Step]] = {}
    for validation in validations:
        path = validation.config.quarantine_path or given or _beside_sink(scope.pipeline, validation.step)
        by_path.setdefault(path, []).append(validation.step)
    planned: list[PlannedQuarantine] = []
    for path, steps in by_path.items():
        takers = tuple(step.index for step in steps)
        config, run = _quarantine(scope, steps[0], path)
        prepared = config.prepare(taken_by(block.violators(), takers), run)
        planned.append(PlannedQuarantine(steps[0], config, run, takers, prepared))
    return tuple(planned)


def plan_bad_records(scope: RunScope, step: Step, rows: DataFrame, path: str | None) -> PlannedBadRecords:
    """The quarantine of records that a step can't use, held against its table.

    Args:
        scope: What is run.
        step: The step.
        rows: The records, and why they can't be used.
        path: The table; None for the one beside the first sink.

    Raises:
        PipelineException: The table can't take the rows, or nothing says where they are to go.
    """
    config, run = _quarantine(scope, step, path or _beside_sink(scope.pipeline, step))
    return PlannedBadRecords(step, config.prepare(rows, run), config.dataset().uri)


def unstorable_rows(frame: DataFrame, reason: Column) -> DataFrame:
    """The rows of a frame that its sink can't store, each with the reason, as other readers of a table can open them.

    Args:
        frame: The frame.
        reason: Why a row can't be stored; null for one that can.
    """
    from pyspark.sql import functions as F

    # They can't open a file whose text is not UTF-8.
    fields = [
        F.make_valid_utf8(quoted(name)).alias(name) if kind == "string" else F.col(quoted(name))
        for name, kind in frame.dtypes
    ]
    return frame.filter(reason.isNotNull()).select(*fields, reason.alias("reason"))


def _quarantine(scope: RunScope, step: Step, path: str) -> tuple[ToDeltaLake, LoadRun]:
    """The load of a step's quarantine."""
    config = ToDeltaLake(path=path, mode="append", merge_schema=True)
    name = f"{scope.pipeline.name}-{step.name}-quarantine"
    steps = (other for other in scope.pipeline.steps if other.index in scope.needed)
    credentials = credentials_of_bucket(scope.credentials, steps, config.uri())
    return config, scope.load_run(step, name, credentials, "/quarantine")


def _beside_sink(pipeline: PipelineConfig, step: Step) -> str:
    for other in pipeline.steps:
        folder = other.config.folder() if isinstance(other.config, Load) else None
        if folder is not None:
            return f"{folder.rstrip('/')}_quarantine"
    raise PipelineException(
        "no sink has a path next to which quarantined rows could be kept",
        location=step.location,
        hint="set 'quarantinePath' to the path of a Delta table",
    )
