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


# In the order of the help.
_COMMANDS = {
    "init": init.init,
    "check": check.check,
    "show": show.show,
    "profile": profile.profile,
    "diff": diff.diff,
    "test": testing.run_tests,
    "plan": plan.plan,
    "run": run.run,
    "submit": submit.submit,
    "list": listing.list_pipelines,
    "methods": methods.methods,
    "cursor": cursor.cursor,
    "refresh": refresh.refresh,
    "tables": tables.tables,
    "maintain": tables.maintain,
    "erase": erase.erase,
    "streams": streams.streams,
    "metrics": streams.metrics,
    "stop": streams.stop,
    "resume": streams.resume,
    "reset-checkpoint": streams.reset_checkpoint,
    "schema": reference.schema,
    "reference": reference.reference,
    "warm-up": warm_up.warm_up,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(discover.app, name="discover")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(spark.app, name="spark")


def main() -> None:
    """Entry point of the `pipeline-platform` command."""
    app(prog_name="pipeline-platform")
