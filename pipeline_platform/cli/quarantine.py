"""`quarantine`: the rows that rules have taken out, and their way back."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipeline_platform.cli.files import (
    PIPELINES,
    EnvironmentName,
    File,
    Folder,
    Variables,
    folder_or_exit,
    given_values,
    one_or_exit,
    tell_environment,
    tell_project,
)
from pipeline_platform.cli.output import CANCELLED, FAILED, interrupt, print_json
from pipeline_platform.cli.quarantine_list import show_list
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineCancelledException, PipelineConfigurationException, PipelineException
from pipeline_platform.logs import configure_logs
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.registry import method_registry

if TYPE_CHECKING:
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.quarantine_tables import Quarantine
    from pipeline_platform.engine.replay import ReplayDone

app = typer.Typer(no_args_is_help=True, help="Show rows in quarantine, replay them or delete them.")
StepName = Annotated[str, typer.Option("--step", help="The step that put the rows there.", show_default=False)]
Where = Annotated[
    str | None,
    typer.Option(metavar="SQL", help="Only rows for which this holds: Spark SQL on the columns of the quarantine."),
]


@app.command("list")
def list_quarantines(
    folder: Folder = PIPELINES,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """List what is in quarantine, for each step of a folder that has one: rows, the rules that they broke, and for how
    long they have been there.

    A table that can't be looked at makes the exit code 1.
    """
    project = folder_or_exit(folder)
    from pipeline_platform.engine.quarantine_tables import quarantines_of

    tell_project(project)
    rows = [_row(quarantine) for quarantine in quarantines_of(project.pipelines)]
    if as_json:
        print_json(rows)
    elif rows:
        show_list(rows)
    else:
        typer.echo(f"no step in {folder} has a quarantine", err=True)
    for row in rows:
        for note in () if row["error"] else _notes(row):
            typer.echo(note, err=True)
    if any(row["error"] for row in rows):
        raise typer.Exit(FAILED)


@app.command()
def show(
    file: File,
    step: StepName,
    limit: Annotated[int, typer.Option(min=1, help="How many rows at most.")] = 20,
    where: Where = None,
    variables: Variables = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the columns and the rows as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """Show rows in the quarantine of a step, the newest first, with the rules that they broke.

    Values of columns that are marked as sensitive, that look like secrets, or that are made of such columns, are shown
    as ***.
    """
    quarantine = _chosen(file, step, variables)
    from rich.console import Console

    from pipeline_platform.quarantined_rows import quarantined_rows

    try:
        with Console(stderr=True).status(f"{quarantine.pipeline.name}: reading the quarantine of {step}"):
            shown = quarantined_rows(quarantine, limit, where)
    except PipelineException as error:
        _exit_with(error, quarantine.pipeline)
    _say_notes(quarantine)
    if shown is None:
        typer.echo(_nothing(quarantine), err=True)
    elif as_json:
        columns = [{"name": name, "type": kind} for name, kind in zip(shown.columns, shown.types, strict=True)]
        print_json({"step": step, "columns": columns, "rows": shown.as_dicts(), "hasMore": shown.has_more})
    else:
        Console().print(shown)


@app.command()
def replay(
    file: File,
    step: StepName,
    where: Where = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COLUMN=SQL",
            help="Give a column another value first: Spark SQL on the columns of the quarantine. May be given "
            "repeatedly.",
        ),
    ] = None,
    variables: Variables = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """Replay rows that a rule has taken out: the rule judges them again, and the steps after it load those that keep it
    now. The others stay in quarantine.

    Mend the pipeline before, or the rows with --set. Each row is loaded once, however often a replay is killed: the
    next one finishes it first.
    """
    quarantine = _chosen(file, step, variables)
    given = _changes(changes or [])
    signal.signal(signal.SIGTERM, interrupt)
    configure_logs()
    from pipeline_platform.engine.replay import Replay, require_request
    from pipeline_platform.engine.replay_steps import replay_steps
    from pipeline_platform.engine.spark.session import session_for
    from pipeline_platform.metrics.exporter import exporters_from_environment
    from pipeline_platform.progress import ProgressTable

    pipeline = quarantine.pipeline
    title = f"{pipeline.name}, quarantine of {step}"
    try:
        way = replay_steps(pipeline, quarantine.step)
        require_request(quarantine.step, where, given)
        with ProgressTable(pipeline, title) as progress:
            try:
                exporters = exporters_from_environment()
                pipeline.require_ready(way.steps)
                progress.say("starting Spark")
                done = Replay(
                    quarantine,
                    way,
                    session_for(pipeline, is_short=True),
                    lambda: _credentials(pipeline),
                    where,
                    given,
                    listener=progress.on_step,
                    exporters=exporters,
                    say=progress.say,
                ).run()
            except (PipelineException, KeyboardInterrupt) as error:
                if isinstance(error, PipelineException):
                    error.locate(pipeline.location)
                progress.failed(str(error) or "stopped: replay again to go on")
                is_stopped = isinstance(error, (PipelineCancelledException, KeyboardInterrupt))
                raise typer.Exit(CANCELLED if is_stopped else FAILED) from error
            if not as_json:
                for one in done:
                    progress.completed(one.metrics)
    except PipelineConfigurationException as error:
        _exit_with(error, pipeline)
    if as_json:
        print_json([_told_json(one) for one in done])
    for one in done if not as_json else ():
        typer.echo(_told(one))
    _say_notes(quarantine)
    if not done:
        typer.echo(_nothing(quarantine, where), err=True)


@app.command()
def drop(
    file: File,
    step: StepName,
    where: Where = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Only rows that have been there for longer, as in '90 days'.")
    ] = None,
    variables: Variables = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them without a question.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """Delete rows from the quarantine of a step, after a question.

    Rows of a replay that was interrupted stay; the next replay finishes it.
    """
    quarantine = _chosen(file, step, variables)
    pipeline = quarantine.pipeline
    from pipeline_platform.config.durations import duration_of
    from pipeline_platform.engine.quarantine_changes import dropped
    from pipeline_platform.engine.quarantine_rows import older_than as condition_of
    from pipeline_platform.engine.spark.session import planning_session

    try:
        age = condition_of(duration_of(older_than)) if older_than is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error
    try:
        with planning_session(pipeline) as spark, closing(_credentials(pipeline)) as credentials:
            dropping = dropped(quarantine, spark, credentials, where, age)
            if dropping.pending:
                typer.echo(
                    f"{_rows(dropping.pending)} of a replay that was interrupted stay: replay again, or give it "
                    "up with: pipeline-platform quarantine release",
                    err=True,
                )
            if not dropping.rows:
                typer.echo(_nothing(quarantine, where or older_than), err=True)
                return
            if not yes:
                typer.confirm(f"delete {_rows(dropping.rows)} from the quarantine of {step}?", abort=True, err=True)
            dropping.delete()
    except PipelineException as error:
        _exit_with(error, pipeline)
    typer.echo(f"{_rows(dropping.rows)} deleted from the quarantine of {step}")


@app.command()
def release(file: File, step: StepName, variables: Variables = None, _environment: EnvironmentName = None) -> None:
    """Give up replays of a step that were not finished: their rows can be replayed otherwise, or deleted.

    Only where none of them has loaded anything. Make sure that none is at work.
    """
    quarantine = _chosen(file, step, variables)
    pipeline = quarantine.pipeline
    from pipeline_platform.engine.replay_release import release_replays
    from pipeline_platform.engine.spark.session import planning_session

    try:
        with planning_session(pipeline) as spark, closing(_credentials(pipeline)) as credentials:
            rows = release_replays(quarantine, spark, credentials)
    except PipelineException as error:
        _exit_with(error, pipeline)
    typer.echo(f"{_rows(rows)} given back to the quarantine of {step}")


def _chosen(file: Path, name: str, variables: Sequence[str] | None) -> Quarantine:
    """The quarantine of a step of a file; errors are printed, and end the command."""
    from pipeline_platform.engine.quarantine_tables import quarantine_of
    from pipeline_platform.engine.replay_steps import quarantine_step

    pipeline = one_or_exit(file, given_values(variables or []))
    tell_environment([pipeline])
    try:
        step = quarantine_step(pipeline, name)
        beside = load_project(file.absolute().parent, method_registry()).pipelines
        return quarantine_of(pipeline, step, beside)
    except PipelineException as error:
        _exit_with(error, pipeline)


def _exit_with(error: PipelineException, pipeline: PipelineConfig) -> NoReturn:
    typer.echo(str(error.locate(pipeline.location)), err=True)
    raise typer.Exit(FAILED) from error


def _credentials(pipeline: PipelineConfig) -> RunCredentials:
    from pipeline_platform.credentials.run_credentials import RunCredentials

    return RunCredentials.from_environment("quarantine", pipeline.location)


def _changes(options: Sequence[str]) -> dict[str, str]:
    changes: dict[str, str] = {}
    for option in options:
        name, is_given, text = option.partition("=")
        if not is_given or not name.strip() or not text.strip():
            raise typer.BadParameter(f"expected COLUMN=SQL, not '{option}'", param_hint="--set")
        if name.strip() in changes:
            raise typer.BadParameter(f"'{name.strip()}' is given twice", param_hint="--set")
        changes[name.strip()] = text.strip()
    return changes


def _row(quarantine: Quarantine) -> dict[str, Any]:
    from pipeline_platform.engine.quarantine_tables import QuarantineState, state_of
    from pipeline_platform.redaction import redact

    row = {
        "pipeline": quarantine.pipeline.name,
        "step": quarantine.step.name,
        "file": str(quarantine.pipeline.file),
        "table": redact(quarantine.path),
        "error": None,
    }
    try:
        with closing(_credentials(quarantine.pipeline)) as credentials:
            state = state_of(quarantine, credentials)
    # Each store has errors of its own, and none keeps the others from being looked at.
    except Exception as error:  # noqa: BLE001
        message = error.message if isinstance(error, PipelineException) else str(error).partition("\n")[0]
        return {**row, "error": redact(message)}
    return {**row, **asdict(state if state is not None else QuarantineState(0))}


def _say_notes(quarantine: Quarantine) -> None:
    row = _row(quarantine)
    for note in () if row["error"] else _notes(row):
        typer.echo(note, err=True)


def _notes(row: Mapping[str, Any]) -> list[str]:
    """What has to be said of rows that don't count."""
    notes = [
        f"{row['step']}: {_rows(count)} more of a run that has not finished, and that do not count: continue it "
        f"with --load-id {load_id}; if it was made anew, delete them with: pipeline-platform quarantine drop "
        f"{row['file']} --step {row['step']} --where \"_quarantined_by = '{load_id}'\""
        for load_id, count in row["unfinished"].items()
    ]
    if row["unknown"]:
        notes.append(
            f"{row['step']}: {_rows(row['unknown'])} of an earlier version in {row['table']}, whose step is not known, "
            "as several write it: set their column _step to PIPELINE/STEP, or delete them there"
        )
    return notes


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _told(done: ReplayDone) -> str:
    by_rule = ", ".join(f"{rule}: {count:,}" for rule, count in done.by_rule().items())
    broken = f" ({by_rule})" if by_rule else ""
    begun = ", by a replay that was interrupted before" if done.is_resumed else ""
    return f"{_rows(done.rows)} replayed{begun}; {done.again:,} still in quarantine{broken}"


def _told_json(done: ReplayDone) -> dict[str, Any]:
    return {
        "id": done.id,
        "resumed": done.is_resumed,
        "rows": done.rows,
        "quarantined": done.again,
        "by_rule": done.by_rule(),
        "metrics": done.metrics.model_dump(mode="json"),
    }


def _nothing(quarantine: Quarantine, condition: str | None = None) -> str:
    which = " that this is asked of" if condition is not None else ""
    return f"no row{which} is in the quarantine of {quarantine.step.name}: {quarantine.path}"
