"""Brings the services up for a developer, and down again: `python -m devtools.services`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from devtools.services.built import s3_program, vault_program
from devtools.services.kafka import broker_jars
from devtools.services.process import REQUIRED_VARIABLE, ServerUnavailableError
from devtools.services.stack import ENVIRONMENT_FILE, Running, down, recorded, up

app = typer.Typer(
    help="The services for development.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
Folder = Annotated[Path, typer.Option(help="Where the addresses and the record of what was started are kept.")]


@app.command("up")
def bring_up(folder: Folder = Path(".services")) -> None:
    """Start all services on free ports, seed them and write their addresses to services.env."""
    try:
        result = up(folder, typer.echo)
    except ServerUnavailableError as error:
        typer.echo(f"not started: {error}", err=True)
        raise typer.Exit(1) from None
    if not result.contents:
        typer.echo("they run already")
    _show(result.servers, lambda server: result.contents.get(server.name, ""))
    typer.echo(f". {folder / ENVIRONMENT_FILE}   # lets pipelines into Vault")


@app.command("down")
def take_down(folder: Folder = Path(".services")) -> None:
    """End what `up` has started, and nothing else; its data is removed."""
    ended = [server.name for server in down(folder) if server.pid is not None]
    typer.echo(f"ended: {', '.join(ended)}" if ended else "nothing was started")


@app.command()
def status(folder: Folder = Path(".services")) -> None:
    """Say which services answer; exit code 1 unless all do."""
    servers = recorded(folder)
    if servers:
        _show(servers, lambda server: "answers" if server.runs() and server.answers() else "does not answer")
    else:
        typer.echo("nothing was started")
    raise typer.Exit(0 if servers and all(server.runs() and server.answers() for server in servers) else 1)


@app.command()
def prepare() -> None:
    """Build and fetch what the services need, so that no test has to wait for it."""
    for part in (broker_jars, s3_program, vault_program):
        try:
            part()
        except ServerUnavailableError as error:
            typer.echo(f"the tests of a service can't run: {error}", err=True)
            if os.environ.get(REQUIRED_VARIABLE) == "1":
                raise typer.Exit(1) from None


def _show(servers: list[Running], what: Callable[[Running], str]) -> None:
    table = Table("service", "address", "process", "")
    for server in servers:
        table.add_row(server.name, server.address, str(server.pid or "not started here"), what(server))
    Console().print(table)


if __name__ == "__main__":
    app()
