"""`submit`: a run whose driver `spark-submit` starts."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from pipeline_platform.cli.files import File, Variables, given_values, loaded_or_exit
from pipeline_platform.cli.output import FAILED
from pipeline_platform.engine.spark.settings import DeployMode


def submit(
    file: File,
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of `run`, after `--`.", metavar="[-- OPTIONS]")
    ] = None,
    variables: Variables = None,
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

    pipeline = loaded_or_exit(file, given_values(variables or []))
    given = [text for variable in variables or [] for text in ("--var", variable)]
    arguments = ["run", str(file.absolute()), *given, *(options or [])]
    try:
        with submit_command(pipeline.name, pipeline.spark_settings(), deploy_mode, arguments) as command:
            code = subprocess.run(command, env=submit_environment(), check=False).returncode
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    raise typer.Exit(code)
