"""The platform as a component of a `dg` project: a folder of pipelines beside whatever else the project defines."""

from importlib.resources import files
from typing import Annotated, Literal

import dagster as dg
from dagster.components import Component, ComponentLoadContext, Model, Resolvable, ScaffoldRequest
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.core.defs_module import find_defs_or_component_yaml
from dagster.components.resolved.core_models import OpSpec
from dagster.components.scaffold.scaffold import Scaffolder, scaffold_with
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import Field

from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.translations import StepNames, Translation, reason

_EXAMPLE = files("pipeline_platform") / "starter" / "generated.json"


class PipelineScaffolder(Scaffolder):
    """Makes the `defs.yaml` of a component, and a pipeline beside it that runs."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        """Write both files."""
        scaffold_component(request, {"path": "."})
        (request.target_path / "example.json").write_text(_EXAMPLE.read_text())


@scaffold_with(PipelineScaffolder)
class PipelineComponent(Component, Model, Resolvable):
    """Every pipeline of a folder: assets, checks, jobs, schedules, and the sensors for streams and alerts.

    Args:
        path: Folder of the `*.json` files, from the folder of the `defs.yaml`.
        translation: Attributes to give to the asset of each step, such as `group_name`, `owners` or `tags`; may use
            `{{ pipeline }}`, `{{ step }}`, `{{ type }}`, `{{ method }}` and `{{ spec }}`; `key` or `key_prefix` too.
        op: `name`, `tags`, `pool`, `description` and `backfill_policy` of each pipeline's op; a name only where the
            folder has one pipeline. A stream keeps its own pool.
        assets: What is an asset: each step but validations (`steps`), or only the tables that are loaded (`tables`).
        name: A part of the names of its sensors, for a project with several of these components: `streams_sales`. One
            of them has none; it brings the sensor `alerts` for all.
    """

    path: str = "."
    assets: Literal["steps", "tables"] = "steps"
    name: Annotated[str, Field(pattern=r"^\w+$")] | None = None
    op: OpSpec | None = None
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
            dg.DagsterInvalidDefinitionError: There is no such folder.
        """
        folder = (context.path / self.path).resolve()
        if not folder.is_dir():
            raise dg.DagsterInvalidDefinitionError(
                f"'path' of the component in {context.path} names the folder {folder}, which does not exist"
            )
        return project_definitions(folder, self.assets, self._translation(context), self.op, self.name)

    def _translation(self, context: ComponentLoadContext) -> Translation | None:
        if (given := self.translation) is None:
            return None
        file = find_defs_or_component_yaml(context.path) or context.path

        def translation(spec: dg.AssetSpec, names: StepNames) -> dg.AssetSpec:
            try:
                return given(spec, names)
            except Exception as error:
                raise dg.DagsterInvalidDefinitionError(f"'translation' in {file} fails: {reason(error)}") from error

        return translation
