"""The files that the pipelines of a project share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline_platform.config.defaults import Defaults
from pipeline_platform.config.environments import ChosenEnvironment, asked_environment, chosen_environment
from pipeline_platform.config.method_registry import MethodRegistry, Methods
from pipeline_platform.config.production import Production
from pipeline_platform.config.templates import Templates


@dataclass(frozen=True)
class SharedFiles:
    """The defaults and the templates of a project, each read once.

    Args:
        methods: The methods a step may name.
        project: The folder that they are in, resolved.
        defaults: Of its folders.
        templates: Its templates.
        chosen: The environment that they are read for.
        production: By folder, what its pipelines write in production; filled by whoever reads a file of it.
    """

    methods: MethodRegistry
    project: Path
    defaults: Defaults
    templates: Templates
    chosen: ChosenEnvironment = field(default_factory=ChosenEnvironment)
    production: dict[Path, Production] = field(default_factory=dict[Path, Production])

    @classmethod
    def of(cls, methods: Methods, project: Path) -> SharedFiles:
        """Those of a project, in the environment that `PIPELINE_PLATFORM_ENV` names.

        Args:
            methods: The methods a step may name.
            project: The folder, which they must not leave.
        """
        shared = cls.outside_environments(methods, project)
        return replace(shared, chosen=chosen_environment(shared.project, asked_environment()))

    @classmethod
    def outside_environments(cls, methods: Methods, project: Path) -> SharedFiles:
        """Those of a project, whatever the environment.

        Args:
            methods: The methods a step may name.
            project: The folder, which they must not leave.
        """
        registry = methods if isinstance(methods, MethodRegistry) else MethodRegistry(methods)
        folder = project.resolve()
        return cls(registry, folder, Defaults(registry, folder), Templates(folder))
