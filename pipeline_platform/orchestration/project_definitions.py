"""All Dagster definitions of a folder of pipelines."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.definitions.utils import check_valid_name

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.alerts import run_failed_sensor, stream_given_up_sensor
from pipeline_platform.orchestration.assets import pipeline_assets
from pipeline_platform.orchestration.broken import broken_assets, broken_file_check, broken_files_sensor
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.project import BrokenFile, Project, broken_step, load_project
from pipeline_platform.orchestration.specs import asset_key, asset_steps, check_specs, external_specs
from pipeline_platform.orchestration.stream_health import health_check
from pipeline_platform.orchestration.streams_sensor import has_orphans, is_supervised, streams_sensor
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.alerts import AlertsResource
from pipeline_platform.resources.delta_tables import DeltaTables
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

MODE_TAG = "pipeline_platform/mode"
"""On every run of a pipeline's job: `batch` or `streaming`, so that an instance can limit the one or the other."""

# The same objects for every folder: otherwise Dagster takes those of two components for different ones.
_RESOURCES: Mapping[str, Any] = {
    "spark": SparkResource(),
    "vault": VaultResource(),
    "metrics": MetricsResource(),
    "alerts": AlertsResource(),
    "delta_tables": DeltaTables(),
}

STRICT_VARIABLE = "PIPELINE_PLATFORM_STRICT"
"""Set to true, it makes a file that is broken an error of the whole code location: for CI."""


@dataclass(frozen=True)
class _Pipeline:
    """What Dagster is given of one pipeline."""

    pipeline: PipelineConfig
    assets: dg.AssetsDefinition
    job: UnresolvedAssetJobDefinition
    checks: Sequence[dg.AssetChecksDefinition]
    schedules: Sequence[dg.ScheduleDefinition]


def project_definitions(folder: Path) -> dg.Definitions:
    """Assets, checks, jobs and schedules of every pipeline file in a folder.

    Args:
        folder: Where the `*.json` files are.

    Raises:
        PipelineConfigurationException: The folder can't be read; or a file of it is broken, or a plug-in can't be
            used, and `PIPELINE_PLATFORM_STRICT` is set.
    """
    methods = method_registry()
    project = load_project(folder, methods)
    project, made = _made(project)
    logger = dg.get_dagster_logger(__name__)
    if is_strict():
        _require_all(project, [str(plugin) for plugin in methods.failed])
    for plugin in methods.failed:
        logger.error("%s", plugin)
    for broken in project.broken:
        logger.error("%s is not loaded:\n%s", broken.path, "\n".join(map(str, broken.problems)))
    for pipeline in project.pipelines:
        for warning in pipeline.warnings:
            logger.warning("%s", warning)
    jobs = {pipeline.pipeline.name: pipeline.job for pipeline in made}
    streams = [pipeline for pipeline in project.pipelines if is_supervised(pipeline)]
    broken_files = broken_assets(project.broken, project.step_keys)
    names = OpNames([node for pipeline in made for node in _names(pipeline)])
    return dg.Definitions(
        assets=[
            *(pipeline.assets for pipeline in made),
            *external_specs(project),
            *(broken.spec() for broken in broken_files),
        ],
        asset_checks=[
            *(check for pipeline in made for check in pipeline.checks),
            *(broken_file_check(broken, names) for broken in broken_files),
        ],
        jobs=list(jobs.values()),
        sensors=[
            run_failed_sensor(),
            *([streams_sensor(project, streams, jobs)] if streams or has_orphans(project) else []),
            *([stream_given_up_sensor(streams)] if streams else []),
            *([broken_files_sensor(broken_files)] if broken_files else []),
        ],
        schedules=[schedule for pipeline in made for schedule in pipeline.schedules],
        resources=_RESOURCES,
    )


def is_strict() -> bool:
    """Whether `PIPELINE_PLATFORM_STRICT` says that a broken file is an error of the whole code location.

    Raises:
        PipelineConfigurationException: It says neither.
    """
    value = os.environ.get(STRICT_VARIABLE, "").strip().lower()
    if value in ("1", "true", "yes"):
        return True
    if value in ("", "0", "false", "no"):
        return False
    raise PipelineConfigurationException(f"{STRICT_VARIABLE} is neither true nor false", hint="set it to true or false")


def _require_all(project: Project, failed: Sequence[str]) -> None:
    problems = [problem for broken in project.broken for problem in broken.problems]
    if problems or failed:
        raise PipelineConfigurationException(
            "\n".join(["not everything can be loaded:", *failed, *map(str, problems)]),
            problems=problems,
            hint=f"fix them; without {STRICT_VARIABLE} the other pipelines are loaded",
        )


def _made(project: Project) -> tuple[Project, list[_Pipeline]]:
    """What Dagster is given of each pipeline; those that it does not take are left out of the project."""
    while True:
        names = OpNames(pipeline.asset_prefix for pipeline in project.pipelines)
        made: list[_Pipeline] = []
        refused: list[BrokenFile] = []
        for pipeline in project.pipelines:
            try:
                made.append(_make(project, pipeline, names))
            # The rules of `check` should leave nothing to refuse; what they miss must not take the others down.
            except Exception as error:  # noqa: BLE001
                refused.append(broken_step(pipeline, None, f"Dagster does not accept this pipeline: {error}"))
        if not refused:
            return project, made
        # What the others are told of each other may have changed.
        project = project.without(refused)


def _make(project: Project, pipeline: PipelineConfig, names: OpNames) -> _Pipeline:
    # Dagster itself looks at it only when it resolves the job, with all the others.
    check_valid_name(pipeline.asset_prefix)
    job = _job(pipeline)
    return _Pipeline(
        pipeline,
        pipeline_assets(project, pipeline, names),
        job,
        [health_check(pipeline, names)] if is_supervised(pipeline) else [],
        [_schedule(pipeline, pipeline.schedule, job)] if pipeline.schedule is not None else [],
    )


def _names(pipeline: _Pipeline) -> list[str]:
    return [pipeline.job.name, pipeline.assets.op.name, *(check.op.name for check in pipeline.checks)]


def _schedule(pipeline: PipelineConfig, cron: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    about = f"{pipeline.description}\n\n" if pipeline.description else ""
    return dg.ScheduleDefinition(
        name=f"{pipeline.asset_prefix}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=pipeline.schedule_timezone,
        description=f"{about}`{cron}`, in the time zone {pipeline.schedule_timezone}.",
    )


def _job(pipeline: PipelineConfig) -> UnresolvedAssetJobDefinition:
    assets = dg.AssetSelection.assets(*(asset_key(pipeline, step) for step in asset_steps(pipeline)))
    # A check that is an op of its own, such as that of a stream's health, is no part of the job.
    checks = dg.AssetSelection.checks(*(spec.key for spec in check_specs(pipeline)))
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        name=pipeline.asset_prefix,
        selection=assets.without_checks() | checks,
        description=pipeline.description,
        tags={MODE_TAG: pipeline.mode},
        # A pipeline is one op: a process for each op would only cost a second start of everything.
        executor_def=dg.in_process_executor,
    )
