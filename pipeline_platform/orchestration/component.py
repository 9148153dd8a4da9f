"""The platform as a component of a `dg` project: a folder of pipelines beside whatever else the project defines."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import dagster as dg
from dagster.components import Component, ComponentLoadContext, Model, Resolvable, ScaffoldRequest
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.resolved.core_models import OpSpec
from dagster.components.scaffold.scaffold import Scaffolder, scaffold_with
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import Field

from pipeline_platform.orchestration.beside import components_before, file_of, taken_by
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.orchestration.translations import StepNames, Translation, reason

_EXAMPLE = files("pipeline_platform") / "starter" / "generated.json"


class PipelineScaffolder(Scaffolder):
    """Makes the `defs.yaml` of a component, and a pipeline beside it that runs."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        """Write both files; with a name if the project has such a component already."""
        text = _EXAMPLE.read_text()
        if not _is_there_another(request):
            scaffold_component(request, {"path": "."})
            (request.target_path / "example.json").write_text(text)
            return
        name = _name_of(request.target_path)
        scaffold_component(request, {"path": ".", "name": name})
        # The pipeline's name and its table: Dagster takes one of each.
        (request.target_path / f"{name}.json").write_text(text.replace("example", name))


def _is_there_another(request: ScaffoldRequest) -> bool:
    above = [folder for folder in request.target_path.parents if folder.name == "defs"]
    defs = above[-1] if above else request.target_path.parent
    kind = request.type_name.rpartition(".")[2]
    return any(
        kind in file.read_text("utf-8", errors="replace")
        for file in defs.rglob("defs.yaml")
        if file.parent != request.target_path
    )


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
            dg.DagsterInvalidDefinitionError: There is no such folder, or another component has the same name.
        """
        folder = (context.path / self.path).resolve()
        if not folder.is_dir():
            raise dg.DagsterInvalidDefinitionError(
                f"'path' of the component in {context.path} names the folder {folder}, which does not exist"
            )
        before = components_before(context, PipelineComponent)
        for loc, other in before or ():
            if other.name == self.name:
                raise dg.DagsterInvalidDefinitionError(_same_name(file_of(loc.file_path), context, self.name))
        taken = taken_by(context, (loc for loc, _ in before)) if before is not None else None
        return project_definitions(folder, self.assets, self._translation(context), self.op, self.name, taken)

    def _translation(self, context: ComponentLoadContext) -> Translation | None:
        if (given := self.translation) is None:
            return None
        file = file_of(context.path)

        def translation(spec: dg.AssetSpec, names: StepNames) -> dg.AssetSpec:
            try:
                return given(spec, names)
            except Exception as error:
                raise dg.DagsterInvalidDefinitionError(f"'translation' in {file} fails: {reason(error)}") from error

        return translation


def _same_name(other: Path, context: ComponentLoadContext, name: str | None) -> str:
    file = file_of(context.path)
    where = f"the components in {other} and in {file}" if other != file else f"two components in {file}"
    what, give = "both have no 'name'", "a 'name'"
    if name is not None:
        what, give = f"both have the 'name' '{name}'", "another 'name'"
    return (
        f"{where} {what}, so their sensors would have the same names, and Dagster would load none of the project\n"
        f"  next: give one of them {give} under 'attributes', such as 'name: {_name_of(context.path)}'"
    )


def _name_of(folder: Path) -> str:
    return re.sub(r"\W", "_", folder.stem, flags=re.ASCII)
