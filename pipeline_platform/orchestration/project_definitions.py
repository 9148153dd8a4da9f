"""All Dagster definitions of a folder of pipelines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.resolved.core_models import OpSpec

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.alerts import alerts_sensor
from pipeline_platform.orchestration.apart import environment_tags, sensor_status
from pipeline_platform.orchestration.asset_view import AssetsOf, AssetView
from pipeline_platform.orchestration.automation import MODE_TAG, automation_sensor
from pipeline_platform.orchestration.beside import Beside
from pipeline_platform.orchestration.broken import broken_assets, broken_file_check, broken_files_sensor
from pipeline_platform.orchestration.broken_steps import broken_pipelines
from pipeline_platform.orchestration.group_run import CurrentView, group_job
from pipeline_platform.orchestration.items_sensor import items_sensor, refresh_seconds
from pipeline_platform.orchestration.made_pipelines import made_pipelines
from pipeline_platform.orchestration.maintenance import table_maintenance
from pipeline_platform.orchestration.never_started import never_started
from pipeline_platform.orchestration.new_data import new_data_sensor, watched_steps
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.project import Project, load_project
from pipeline_platform.orchestration.quarantine_jobs import quarantine_jobs
from pipeline_platform.orchestration.replaced_tables import replaced_tables
from pipeline_platform.orchestration.specs import external_specs
from pipeline_platform.orchestration.stream_groups import group_names, group_size
from pipeline_platform.orchestration.streams_sensor import has_orphans, is_supervised, streams_sensor
from pipeline_platform.orchestration.translations import Translation
from pipeline_platform.registry import method_registry
from pipeline_platform.resources.alerts import AlertsResource, alert_warnings
from pipeline_platform.resources.delta_tables import DeltaTables
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

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


def project_definitions(
    folder: Path,
    assets: AssetsOf = "steps",
    translation: Translation | None = None,
    op: OpSpec | None = None,
    name: str | None = None,
    beside: Beside | None = None,
) -> dg.Definitions:
    """Assets, checks, jobs and schedules of every pipeline file in a folder.

    Args:
        folder: Where the `*.json` files are.
        assets: What is an asset: each step but validations, or only the tables that are loaded.
        translation: Given the spec of each asset, gives another one, perhaps with another key.
        op: What of each pipeline's op is to be otherwise; a name only where there is one pipeline.
        name: What tells the sensors from those of another folder in the same code location: a part of their names. One
            folder has none: it brings the alerts of all, and what only the others read from outside is in the graph
            without a description.
        beside: What other components of the code location have, where that is known: what is only read is described
            then, and a pipeline that has a name or a key of theirs is left out.

    Raises:
        PipelineConfigurationException: The folder can't be read; or a file of it is broken, or a plug-in can't be
            used, and `PIPELINE_PLATFORM_STRICT` is set.
        dg.DagsterInvalidDefinitionError: Several ops would have one name.
    """
    methods = method_registry()
    project = load_project(folder, methods)
    if op is not None and op.name is not None and len(project.pipelines) > 1:
        raise dg.DagsterInvalidDefinitionError(
            f"'name' of 'op' is for a folder with one pipeline, and {folder} has {len(project.pipelines)}; leave it out"
        )
    others = beside or Beside()
    view, made = made_pipelines(project, assets, translation, op, others)
    project = view.project
    logger = dg.get_dagster_logger(__name__)
    if is_strict():
        _require_all(project, [str(plugin) for plugin in methods.failed])
    for warning in alert_warnings(strict=is_strict()):
        logger.warning("%s", warning)
    for plugin in methods.failed:
        logger.error("%s", plugin)
    for broken in project.broken:
        logger.error("%s", broken.text)
    # Those of one file may have the same.
    for warning in dict.fromkeys(warning for pipeline in project.pipelines for warning in pipeline.warnings):
        logger.warning("%s", warning)
    for warning in (*never_started(project), *replaced_tables(project.pipelines)):
        logger.warning("%s", warning)
    jobs = {pipeline.pipeline.name: pipeline.job for pipeline in made}
    streams = [pipeline for pipeline in project.pipelines if is_supervised(pipeline)]
    watching = [pipeline for pipeline in project.pipelines if watched_steps(pipeline)]
    automated = [pipeline for pipeline in project.pipelines if pipeline.automation is not None]
    keys = {key for pipeline in made for key in pipeline.assets.keys}
    part = f"_{name}" if name is not None else ""
    if project.place_apart is not None:
        # Runs are found by the names of jobs, and production may be in the same instance.
        part = f"{part}_{project.place_apart.replace('-', '_')}"
    broken_files = broken_assets(project.broken, keys | others.keys.keys(), part)
    names = OpNames([*others.names, *(node for pipeline in made for node in pipeline.names)])
    groups = _group_jobs(
        folder,
        streams,
        names,
        view,
        lambda: made_pipelines(load_project(folder, methods), assets, translation, op, others)[0],
        part,
    )
    # Two components may not describe the same source, since Dagster adds to each where it comes from.
    is_described = name is None or beside is not None
    external = [spec for spec in external_specs(view) if spec.key not in others.keys] if is_described else []
    taken = keys.union(others.keys, (spec.key for spec in external), (file.key for file in broken_files))
    not_loaded = broken_pipelines(broken_files, assets, translation, taken, names)
    maintenance = table_maintenance(view, names, frozenset(taken))
    return dg.Definitions(
        assets=[
            *(pipeline.assets for pipeline in made),
            *external,
            *(broken.spec() for broken in broken_files),
            *(pipeline.assets for pipeline in not_loaded),
            *maintenance.assets,
        ],
        asset_checks=[
            *(check for pipeline in made for check in pipeline.checks),
            *(broken_file_check(broken, names) for broken in broken_files),
        ],
        jobs=[
            *jobs.values(),
            *groups.values(),
            *(one.job for one in not_loaded if one.job is not None),
            *quarantine_jobs(view, names, part),
            *maintenance.jobs,
        ],
        sensors=[
            *([alerts_sensor(sensor_status(project.environment))] if name is None else []),
            *([streams_sensor(view, streams, jobs, groups, part)] if streams or has_orphans(project) else []),
            *([broken_files_sensor(broken_files, part)] if broken_files else []),
            *_items_sensors(folder, project, part),
            *([new_data_sensor(watching, jobs, part)] if watching else []),
            *([automation_sensor(automated, _keys(view, automated), part)] if automated else []),
        ],
        schedules=[*(schedule for pipeline in made for schedule in pipeline.schedules), *maintenance.schedules],
        resources=_RESOURCES,
    )


def _items_sensors(folder: Path, project: Project, part: str) -> list[dg.SensorDefinition]:
    """The sensor that writes the items of files, which are those of production."""
    seconds = refresh_seconds() if project.place_apart is None else None
    return [items_sensor(folder, project.pipelines, seconds, part)] if seconds else []


def _group_jobs(
    folder: Path,
    streams: Sequence[PipelineConfig],
    names: OpNames,
    view: AssetView,
    load: Callable[[], AssetView],
    part: str,
) -> dict[str, dg.JobDefinition]:
    """The jobs of the groups that streams may be in, by the groups' names."""
    found: dict[str, dg.JobDefinition] = {}
    if not (wanted := group_names(streams, group_size(streams))):
        return found
    current = CurrentView(folder, view, load)
    tags = {MODE_TAG: "streaming", **environment_tags(view.project.environment)}
    for group in wanted:
        job = names.take(f"streams_{group}{part}")
        found[group] = group_job(current, group, job, names.take(f"run_{job}"), tags)
    return found


def _keys(view: AssetView, pipelines: Sequence[PipelineConfig]) -> list[dg.AssetKey]:
    return [view.key(pipeline, step) for pipeline in pipelines for step in view.steps(pipeline)]


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
