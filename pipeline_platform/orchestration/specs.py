"""What Dagster knows of a pipeline before it runs: asset specs, check specs, keys and versions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.orchestration.project import Project
from pipeline_platform.registry import dataset_kind
from pipeline_platform.resources.asset_metadata import PIPELINE_FILE, STEP
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.validate import Validate

MATERIALIZATION_SECONDS = 900.0
"""Between two materializations of a sink by a stream that runs."""


def asset_key(pipeline: PipelineConfig, step: Step) -> dg.AssetKey:
    """The key of a step's asset: pipeline, step."""
    return dg.AssetKey([pipeline.asset_prefix, step.name])


def dataset_key(project: Project, dataset: Dataset) -> dg.AssetKey:
    """The key of a dataset that no pipeline of the project writes: system, location."""
    # A pipeline may have the name of a system.
    is_taken = dataset.key in project.step_keys
    return dg.AssetKey([_SOURCES, *dataset.key] if is_taken else list(dataset.key))


def source_keys(project: Project, pipeline: PipelineConfig, step: Step) -> list[dg.AssetKey]:
    """The assets an extract reads: the loads that write its dataset, or the dataset itself."""
    dataset = step.config.dataset() if isinstance(step.config, Extract) else None
    if dataset is None:
        return []
    writers = project.writers_of(dataset, pipeline)
    return [asset_key(*writer) for writer in writers] or [dataset_key(project, dataset)]


def asset_steps(pipeline: PipelineConfig) -> list[Step]:
    """The steps that are assets: all but validations, which are checks."""
    return [step for step in pipeline.steps if step.type != "validate"]


def asset_specs(project: Project, pipeline: PipelineConfig) -> list[dg.AssetSpec]:
    """One spec for each extract, transform and load."""
    versions = code_versions(pipeline)
    file = {PIPELINE_FILE: str(pipeline.file.absolute())} if pipeline.file is not None else {}
    return [
        dg.AssetSpec(
            key=asset_key(pipeline, step),
            deps=[*_step_deps(pipeline, step), *source_keys(project, pipeline, step)],
            group_name=pipeline.asset_prefix,
            kinds={step.config.kind, *(("spark",) if step.type == "transform" else ())},
            description=_description(pipeline, step),
            code_version=versions[step.index],
            owners=pipeline.metadata.owners(),
            tags=_tags(pipeline),
            metadata={**_uri(step), "method": step.config.method, STEP: step.number, **file},
            skippable=True,
            freshness_policy=_freshness(pipeline) if step.type == "load" else None,
        )
        for step in asset_steps(pipeline)
    ]


def check_specs(pipeline: PipelineConfig) -> list[dg.AssetCheckSpec]:
    """One spec for each validation, on the asset it looks at."""
    return [
        dg.AssetCheckSpec(
            name=step.name,
            asset=asset_key(pipeline, pipeline.steps[step.inputs[0].step]),
            blocking=step.config.on_failure == "fail",
            description=_description(pipeline, step),
        )
        for step in pipeline.steps
        if isinstance(step.config, Validate)
    ]


def external_specs(project: Project) -> list[dg.AssetSpec]:
    """One spec for each dataset that is read and that no pipeline of the project writes."""
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for dataset in project.external_datasets():
        key = dataset_key(project, dataset)
        specs[key] = dg.AssetSpec(
            key=key,
            group_name=_SOURCES,
            kinds={dataset_kind(dataset.system)},
            description=f"Read from {dataset.uri}; no pipeline of this project writes it.",
            metadata={"dagster/uri": dataset.uri},
        )
    return list(specs.values())


_SOURCES = "sources"


def code_versions(pipeline: PipelineConfig) -> dict[int, str]:
    """By step index: a hash of the step's config and of all above it, so that an edit shows what is stale.

    A validation counts for what comes after it, since it may take rows out.
    """
    versions: dict[int, str] = {}
    validated: dict[int, list[str]] = {}
    for step in pipeline.steps:
        above = [[versions[edge.step], *validated.get(edge.step, [])] for edge in step.inputs]
        own = json.dumps([step.config.method, step.config.as_config(), above], sort_keys=True)
        versions[step.index] = hashlib.sha256(own.encode()).hexdigest()[:16]
        if step.type == "validate":
            validated.setdefault(step.inputs[0].step, []).append(versions[step.index])
    return versions


def _freshness(pipeline: PipelineConfig) -> dg.FreshnessPolicy | None:
    """A stream materializes its sinks now and then while it runs; one that has missed that some times is down."""
    if pipeline.mode != "streaming" or pipeline.main_load.config.ends_by_itself():
        return None
    expected = timedelta(seconds=MATERIALIZATION_SECONDS)
    return dg.FreshnessPolicy.time_window(warn_window=2 * expected, fail_window=4 * expected)


def _step_deps(pipeline: PipelineConfig, step: Step) -> Sequence[dg.AssetKey]:
    return list(dict.fromkeys(asset_key(pipeline, pipeline.steps[edge.step]) for edge in step.inputs))


def _uri(step: Step) -> dict[str, str]:
    if isinstance(step.config, (Extract, Load)):
        dataset = step.config.dataset()
        return {"dagster/uri": dataset.uri} if dataset is not None else {}
    return {}


def _description(pipeline: PipelineConfig, step: Step) -> str:
    place = f"{pipeline.file}:{step.location.line}" if pipeline.file is not None else pipeline.name
    config = json.dumps(step.config.as_config(), indent=2, ensure_ascii=False)
    about = f"{pipeline.description}\n\n" if pipeline.description else ""
    return f"{about}Step {step.number}, `{step.config.method}`, of `{place}`:\n\n```json\n{config}\n```"


def _tags(pipeline: PipelineConfig) -> dict[str, str]:
    tags = {re.sub(r"[^A-Za-z0-9_.-]+", "_", tag)[:63]: "" for tag in pipeline.metadata.tags}
    version = pipeline.metadata.version
    return {**tags, **({"version": re.sub(r"[^A-Za-z0-9_.-]+", "_", version)[:63]} if version else {})}
