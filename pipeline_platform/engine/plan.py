"""Plans a run: every frame is built and every sink held against its frame before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.config.stream_shape import StreamShape
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.counting import RowCountObservation, count_source, counted, counting_note, reporting_loads
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.step_credentials import credentials_for, credentials_of_bucket
from pipeline_platform.engine.validation import ValidationBlock, plan_block, taken_by
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.metrics.run import ColumnMetrics
from pipeline_platform.steps.base import FrameOutput
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load, LoadRun, PreparedLoad
from pipeline_platform.steps.malformed import MALFORMED
from pipeline_platform.steps.transform import Frames, Transform
from pipeline_platform.steps.validate import Validate

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class PlannedLoad:
    """A load that its sink can take."""

    step: Step
    prepared: PreparedLoad
    uri: str
    observation: RowCountObservation | None
    """Counts the rows, for a sink that does not say how many it took."""


@dataclass(frozen=True)
class PlannedQuarantine:
    """Where violating rows go, and those of which validations of the block."""

    step: Step
    config: ToDeltaLake
    run: LoadRun
    takers: tuple[int, ...]
    prepared: PreparedLoad
    """Of no rows, by which it was found out that the table can take them."""


@dataclass(frozen=True)
class PlannedBadRecords:
    """Records of a source that can't be used, and where they go."""

    step: Step
    prepared: PreparedLoad
    uri: str


@dataclass(frozen=True)
class PlannedBlock:
    """A validation block, and its quarantines, one for each path."""

    block: ValidationBlock
    quarantines: tuple[PlannedQuarantine, ...]


@dataclass(frozen=True)
class MicroBatch:
    """Rows of a stream that are loaded together.

    Args:
        frame: The rows, as the head of the stream has them.
        number: Spark's number of them.
        shape: What of the pipeline made them.
        load_ids: For each load, by its index: what its load id adds to that of the query.
    """

    frame: DataFrame
    number: int
    shape: StreamShape
    load_ids: Mapping[int, str]


@dataclass
class Plan:
    """What a run will do.

    Args:
        pipeline: The pipeline.
        needed: Indices of the steps that are built.
        credentials: Where each step gets those of its system.
        load_id: The same for every attempt at the same load.
        micro_batch: What of a stream is loaded; None in a batch pipeline.
    """

    pipeline: PipelineConfig
    needed: Set[int]
    credentials: RunCredentials
    load_id: str
    micro_batch: MicroBatch | None = None
    frames: dict[int, DataFrame] = field(default_factory=dict)
    """Frames by step index, quarantined rows taken out."""
    columns: dict[int, list[ColumnMetrics]] = field(default_factory=dict)
    observations: dict[int, RowCountObservation] = field(default_factory=dict)
    lineage: dict[int, dict[str, list[tuple[int, str]]]] = field(default_factory=dict)
    rejects: list[PlannedBadRecords] = field(default_factory=list)
    """Records that no step can use, written before the first load."""
    actions: list[PlannedBlock | PlannedLoad] = field(default_factory=list)
    """Validations and loads, in the order of the steps."""
    cached: list[DataFrame] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def count_source(self, step: Step) -> Step:
        """The step of the plan whose count is also this step's."""
        source = count_source(self.pipeline, step)
        if self.micro_batch is None or source.index not in self.micro_batch.shape.streamed:
            return source
        return self.pipeline.steps[self.micro_batch.shape.head]

    def load_run(self, step: Step, query_name: str, credentials: Credentials | None, part: str = "") -> LoadRun:
        """The load of a step, or of a part of it."""
        number = self.micro_batch.number if self.micro_batch is not None else None
        added = f"{step.name}{part}"
        if self.micro_batch is not None and not part:
            added = self.micro_batch.load_ids.get(step.index, added)
        load_id = f"{self.load_id}/{added}" if added else self.load_id
        return LoadRun(load_id, query_name, credentials, run_id=self.credentials.run_id, batch=number)

    def writes(self) -> Iterator[tuple[Step, str, PreparedLoad]]:
        """Everything that is written: for which step, where, and how."""
        for action in self.actions:
            match action:
                case PlannedLoad():
                    yield action.step, action.uri, action.prepared
                case PlannedBlock():
                    for quarantine in action.quarantines:
                        yield quarantine.step, quarantine.config.dataset().uri, quarantine.prepared
        for reject in self.rejects:
            yield reject.step, reject.uri, reject.prepared

    def quarantine_of(self, step: Step) -> str | None:
        """URI of the table with what a step takes out; None if it takes nothing out, or that is not kept."""
        rejects = (reject.uri for reject in self.rejects if reject.step.index == step.index)
        blocks = (action for action in self.actions if isinstance(action, PlannedBlock))
        taken = (
            quarantine.config.dataset().uri
            for block in blocks
            for quarantine in block.quarantines
            if step.index in quarantine.takers
        )
        return next(chain(rejects, taken), None)


