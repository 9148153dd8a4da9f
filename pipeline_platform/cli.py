"""The command line."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineCancelledException, PipelineConfigurationException, PipelineException
from pipeline_platform.logs import LOG_LEVEL_VARIABLE, configure_logs
from pipeline_platform.orchestration.project import pipeline_files, side_by_side
from pipeline_platform.registry import method_registry

if TYPE_CHECKING:
    from pipeline_platform.connectors.storage.location import StorageLocation

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

FAILED = 1
CANCELLED = 130
"""Exit code of a run that was stopped: what a shell gives for Ctrl-C."""

PIPELINES = Path("pipelines")

Files = Annotated[list[Path], typer.Argument(help="Pipeline files.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder of pipeline files.", envvar="PIPELINES_DIR")]
File = Annotated[Path, typer.Argument(help="A pipeline file.", show_default=False)]


LogLevel = Literal["debug", "info", "warning", "error"]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pipeline-platform {version('pipeline-platform')}")
        raise typer.Exit


@app.callback()
def options(
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            help="Lowest level to log, to standard error; SPARK_LOG_LEVEL sets that of Spark's own log.",
            envvar=LOG_LEVEL_VARIABLE,
            show_default=False,
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Data pipelines written as JSON, run on Spark."""
    if log_level is not None:
        configure_logs(log_level)


@app.command()
def check(
    files: Files,
    plan: Annotated[bool, typer.Option("--plan", help="Also build every frame on Spark; writes nothing.")] = False,
) -> None:
    """Check pipeline files: silent, with exit code 0, if all is well; otherwise every error with its line, and exit
    code 1.

    Several files are also checked together: for names used twice, and for cycles in which they read each other's
    tables.
    """
    pipelines: list[PipelineConfig] = []
    problems = 0
    for file in files:
        try:
            pipelines.append(_loaded(file))
        except PipelineConfigurationException as error:
            problems += len(error.problems)
            typer.echo("\n".join(map(str, error.problems)), err=True)
    if not problems:
        for broken in side_by_side(pipelines)[1]:
            problems += len(broken.problems)
            typer.echo("\n".join(map(str, broken.problems)), err=True)
    if plan and not problems:
        problems += _plan_all(pipelines)
    if problems:
        typer.echo(f"{problems} error{'s' if problems != 1 else ''}", err=True)
        raise typer.Exit(FAILED)


def _loaded(file: Path) -> PipelineConfig:
    pipeline = load_pipeline(file, method_registry())
    for warning in pipeline.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return pipeline


def _loaded_or_exit(file: Path) -> PipelineConfig:
    try:
        return _loaded(file)
    except PipelineConfigurationException as error:
        typer.echo("\n".join(map(str, error.problems)), err=True)
        raise typer.Exit(FAILED) from error


def _plan_all(pipelines: list[PipelineConfig]) -> int:
    from pipeline_platform.config.stream_shape import stream_shape
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.plan import plan as plan_batch
    from pipeline_platform.engine.spark.session import planning_session
    from pipeline_platform.engine.streaming.stream_plan import plan_stream

    problems = 0
    ready: list[PipelineConfig] = []
    for pipeline in pipelines:
        try:
            pipeline.require_variables()
            ready.append(pipeline)
        except PipelineException as error:
            problems += 1
            typer.echo(str(error), err=True)
    for pipeline in ready:
        try:
            with (
                planning_session(pipeline) as spark,
                closing(RunCredentials.from_environment("check", pipeline.location)) as credentials,
            ):
                if pipeline.mode == "streaming":
                    plan_stream(pipeline, spark, credentials, stream_shape(pipeline.steps))
                else:
                    plan_batch(pipeline, spark, "check", credentials)
        except PipelineException as error:
            problems += 1
            typer.echo(str(error.at(pipeline.location)), err=True)
    return problems


