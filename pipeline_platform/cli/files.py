"""The pipeline files that a command is given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipeline_platform.cli.output import FAILED
from pipeline_platform.config.environments import ENVIRONMENT_VARIABLE, ENVIRONMENTS_FILE
from pipeline_platform.config.loader import load_pipeline, load_pipelines, variables_of
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.variables import Variable, VariableValue, typed
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.project import Project, load_project, pipeline_files, side_by_side
from pipeline_platform.registry import method_registry

PIPELINES = Path("pipelines")
# As `init` names that of the format, for editors.
_SCHEMA = ".schema.json"
Paths = Annotated[list[Path], typer.Argument(help="Pipeline files, or folders of them.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder of pipeline files.", envvar="PIPELINES_DIR")]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        help="Value of a variable; one of 'forEach' chooses the pipelines that have it. May be given repeatedly.",
    ),
]
File = Annotated[Path, typer.Argument(help="A pipeline file.", show_default=False)]


def _choose(context: typer.Context, name: str | None) -> str | None:
    """Have all that the command reads, and all processes that it starts, be in an environment."""
    if name is not None:
        before = os.environ.get(ENVIRONMENT_VARIABLE)
        os.environ[ENVIRONMENT_VARIABLE] = name
        context.call_on_close(lambda: _put_back(before))
    return name


def _put_back(name: str | None) -> None:
    if name is None:
        os.environ.pop(ENVIRONMENT_VARIABLE, None)
    else:
        os.environ[ENVIRONMENT_VARIABLE] = name


EnvironmentName = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="NAME",
        help=f"Environment of {ENVIRONMENTS_FILE}; by default that which {ENVIRONMENT_VARIABLE} names.",
        callback=_choose,
    ),
]
"""The option that chooses the environment, before the function of the command is called."""


def folder_or_exit(folder: Path) -> Project:
    """All pipelines of a folder, beside files that are broken; where it can't be read, that ends the command.

    Args:
        folder: The folder.
    """
    try:
        return load_project(folder, method_registry())
    except PipelineConfigurationException as error:
        _exit_with(error)


def tell_project(project: Project) -> None:
    """Say in which environment a folder is looked at, and which of its files are left out.

    Args:
        project: What is in the folder.
    """
    tell_environment(project.pipelines)
    for broken in project.broken:
        typer.echo(f"{broken.path} has errors; see: pipeline-platform check {broken.path}", err=True)


def tell_environment(pipelines: Sequence[PipelineConfig]) -> None:
    """Say in which environment the pipelines of a command are; nothing of production without one.

    Args:
        pipelines: Those of one project.
    """
    if pipelines and (environment := pipelines[0].environment) is not None:
        typer.echo(environment.told, err=True)


def files_at(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant by paths of files and folders.

    Raises:
        PipelineConfigurationException: A folder can't be read, or has no pipeline file.
    """
    files: dict[Path, None] = {}
    for path in paths:
        found = [file for file in pipeline_files(path) if not file.name.endswith(_SCHEMA)] if path.is_dir() else [path]
        if not found:
            meant = f": you may mean {path / PIPELINES}" if (path / PIPELINES).is_dir() else ""
            raise PipelineConfigurationException(
                f"there is no pipeline file in the folder '{path}'",
                hint=f"pipeline files are named *.json, and are not looked for in folders below it{meant}",
            )
        files.update(dict.fromkeys(found))
    return list(files)


class KnownFiles:
    """What the files of each project share, read once for all files of a command."""

    def __init__(self) -> None:
        self._known: dict[Path, SharedFiles] = {}

    def of(self, file: Path) -> SharedFiles:
        """That of the project of a file.

        Args:
            file: A pipeline file.
        """
        project = file.absolute().parent.parent.resolve()
        if project not in self._known:
            self._known[project] = SharedFiles.of(method_registry(), project)
        return self._known[project]


