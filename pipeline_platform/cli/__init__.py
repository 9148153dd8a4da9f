"""The command line: the options that go before any command, and all commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Literal

import typer

from pipeline_platform.cli import (
    check,
    cursor,
    diff,
    discover,
    erase,
    init,
    listing,
    methods,
    plan,
    profile,
    quarantine,
    reference,
    refresh,
    run,
    show,
    spark,
    streams,
    submit,
    tables,
    testing,
    warm_up,
)
from pipeline_platform.logs import LOG_LEVEL_VARIABLE, configure_logs

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
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


# In the order of the help, by its headings.
_COMMANDS = {
    "Write and test pipelines": {
        "init": init.init,
        "discover": discover.app,
        "check": check.check,
        "show": show.show,
        "profile": profile.profile,
        "test": testing.run_tests,
        "plan": plan.plan,
        "diff": diff.diff,
        "refresh": refresh.refresh,
    },
    "Run them": {
        "run": run.run,
        "submit": submit.submit,
        "list": listing.list_pipelines,
        "cursor": cursor.cursor,
    },
    "Streams": {
        "streams": streams.streams,
        "metrics": streams.metrics,
        "stop": streams.stop,
        "resume": streams.resume,
        "reset-checkpoint": streams.reset_checkpoint,
    },
    "Keep what they write": {
        "tables": tables.tables,
        "maintain": tables.maintain,
        "quarantine": quarantine.app,
        "erase": erase.erase,
    },
    "Look things up": {
        "methods": methods.methods,
        "reference": reference.reference,
        "schema": reference.schema,
    },
    "Keep Spark ready": {
        "spark": spark.app,
        "warm-up": warm_up.warm_up,
    },
}
for _heading, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_heading)
        else:
            app.command(_name, rich_help_panel=_heading)(_command)


def main() -> None:
    """Entry point of the `pipeline-platform` command."""
    app(prog_name="pipeline-platform")
