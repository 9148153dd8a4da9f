"""What Dagster is given of each pipeline, and which pipelines it does not take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.definitions.utils import check_valid_name
from dagster.components.resolved.core_models import OpSpec

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.apart import environment_tags
from pipeline_platform.orchestration.asset_keys import clashing_keys, translated_cycle
from pipeline_platform.orchestration.asset_view import AssetsOf, AssetView
from pipeline_platform.orchestration.assets import pipeline_assets
from pipeline_platform.orchestration.automation import MODE_TAG
from pipeline_platform.orchestration.beside import Beside
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.project import BrokenFile, Project, broken_step
from pipeline_platform.orchestration.quarantine_check import (
    QUARANTINE_CHECK,
    checked_step,
    has_limits,
    quarantine_check,
)
from pipeline_platform.orchestration.schedules import pipeline_schedule
from pipeline_platform.orchestration.specs import check_specs, renamed_keys
from pipeline_platform.orchestration.stream_health import health_check
from pipeline_platform.orchestration.streams_sensor import is_supervised
from pipeline_platform.orchestration.translations import Translation


@dataclass(frozen=True)
class MadePipeline:
    """What Dagster is given of one pipeline."""

    pipeline: PipelineConfig
    assets: dg.AssetsDefinition
    job: UnresolvedAssetJobDefinition
    checks: Sequence[dg.AssetChecksDefinition]
    schedules: Sequence[dg.ScheduleDefinition]

    @property
    def names(self) -> list[str]:
        """Of its job and its ops."""
        return [self.job.name, self.assets.op.name, *(check.op.name for check in self.checks)]


def made_pipelines(
    project: Project, assets: AssetsOf, translation: Translation | None, op: OpSpec | None, beside: Beside
) -> tuple[AssetView, list[MadePipeline]]:
    """What Dagster is given of each pipeline; those that it does not take are left out of the project.

    Dagster itself would refuse the whole location for any of them, and name no file.

    Args:
        project: The pipelines.
        assets: What is an asset.
        translation: Given the spec of each asset, gives another one.
        op: What of each pipeline's op is to be otherwise.
        beside: What other components have.

    Raises:
        PipelineConfigurationException: The translation or the op is what is wrong, as it fails for every pipeline.
    """
    while True:
        view, refused = _view(project, assets, translation)
        refused = refused or clashing_keys(view, beside)
        made: list[MadePipeline] = []
        if not refused:
            made, refused = _made(view, translation, op, beside)
        if not refused and translation is not None:
            cycle = translated_cycle(view, {one.pipeline.name: one.assets for one in made})
            refused = [cycle] if cycle is not None else []
        if not refused:
            return view, made
        # What the others are told of each other may have changed.
        project = project.without(refused)


def _view(project: Project, assets: AssetsOf, translation: Translation | None) -> tuple[AssetView, list[BrokenFile]]:
    view = AssetView(project, assets)
    if translation is None:
        return view, []
    renamed, refused = renamed_keys(view, translation)
    if _is_all(refused, project):
        first, problem = project.pipelines[0], refused[0].problems[0]
        raise PipelineConfigurationException(
            f"the translation fails for all {len(refused)} pipelines of {project.folder}, such as '{first.name}': "
            f"{problem.message}",
            hint=problem.hint,
        )
    return replace(view, renamed=renamed, taken=frozenset(renamed.values())), refused


def _is_all(refused: Sequence[object], project: Project) -> bool:
    """Whether it is not the files' fault: with one file, or another one that is broken, nobody can tell."""
    return len(refused) == len(project.pipelines) > 1 and not project.broken


def _made(
    view: AssetView, translation: Translation | None, op: OpSpec | None, beside: Beside
) -> tuple[list[MadePipeline], list[BrokenFile]]:
    pipelines = view.project.pipelines
    names = OpNames([*beside.names, *(pipeline.asset_prefix for pipeline in pipelines)])
    made: list[MadePipeline] = []
    failed: list[tuple[PipelineConfig, str]] = []
    for pipeline in pipelines:
        try:
            made.append(_make(view, pipeline, names, translation, op))
        # The rules of `check` should leave nothing to refuse; what they miss must not take the others down.
        except Exception as error:  # noqa: BLE001
            failed.append((pipeline, str(error)))
    reasons = {why for _, why in failed}
    if _is_all(failed, view.project) and len(reasons) == 1 and (translation or op):
        raise PipelineConfigurationException(
            f"Dagster accepts none of the {len(failed)} pipelines of {view.project.folder}: {reasons.pop()}",
            hint="correct 'op' and 'translation', which all of them have",
        )
    return made, [
        broken_step(pipeline, None, f"Dagster does not accept this pipeline: {why}") for pipeline, why in failed
    ]


def _make(
    view: AssetView, pipeline: PipelineConfig, names: OpNames, translation: Translation | None, op: OpSpec | None
) -> MadePipeline:
    # Dagster itself looks at it only when it resolves the job, with all the others.
    check_valid_name(pipeline.asset_prefix)
    job = _job(view, pipeline)
    return MadePipeline(
        pipeline,
        pipeline_assets(view, pipeline, names, translation, op),
        job,
        [
            *([health_check(view, pipeline, names)] if is_supervised(pipeline) else []),
            *([quarantine_check(view, pipeline, names)] if has_limits(pipeline) else []),
        ],
        [pipeline_schedule(pipeline, cron, job)] if (cron := _cron(pipeline)) is not None else [],
    )


def _cron(pipeline: PipelineConfig) -> str | None:
    """When the schedule ticks; None for a pipeline without, or whose condition looks at its schedule."""
    return pipeline.cron if pipeline.automation != "onSchedule" else None


def _job(view: AssetView, pipeline: PipelineConfig) -> UnresolvedAssetJobDefinition:
    assets = dg.AssetSelection.assets(*(view.key(pipeline, step) for step in view.steps(pipeline)))
    # A check that is an op of its own, such as that of a stream's health, is no part of the job.
    keys = [spec.key for spec in check_specs(view, pipeline)]
    if has_limits(pipeline) and not is_supervised(pipeline):
        # After the run the rows are there that it has put into quarantine.
        keys.append(dg.AssetCheckKey(view.key(pipeline, checked_step(view, pipeline)), QUARANTINE_CHECK))
    checks = dg.AssetSelection.checks(*keys)
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        name=pipeline.asset_prefix,
        selection=assets.without_checks() | checks,
        description=pipeline.description,
        tags={MODE_TAG: pipeline.mode, **environment_tags(pipeline.environment)},
        # A pipeline is one op: a process for each op would only cost a second start of everything.
        executor_def=dg.in_process_executor,
    )
