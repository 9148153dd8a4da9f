"""Which steps of a project are assets, and under which keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.orchestration.project import Project
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract

AssetsOf = Literal["steps", "tables"]
"""What the assets of a project are: each step but validations, or only what is loaded."""
SOURCES = "sources"


@dataclass(frozen=True)
class AssetView:
    """A project as Dagster shows it.

    Args:
        project: The project.
        assets: What its assets are.
        renamed: The keys of assets that have another key than their pipeline and step give.
        taken: The keys that a translation gives.
    """

    project: Project
    assets: AssetsOf = "steps"
    renamed: Mapping[dg.AssetKey, dg.AssetKey] = field(default_factory=dict[dg.AssetKey, dg.AssetKey])
    taken: frozenset[dg.AssetKey] = frozenset()

    def key(self, pipeline: PipelineConfig, step: Step) -> dg.AssetKey:
        """The key of a step's asset: pipeline and step, unless it was given another one."""
        key = dg.AssetKey([pipeline.asset_prefix, step.name])
        return self.renamed.get(key, key)

    def steps(self, pipeline: PipelineConfig) -> list[Step]:
        """The steps that are assets; never validations, which are checks."""
        loads = [step for step in pipeline.steps if step.type == "load"]
        if self.assets == "tables" and loads:
            return loads
        return [step for step in pipeline.steps if step.type != "validate"]

    def inputs(self, pipeline: PipelineConfig, step: Step) -> list[Step]:
        """The steps whose assets a step's own asset is made of, in the same pipeline."""
        shown = {shown.index for shown in self.steps(pipeline)}
        return [pipeline.steps[edge.step] for edge in step.inputs if edge.step in shown]

    def sources(self, pipeline: PipelineConfig, step: Step) -> list[Step]:
        """The extracts that a step's asset stands for: itself, or those above a table whose steps are no assets."""
        if step.type == "extract":
            return [step]
        shown = {shown.index for shown in self.steps(pipeline)}
        hidden = [other for other in pipeline.steps if other.type == "extract" and other.index not in shown]
        above = pipeline.upstream_of({step.index}) if hidden else set[int]()
        return [extract for extract in hidden if extract.index in above]

    def guarded(self, pipeline: PipelineConfig, validation: Step) -> list[Step]:
        """The steps on whose assets a validation is a check: its frame, and what is loaded of that after it."""
        if validation.guards is not None:
            return [pipeline.steps[validation.guards]]
        frame = validation.inputs[0].step
        shown = self.steps(pipeline)
        loads = [
            step
            for step in shown
            if step.type == "load" and step.index > validation.index and frame in pipeline.upstream_of({step.index})
        ]
        return [step for step in shown if step.index == frame] + loads or shown[-1:]

    def dataset_key(self, dataset: Dataset) -> dg.AssetKey:
        """The key of a dataset that no pipeline of the project writes: system, location."""
        # A pipeline may have the name of a system, and a translation give any key.
        is_taken = dataset.key in self.project.step_keys or dg.AssetKey(list(dataset.key)) in self.taken
        return dg.AssetKey([SOURCES, *dataset.key] if is_taken else list(dataset.key))

    def unwritten(self, pipeline: PipelineConfig, extract: Step) -> list[dg.AssetKey]:
        """The dataset that an extract reads, if no other pipeline of the project writes it."""
        dataset = extract.config.dataset() if isinstance(extract.config, Extract) else None
        if dataset is None or self.project.writers_of(dataset, pipeline):
            return []
        return [self.dataset_key(dataset)]

    def source_keys(self, pipeline: PipelineConfig, extract: Step) -> list[dg.AssetKey]:
        """The assets that an extract reads: the loads that write its dataset, or the dataset itself."""
        dataset = extract.config.dataset() if isinstance(extract.config, Extract) else None
        if dataset is None:
            return []
        writers = self.project.writers_of(dataset, pipeline)
        return [self.key(*writer) for writer in writers] or [self.dataset_key(dataset)]
