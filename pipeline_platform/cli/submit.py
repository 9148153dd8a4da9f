"""`submit`: a run whose driver `spark-submit` starts."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from pipeline_platform.cli.files import EnvironmentName, File, Variables, given_values, one_or_exit
from pipeline_platform.cli.output import CANCELLED, FAILED, interrupt
from pipeline_platform.engine.spark.settings import DeployMode

_END_SECONDS = 30.0


def submit(
    file: File,
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of `run`, after `--`.", metavar="[-- OPTIONS]")
    ] = None,
    variables: Variables = None,
    _environment: EnvironmentName = None,
    deploy_mode: Annotated[
        DeployMode, typer.Option(help="Where the driver runs: on this machine, or in the cluster.")
    ] = DeployMode.CLIENT,
) -> None:
    """Run a pipeline by `spark-submit` on the cluster that SPARK_MASTER names, with its exit code.

    The driver reads the file itself: where it runs in the cluster, the path has to be the same there, and what the run
    says is in the driver's log.
    """
    from pipeline_platform.engine.spark.submit import submit_command, submit_environment
    from pipeline_platform.exceptions import PipelineException

    pipeline = one_or_exit(file, given_values(variables or []))
    given = [text for variable in variables or [] for text in ("--var", variable)]
    # Variables of this process are not those of a driver in the cluster.
    where = ["--env", pipeline.environment.name] if pipeline.environment is not None else []
    arguments = ["run", str(file.absolute()), *given, *where, *(options or [])]
    try:
        with submit_command(pipeline.name, pipeline.spark_settings(), deploy_mode, arguments) as command:
            code = _followed(command, submit_environment(), deploy_mode)
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    raise typer.Exit(code)


def _followed(command: Sequence[str], environment: Mapping[str, str], deploy_mode: DeployMode) -> int:
    """The exit code of `spark-submit`, which ends with this process."""
    from pipeline_platform.engine.spark.jvm import end_process

    signal.signal(signal.SIGTERM, interrupt)
    process = subprocess.Popen(command, env=environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        end_process(process, _END_SECONDS)
        told = (
            "spark-submit was stopped; a driver that the cluster has started goes on: end it there"
            if deploy_mode is DeployMode.CLUSTER
            else "the run was stopped; nothing is half-written"
        )
        typer.echo(told, err=True)
        return CANCELLED
