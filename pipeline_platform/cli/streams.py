"""Commands for streams: how they are, their metrics, and what a person wants of them."""

from __future__ import annotations

import signal
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_platform.cli.files import (
    PIPELINES,
    EnvironmentName,
    File,
    Folder,
    Variables,
    given_values,
    stream_or_exit,
)
from pipeline_platform.cli.output import FAILED, interrupt, print_json
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.orchestration.project import pipeline_files
from pipeline_platform.registry import method_registry

if TYPE_CHECKING:
    from pipeline_platform.connectors.storage.location import StorageLocation


def streams(
    folder: Folder = PIPELINES,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    _environment: EnvironmentName = None,
) -> None:
    """List every stream of a folder: state, group, micro-batch, lag, restarts, checkpoint.

    A stream that is still running although its pipeline was renamed or removed is listed as orphaned.
    """
    from pipeline_platform.engine.streaming.other_streams import orphans
    from pipeline_platform.engine.streaming.stream_group import all_groups, group_of_each
    from pipeline_platform.engine.streaming.stream_state import all_states
    from pipeline_platform.stream_table import show_streams, stream_rows

    found: list[PipelineConfig] = []
    broken: list[Path] = []
    try:
        files = pipeline_files(folder)
    except PipelineConfigurationException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    shared = SharedFiles.of(method_registry(), folder.absolute().parent)
    if shared.chosen.problems:
        typer.echo("\n".join(map(str, shared.chosen.problems)), err=True)
        raise typer.Exit(FAILED)
    apart = shared.chosen.place_apart
    for file in files:
        try:
            pipelines = load_pipelines(file, method_registry(), shared=shared)
        except PipelineConfigurationException:
            typer.echo(f"{file} has errors; see: pipeline-platform check {file}", err=True)
            broken.append(file)
            continue
        found += [pipeline for pipeline in pipelines if pipeline.mode == "streaming"]
    now = datetime.now(UTC)
    names = [pipeline.name for pipeline in found]
    left = orphans(all_states(apart), folder, names, broken, now)
    rows = stream_rows(found, now, left, group_of_each(all_groups(folder, apart)), apart)
    if as_json:
        print_json(rows)
    elif rows:
        show_streams(rows)
    else:
        typer.echo(f"no pipeline in {folder} is a stream", err=True)


def metrics(
    folder: Folder = PIPELINES,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 9464,
    _environment: EnvironmentName = None,
) -> None:
    """Serve the metrics of every stream of a folder at /metrics, for Prometheus to scrape, until Ctrl-C."""
    from pipeline_platform.stream_metrics import serve_stream_metrics

    signal.signal(signal.SIGTERM, interrupt)
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


def stop(file: File, variables: Variables = None, _environment: EnvironmentName = None) -> None:
    """Stop a stream: its current micro-batch finishes, and it stays stopped until `resume`."""
    from pipeline_platform.engine.streaming.stream_state import StreamRequest, StreamState, request_file, state_file

    pipeline = stream_or_exit(file, given_values(variables or []))
    StreamRequest(action="stop").write(request_file(pipeline.name))
    state = StreamState.read(state_file(pipeline.name))
    if state is not None and state.is_alive(datetime.now(UTC)):
        typer.echo(f"{pipeline.name} will stop after its current micro-batch; see: pipeline-platform streams", err=True)
    else:
        typer.echo(
            f"{pipeline.name} is not running; the sensor won't start it until: "
            f"pipeline-platform resume {pipeline.command_arguments}",
            err=True,
        )


def resume(file: File, variables: Variables = None, _environment: EnvironmentName = None) -> None:
    """Let the supervisor restart a stream that was stopped or given up."""
    from pipeline_platform.engine.streaming.stream_state import StreamRequest, request_file

    pipeline = stream_or_exit(file, given_values(variables or []))
    StreamRequest(action="resume").write(request_file(pipeline.name))
    typer.echo(
        f"{pipeline.name} will be started at the next tick of Dagster's sensor 'streams'; to run it without the "
        f"sensor: pipeline-platform run {pipeline.command_arguments}",
        err=True,
    )


def reset_checkpoint(
    file: File,
    keep_offsets: Annotated[
        bool,
        typer.Option(
            "--keep-offsets",
            help="Continue from the checkpoint's offsets, and load again what was loaded after them.",
        ),
    ] = False,
    variables: Variables = None,
    _environment: EnvironmentName = None,
) -> None:
    """Move the checkpoint of a stream aside, so that the stream starts over; what it has loaded stays.

    With --keep-offsets the checkpoint stays, and may be a copy that is older than what was loaded: what came after it
    is loaded again, and nothing is left out.
    """
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.streaming import checkpoint_place
    from pipeline_platform.engine.streaming.lock import checkpoint_lock
    from pipeline_platform.engine.streaming.stream_state import StreamState, state_file

    pipeline = stream_or_exit(file, given_values(variables or []))
    state = StreamState.read(state_file(pipeline.name))
    last_used = state.checkpoint if state is not None else None
    try:
        with (
            checkpoint_lock(checkpoint_place.checkpoint_location(pipeline)),
            closing(RunCredentials.from_environment("reset-checkpoint", pipeline.location)) as credentials,
        ):
            place_at = checkpoint_place.places_of(pipeline, credentials)
            if keep_offsets:
                told = _keep_offsets(pipeline, checkpoint_place.find_checkpoint(pipeline, place_at, last_used))
            else:
                moved = checkpoint_place.reset_checkpoint(pipeline, place_at, last_used)
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
