"""Whether each asset has a key of its own, also after a translation."""

from __future__ import annotations

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.project import BrokenFile, broken_step


def clashing_keys(view: AssetView) -> list[BrokenFile]:
    """Each pipeline with an asset whose key an earlier pipeline has, or another step of its own.

    Args:
        view: Which steps are assets, and under which keys.
    """
    taken: dict[dg.AssetKey, tuple[PipelineConfig, Step]] = {}
    broken: list[BrokenFile] = []
    for pipeline in view.project.pipelines:
        own: dict[dg.AssetKey, tuple[PipelineConfig, Step]] = {}
        for step in view.steps(pipeline):
            key = view.key(pipeline, step)
            if (other := taken.get(key) or own.get(key)) is not None:
                broken.append(_clashing(pipeline, step, key, *other))
                break
            own[key] = pipeline, step
        else:
            taken.update(own)
    return broken


def _clashing(pipeline: PipelineConfig, step: Step, key: dg.AssetKey, other: PipelineConfig, same: Step) -> BrokenFile:
    whose = f"'{same.name}'" if other is pipeline else f"'{same.name}' of '{other.name}' ({other.file})"
    shown = key.to_user_string()
    message = f"its {step.type} '{step.name}' has the asset key '{shown}', which the {same.type} {whose} has too"
    hint = "give the step a 'name', or put the pipeline's into the key, as in \"{{ pipeline }}/{{ step }}\""
    return broken_step(pipeline, step, message, hint)
