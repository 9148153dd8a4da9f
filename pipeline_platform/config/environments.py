"""Environments of a project: where its sinks lie beside production, and what else is different there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import ConfigError, did_you_mean, in_order
from pipeline_platform.config.defaults import is_everybodys
from pipeline_platform.config.documents.document import DocumentError, SourcePosition, json_type, read_document
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.redirection import Redirection, plain_path
from pipeline_platform.config.values import Flag, Location, Names, PositiveInteger
from pipeline_platform.config.variables import VariableName, VariableValue, not_in_defaults

ENVIRONMENTS_FILE = "environments.json"
"""The file of a project, in the folder above that of its pipelines, that has its environments."""
ENVIRONMENT_VARIABLE = "PIPELINE_PLATFORM_ENV"
"""Names the environment that a process works in."""
_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
_PREFIX = r"^[a-z][a-z0-9_]*$"
_NEED_PREFIX = ("paths", "shared", "limit", "clone")


def _without_placeholders(value: VariableValue) -> VariableValue:
    if isinstance(value, str) and (found := not_in_defaults(value)) is not None:
        message = "a value is not looked at for placeholders but '${env:…}', and holds '{found}'"
        raise PydanticCustomError("variable", message, {"found": found})
    return value


class EnvironmentKeys(FormatModel):
    """One environment."""

    description: str | None = None
    """What it is for."""
    prefix: Annotated[str, Field(pattern=_PREFIX)] | None = None
    """What everything that its pipelines write begins with: tables of databases and topics, the first folder of a path,
    as in `dev_lake/orders` for `lake/orders` and `s3://bucket/dev_lake/orders` for `s3://bucket/lake/orders`, and the
    pipelines' names. Lower-case letters, digits and `_`, such as `dev_`. Without it, the environment writes where
    production does."""
    paths: dict[Location, Location] = {}
    """Where paths that begin with one of these lead to instead, such as
    `{"s3://lake": "s3://lake-dev", "/data": "/data_dev"}`; the longest one counts. An absolute local path needs it."""
    variables: dict[VariableName, Annotated[VariableValue, AfterValidator(_without_placeholders)]] = {}
    """Values of variables, in place of the defaults of those pipelines that declare them."""
    shared: Names = []
    """Paths, tables and topics, as the pipelines write them, that are always read from production; of a path, all below
    it. What else a pipeline of the project writes is read from the environment, if it is there."""
    limit: PositiveInteger | None = None
    """How many rows each extract of a batch hands on at most."""
    clone: Flag = False
    """Begin a Delta table that is not there yet, and whose load keeps rows, as a shallow clone of production's."""

    @model_validator(mode="after")
    def _has_prefix(self) -> Self:
        if self.prefix is None:
            for key in _NEED_PREFIX:
                if key in self.model_fields_set:
                    message = "'{key}' needs a 'prefix': without one, the environment writes where production does"
                    raise PydanticCustomError("prefix", message, {"key": key})
        for source, target in self.paths.items():
            if plain_path(source) == plain_path(target):
                message = "leads to itself, which would be production"
                raise PydanticCustomError("paths", message, {"keys": ("paths", source)})
        return self


class EnvironmentsFile(FormatModel):
    """The environments of a project."""

    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    """For your editor: `pipeline.schema.json#/$defs/environments`."""
    default: str | None = None
    """The environment of those who name none; without it that is production."""
    environments: dict[Annotated[str, Field(pattern=_NAME)], EnvironmentKeys]
    """The environments, by name."""


@dataclass(frozen=True)
class Environment:
    """The environment that a process works in.

    Args:
        name: Its name.
        keys: What it says.
        place: Where it says that.
    """

    name: str
    keys: EnvironmentKeys
    place: SourcePosition = field(compare=False, repr=False)

    @property
    def redirection(self) -> Redirection | None:
        """Where its sinks lie; None if they are those of production."""
        return Redirection(self.keys.prefix, self.keys.paths) if self.keys.prefix is not None else None

    @property
    def place_apart(self) -> str | None:
        """Its name, if its streams and tables are not those of production."""
        return self.name if self.keys.prefix is not None else None

    @property
    def told(self) -> str:
        """In a line, in which environment a run is."""
        writes = f"writes with the prefix {self.keys.prefix}" if self.keys.prefix else "writes where production does"
        limit = f", {self.keys.limit:,} rows of each extract at most" if self.keys.limit is not None else ""
        return f"environment {self.name}: {writes}{limit}"


@dataclass(frozen=True)
class ChosenEnvironment:
    """The environment of a project's files.

    Args:
        environment: None for production without one.
        problems: Why it can't be told.
    """

    environment: Environment | None = None
    problems: tuple[ConfigError, ...] = ()

    @property
    def place_apart(self) -> str | None:
        """The name of an environment whose streams and tables are not those of production."""
        return self.environment.place_apart if self.environment is not None else None


def asked_environment() -> str | None:
    """The name that `PIPELINE_PLATFORM_ENV` has; None if it has none."""
    return os.environ.get(ENVIRONMENT_VARIABLE, "").strip() or None


def chosen_environment(project: Path, name: str | None) -> ChosenEnvironment:
    """The environment with a name, or that which the project says is the default.

    Args:
        project: The folder above that of the pipelines, resolved.
        name: The name; None if none is asked for.
    """
    target = project / ENVIRONMENTS_FILE
    shown = Path(os.path.relpath(target)) if project.is_relative_to(Path.cwd()) else target
    if is_everybodys(project) or not (target.exists() or target.is_symlink()):
        if name is None:
            return ChosenEnvironment()
        message = f"the environment '{name}' is asked for, and there is no such file to say what it is"
        return ChosenEnvironment(problems=(ConfigError(shown, 1, 1, message, "write one, or name no environment"),))
    try:
        root = SourcePosition(read_document(target, shown))
    except DocumentError as error:
        return ChosenEnvironment(problems=(error.problem,))
    if not isinstance(root.value, dict):
        message = f"expected an object with 'environments', not {json_type(root.value)}"
        return ChosenEnvironment(problems=(root.problem(message),))
    problems = list(root.document.problems)
    written = cast("dict[str, Any]", root.value)
    try:
        file = EnvironmentsFile.model_validate(written)
    except ValidationError as error:
        places = {key: root / key for key in written}
        problems += located_errors(format_errors(error), EnvironmentsFile, places, root)
        return ChosenEnvironment(problems=tuple(in_order(shown, problems)))
    wanted = name or file.default
    if wanted is not None and wanted not in file.environments:
        hint = did_you_mean(wanted, [*file.environments])
        place = root / "environments" if name is not None else root / "default"
        problems.append(place.problem(f"there is no environment '{wanted}'", hint=hint))
    if problems:
        return ChosenEnvironment(problems=tuple(problems))
    if wanted is None:
        return ChosenEnvironment()
    return ChosenEnvironment(Environment(wanted, file.environments[wanted], root / "environments" / wanted))