def needed_steps(pipeline: PipelineConfig, selection: Set[str] | None) -> set[int]:
    """Indices of the steps that the selected ones need, the validations that guard them included.

    Args:
        pipeline: The pipeline.
        selection: Step names; None for all.
    """
    if selection is None:
        return {step.index for step in pipeline.steps}
    chosen = {step.index for step in pipeline.steps if step.name in selection}
    needed = pipeline.upstream_of(chosen)
    while True:
        guards = {
            step.index
            for step in pipeline.steps
            if step.type == "validate" and step.inputs[0].step in needed and step.index < max(chosen, default=0)
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
) -> Plan:
    """Build every frame and hold every sink against it; nothing is written.

    Args:
        pipeline: The pipeline.
        spark: The session.
        load_id: The same for every attempt at the same load; each load step makes its own of it.
        credentials: Where each step gets those of its system.
        selection: Names of the steps to run; None for all.
        micro_batch: For a stream: what is loaded. What is no stream is read anew for each of them.

    Raises:
        PipelineException: A step can't be planned; it names the step.
    """
    needed = needed_steps(pipeline, selection)
    if micro_batch is not None:
        needed -= micro_batch.shape.streamed - {micro_batch.shape.head}
    planned = Plan(pipeline, needed, credentials, load_id, micro_batch)
    try:
        _plan_steps(planned, spark)
    except BaseException:
        for frame in planned.cached:
            frame.unpersist()
        raise
    return planned


def _plan_steps(planned: Plan, spark: SparkSession) -> None:
    done: set[int] = set()
    for step in planned.pipeline.steps:
        if step.index not in planned.needed or step.index in done:
            continue
        with error_context(step):
            match step.config:
                case Extract() | Transform():
                    _plan_frame(planned, step, spark)
                case Validate():
                    done |= _plan_block(planned, step)
                case Load():
                    _plan_load(planned, step)
                case _:
                    raise TypeError(f"{step.config.method} is not a kind of step that a batch can run")


def _plan_frame(planned: Plan, step: Step, spark: SparkSession) -> None:
    config = step.config.resolved()
    assert isinstance(config, FrameOutput)
    if planned.micro_batch is not None and step.index == planned.micro_batch.shape.head:
        frame = planned.micro_batch.frame
        if sum(other.type in ("validate", "load") for other in planned.pipeline.steps) > 1:
            # Its source would be read for each of them, and its rows counted.
            frame = frame.persist()
            planned.cached.append(frame)
        if isinstance(config, Extract):
            frame = _accepted(planned, step, config, frame)
    elif isinstance(config, Extract):
        frame = _accepted(planned, step, config, config.read(spark, credentials_for(planned.credentials, config, step)))
    else:
        assert isinstance(config, Transform)
        frame = config.apply(inputs_of(planned, step, spark))
        names = {edge.name: planned.frames[edge.step].columns for edge in step.inputs}
        indices = {edge.name: edge.step for edge in step.inputs}
        planned.lineage[step.index] = {
            column: [(indices[source.frame], source.column) for source in sources]
            for column, sources in config.lineage(names, frame.columns).items()
        }
    planned.columns[step.index] = [
        ColumnMetrics(name=column.name, type=column.dataType.simpleString(), nullable=column.nullable)
        for column in frame.schema
    ]
    if (
        step.index not in planned.observations
        and counting_note(planned.pipeline, step) is None
        and planned.count_source(step) is step
        and not reporting_loads(planned.pipeline, step, planned.needed)
    ):
        frame, planned.observations[step.index] = counted(frame)
    if config.cache:
        from pyspark import StorageLevel

        frame = frame.persist(getattr(StorageLevel, config.cache_storage_level))
        planned.cached.append(frame)
    planned.frames[step.index] = frame


