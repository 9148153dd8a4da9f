"""Plans a run: every frame is built and every sink held against its frame before anything is written."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Set
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.counting import RowCountObservation, counted
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.hidden_columns import unfound_marks
from pipeline_platform.engine.increments import read_increment
from pipeline_platform.engine.new_files import read_new_files
from pipeline_platform.engine.planned import Lineage, Plan, PlannedBlock, PlannedFrame, PlannedLoad, ValidatedLoad
from pipeline_platform.engine.quarantine import (
    PlannedBadRecords,
    is_quarantined,
    plan_bad_records,
    plan_quarantines,
    unstorable_rows,
)
from pipeline_platform.engine.scope import MicroBatch, Replayed, RunScope
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.engine.table_facts import table_facts
from pipeline_platform.engine.validation import ValidationBlock, plan_block
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.metrics.run import ColumnMetrics
from pipeline_platform.steps.base import FrameOutput
from pipeline_platform.steps.cursor import CursorMove
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load, WritesFrame
from pipeline_platform.steps.malformed import MALFORMED
from pipeline_platform.steps.transform import Frames, Transform
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def needed_steps(pipeline: PipelineConfig, selection: Set[str] | None) -> set[int]:
    """Indices of the steps that the selected ones need, the validations that guard them included.

    Args:
        pipeline: The pipeline.
        selection: Step names; None for all.
    """
    if selection is None:
        return {step.index for step in pipeline.steps}
    chosen = {step.index for step in pipeline.steps if step.name in selection}
    last = max((place for place, step in enumerate(pipeline.in_turn) if step.index in chosen), default=0)
    needed = pipeline.upstream_of(chosen)
    while True:
        guards = {
            step.index
            for step in pipeline.in_turn[:last]
            if step.type == "validate"
            and step.inputs[0].step in needed
            and (step.guards is None or step.guards in chosen)
        }
        grown = pipeline.upstream_of(needed | guards)
        if grown == needed:
            return needed
        needed = grown


def plan(
    pipeline: PipelineConfig,
    spark: SparkSession,
    load_id: str,
    credentials: RunCredentials,
    selection: Set[str] | None = None,
    micro_batch: MicroBatch | None = None,
    partition: Partition | None = None,
    *,
    writes: bool = True,
    replayed: Replayed | None = None,
) -> Plan:
    """Build every frame and hold every sink against it; nothing is written.

    Args:
        pipeline: The pipeline, its environment variables replaced in the steps that are needed.
        spark: The session.
        load_id: The same for every attempt at the same load; each load step makes its own of it.
        credentials: Where each step gets those of its system.
        selection: Names of the steps to run; None for all.
        micro_batch: For a stream: what is loaded. What is no stream is read anew for each of them.
        partition: For a pipeline with partitions: what is loaded, as its placeholders have been replaced.
        writes: Whether the run will write anything; without this, no quarantine is held against its table.
        replayed: Rows of a quarantine: what is loaded in place of what the steps before read.

    Returns:
        The plan, which keeps frames until its `persisted` is closed.

    Raises:
        PipelineException: A step can't be planned; it names the step.
    """
    needed = set(replayed.steps) if replayed is not None else needed_steps(pipeline, selection)
    if micro_batch is not None:
        needed -= pipeline.shape.streamed - {pipeline.shape.head}
    scope = RunScope(
        pipeline, selection, frozenset(needed), credentials, load_id, micro_batch, partition, writes, replayed
    )
    frames: dict[int, PlannedFrame] = {}
    actions: list[PlannedBlock | PlannedLoad] = []
    hints: list[str] = []
    validated: set[int] = set()
    carried: dict[int, ValidationBlock] = {}
    moves: dict[int, CursorMove] = {}
    with ExitStack() as persisted:
        for place, step in enumerate(pipeline.in_turn):
            if step.index not in needed - validated:
                continue
            with error_context(step):
                match step.config:
                    case Extract() | Transform():
                        is_replayed = scope.is_replayed(step)
                        increment = read_new_files(scope, step, spark) if not is_replayed else None
                        given = increment.frame if increment else _given_frame(scope, step, frames, spark, persisted)
                        if increment is None and not is_replayed:
                            increment = read_increment(scope, step, given, persisted)
                        if increment is not None:
                            given, moves[increment.load] = increment.frame, increment.move
                            hints += [increment.hint] if increment.hint is not None else []
                        hints += [step.note] if step.note is not None and micro_batch is None else []
                        given = _limited(scope, step, given, persisted)
                        frames[step.index] = _plan_frame(scope, step, given, frames, persisted)
                    case Validate():
                        planned, hint, remarks = _plan_block(scope, step, frames, persisted)
                        block = planned.block
                        hints += remarks
                        validated |= {validation.step.index for validation in block.validations}
                        if (load := _carrying_load(scope, block, frames.values())) is not None:
                            carried[load.index] = block
                        else:
                            actions.append(planned)
                            hints += [hint] if hint is not None else []
                        if block.quarantines:
                            whole = frames[block.source]
                            earlier = (*whole.earlier, (place, whole.frame))
                            frames[block.source] = replace(whole, frame=block.survivors(), earlier=earlier)
                    case Load():
                        source = frames[step.inputs[0].step]
                        block, move = carried.get(step.index), moves.get(step.index)
                        actions.append(_plan_load(scope, step, source, block, move, persisted))
                    case _:
                        raise TypeError(f"{step.config.method} is not a kind of step that a batch can run")
        if selection is None and writes and replayed is None and (hint := unfound_marks(pipeline, frames)) is not None:
            hints.append(hint)
        return Plan(scope, MappingProxyType(frames), tuple(actions), tuple(hints), persisted.pop_all())


def _keep(frame: DataFrame, persisted: ExitStack, level: str | None = None) -> DataFrame:
    """Persist a frame; what was made of it before is read from the kept rows too."""
    from pyspark import StorageLevel

    kept = frame.persist(getattr(StorageLevel, level)) if level is not None else frame.persist()
    persisted.callback(kept.unpersist)
    return kept


def _limited(scope: RunScope, step: Step, frame: DataFrame, persisted: ExitStack) -> DataFrame:
    """What an extract hands on in its environment; of a stream all of it, as a micro-batch is what it is."""
    environment = scope.pipeline.environment
    limit = environment.keys.limit if environment is not None else None
    if limit is None or step.type != "extract" or scope.micro_batch is not None:
        return frame
    # Another pass could get other rows.
    return _keep(frame.limit(limit), persisted)


def _given_frame(
    scope: RunScope, step: Step, planned: Mapping[int, PlannedFrame], spark: SparkSession, persisted: ExitStack
) -> DataFrame:
    """What a step reads or makes, as its method gives it."""
    config = step.config
    if (frame := scope.given) is not None and step.index == scope.head:
        # Otherwise its source would be read for each of them, and its rows counted.
        is_read_again = sum(other.type in ("validate", "load") for other in scope.pipeline.steps) > 1
        return _keep(frame, persisted) if is_read_again else frame
    if isinstance(config, Extract):
        return config.read(spark, credentials_for(scope.credentials, config, step))
    assert isinstance(config, Transform)
    return config.apply(inputs_of(step, {index: one.frame for index, one in planned.items()}, spark))


def _plan_frame(
    scope: RunScope, step: Step, frame: DataFrame, planned: Mapping[int, PlannedFrame], persisted: ExitStack
) -> PlannedFrame:
    config = step.config
    assert isinstance(config, FrameOutput)
    lineage: Lineage = {}
    if isinstance(config, Transform) and step.index != scope.head:
        lineage = _lineage(step, config, {index: one.frame for index, one in planned.items()}, frame)
    observation: RowCountObservation | None = None
    bad_records: PlannedBadRecords | None = None
    if isinstance(config, Extract) and not scope.is_replayed(step):
        frame, bad_records = _without_bad_records(scope, step, config, frame, persisted)
        if config.counts_malformed():
            # The mark is gone once the records have been let through; those are the rows of the step too.
            frame, observation = counted(frame)
        frame = config.accepted(frame)
    columns = _columns(frame)
    if observation is None and _is_counted(scope, step):
        frame, observation = counted(frame)
    if config.cache:
        frame = _keep(frame, persisted, config.cache_storage_level)
    return PlannedFrame(step, frame, columns, lineage, observation, bad_records)


def _columns(frame: DataFrame) -> list[ColumnMetrics]:
    return [
        ColumnMetrics(name=column.name, type=column.dataType.simpleString(), nullable=column.nullable)
        for column in frame.schema
    ]


def inputs_of(step: Step, frames: Mapping[int, DataFrame], spark: SparkSession) -> Frames:
    """The frames a transform works on.

    Args:
        step: The transform.
        frames: Those that were built, by the index of the step that makes them.
        spark: The session.
    """
    primary = next((frames[edge.step] for edge in step.inputs if edge.name is None), None)
    named = {edge.name: frames[edge.step] for edge in step.inputs if edge.name is not None}
    by_input = getattr(step.config, "input", None)
    if primary is None and by_input is not None:
        primary = named[by_input]
    return Frames(primary, named, spark)


def _lineage(step: Step, config: Transform, frames: Mapping[int, DataFrame], frame: DataFrame) -> Lineage:
    names = {edge.name: frames[edge.step].columns for edge in step.inputs}
    indices = {edge.name: edge.step for edge in step.inputs}
    return {
        column: [(indices[source.frame], source.column) for source in sources]
        for column, sources in config.lineage(names, frame.columns).items()
    }


def _is_counted(scope: RunScope, step: Step) -> bool:
    """Whether the rows of a frame are to be counted on their way; nobody asks for that where they are looked at."""
    return (
        scope.writes
        and scope.counting_note(step) is None
        and scope.count_source(step) is step
        and not scope.reporting_loads(step)
    )


def _without_bad_records(
    scope: RunScope, step: Step, config: Extract, frame: DataFrame, persisted: ExitStack
) -> tuple[DataFrame, PlannedBadRecords | None]:
    """The frame that was read, and what of it is kept aside when the first load begins."""
    bad_records = config.bad_records(frame)
    if bad_records is None:
        return frame, None
    # What goes on and what does not have to be parts of one reading.
    frame = _keep(frame, persisted)
    if not is_quarantined(scope, step, step.index):
        return frame, None
    return frame, plan_bad_records(scope, step, bad_records.frame, bad_records.path)


def _adjacent(scope: RunScope, first: Step) -> list[Step]:
    """The validations that follow each other on one frame."""
    steps: list[Step] = []
    for step in (first, *scope.pipeline.after(first)):
        if step.type != "validate" or step.inputs[0].step != first.inputs[0].step:
            break
        if step.index in scope.needed:
            steps.append(step)
    return steps


def _changing_sources(scope: RunScope, frame: int) -> list[str]:
    """The methods by which a step's frame is read that may give other rows when they read again."""
    sources = (scope.pipeline.steps[above] for above in scope.pipeline.upstream_of({frame}) - scope.streamed)
    return sorted(s.config.method for s in sources if s.type == "extract" and not s.traits.is_repeatable)


