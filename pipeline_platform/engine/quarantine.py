"""Where rows go that are taken out: those that break a rule, and records that can't be used or stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import quarantine_beside_sink
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.engine.validation import ValidationBlock, taken_by
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.steps.load import LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


STEP = "_step"
"""Column of a quarantine table of a pipeline with partitions: the pipeline and the step that put the row there."""
PARTITION = "_partition"
"""Column of such a table: the partition, or the range of them, that was loaded then."""


@dataclass(frozen=True)
class _QuarantineLoad:
    """The load of a step's quarantine.

    Args:
        config: How it is written.
        run: As which load.
        marks: For a pipeline with partitions: by column, what each row is given.
    """

    config: ToDeltaLake
    run: LoadRun
    marks: Mapping[str, str]

    @property
    def uri(self) -> str:
        """The table."""
        return self.config.dataset().uri

    def prepared(self, rows: DataFrame) -> PreparedLoad:
        """The load of these rows, held against the table."""
        from pyspark.sql import functions as F

        marked = rows.withColumns({name: F.lit(value) for name, value in self.marks.items()}) if self.marks else rows
        return self.config.prepare(marked, self.run)


@dataclass(frozen=True)
class PlannedQuarantine:
    """Where violating rows go, and those of which validations of the block."""

    step: Step
    load: _QuarantineLoad
    takers: tuple[int, ...]
    prepared: PreparedLoad
    """Of no rows, by which it was found out that the table can take them."""

    @property
    def uri(self) -> str:
        """The table."""
        return self.load.uri

    def write(self, violators: DataFrame) -> None:
        """Write its part of the rows that the block took out.

        Raises:
            PipelineException: The table can't be written; it names the step.
        """
        with error_context(self.step):
            self.load.prepared(taken_by(violators, self.takers)).write()


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
        for step in scope.pipeline.after(after)
        if step.type == "load" and source in scope.pipeline.upstream_of({step.index})
    }
    return scope.writes and (not loads or bool(loads & scope.needed))


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
        load = _quarantine(scope, steps[0], path, block.rows)
        prepared = load.prepared(taken_by(block.violators(), takers))
        planned.append(PlannedQuarantine(steps[0], load, takers, prepared))
    return tuple(planned)


def plan_bad_records(
    scope: RunScope, step: Step, records: DataFrame, path: str | None, rows: PartitionRows | None = None
) -> PlannedBadRecords:
    """The quarantine of records that a step can't use, held against its table.

    Args:
        scope: What is run.
        step: The step.
        records: The records, and why they can't be used.
        path: The table; None for the one beside the first sink.
        rows: Those of the run's partition, where the records are of them.

    Raises:
        PipelineException: The table can't take the rows, or nothing says where they are to go.
    """
    load = _quarantine(scope, step, path or _beside_sink(scope.pipeline, step), rows)
    return PlannedBadRecords(step, load.prepared(records), load.uri)


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


def _quarantine(scope: RunScope, step: Step, path: str, rows: PartitionRows | None) -> _QuarantineLoad:
    """The load of a step's quarantine, which replaces what the step had put there of the same partition."""
    config = ToDeltaLake(path=path, mode="append", merge_schema=True)
    name = f"{scope.pipeline.name}-{step.name}-quarantine"
    steps = (other for other in scope.pipeline.steps if other.index in scope.needed)
    credentials = credentials_of_bucket(scope.credentials, steps, config.uri())
    run = scope.load_run(step, name, credentials, "/quarantine")
    if scope.partition is None:
        return _QuarantineLoad(config, run, {})
    marks = {STEP: f"{scope.pipeline.name}/{step.name}", PARTITION: scope.partition.load_key}
    if (columns := config.columns(credentials)) is None or set(marks) <= set(columns):
        config = config.model_copy(update={"mode": "overwrite", "replace_where": _earlier_rows(marks, rows)})
    return _QuarantineLoad(config, run, marks)


def _earlier_rows(marks: Mapping[str, str], rows: PartitionRows | None) -> str:
    """A condition for what an earlier run put there of the rows that this one looks at."""
    step, partition = (f"{name} = {exp.Literal.string(value).sql(dialect='spark')}" for name, value in marks.items())
    if rows is None:
        return f"{step} AND {partition}"
    return f"{step} AND (({rows.spark_sql()}) OR ({quoted(rows.column)} IS NULL AND {partition}))"


def _beside_sink(pipeline: PipelineConfig, step: Step) -> str:
    if (path := quarantine_beside_sink(pipeline.steps)) is not None:
        return path
    raise PipelineException(
        "no sink has a path next to which quarantined rows could be kept",
        location=step.location,
        hint="set 'quarantinePath' to the path of a Delta table",
    )
