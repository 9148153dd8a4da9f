"""Two versions of a folder of pipelines, and which pipeline of the one is which of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline_platform.config.config_error import ConfigError, refused
from pipeline_platform.config.loader import load_pipelines
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.project import Project, pipeline_files, side_by_side
from pipeline_platform.planning.normal_form import step_form
from pipeline_platform.planning.revisions import Revision
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load

# As `init` names that of the format, for editors.
_SCHEMA = ".schema.json"


@dataclass(frozen=True)
class Version:
    """A version of the pipelines.

    Args:
        revision: Where they were read from.
        project: The pipelines.
    """

    revision: Revision
    project: Project

    def place(self, pipeline: PipelineConfig, step: Step | None = None) -> str:
        """File and line of a step, or the file of a pipeline, as people know them.

        Args:
            pipeline: A pipeline of this version.
            step: One of its steps.
        """
        file = (step.file if step is not None else None) or pipeline.file
        line = f":{step.location.line}" if step is not None and step.location.line is not None else ""
        return self.revision.shown(f"{file}{line}")

    def readers_of(self, load: Load, writer: PipelineConfig) -> list[tuple[PipelineConfig, Step]]:
        """The extracts of other pipelines that read what a load writes.

        Args:
            load: The load.
            writer: Its pipeline.
        """
        written = load.dataset()
        return [
            (pipeline, step)
            for pipeline in self.project.pipelines
            if pipeline is not writer
            for step in pipeline.steps
            if isinstance(step.config, Extract) and step.config.dataset() == written
        ]


@dataclass(frozen=True)
class Pair:
    """A pipeline in both versions, under one name or another.

    Args:
        before: In the other version.
        now: In this one.
    """

    before: PipelineConfig
    now: PipelineConfig

    @property
    def is_renamed(self) -> bool:
        """Whether its name is another one."""
        return self.before.name != self.now.name


@dataclass(frozen=True)
class Pairing:
    """Which pipeline is which.

    Args:
        pairs: Those of both versions.
        added: Those of this version alone.
        removed: Those of the other version alone.
    """

    pairs: tuple[Pair, ...]
    added: tuple[PipelineConfig, ...]
    removed: tuple[PipelineConfig, ...]


def load_version(revision: Revision, methods: Methods, *, may_be_empty: bool) -> Version:
    """Read all pipelines of a version.

    Args:
        revision: Where they are.
        methods: The methods a step may name.
        may_be_empty: Whether there may be none.

    Raises:
        PipelineConfigurationException: With one problem for each mistake, or there is no pipeline.
    """
    folder = revision.folder
    files = [file for file in pipeline_files(folder) if not file.name.endswith(_SCHEMA)]
    if not files and not may_be_empty:
        raise PipelineConfigurationException(
            f"there is no pipeline file in the folder '{folder}'", hint="name the folder of the *.json files"
        )
    shared = SharedFiles.of(methods, folder.absolute().parent.resolve())
    pipelines: list[PipelineConfig] = []
    problems: list[ConfigError] = []
    for file in files:
        try:
            pipelines += load_pipelines(file, methods, shared.project, shared=shared)
        except PipelineConfigurationException as error:
            problems += error.problems
    if not problems:
        pipelines, broken = side_by_side(pipelines)
        problems += [problem for one in broken for problem in one.problems]
    if problems:
        told = [_shown(problem, revision) for problem in dict.fromkeys(problems)]
        hint = None if revision.root is None else f"the mistakes are in the version of {revision.name}"
        raise refused(told, hint=hint)
    return Version(revision, Project(tuple(pipelines), folder=folder))


def _shown(problem: ConfigError, revision: Revision) -> ConfigError:
    file, message = revision.shown(str(problem.file)), revision.shown(problem.message)
    return replace(problem, file=Path(file), message=message)


def paired(before: Sequence[PipelineConfig], now: Sequence[PipelineConfig]) -> Pairing:
    """Find each pipeline in the other version: by its name, or else by what it writes, or by its steps.

    Args:
        before: The pipelines of the other version.
        now: The pipelines of this version.
    """
    named = {pipeline.name: pipeline for pipeline in before}
    pairs = [Pair(named[pipeline.name], pipeline) for pipeline in now if pipeline.name in named]
    added = [pipeline for pipeline in now if pipeline.name not in named]
    kept = {pipeline.name for pipeline in now}
    removed = [pipeline for pipeline in before if pipeline.name not in kept]
    likenesses: tuple[Callable[[PipelineConfig], object], ...] = (_what_it_writes, _what_it_does)
    for likeness in likenesses:
        for other in _alike(likeness, removed, added):
            pairs.append(other)
            removed.remove(other.before)
            added.remove(other.now)
    return Pairing(tuple(pairs), tuple(added), tuple(removed))


def _alike(
    likeness: Callable[[PipelineConfig], object], removed: Sequence[PipelineConfig], added: Sequence[PipelineConfig]
) -> list[Pair]:
    gone = _only_ones(likeness, removed)
    return [Pair(gone[key], new) for key, new in _only_ones(likeness, added).items() if key in gone]


def _only_ones(
    likeness: Callable[[PipelineConfig], object], pipelines: Sequence[PipelineConfig]
) -> Mapping[object, PipelineConfig]:
    """The pipelines that are the only one of their kind."""
    found: dict[object, list[PipelineConfig]] = {}
    for pipeline in pipelines:
        found.setdefault(likeness(pipeline), []).append(pipeline)
    return {key: same[0] for key, same in found.items() if key and len(same) == 1}


def _what_it_writes(pipeline: PipelineConfig) -> object:
    return frozenset(step.config.dataset() for step in pipeline.steps if isinstance(step.config, Load))


def _what_it_does(pipeline: PipelineConfig) -> object:
    return repr([step_form(step) for step in pipeline.in_turn if step.type != "load"])
