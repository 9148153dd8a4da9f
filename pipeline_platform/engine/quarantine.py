"""Where rows go that are taken out: those that break a rule, and records that can't be used or stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.sql import sql_text
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import quarantine_beside_sink
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.quarantine_rows import (
    OWN_COLUMNS,
    PARTITION,
    QUARANTINED_AT,
    QUARANTINED_BY,
    STEP,
    finished_mark,
    forget_old_rows,
    quarantine_mark,
)
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.engine.validation import TAKEN_BY, ValidationBlock, taken_by
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.steps.load import LoadRun, PreparedLoad

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


@dataclass(frozen=True)
class _QuarantineLoad:
    """The load of the quarantine of a step, or of several with one table.

    Args:
        config: How it is written.
        run: As which load.
        partition: For a pipeline with partitions: what is loaded.
        keep: How long rows are kept; None for ever.
        marks: What the rows of each step are marked with.
        load_id: Of the run, which has to be finished before its rows count; None where they count at once.
        finished: What the table knows by that it is finished.
    """

    config: ToDeltaLake
    run: LoadRun
    partition: str | None
    keep: timedelta | None
    marks: Sequence[str]
    load_id: str | None
    finished: str

    @property
    def uri(self) -> str:
        """The table."""
        return self.config.dataset().uri

    def prepared(self, rows: DataFrame, takers: Sequence[int] = ()) -> PreparedLoad:
        """The load of these rows, held against the table.

        Args:
            rows: The rows; of a validation block all that it took out.
            takers: Of the block: the steps that the marks are of.

        Raises:
            PipelineExecutionException: They have a column that a quarantine has for itself.
        """
        from pyspark.sql import functions as F

        taken = [name for name in rows.columns if name.lower() in OWN_COLUMNS]
        if taken:
            raise PipelineExecutionException(
                f"the frame has a column '{taken[0]}', and a quarantine has one of that name for itself",
                hint="rename the column before this step; if a quarantine is what is read, leave it out",
            )
        of_each = [
            F.when(F.col(TAKEN_BY) == taker, F.lit(mark)) for taker, mark in zip(takers, self.marks, strict=False)
        ]
        added = {STEP: F.coalesce(*of_each) if takers else F.lit(self.marks[0]), QUARANTINED_AT: F.current_timestamp()}
        if self.load_id is not None:
            added[QUARANTINED_BY] = F.lit(self.load_id)
        if self.partition is not None:
            added[PARTITION] = F.lit(self.partition)
        marked = rows.withColumns(added)
        return self.config.prepare(taken_by(marked, takers) if takers else marked, self.run)

    def finish(self, spark: SparkSession) -> None:
        """Have the table know that the run was finished that put the rows there; a second call changes nothing."""
        if self.load_id is not None:
            self.config.prepare(empty_frame(spark, f"{STEP} STRING"), replace(self.run, load_id=self.finished)).write()

    def forget_old(self, spark: SparkSession) -> None:
        """Delete what is kept no longer; see `forget_old_rows`."""
        if self.keep is not None:
            forget_old_rows(spark, self.config.place(self.run.credentials), self.marks, self.keep)


@dataclass(frozen=True)
class PlannedQuarantine:
    """Where violating rows go, and those of which validations of the block."""

    step: Step
    load: _QuarantineLoad
    takers: tuple[int, ...]
    prepared: PreparedLoad
    """Of no rows, by which it was found out that the table can take them."""
    spark: SparkSession

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
            self.load.prepared(violators, self.takers).write()
        self.load.forget_old(self.spark)


@dataclass(frozen=True)
class PlannedBadRecords:
    """Records that a step can't use, and where they go."""

    step: Step
    prepared: PreparedLoad
    load: _QuarantineLoad
    spark: SparkSession

    @property
    def uri(self) -> str:
        """The table."""
        return self.load.uri

    def write(self) -> int | None:
        """Write them, and say how many there are.

        Raises:
            PipelineException: The table can't be written; it names the step.
        """
        with error_context(self.step):
            rows = self.prepared.write().rows
        self.load.forget_old(self.spark)
        return rows


def write_bad_records(planned: Sequence[PlannedBadRecords]) -> Mapping[int, int | None]:
    """Write the records that can't be used; how many each step took out, by its index.

    Raises:
        PipelineException: A table can't be written; it names the step.
    """
    return {bad_records.step.index: bad_records.write() for bad_records in planned}


def finish_quarantines(planned: Iterable[PlannedQuarantine | PlannedBadRecords]) -> None:
    """Have the rows count that a run has put into quarantine, once everything else of it is done.

    A run that failed, and is not continued, has loaded nothing that would belong to these rows: the run that is made
    instead puts them there as well.

    Args:
        planned: What it has put there.

    Raises:
        PipelineException: A table can't be written; it names the step.
    """
    for one in {one.uri: one for one in planned}.values():
        with error_context(one.step):
            one.load.finish(one.spark)


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
        load = _quarantine(scope, steps, path, block.rows)
        prepared = load.prepared(block.violators(), takers)
        planned.append(PlannedQuarantine(steps[0], load, takers, prepared, block.flagged.sparkSession))
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
    load = _quarantine(scope, [step], path or _beside_sink(scope.pipeline, step), rows)
    return PlannedBadRecords(step, load.prepared(records), load, records.sparkSession)


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


def _quarantine(scope: RunScope, steps: Sequence[Step], path: str, rows: PartitionRows | None) -> _QuarantineLoad:
    """The load of the quarantine of these steps, which replaces what they had put there of the same partition."""
    config = ToDeltaLake(path=path, mode="append", merge_schema=True)
    name = f"{scope.pipeline.name}-{steps[0].name}-quarantine"
    needed = (other for other in scope.pipeline.steps if other.index in scope.needed)
    credentials = credentials_of_bucket(scope.credentials, needed, config.uri())
    run = scope.load_run(steps[0], name, credentials, "/quarantine")
    marks = [quarantine_mark(scope.pipeline, step) for step in steps]
    partition = scope.partition.load_key if scope.partition is not None else None
    if partition is not None and (
        (columns := config.columns(credentials)) is None or {STEP, PARTITION} <= set(columns)
    ):
        earlier = _earlier_rows(marks, partition, rows)
        config = config.model_copy(update={"mode": "overwrite", "replace_where": earlier})
    load_id = scope.load_id if partition is None and scope.micro_batch is None else None
    finished = finished_mark(scope.pipeline, scope.load_id)
    return _QuarantineLoad(config, run, partition, scope.pipeline.quarantine.kept, marks, load_id, finished)


def _earlier_rows(marks: Sequence[str], partition: str, rows: PartitionRows | None) -> str:
    """A condition for what an earlier run put there of the rows that this one looks at."""
    of_steps = f"{STEP} IN ({', '.join(map(sql_text, marks))})"
    of_partition = f"{PARTITION} = {sql_text(partition)}"
    if rows is None:
        return f"{of_steps} AND {of_partition}"
    return f"{of_steps} AND (({rows.spark_sql()}) OR ({quoted(rows.column)} IS NULL AND {of_partition}))"


def _beside_sink(pipeline: PipelineConfig, step: Step) -> str:
    if (path := quarantine_beside_sink(pipeline.steps)) is not None:
        return path
    raise PipelineException(
        "no sink has a path next to which quarantined rows could be kept",
        location=step.location,
        hint="set 'quarantinePath' to the path of a Delta table",
    )
