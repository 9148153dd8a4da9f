"""All Dagster definitions of a folder of pipelines."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.methods.vocabulary import vocabulary
from pipeline_platform.orchestration.assets import pipeline_assets
from pipeline_platform.orchestration.broken import broken_file_assets
from pipeline_platform.orchestration.project import load_project
from pipeline_platform.orchestration.specs import asset_key, asset_steps, external_specs
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform.resources.vault import VaultResource


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
    return dg.Definitions(
        assets=[
            *(pipeline_assets(project, pipeline) for pipeline in project.pipelines),
            *external_specs(project),
            *(broken_file_assets(broken) for broken in project.broken),
        ],
        jobs=list(jobs.values()),
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
        resources={"spark": SparkResource(), "vault": VaultResource()},
        # A pipeline is one op: a process for each op would only cost a second start of everything.
        executor=dg.in_process_executor,
    )


def _job(pipeline: PipelineConfig):
    return dg.define_asset_job(
        name=pipeline.asset_prefix,
        selection=dg.AssetSelection.assets(*(asset_key(pipeline, step) for step in asset_steps(pipeline))),
        description=pipeline.description,
    )
