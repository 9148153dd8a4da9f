"""`spark`: the Spark server that the runs of this machine share."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline_platform.cli.output import FAILED, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def spark() -> None:
    """Keep Spark running, so that runs don't wait for it to start.

    The batch runs of this user on this machine use the server while it is there, each in a session of its own. Streams,
    runs with settings that Spark takes only when it starts, and runs with SPARK_MASTER or SPARK_REMOTE don't.
    """


@app.command()
def start(
    memory: Annotated[
        str | None,
        typer.Option(help="Memory of the server, such as 4g; a quarter of the machine's by default.", metavar="SIZE"),
    ] = None,
    idle_minutes: Annotated[float, typer.Option(help="End it when nobody has used it for so long.", min=0.05)] = 60.0,
) -> None:
    """Start the server, unless it runs."""
    from pipeline_platform.engine.spark.server import running_server, start_server
    from pipeline_platform.exceptions import PipelineException

    if running_server() is None:
        typer.echo("starting Spark ...", err=True)
    try:
        start_server(memory, idle_minutes)
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    status()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Tell whether the server runs: exit code 0 if it does, 1 if not."""
    from pipeline_platform.engine.spark.server import log_file, running_server

    server = running_server()
    if server is None:
        if as_json:
            print_json({"running": False})
        else:
            typer.echo("no Spark server runs; `pipeline-platform spark start` starts one")
        raise typer.Exit(FAILED)
    told = {
        "running": True,
        "pid": server.jvm.pid,
        "port": server.port,
        "connections": server.clients(),
        "memory": server.memory,
        "memory_used_bytes": server.memory_used(),
        "idle_minutes": server.idle_minutes,
        "log": str(log_file()),
    }
    if as_json:
        print_json(told)
        return
    typer.echo(f"process      {server.jvm.pid}, at 127.0.0.1:{server.port}")
    typer.echo(f"runs         {server.clients()} connected")
    typer.echo(f"memory       {server.memory_used() / 2**30:.1f} GB, of {server.memory} for Java's heap")
    typer.echo(f"ends         when nobody has used it for {server.idle_minutes:g} minutes")
    typer.echo(f"log          {log_file()}")


@app.command()
def stop(
    force: Annotated[bool, typer.Option("--force", help="Also if runs use it, which fail then.")] = False,
) -> None:
    """End the server, unless runs use it."""
    from pipeline_platform.engine.spark.server import running_server, stop_server
    from pipeline_platform.exceptions import PipelineException

    server = running_server()
    if server is None:
        typer.echo("no Spark server runs")
        return
    if (clients := server.clients()) and not force:
        typer.echo(f"runs use the server ({clients} connected), and would fail; --force ends it anyway", err=True)
        raise typer.Exit(FAILED)
    try:
        stop_server(server)
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    typer.echo("the Spark server has ended")
