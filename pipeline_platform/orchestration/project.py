"""A folder of pipeline files: which load, which are broken, and who writes what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline_platform.config.loader import Vocabulary, load_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.problem import Problem
from pipeline_platform.config.step import Step
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.methods.dataset import Dataset
from pipeline_platform.methods.extract.base import Extract
from pipeline_platform.methods.load.base import Load


@dataclass(frozen=True)
class BrokenFile:
    """A file that is no valid pipeline."""

    path: Path
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Project:
    """All pipelines of a folder."""

    pipelines: tuple[PipelineConfig, ...]
    broken: tuple[BrokenFile, ...]
    folder: Path | None = None

    @cached_property
    def _writers(self) -> dict[Dataset, list[tuple[PipelineConfig, Step]]]:
        writers: dict[Dataset, list[tuple[PipelineConfig, Step]]] = {}
        for pipeline in self.pipelines:
            for step in pipeline.steps:
                if isinstance(step.config, Load):
                    writers.setdefault(step.config.dataset(), []).append((pipeline, step))
        return writers

    def writers_of(self, dataset: Dataset, reader: PipelineConfig) -> list[tuple[PipelineConfig, Step]]:
        """The loads of other pipelines that write this very dataset, however its place is spelled."""
        return [(pipeline, step) for pipeline, step in self._writers.get(dataset, []) if pipeline is not reader]

    def external_datasets(self) -> list[Dataset]:
        """What is read and no pipeline of the project writes."""
        found: dict[Dataset, None] = {}
        for pipeline in self.pipelines:
            for step in pipeline.steps:
                dataset = step.config.dataset() if isinstance(step.config, Extract) else None
                if dataset is not None and not self.writers_of(dataset, pipeline):
                    found[dataset] = None
        return list(found)


def load_project(folder: Path, vocabulary: Vocabulary) -> Project:
    """Read every `*.json` of a folder; a broken file does not keep the others from loading.

    Args:
        folder: The folder; one that does not exist is an empty project.
        vocabulary: The methods a step may name.
    """
    pipelines: dict[str, PipelineConfig] = {}
    broken: list[BrokenFile] = []
    for path in sorted(folder.glob("*.json")):
        try:
            pipeline = load_pipeline(path, vocabulary, project=folder.absolute().parent)
        except PipelineConfigurationException as error:
            broken.append(BrokenFile(path, error.problems))
            continue
        other = pipelines.setdefault(pipeline.asset_prefix, pipeline)
        if other is not pipeline:
            message = f"the name '{pipeline.name}' is taken by {other.file}; Dagster needs one for each pipeline"
            broken.append(BrokenFile(path, (Problem(path, 1, 1, message),)))
    return Project(tuple(pipelines.values()), tuple(broken), folder)
