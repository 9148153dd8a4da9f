"""Whether each asset has a key of its own, and none depends on itself, also after a translation."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.beside import Beside
from pipeline_platform.orchestration.project import BrokenFile, broken_step

_KEY_HINT = "give the step a 'name', or put the pipeline's into the key, as in \"{{ pipeline }}/{{ step }}\""


def clashing_keys(view: AssetView, beside: Beside) -> list[BrokenFile]:
    """Each pipeline with an asset whose key an earlier pipeline has, or another step of its own, or another component.

    Args:
        view: Which steps are assets, and under which keys.
        beside: What other components have.
    """
    taken: dict[dg.AssetKey, tuple[PipelineConfig, Step]] = {}
    broken: list[BrokenFile] = []
    for pipeline in view.project.pipelines:
        own: dict[dg.AssetKey, tuple[PipelineConfig, Step]] = {}
        if (elsewhere := _taken_elsewhere(view, pipeline, beside)) is not None:
            broken.append(elsewhere)
            continue
        for step in view.steps(pipeline):
            key = view.key(pipeline, step)
            if (found := taken.get(key) or own.get(key)) is not None:
                other, same = found
                of_other = f" of '{other.name}' ({other.file})" if other is not pipeline else ""
                broken.append(_clashing(pipeline, step, key, f"{same.type} '{same.name}'{of_other}"))
                break
            own[key] = pipeline, step
        else:
            taken.update(own)
    return broken


def _taken_elsewhere(view: AssetView, pipeline: PipelineConfig, beside: Beside) -> BrokenFile | None:
    if (file := beside.names.get(pipeline.asset_prefix)) is not None:
        message = f"the name '{pipeline.name}' is taken by the component in {file}; Dagster needs one for each pipeline"
        return broken_step(pipeline, None, message)
    for step in view.steps(pipeline):
        key = view.key(pipeline, step)
        if (file := beside.keys.get(key)) is not None:
            return _clashing(pipeline, step, key, f"component in {file}")
    return None


def _clashing(pipeline: PipelineConfig, step: Step, key: dg.AssetKey, other: str) -> BrokenFile:
    shown = key.to_user_string()
    message = f"its {step.type} '{step.name}' has the asset key '{shown}', which the {other} has too"
    return broken_step(pipeline, step, message, _KEY_HINT)


def translated_cycle(view: AssetView, assets: Mapping[str, dg.AssetsDefinition]) -> BrokenFile | None:
    """The last pipeline of those whose assets depend on each other in a cycle, since a translation gives them `deps`.

    Args:
        view: The project.
        assets: The assets of each pipeline, by its name.
    """
    owners: dict[str, PipelineConfig] = {}
    above: dict[str, set[str]] = {}
    nodes = {
        # A stream runs as a whole.
        key: pipeline.name if pipeline.mode == "streaming" else key.to_user_string()
        for pipeline in view.project.pipelines
        for key in assets[pipeline.name].keys
    }
    for pipeline in view.project.pipelines:
        for spec in assets[pipeline.name].specs:
            node = nodes[spec.key]
            owners[node] = pipeline
            needs = {nodes[dep.asset_key] for dep in spec.deps if dep.asset_key in nodes}
            above.setdefault(node, set()).update(needs - {node})
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        last = max((owners[node] for node in cycle), key=view.project.pipelines.index)
        around = " <- ".join(reversed(cycle))
        message = f"with the 'deps' of 'translation', assets depend on each other in a cycle: {around}"
        return broken_step(last, None, message, "leave out 'deps' of one of them")
    return None