def _accepted(planned: Plan, step: Step, config: Extract, frame: DataFrame) -> DataFrame:
    """What goes on of an extract; the rest is kept aside when the first load begins."""
    bad_records = config.bad_records(frame)
    if bad_records is not None:
        # What goes on and what does not have to be parts of one reading.
        frame = frame.persist()
        planned.cached.append(frame)
        bad_records = config.bad_records(frame)
        assert bad_records is not None
    if bad_records is not None and _takes_out(planned, step, step.index):
        _plan_reject(planned, step, bad_records.frame, bad_records.path)
    if config.counts_malformed():
        # The mark is gone once the records have been let through; those are the rows of the step too.
        frame, planned.observations[step.index] = counted(frame)
    return config.accepted(frame)


def _plan_reject(planned: Plan, step: Step, rows: DataFrame, path: str | None) -> None:
    """Have rows that can't be used written to a quarantine; None for the one beside the first sink."""
    quarantine, run = _quarantine(planned, step, path or _beside_sink(planned.pipeline, step))
    planned.rejects.append(PlannedBadRecords(step, quarantine.prepare(rows, run), quarantine.dataset().uri))


def inputs_of(planned: Plan, step: Step, spark: SparkSession) -> Frames:
    """The frames a transform works on."""
    primary = next((planned.frames[edge.step] for edge in step.inputs if edge.name is None), None)
    named = {edge.name: planned.frames[edge.step] for edge in step.inputs if edge.name is not None}
    by_input = getattr(step.config, "input", None)
    if primary is None and by_input is not None:
        primary = named[by_input]
    return Frames(primary, named, spark)


def _plan_block(planned: Plan, first: Step) -> set[int]:
    source = first.inputs[0].step
    steps = _adjacent(planned, first)
    members: list[tuple[Step, Validate, Mapping[str, DataFrame]]] = []
    for step in steps:
        config = step.config.resolved()
        assert isinstance(config, Validate)
        named = {edge.name: planned.frames[edge.step] for edge in step.inputs if edge.name is not None}
        members.append((step, config, named))
    kept = _kept_for_two_reads(planned, source, steps[-1])
    block = plan_block(planned.frames[source], source, members)
    takes_out = _takes_out(planned, steps[-1], source)
    planned.actions.append(PlannedBlock(block, tuple(_plan_quarantines(planned, block)) if takes_out else ()))
    if block.quarantines:
        planned.frames[source] = block.survivors()
    if block.needs_pass() and not kept and _is_loaded_after(planned.pipeline, steps[-1]):
        planned.hints.append(
            f"'{planned.pipeline.steps[source].name}' is read twice, once to validate and once to load: "
            "set 'cache' on it if reading it costs more than keeping it",
        )
    return {step.index for step in steps}


def _adjacent(planned: Plan, first: Step) -> list[Step]:
    steps: list[Step] = []
    for step in planned.pipeline.steps[first.index :]:
        if step.type != "validate" or step.inputs[0].step != first.inputs[0].step:
            break
        if step.index in planned.needed:
            steps.append(step)
    return steps


def _kept_for_two_reads(planned: Plan, index: int, last: Step) -> bool:
    """Whether the frame is cached; one whose source may change is, so that what is loaded is what was validated."""
    config = planned.pipeline.steps[index].config
    if isinstance(config, FrameOutput) and config.cache:
        return True
    streamed = planned.micro_batch.shape.streamed if planned.micro_batch is not None else frozenset[int]()
    sources = (planned.pipeline.steps[above] for above in planned.pipeline.upstream_of({index}) - streamed)
    changing = sorted(s.config.method for s in sources if s.type == "extract" and not s.traits.is_repeatable)
    if not changing or not _is_loaded_after(planned.pipeline, last):
        # A micro-batch is kept from the start.
        return bool(streamed)
    planned.frames[index] = planned.frames[index].persist()
    planned.cached.append(planned.frames[index])
    planned.hints.append(
        f"'{planned.pipeline.steps[index].name}' is persisted from its validation to its load: a second read by "
        f"{changing[0]} could return other rows",
    )
    return True


