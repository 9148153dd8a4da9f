"""The pipeline files that a command is given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry

PIPELINES = Path("pipelines")
Files = Annotated[list[Path], typer.Argument(help="Pipeline files.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder of pipeline files.", envvar="PIPELINES_DIR")]
File = Annotated[Path, typer.Argument(help="A pipeline file.", show_default=False)]


def loaded(file: Path) -> PipelineConfig:
    """A pipeline of a file; what it warns of is printed.

    Raises:
        PipelineConfigurationException: The file has errors.
    """
    pipeline = load_pipeline(file, method_registry())
    for warning in pipeline.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return pipeline


def loaded_or_exit(file: Path) -> PipelineConfig:
    """A pipeline of a file; its errors are printed, and end the command."""
    try:
        return loaded(file)
    except PipelineConfigurationException as error:
        typer.echo("\n".join(map(str, error.problems)), err=True)
        raise typer.Exit(FAILED) from error


def stream_or_exit(file: Path) -> PipelineConfig:
    """As `loaded_or_exit`, for a pipeline that has to be a stream."""
    pipeline = loaded_or_exit(file)
    if pipeline.mode != "streaming":
        typer.echo(f"{file} is a batch pipeline; this command is for streams", err=True)
        raise typer.Exit(FAILED)
    return pipeline
