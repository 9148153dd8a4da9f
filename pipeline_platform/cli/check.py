"""`check`: whether files are right."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Annotated

import typer

from pipeline_platform.cli.files import EnvironmentName, KnownFiles, Paths, Variables, files_at, given_values, loaded
from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.defaults import DEFAULTS_FILE, defaults_problems
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.orchestration.never_started import never_started
from pipeline_platform.orchestration.project import Project, side_by_side
from pipeline_platform.orchestration.replaced_tables import replaced_tables
from pipeline_platform.registry import method_registry


def check(
    files: Paths,
    plan: Annotated[bool, typer.Option("--plan", help="Also build every frame on Spark; writes nothing.")] = False,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Also print what each pipeline gets from the defaults of its folder.")
    ] = False,
    variables: Variables = None,
    _environment: EnvironmentName = None,
) -> None:
    """Check pipeline files: silent, with exit code 0, if all is well; otherwise every error with its line, and exit
    code 1.

    Several files are also checked together: for names used twice, for cycles in which they read each other's tables,
    and for loads that take away each other's rows. In a folder, pipelines that wait for a load which no other one does
    are warned of.
    """
    given = given_values(variables or [])
    pipelines: list[PipelineConfig] = []
    # What is wrong with the defaults of a folder, each of its files says.
    told: dict[str, None] = {}
    try:
        found = files_at(files)
    except PipelineConfigurationException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    known = KnownFiles()
    for file in found:
        if file.name == DEFAULTS_FILE:
            _tell(told, defaults_problems(file, method_registry(), file.absolute().parent.parent.resolve()))
            continue
        try:
            pipelines += loaded(file, given, known)
        except PipelineConfigurationException as error:
            _tell(told, error.problems)
    problems = len(told)
    if defaults:
        _show_defaults(pipelines)
    if not problems:
        for broken in side_by_side(pipelines)[1]:
            problems += len(broken.problems)
            typer.echo("\n".join(map(str, broken.problems)), err=True)
    if not problems:
        waiting = never_started(Project(tuple(pipelines))) if any(path.is_dir() for path in files) else ()
        for warning in (*waiting, *replaced_tables(pipelines)):
            typer.echo(f"warning: {warning}", err=True)
    if plan and not problems:
        problems += _plan_all(pipelines)
    elif not problems:
        _warn_of_missing_extras(pipelines)
    if problems:
        typer.echo(f"{problems} error{'s' if problems != 1 else ''}", err=True)
        raise typer.Exit(FAILED)


def _tell(told: dict[str, None], problems: Iterable[ConfigError]) -> None:
    for problem in map(str, problems):
        if problem not in told:
            told[problem] = None
            typer.echo(problem, err=True)


def _show_defaults(pipelines: Iterable[PipelineConfig]) -> None:
    for pipeline in pipelines:
        for one in pipeline.defaulted:
            step = pipeline.steps[one.step] if one.step is not None else None
            whose = f"{pipeline.name}, step {step.number} ({step.config.method})" if step is not None else pipeline.name
            typer.echo(f"{whose}: {one.key} from {one.file}:{one.line}")


def _warn_of_missing_extras(pipelines: list[PipelineConfig]) -> None:
    # No mistake of the file: where it runs they may be installed.
    for pipeline in pipelines:
        try:
            pipeline.require_extras()
        except PipelineConfigurationException as missing:
            typer.echo(f"warning: {missing}", err=True)


def _any_partition(pipeline: PipelineConfig) -> Partition | None:
    """A partition to plan with: of those that Dagster keeps the keys of, one that there may not be."""
    if pipeline.partitions is None:
        return None
    from pipeline_platform.resources.partitions import partition_of, partitions_definition

    is_dynamic = pipeline.partitions.type == "dynamic"
    keys = ["check"] if is_dynamic else partitions_definition(pipeline.partitions).get_partition_keys()
    if not keys:
        message = "it has no partition yet, so it can't be planned"
        raise PipelineConfigurationException(message, location=pipeline.location, hint="wait for the first to end")
    return partition_of(pipeline.partitions, keys[-1:])


def _plan_all(pipelines: list[PipelineConfig]) -> int:
    from pipeline_platform.credentials.run_credentials import RunCredentials
    from pipeline_platform.engine.in_environment import reading_what_is_there
    from pipeline_platform.engine.plan import plan as plan_batch
    from pipeline_platform.engine.spark.session import planning_session
    from pipeline_platform.engine.streaming.stream_plan import plan_stream

    problems = 0
    ready: list[tuple[PipelineConfig, Partition | None]] = []
    for pipeline in pipelines:
        try:
            partition = _any_partition(pipeline)
            pipeline.require_ready(partition=partition)
            ready.append((pipeline, partition))
        except PipelineException as error:
            problems += 1
            typer.echo(str(error), err=True)
    for pipeline, partition in ready:
        try:
            with (
                planning_session(pipeline) as spark,
                closing(RunCredentials.from_environment("check", pipeline.location)) as credentials,
            ):
                resolved = reading_what_is_there(pipeline.resolve(partition=partition), spark, credentials)
                if pipeline.mode == "streaming":
                    plan_stream(resolved, spark, credentials)
                else:
                    plan_batch(resolved, spark, "check", credentials, partition=partition)
        except PipelineException as error:
            problems += 1
            typer.echo(str(error.locate(pipeline.location)), err=True)
    return problems