def _kept_for_two_reads(
    scope: RunScope, source: PlannedFrame, last: Step, persisted: ExitStack
) -> tuple[bool, str | None]:
    """Whether the frame is kept, and what to say of it.

    One whose source may change is, so that what is loaded is what was validated.
    """
    step = source.step
    if isinstance(step.config, FrameOutput) and step.config.cache:
        return True, None
    changing = _changing_sources(scope, step.index)
    if not changing or not scope.is_loaded_after(last):
        # A micro-batch is kept from the start.
        return bool(scope.streamed), None
    _keep(source.frame, persisted)
    return True, (
        f"'{step.name}' is persisted from its validation to its load: a second read by {changing[0]} could return "
        "other rows"
    )


def _plan_block(
    scope: RunScope, first: Step, frames: Mapping[int, PlannedFrame], persisted: ExitStack
) -> tuple[PlannedBlock, str | None, list[str]]:
    """The block that begins with a validation, a hint on how it is read, if there is one, and remarks on the frame."""
    source = frames[first.inputs[0].step]
    steps = _adjacent(scope, first)
    is_kept, hint = _kept_for_two_reads(scope, source, steps[-1], persisted)
    members: list[tuple[Step, Validate, Mapping[str, DataFrame]]] = []
    for step in steps:
        assert isinstance(step.config, Validate)
        named = {edge.name: frames[edge.step].frame for edge in step.inputs if edge.name is not None}
        members.append((step, step.config, named))
    rows = scope.own_rows(source.step, source.frame)
    block = plan_block(source.frame, source.step.index, members, rows)
    remarks = [remark for _, config, _ in members for remark in config.remarks(source.frame)]
    if block.needs_pass() and not is_kept and scope.is_loaded_after(steps[-1]):
        hint = (
            f"'{source.step.name}' is read twice, once to validate and once to load: set 'cache' on it if reading it "
            "costs more than keeping it"
        )
    has_quarantine = is_quarantined(scope, steps[-1], source.step.index)
    return PlannedBlock(block, plan_quarantines(scope, block) if has_quarantine else ()), hint, remarks


