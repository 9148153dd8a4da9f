"""The files that the pipelines of a project share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline_platform.config.defaults import Defaults
from pipeline_platform.config.step import MethodRegistry, Methods
from pipeline_platform.config.templates import Templates


@dataclass(frozen=True)
class SharedFiles:
    """The defaults and the templates of a project, each read once.

    Args:
        methods: The methods a step may name.
        project: The folder that they are in, resolved.
        defaults: Of its folders.
        templates: Its templates.
    """

    methods: MethodRegistry
    project: Path
    defaults: Defaults
    templates: Templates

    @classmethod
    def of(cls, methods: Methods, project: Path) -> SharedFiles:
        """Those of a project.

        Args:
            methods: The methods a step may name.
            project: The folder, which they must not leave.
        """
        registry = methods if isinstance(methods, MethodRegistry) else MethodRegistry(methods)
        folder = project.resolve()
        return cls(registry, folder, Defaults(registry, folder), Templates(folder))
