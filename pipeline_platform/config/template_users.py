"""Names what uses a template in the mistakes that stand in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.templates import PlacedStep


@dataclass
class TemplateUsers:
    """Which entries of a pipeline's steps have which mistake in a template.

    Args:
        file: Of the pipeline.
        templates: The templates that it uses, and at which lines.
    """

    file: Path
    templates: dict[Path, dict[int, None]] = field(default_factory=dict[Path, dict[int, None]])
    _lines: dict[ConfigError, dict[int, None]] = field(default_factory=dict[ConfigError, dict[int, None]])

    def add(self, steps: Iterable[PlacedStep], problems: Iterable[ConfigError]) -> None:
        """Note the mistakes that were found in steps.

        Args:
            steps: The steps; those of the pipeline itself are left out.
            problems: What is wrong with them.
        """
        lines: dict[int, None] = {}
        for step in steps:
            if step.used is not None:
                line = step.used.document.position(step.used.pointer)[0]
                lines[line] = None
                if step.place.document.path != self.file:
                    self.templates.setdefault(step.place.document.path, {})[line] = None
        for problem in problems:
            if lines:
                self._lines.setdefault(problem, {}).update(lines)

    def named(self, problem: ConfigError) -> ConfigError:
        """A mistake, with where the template is used that it stands in.

        Args:
            problem: Of any file.
        """
        lines = self._lines.get(problem) or self.templates.get(problem.file)
        if not lines or problem.file == self.file:
            return problem
        told = " and ".join(map(str, lines))
        return replace(problem, message=f"{problem.message}, in the template of {self.file}:{told}")