def _carrying_load(scope: RunScope, block: ValidationBlock, frames: Iterable[PlannedFrame]) -> Step | None:
    """The load that can carry out a block, by failing at a row that breaks a rule; None if there is none."""
    if scope.given is not None or scope.partition is not None or not block.stops_at_a_row():
        return None
    last = block.validations[-1].step
    load = next((step for step in scope.pipeline.after(last) if step.index in scope.needed), None)
    if load is None or not isinstance(load.config, Load) or not load.traits.fails_whole:
        return None
    if load.inputs[0].step != block.source:
        return None
    # What can't be used is written before the first load begins, and so before anything is validated by it.
    is_written_before = any(frame.bad_records is not None for frame in frames) or load.config.quarantines_bad_records()
    return load if not is_written_before and not _changing_sources(scope, block.source) else None


def _plan_load(
    scope: RunScope,
    step: Step,
    source: PlannedFrame,
    block: ValidationBlock | None,
    move: CursorMove | None,
    persisted: ExitStack,
) -> PlannedLoad:
    config = step.config
    assert isinstance(config, Load)
    lineage = {column: [(source.step.index, column)] for column in source.frame.columns}
    validated: ValidatedLoad | None = None
    if block is not None:
        text = f"a row breaks a rule of {scope.pipeline.name}, {uuid.uuid4().hex}"
        source, validated = replace(source, frame=block.stopping(text)), ValidatedLoad(block, text)
    name = config.query_name or f"{scope.pipeline.name}-{step.name}"
    rows = scope.partition_rows(step, source.frame)
    taken = source.frame.filter(rows.spark_sql()) if rows is not None else source.frame
    frame, observation, bad_records = _storable(scope, step, config, taken, rows, persisted)
    if observation is None and not step.traits.reports_rows:
        frame, observation = counted(frame)
    credentials = credentials_for(scope.credentials, config, step)
    replaced = rows if not config.names_partition_in_place() else None
    about = table_facts(scope.pipeline, step)
    run = replace(scope.load_run(step, name, credentials, rows=replaced), cursor=move, about=about)
    prepared, uri = config.prepare(frame, run), config.dataset().uri
    columns = source.columns
    if isinstance(prepared, WritesFrame):
        columns = _columns(prepared.frame)
        lineage = {column.name: lineage[column.name] for column in columns if column.name in lineage}
    return PlannedLoad(step, prepared, uri, columns, lineage, observation, bad_records, validated, move)


def _storable(
    scope: RunScope, step: Step, config: Load, frame: DataFrame, rows: PartitionRows | None, persisted: ExitStack
) -> tuple[DataFrame, RowCountObservation | None, PlannedBadRecords | None]:
    """What of a frame a load is given, what counts the values that it was given null for, and what is kept aside."""
    reason = config.malformed(frame)
    if reason is None:
        return frame, None, None
    if not config.quarantines_bad_records():
        marked, observation = counted(frame.withColumn(MALFORMED, reason))
        return config.without_malformed(marked.drop(MALFORMED)), observation, None
    # What goes on and what does not have to be parts of one reading.
    frame = _keep(frame, persisted)
    bad_records = plan_bad_records(scope, step, unstorable_rows(frame, reason), config.quarantine(), rows)
    return frame.filter(reason.isNull()), None, bad_records
