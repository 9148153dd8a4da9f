"""All Dagster definitions of a folder of pipelines."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.methods.vocabulary import vocabulary
from pipeline_platform.orchestration.alerts import run_failed_sensor, stream_given_up_sensor
from pipeline_platform.orchestration.assets import pipeline_assets
from pipeline_platform.orchestration.broken import broken_file_assets
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.specs import asset_key, asset_steps, check_specs, external_specs
from pipeline_platform.orchestration.stream_health import health_check
from pipeline_platform.orchestration.streams_sensor import has_orphans, is_supervised, streams_sensor
from pipeline_platform.resources.alerts import AlertsResource
from pipeline_platform.resources.metrics import MetricsResource
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource

MODE_TAG = "pipeline_platform/mode"
"""On every run of a pipeline's job: `batch` or `streaming`, so that an instance can limit the one or the other."""


def project_definitions(folder: Path) -> dg.Definitions:
    """Assets, checks, jobs and schedules of every pipeline file in a folder.

    Args:
        folder: Where the `*.json` files are.
    """
    project = load_project(folder, vocabulary())
    logger = dg.get_dagster_logger(__name__)
    for broken in project.broken:
        logger.error("%s is not loaded:\n%s", broken.path, "\n".join(map(str, broken.problems)))
    for pipeline in project.pipelines:
        for warning in pipeline.warnings:
            logger.warning("%s", warning)
    jobs = {pipeline.name: _job(pipeline) for pipeline in project.pipelines}
    streams = [pipeline for pipeline in project.pipelines if is_supervised(pipeline)]
    return dg.Definitions(
        assets=[
            *(pipeline_assets(project, pipeline) for pipeline in project.pipelines),
            *external_specs(project),
            *(broken_file_assets(broken) for broken in project.broken),
        ],
        asset_checks=[health_check(pipeline) for pipeline in streams],
        jobs=list(jobs.values()),
        sensors=[
            run_failed_sensor(),
            *([streams_sensor(project, streams, jobs)] if streams or has_orphans(project) else []),
            *([stream_given_up_sensor(streams)] if streams else []),
        ],
        schedules=[
            dg.ScheduleDefinition(
                name=f"{pipeline.asset_prefix}_schedule",
                job=jobs[pipeline.name],
                cron_schedule=pipeline.schedule,
                description=pipeline.description,
            )
            for pipeline in project.pipelines
            if pipeline.schedule is not None
        ],
        resources={
            "spark": SparkResource(),
            "vault": VaultResource(),
            "metrics": MetricsResource(),
            "alerts": AlertsResource(),
        },
    )


def _job(pipeline: PipelineConfig):
    assets = dg.AssetSelection.assets(*(asset_key(pipeline, step) for step in asset_steps(pipeline)))
    # A check that is an op of its own, such as that of a stream's health, is no part of the job.
    checks = dg.AssetSelection.checks(*(spec.key for spec in check_specs(pipeline)))
    return dg.define_asset_job(
        name=pipeline.asset_prefix,
        selection=assets.without_checks() | checks,
        description=pipeline.description,
        tags={MODE_TAG: pipeline.mode},
        # A pipeline is one op: a process for each op would only cost a second start of everything.
        executor_def=dg.in_process_executor,
    )
