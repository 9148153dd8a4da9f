"""Where the loads of a pipeline have come in what they read, as their sinks remember it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pipeline_platform.config.incremental import fed_loads
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step, StepConfig
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.cursor_values import point_in_time
from pipeline_platform.steps.cursor import CursorPlace, StoredCursor
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.incremental import ReadsIncrements
from pipeline_platform.steps.known_files import MODIFICATION_TIME
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.new_files import ReadsNewFiles


@dataclass(frozen=True)
class KnownCursor:
    """Where the loads of a pipeline have come in one source.

    Args:
        step: The extract.
        column: Its `cursorColumn`, or what is told of files.
        place: Where the sink remembers it.
    """

    step: Step
    column: str
    place: CursorPlace

    def put(self, position: str | None) -> None:
        """As `CursorPlace.put`.

        Raises:
            PipelineException: Files are read, and it is no time.
        """
        if position is not None and isinstance(self.step.config, ReadsNewFiles):
            position = str(point_in_time(position, "--set"))
        self.place.put(position)

    def told(self) -> dict[str, str | int | bool | None]:
        """Where it is, as JSON has it."""
        stored = self.place.stored()
        return {"position": stored.position, "is_start": stored.is_start, "loads": stored.version}


def known_cursors(
    pipeline: PipelineConfig, credentials: RunCredentials, partition: Partition | None
) -> list[KnownCursor]:
    """The cursors of a pipeline; needs no JVM.

    Args:
        pipeline: The pipeline.
        credentials: Where the loads get those of their systems.
        partition: Which is meant of a pipeline with partitions.

    Raises:
        PipelineException: The credentials of a load can't be had.
    """
    found: list[KnownCursor] = []
    for step in pipeline.steps:
        if not step.config.reads_increments():
            continue
        [load] = fed_loads(pipeline.steps, step)
        resolved = pipeline.resolve({step.index, load.index}, partition)
        extract, sink = resolved.steps[step.index].config, resolved.steps[load.index]
        assert isinstance(sink.config, Load)
        name = cursor_name(pipeline, step, partition)
        place = sink.config.cursor_place(name, credentials_for(credentials, sink.config, sink))
        found.append(KnownCursor(step, _column(extract), place))
    return found


def _column(extract: StepConfig) -> str:
    if isinstance(extract, ReadsIncrements) and extract.incremental is not None:
        return extract.incremental.cursor_column
    return MODIFICATION_TIME


@dataclass(frozen=True)
class RememberedCursor:
    """Where the load of a run has come in one source.

    Args:
        name: Of the cursor.
        load: The step that loads its rows.
        place: Where the sink remembers it.
        stored: Where it is.
        source: The dataset that the run reads; None for one without a name.
    """

    name: str
    load: Step
    place: CursorPlace
    stored: StoredCursor
    source: str | None

    def require_same(self, column: str, database: str | None) -> StoredCursor:
        """Where it is, in what the run reads.

        Args:
            column: What its values are, in the run.
            database: Which is entered in the run, if any is.

        Raises:
            PipelineExecutionException: It is of another column, another source or another database.
        """
        stored = self.require_same_column(column)
        if (sources := self.other_source()) is not None:
            raise _not_the_same("source", *sources)
        if _differ(stored.database, database):
            raise _not_the_same("database", str(stored.database), str(database))
        return stored

    def require_same_column(self, column: str) -> StoredCursor:
        """As `require_same`, of any source.

        Raises:
            PipelineExecutionException: It is of another column.
        """
        if _differ(self.stored.column, column):
            raise _not_the_same("column", str(self.stored.column), column)
        return self.stored

    def other_source(self) -> tuple[str, str] | None:
        """The source that it is of, and the one that the run reads, as people write them; None if they are one."""
        before, now = self.stored.source, self.source
        return (_written(str(before)), _written(str(now))) if _differ(before, now) else None


def _differ(before: str | None, now: str | None) -> bool:
    return before is not None and now is not None and before.lower() != now.lower()


def _written(uri: str) -> str:
    return unquote(urlsplit(uri).path) if uri.startswith("file:") else uri


def _not_the_same(what: str, before: str, now: str) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"the cursor is of the {what} {before}, and the step reads the {what} {now}: what was loaded of the one does "
        "not say what is new in the other",
        hint="if it is the same data, go on with: pipeline-platform cursor FILE --set VALUE; otherwise begin anew with "
        "--reset",
    )


def cursor_name(pipeline: PipelineConfig, step: Step, partition: Partition | None) -> str:
    """The name of the cursor of a step.

    Args:
        pipeline: The pipeline.
        step: The step, an extract.
        partition: What a pipeline with partitions loads.
    """
    return "/".join((pipeline.name, step.name, *((partition.load_key,) if partition is not None else ())))


def remembered_cursor(scope: RunScope, step: Step, config: Extract) -> RememberedCursor | None:
    """Where the load of what an extract reads has come; None if none of it is loaded in this run.

    Args:
        scope: What of the pipeline is run.
        step: The extract.
        config: Its config.

    Raises:
        PipelineException: The sink can't tell, or remembers a step that the pipeline no longer has.
    """
    [load] = fed_loads(scope.pipeline.steps, step)
    if load.index not in scope.needed:
        return None
    assert isinstance(load.config, Load)
    name = cursor_name(scope.pipeline, step, scope.partition)
    place = load.config.cursor_place(name, credentials_for(scope.credentials, load.config, load))
    stored, dataset = place.stored(), config.dataset()
    if stored.version == 0 and stored.position is None:
        _require_new(scope, step, place)
    return RememberedCursor(name, load, place, stored, dataset.uri if dataset is not None else None)


def _require_new(scope: RunScope, step: Step, place: CursorPlace) -> None:
    """Raise if the sink remembers a cursor of a step that the pipeline no longer has.

    Raises:
        PipelineExecutionException: It does; all rows would be loaded once more.
    """
    names = {cursor_name(scope.pipeline, other, scope.partition) for other in scope.pipeline.steps}
    before = f"{scope.pipeline.name}/"
    after = cursor_name(scope.pipeline, step, scope.partition).removeprefix(f"{before}{step.name}")
    for other in place.others():
        former = other.removeprefix(before).removesuffix(after)
        if other not in names and other == f"{before}{former}{after}" and "/" not in former:
            raise PipelineExecutionException(
                f"the sink remembers where the step '{former}' of this pipeline has come, and not '{step.name}': all "
                "rows would be loaded again",
                hint=f"if it is the same step, name it '{former}'; if it is not, say where it begins with: "
                "pipeline-platform cursor FILE --set VALUE",
            )