@app.command()
def run(
    file: File,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Run only these steps and what they need.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics of the run as JSON.")] = False,
    load_id: Annotated[
        str | None,
        typer.Option(help="Repeat an earlier run: what it loaded is not loaded twice. By default a new id."),
    ] = None,
) -> None:
    """Run a pipeline: exit code 0 when it completed, 1 when it failed, 130 when it was stopped.

    A streaming pipeline runs until Ctrl-C, which lets the current micro-batch finish; the next run continues from its
    checkpoint.
    """
    pipeline = _loaded_or_exit(file)
    unknown = sorted(set(select or ()) - {step.name for step in pipeline.steps})
    if unknown:
        names = ", ".join(step.name for step in pipeline.steps)
        typer.echo(f"there is no step called {', '.join(unknown)}; the steps are {names}", err=True)
        raise typer.Exit(FAILED)
    if pipeline.mode == "streaming" and (select or load_id):
        typer.echo(
            "a stream always runs as a whole, from its checkpoint: --select and --load-id are for batch pipelines",
            err=True,
        )
        raise typer.Exit(FAILED)
    signal.signal(signal.SIGTERM, _interrupt)
    configure_logs()
    raise typer.Exit(_run(pipeline, frozenset(select) if select else None, load_id, as_json=as_json))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(pipeline: PipelineConfig, selection: frozenset[str] | None, load_id: str | None, *, as_json: bool) -> int:
    from pipeline_platform.engine.batch import BatchRun
    from pipeline_platform.engine.plan import needed_steps
    from pipeline_platform.engine.spark.session import spark_session
    from pipeline_platform.engine.streaming.stream import StreamRun
    from pipeline_platform.metrics.exporter import exporters_from_environment
    from pipeline_platform.progress import ProgressTable

    with ProgressTable(pipeline, selection) as progress:
        begun: BatchRun | StreamRun | None = None
        try:
            exporters = exporters_from_environment()
            pipeline.require_variables(needed_steps(pipeline, selection))
            progress.say("starting Spark")
            spark = spark_session(pipeline.name, pipeline.spark_settings())
            if pipeline.mode == "streaming":
                begun = StreamRun(pipeline, spark, listener=progress.on_micro_batch, exporters=exporters)
            else:
                begun = BatchRun(
                    pipeline,
                    spark,
                    load_id=load_id,
                    selection=selection,
                    listener=progress.on_step,
                    exporters=exporters,
                )
                # A run that is killed can't say it any more.
                progress.note(f"load id {begun.load_name}: pass it to --load-id to continue if the run is interrupted")
            metrics = begun.run()
        except (PipelineException, KeyboardInterrupt) as error:
            cancelled = isinstance(error, (PipelineCancelledException, KeyboardInterrupt))
            if isinstance(error, PipelineException):
                error.at(pipeline.location)
            progress.failed(str(error) or "stopped")
            if not cancelled and isinstance(begun, BatchRun) and begun.has_loaded():
                progress.failed(
                    f"  some loads are complete: --load-id {begun.load_name} continues without repeating them"
                )
            if as_json and begun is not None:
                _print_json(begun.record.metrics().model_dump(mode="json"))
            return CANCELLED if cancelled else FAILED
        progress.completed(metrics)
    if as_json:
        _print_json(metrics.model_dump(mode="json"))
    return 0


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@app.command()
def streams(
    folder: Folder = PIPELINES,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List every stream of a folder: state, micro-batch, lag, restarts, checkpoint.

    A stream that is still running although its pipeline was renamed or removed is listed as orphaned.
    """
    from pipeline_platform.engine.streaming.other_streams import orphans
    from pipeline_platform.engine.streaming.stream_state import all_states
    from pipeline_platform.stream_table import show_streams, stream_rows

    found: list[PipelineConfig] = []
    broken: list[Path] = []
    try:
        files = pipeline_files(folder)
    except PipelineConfigurationException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    for file in files:
        try:
            pipeline = load_pipeline(file, method_registry())
        except PipelineConfigurationException:
            typer.echo(f"{file} has errors; see: pipeline-platform check {file}", err=True)
            broken.append(file)
            continue
        if pipeline.mode == "streaming":
            found.append(pipeline)
    now = datetime.now(UTC)
    names = [pipeline.name for pipeline in found]
    rows = stream_rows(found, now, orphans(all_states(), folder, names, broken, now))
    if as_json:
        _print_json(rows)
    elif rows:
        show_streams(rows)
    else:
        typer.echo(f"no pipeline in {folder} is a stream", err=True)


@app.command()
def metrics(
    folder: Folder = PIPELINES,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 9464,
) -> None:
    """Serve the metrics of every stream of a folder at /metrics, for Prometheus to scrape, until Ctrl-C."""
    from pipeline_platform.stream_metrics import serve_stream_metrics

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        pipeline_files(folder)
        server = serve_stream_metrics(folder, host, port)
    except PipelineConfigurationException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    except OSError as error:
        typer.echo(f"can't listen on {host}:{port}: {error.strerror}; choose another --port", err=True)
        raise typer.Exit(FAILED) from error
    typer.echo(f"serving http://{host}:{server.server_port}/metrics", err=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        server.shutdown()
        server.server_close()


@app.command()
def stop(file: File) -> None:
    """Stop a stream: its current micro-batch finishes, and it stays stopped until `resume`."""
    from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState, request_file, state_file

    pipeline = _stream(file)
    StreamRequest(action="stop").write(request_file(pipeline.name))
    state = StreamState.read(state_file(pipeline.name))
    if state is not None and state.is_alive(datetime.now(UTC)):
        typer.echo(f"{pipeline.name} will stop after its current micro-batch; see: pipeline-platform streams", err=True)
    else:
        typer.echo(
            f"{pipeline.name} is not running; the sensor won't start it until: pipeline-platform resume {file}",
            err=True,
        )


@app.command()
def resume(file: File) -> None:
    """Let the supervisor restart a stream that was stopped or given up."""
    from pipeline_platform.engine.streaming.stream_state import StreamRequest, request_file

    pipeline = _stream(file)
    StreamRequest(action="resume").write(request_file(pipeline.name))
    typer.echo(
        f"{pipeline.name} will be started at the next tick of Dagster's sensor 'streams'; to run it without the "
        f"sensor: pipeline-platform run {file}",
        err=True,
    )


@app.command()
def reset_checkpoint(
    file: File,
    keep_offsets: Annotated[
        bool,
        typer.Option(
            "--keep-offsets",
            help="Continue from the checkpoint's offsets, and load again what was loaded after them.",
        ),
    ] = False,
) -> None:
    """Move the checkpoint of a stream aside, so that the stream starts over; what it has loaded stays.

    With --keep-offsets the checkpoint stays, and may be a copy that is older than what was loaded: what came after it
    is loaded again, and nothing is left out.
    """
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.streaming import checkpoint
    from pipeline_platform.engine.streaming.lock import checkpoint_lock
    from pipeline_platform.engine.streaming.stream_state import StreamState, state_file

    pipeline = _stream(file)
    state = StreamState.read(state_file(pipeline.name))
    last_used = state.checkpoint if state is not None else None
    try:
        with (
            checkpoint_lock(checkpoint.checkpoint_location(pipeline)),
            closing(RunCredentials.from_environment("reset-checkpoint", pipeline.location)) as credentials,
        ):
            place_at = checkpoint.places_of(pipeline, credentials)
            if keep_offsets:
                told = _keep_offsets(pipeline, checkpoint.find_checkpoint(pipeline, place_at, last_used))
            else:
                moved = checkpoint.reset_checkpoint(pipeline, place_at, last_used)
                if state is not None:
                    state.model_copy(update={"has_begun": False}).write(state_file(pipeline.name))
                told = f"the checkpoint is now at {' and '.join(moved)}" if moved else _NO_CHECKPOINT
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    typer.echo(told, err=True)


_NO_CHECKPOINT = "there is no checkpoint yet"


def _keep_offsets(pipeline: PipelineConfig, place: StorageLocation) -> str:
    from pipeline_platform.engine.streaming.checkpoint import rename_query

    last = rename_query(place)
    if last is None:
        return _NO_CHECKPOINT
    after = f"after micro-batch {last}" if last >= 0 else "from its start"
    return f"{pipeline.name} continues {after}: what was loaded later will be loaded again"


def _stream(file: Path) -> PipelineConfig:
    pipeline = _loaded_or_exit(file)
    if pipeline.mode != "streaming":
        typer.echo(f"{file} is a batch pipeline; this command is for streams", err=True)
        raise typer.Exit(FAILED)
    return pipeline


@app.command()
def schema() -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    from pipeline_platform.config.schema import pipeline_schema

    _print_json(pipeline_schema(method_registry()))


@app.command()
def reference() -> None:
    """Print the reference page of the format, in Markdown."""
    from pipeline_platform.config.reference import reference_page

    sys.stdout.write(reference_page(method_registry()))


def main() -> None:
    """Entry point of the `pipeline-platform` command."""
    app()
