"""What Dagster knows of a pipeline before it runs: asset specs, check specs, keys and versions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from pipeline_platform.config.dagster_names import dagster_tag
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.orchestration.asset_view import SOURCES, AssetView
from pipeline_platform.orchestration.automation import automation_conditions
from pipeline_platform.orchestration.contracts import contract_content, contract_metadata
from pipeline_platform.orchestration.project import BrokenFile, broken_step
from pipeline_platform.orchestration.translations import Translation, reason, translated, translation_hint
from pipeline_platform.registry import dataset_kind
from pipeline_platform.resources.asset_metadata import (
    ENVIRONMENT,
    ITEM,
    OPTIONS,
    PIPELINE,
    PIPELINE_FILE,
    STEP,
    TEMPLATE,
)
from pipeline_platform.resources.partitions import partition_mapping, partitions_definition
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.validate import Validate

MATERIALIZATION_SECONDS = 900.0
"""Between two materializations of a sink by a stream that runs."""


def _source_deps(view: AssetView, pipeline: PipelineConfig, step: Step) -> list[dg.AssetDep]:
    dataset = step.config.dataset() if isinstance(step.config, Extract) else None
    if dataset is None:
        return []
    writers = [
        dg.AssetDep(view.key(writer, load), partition_mapping=partition_mapping(pipeline.partitions, writer.partitions))
        for writer, load in view.project.writers_of(dataset, pipeline)
    ]
    return writers or [dg.AssetDep(view.dataset_key(dataset))]


def renamed_keys(view: AssetView, translation: Translation) -> tuple[dict[dg.AssetKey, dg.AssetKey], list[BrokenFile]]:
    """The keys that a translation gives to assets, by the key that they have without.

    Args:
        view: Which steps are assets.
        translation: Given a spec, gives another one.

    Returns:
        The keys, and each pipeline for which the translation fails.
    """
    renamed: dict[dg.AssetKey, dg.AssetKey] = {}
    refused: list[BrokenFile] = []
    for pipeline in view.project.pipelines:
        for spec, step in zip(_asset_specs(view, pipeline, view), view.steps(pipeline), strict=True):
            try:
                renamed[spec.key] = translated(translation, spec, pipeline, step).key
            # It may be anybody's code, or an expression that is right for the other pipelines.
            except Exception as error:  # noqa: BLE001
                why = reason(error)
                message = f"its {step.type} '{step.name}' can't be an asset: {why}"
                refused.append(broken_step(pipeline, step, message, translation_hint(pipeline, why)))
                break
    return renamed, refused


def asset_specs(
    view: AssetView, pipeline: PipelineConfig, translation: Translation | None = None
) -> list[dg.AssetSpec]:
    """One spec for each step that is an asset.

    Args:
        view: Which steps are assets.
        pipeline: The pipeline.
        translation: Given each spec, gives another one.
    """
    specs = _asset_specs(replace(view, renamed={}), pipeline, view)
    if translation is None:
        return specs
    named = zip(specs, view.steps(pipeline), strict=True)
    return [
        spec.replace_attributes(  # pyright: ignore[reportUnknownMemberType]
            deps=[
                dg.AssetDep(view.renamed.get(dep.asset_key, dep.asset_key), partition_mapping=dep.partition_mapping)
                for dep in spec.deps
            ]
        )
        for spec in (translated(translation, spec, pipeline, step) for spec, step in named)
    ]


def _asset_specs(view: AssetView, pipeline: PipelineConfig, named: AssetView) -> list[dg.AssetSpec]:
    """The specs before they are translated, but for the keys in their conditions, which nothing translates later."""
    versions = code_versions(pipeline)
    partitions = partitions_definition(pipeline.partitions) if pipeline.partitions is not None else None
    file = {PIPELINE_FILE: str(pipeline.file.absolute())} if pipeline.file is not None else {}
    item = (
        {ITEM: dg.MetadataValue.json(dict(pipeline.item.values)), OPTIONS: pipeline.item.options}
        if pipeline.item is not None
        else {}
    )
    return [
        dg.AssetSpec(
            key=view.key(pipeline, step),
            deps=_deps(view, pipeline, step),
            partitions_def=partitions,
            automation_condition=condition,
            group_name=pipeline.asset_prefix,
            kinds={step.config.kind, *(("spark",) if step.type == "transform" else ())},
            description=_description(pipeline, step),
            code_version=versions[step.index],
            owners=pipeline.metadata.owners(),
            tags=_tags(pipeline),
            metadata={
                **_uri(step),
                **_table_name(step),
                "method": step.config.method,
                "config": dg.MetadataValue.json(step.config.as_config()),
                PIPELINE: pipeline.name,
                STEP: step.number,
                **({ENVIRONMENT: pipeline.environment.name} if pipeline.environment is not None else {}),
                **file,
                **item,
                **contract_metadata(pipeline, step),
                **_template(pipeline, step),
                **({"partition_expr": pipeline.partitions.column} if pipeline.partitions is not None else {}),
            },
            skippable=True,
            freshness_policy=_freshness(pipeline) if step.type == "load" else None,
        )
        for step, condition in zip(view.steps(pipeline), automation_conditions(named, pipeline), strict=True)
    ]


def check_specs(view: AssetView, pipeline: PipelineConfig) -> list[dg.AssetCheckSpec]:
    """For each validation one spec on the frame it looks at, and one on each table that is loaded of it."""
    return [
        dg.AssetCheckSpec(
            name=step.name,
            asset=view.key(pipeline, guarded),
            blocking=step.config.on_failure == "fail",
            description=_description(pipeline, step),
        )
        for step in pipeline.steps
        if isinstance(step.config, Validate)
        for guarded in view.guarded(pipeline, step)
    ]


def external_specs(view: AssetView) -> list[dg.AssetSpec]:
    """One spec for each dataset that is read and that no pipeline of the project writes."""
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for dataset in view.project.external_datasets():
        key = view.dataset_key(dataset)
        specs[key] = dg.AssetSpec(
            key=key,
            group_name=SOURCES,
            kinds={dataset_kind(dataset.system)},
            description=f"Read from {dataset.uri}; no pipeline of this project writes it.",
            metadata={"dagster/uri": dataset.uri},
        )
    return list(specs.values())


def code_versions(pipeline: PipelineConfig) -> dict[int, str]:
    """By step index: a hash of the step's config and of all above it, so that an edit shows what is stale.

    A validation counts for what comes after it, since it may take rows out.
    """
    versions: dict[int, str] = {}
    validated: dict[int, list[str]] = {}
    for step in pipeline.in_turn:
        above = [[versions[edge.step], *validated.get(edge.step, [])] for edge in step.inputs]
        parts = [step.config.method, step.config.as_config(), above, *contract_content(step)]
        own = json.dumps(parts, sort_keys=True)
        versions[step.index] = hashlib.sha256(own.encode()).hexdigest()[:16]
        if step.type == "validate":
            validated.setdefault(step.inputs[0].step, []).append(versions[step.index])
    return versions


def _freshness(pipeline: PipelineConfig) -> dg.FreshnessPolicy | None:
    """A stream materializes its sinks now and then while it runs; one that has missed that some times is down.

    Beside production, nobody expects it to run.
    """
    if pipeline.mode != "streaming" or pipeline.place_apart is not None or pipeline.main_load.config.ends_by_itself():
        return None
    expected = timedelta(seconds=MATERIALIZATION_SECONDS)
    return dg.FreshnessPolicy.time_window(warn_window=2 * expected, fail_window=4 * expected)


def _deps(view: AssetView, pipeline: PipelineConfig, step: Step) -> list[dg.AssetDep]:
    deps = [dg.AssetDep(view.key(pipeline, above)) for above in view.inputs(pipeline, step)]
    for extract in view.sources(pipeline, step):
        deps += _source_deps(view, pipeline, extract)
    # One table may be read twice.
    return list({dep.asset_key: dep for dep in deps}.values())


def _template(pipeline: PipelineConfig, step: Step) -> dict[str, str]:
    """The template that a step is written in."""
    file = step.location.file
    return {TEMPLATE: str(file.absolute())} if file is not None and file != pipeline.file else {}


def _uri(step: Step) -> dict[str, str]:
    if isinstance(step.config, (Extract, Load)):
        dataset = step.config.dataset()
        return {"dagster/uri": dataset.uri} if dataset is not None else {}
    return {}


def _table_name(step: Step) -> dict[str, str]:
    name = step.config.catalog_name() if isinstance(step.config, Load) else None
    return {"dagster/table_name": name} if name is not None else {}


def _description(pipeline: PipelineConfig, step: Step) -> str:
    place = f"{step.location.file}:{step.location.line}" if step.location.file is not None else pipeline.name
    about = f"{pipeline.description}\n\n" if pipeline.description else ""
    return f"{about}Step {step.number} of {pipeline.written_steps}, `{step.config.method}`, of `{place}`."


def _tags(pipeline: PipelineConfig) -> dict[str, str]:
    tags = {dagster_tag(tag): "" for tag in pipeline.metadata.tags}
    version = pipeline.metadata.version
    return {**tags, **({"version": dagster_tag(version)} if version else {})}
