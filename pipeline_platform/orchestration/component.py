"""The platform as a component of a `dg` project: a folder of pipelines beside whatever else the project defines."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import dagster as dg
from dagster.components import Component, ComponentLoadContext, Model, Resolvable, ScaffoldRequest
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.scaffold.scaffold import Scaffolder, scaffold_with
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver

from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.specs import asset_key, asset_steps
from pipeline_platform.registry import method_registry

_EXAMPLE: dict[str, Any] = {
    "name": "example",
    "mode": "batch",
    "description": "Generated rows into a Delta table: replace it by a pipeline of your own.",
    "steps": [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 10}},
        {"type": "validate", "method": "validateRanges", "config": {"ranges": {"value": {"min": 0}}}},
        {"type": "load", "method": "toDeltaLake", "config": {"path": "data/lake/example", "mode": "overwrite"}},
    ],
}


@dataclass(frozen=True)
class StepNames:
    """What a translation may use of a step.

    Args:
        pipeline: Name of its pipeline.
        step: Name of its asset.
        type: `extract`, `transform` or `load`.
        method: Its method.
    """

    pipeline: str
    step: str
    type: str
    method: str


class PipelineScaffolder(Scaffolder):
    """Makes the `defs.yaml` of a component, and a pipeline beside it that runs."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        """Write both files."""
        scaffold_component(request, {"path": "."})
        (request.target_path / "example.json").write_text(json.dumps(_EXAMPLE, indent=2) + "\n")


@scaffold_with(PipelineScaffolder)
class PipelineComponent(Component, Model, Resolvable):
    """Every pipeline of a folder: assets, checks, jobs, schedules, and the sensors for streams and alerts.

    Args:
        path: Folder of the `*.json` files, from the folder of the `defs.yaml`.
        translation: Attributes to give to the asset of each step, such as `group_name`, `owners` or `tags`; may use
            `{{ pipeline }}`, `{{ step }}`, `{{ type }}`, `{{ method }}` and `{{ spec }}`. The key stays as it is.
    """

    path: str = "."
    translation: (
        Annotated[
            TranslationFn[StepNames],
            TranslationFnResolver[StepNames](lambda step: {**vars(step)}),
        ]
        | None
    ) = None

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        """Everything that Dagster is to know of the folder.

        Args:
            context: Of the component.

        Raises:
            dg.DagsterInvalidDefinitionError: There is no such folder, or the translation changes a key.
        """
        folder = context.path / self.path
        if not folder.is_dir():
            raise dg.DagsterInvalidDefinitionError(
                f"'path' of the component in {context.path} names the folder {folder}, which does not exist"
            )
        definitions = project_definitions(folder)
        translation = self.translation
        if translation is None:
            return definitions
        steps = {
            asset_key(pipeline, step): StepNames(pipeline.name, step.name, step.type, step.config.method)
            for pipeline in load_project(folder, method_registry()).pipelines
            for step in asset_steps(pipeline)
        }

        def translated(spec: dg.AssetSpec) -> dg.AssetSpec:
            if spec.key not in steps:
                return spec
            changed = translation(spec, steps[spec.key])
            if changed.key != spec.key:
                raise dg.DagsterInvalidDefinitionError(
                    f"'translation' changes the key {spec.key.to_user_string()}, which is what the run reports; "
                    "leave the key as it is, and translate the group or the tags"
                )
            return changed

        return definitions.map_asset_specs(func=translated)