def loaded(file: Path, given: Mapping[str, str] | None = None, known: KnownFiles | None = None) -> list[PipelineConfig]:
    """The pipelines of a file: one, or of one with `forEach` those that have these values; what they warn of is
    printed.

    Args:
        file: The file.
        given: Texts for its variables.
        known: What was read for other files.

    Raises:
        PipelineConfigurationException: The file has errors, or makes no such pipeline.
    """
    shared = (known or KnownFiles()).of(file)
    return _told(load_pipelines(file, method_registry(), values=_values(file, given or {}), shared=shared))


def _values(file: Path, given: Mapping[str, str]) -> dict[str, VariableValue]:
    """Values for the variables of a file.

    Raises:
        PipelineConfigurationException: The file has errors, or a text is no value of a variable's type.
    """
    if not given:
        return {}
    try:
        return _typed(variables_of(file), given)
    except PipelineConfigurationException:
        # Mistakes in the file come first.
        load_pipelines(file, method_registry())
        raise


def _told(pipelines: list[PipelineConfig]) -> list[PipelineConfig]:
    for warning in dict.fromkeys(warning for pipeline in pipelines for warning in pipeline.warnings):
        typer.echo(f"warning: {warning}", err=True)
    return pipelines


def _typed(variables: Mapping[str, Variable], given: Mapping[str, str]) -> dict[str, VariableValue]:
    values: dict[str, VariableValue] = {}
    for name, text in given.items():
        # What no variable is called, the loader tells.
        variable = variables.get(name, Variable())
        try:
            values[name] = typed(variable.type, text)
        except ValueError as error:
            raise PipelineConfigurationException(f"the value of the variable '{name}': {error}") from error
    return values


def given_values(options: Sequence[str]) -> dict[str, str]:
    """Texts by variable, of `NAME=VALUE` as the command line has them.

    Args:
        options: Of the option `--var`.

    Raises:
        typer.BadParameter: One has no `=`, or a name is there twice.
    """
    given: dict[str, str] = {}
    for option in options:
        name, is_given, text = option.partition("=")
        if not is_given or not name:
            raise typer.BadParameter(f"expected NAME=VALUE, not '{option}'")
        if name in given:
            raise typer.BadParameter(f"'{name}' is given twice")
        given[name] = text
    return given


def project_or_exit(paths: Iterable[Path], given: Mapping[str, str] | None = None) -> Project:
    """The pipelines of files and folders, with texts for their variables; errors are printed, and end the command."""
    pipelines: list[PipelineConfig] = []
    told: list[str] = []
    try:
        files = files_at(paths)
    except PipelineConfigurationException as error:
        _exit_with(error)
    known = KnownFiles()
    for file in files:
        try:
            pipelines += loaded(file, given, known)
        except PipelineConfigurationException as error:
            told += map(str, error.problems or [error])
    if len(pipelines) > 1 and not told:
        told += (str(problem) for broken in side_by_side(pipelines)[1] for problem in broken.problems)
    if told:
        # What is wrong with the defaults of a folder, each of its files says.
        typer.echo("\n".join(dict.fromkeys(told)), err=True)
        raise typer.Exit(FAILED)
    return Project(tuple(pipelines))


def one_or_exit(file: Path, given: Mapping[str, str] | None = None) -> PipelineConfig:
    """The only pipeline of a file: of one with `forEach` the values choose it; as `project_or_exit`."""
    try:
        return _told([load_pipeline(file, method_registry(), values=_values(file, given or {}))])[0]
    except PipelineConfigurationException as error:
        _exit_with(error)


def _exit_with(error: PipelineConfigurationException) -> NoReturn:
    typer.echo("\n".join(map(str, error.problems)) or str(error), err=True)
    raise typer.Exit(FAILED) from error


def stream_or_exit(file: Path, given: Mapping[str, str] | None = None) -> PipelineConfig:
    """As `one_or_exit`, for a pipeline that has to be a stream."""
    pipeline = one_or_exit(file, given)
    if pipeline.mode != "streaming":
        typer.echo(f"{file} is a batch pipeline; this command is for streams", err=True)
        raise typer.Exit(FAILED)
    return pipeline