def _is_loaded_after(pipeline: PipelineConfig, last: Step) -> bool:
    return any(step.type == "load" for step in pipeline.steps[last.index :])


def _takes_out(planned: Plan, after: Step, source: int) -> bool:
    """Whether rows of a frame that can't be used are written to quarantine.

    They are when the load of the others is part of the run: a check alone, or an extract alone, would write them again
    each time. A pipeline without such a load is there for its quarantine.
    """
    loads = {
        step.index
        for step in planned.pipeline.steps[after.index + 1 :]
        if step.type == "load" and source in planned.pipeline.upstream_of({step.index})
    }
    return not loads or bool(loads & planned.needed)


def _plan_quarantines(planned: Plan, block: ValidationBlock) -> Iterator[PlannedQuarantine]:
    validations = [validation for validation in block.validations if validation.config.on_failure == "quarantine"]
    given = next((v.config.quarantine_path for v in validations if v.config.quarantine_path), None)
    by_path: dict[str, list[Step]] = {}
    for validation in validations:
        path = validation.config.quarantine_path or given or _beside_sink(planned.pipeline, validation.step)
        by_path.setdefault(path, []).append(validation.step)
    for path, steps in by_path.items():
        takers = tuple(step.index for step in steps)
        config, run = _quarantine(planned, steps[0], path)
        prepared = config.prepare(taken_by(block.violators(), takers), run)
        yield PlannedQuarantine(steps[0], config, run, takers, prepared)


def _quarantine(planned: Plan, step: Step, path: str) -> tuple[ToDeltaLake, LoadRun]:
    """The load of a step's quarantine."""
    config = ToDeltaLake(path=path, mode="append", merge_schema=True)
    name = f"{planned.pipeline.name}-{step.name}-quarantine"
    steps = (other for other in planned.pipeline.steps if other.index in planned.needed)
    credentials = credentials_of_bucket(planned.credentials, steps, config.uri())
    return config, planned.load_run(step, name, credentials, "/quarantine")


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


def _plan_load(planned: Plan, step: Step) -> None:
    config = step.config.resolved()
    assert isinstance(config, Load)
    frame = planned.frames[step.inputs[0].step]
    source = step.inputs[0].step
    planned.columns[step.index] = planned.columns[source]
    planned.lineage[step.index] = {column: [(source, column)] for column in frame.columns}
    name = config.query_name or f"{planned.pipeline.name}-{step.name}"
    frame, observation = _storable(planned, step, config, frame)
    if observation is None and not step.traits.reports_rows:
        frame, observation = counted(frame)
    credentials = credentials_for(planned.credentials, config, step)
    prepared = config.prepare(frame, planned.load_run(step, name, credentials))
    planned.actions.append(PlannedLoad(step, prepared, config.dataset().uri, observation))


def _storable(
    planned: Plan, step: Step, config: Load, frame: DataFrame
) -> tuple[DataFrame, RowCountObservation | None]:
    """What of a frame a load is given, and what counts the values that it was given null for."""
    from pyspark.sql import functions as F

    reason = config.malformed(frame)
    if reason is None:
        return frame, None
    if not config.quarantines_bad_records():
        marked, observation = counted(frame.withColumn(MALFORMED, reason))
        return config.without_malformed(marked.drop(MALFORMED)), observation
    # What goes on and what does not have to be parts of one reading.
    frame = frame.persist()
    planned.cached.append(frame)
    # Other readers of the quarantine can't open a file whose text is not UTF-8.
    fields = [
        F.make_valid_utf8(quoted(name)).alias(name) if kind == "string" else F.col(quoted(name))
        for name, kind in frame.dtypes
    ]
    rows = frame.filter(reason.isNotNull()).select(*fields, reason.alias("reason"))
    _plan_reject(planned, step, rows, config.quarantine())
    return frame.filter(reason.isNull()), None


def selected_steps(pipeline: PipelineConfig, selection: Set[str] | None) -> Sequence[Step]:
    """The steps that are asked for, in order."""
    return [step for step in pipeline.steps if selection is None or step.name in selection]
