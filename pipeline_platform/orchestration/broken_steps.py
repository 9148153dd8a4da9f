"""The steps of pipelines that are not loaded, as assets that fail: what depends on them would not load without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.definitions.utils import check_valid_name

from pipeline_platform.config.dagster_names import reserved_name
from pipeline_platform.config.outline import Outline, StepOutline
from pipeline_platform.orchestration.asset_view import AssetsOf
from pipeline_platform.orchestration.broken import GROUP, BrokenAsset
from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.translations import StepNames, Translation
from pipeline_platform.resources.asset_metadata import NOT_LOADED
from pipeline_platform.resources.partitions import partitions_definition


@dataclass(frozen=True)
class BrokenPipeline:
    """A pipeline that is not loaded, in Dagster.

    Args:
        assets: Its steps; whoever materializes them is told what is wrong with the file.
        job: Its job, which does the same; None if its name is no name for one.
    """

    assets: dg.AssetsDefinition
    job: UnresolvedAssetJobDefinition | None


def broken_pipelines(
    broken: Sequence[BrokenAsset],
    assets: AssetsOf,
    translation: Translation | None,
    taken: set[dg.AssetKey],
    names: OpNames,
) -> list[BrokenPipeline]:
    """One for each pipeline that is not loaded and of which a step can be told.

    A person's asset, job, schedule or sensor may name the steps or the job, and Dagster loads none of the location
    where there is no such asset or job.

    Args:
        broken: The files.
        assets: What is an asset.
        translation: Gives the keys of assets.
        taken: Keys that other assets have; those of the steps are added.
        names: Of jobs and ops.
    """
    logger = dg.get_dagster_logger(__name__)
    found: list[BrokenPipeline] = []
    for file in broken:
        for outline in file.file.outlines:
            if reserved_name(_prefix(outline)) is not None:
                continue
            keys = {_key(outline, step, translation): step for step in _shown(outline, assets)}
            specs = [_spec(file, outline, key) for key in keys if key not in taken]
            try:
                made = _made(file, outline, specs, names) if specs else None
            # A name in a broken file may be none that Dagster takes.
            except Exception as error:  # noqa: BLE001
                logger.warning("the steps of %s in %s are no assets: %s", outline.name, file.file.path, error)
                continue
            if made is not None:
                taken.update(made.assets.keys)
                found.append(made)
    return found


def _shown(outline: Outline, assets: AssetsOf) -> list[StepOutline]:
    loads = [step for step in outline.steps if step.type == "load"]
    return loads if assets == "tables" and loads else [step for step in outline.steps if step.type != "validate"]


def _prefix(outline: Outline) -> str:
    return outline.name.replace("-", "_")


def _key(outline: Outline, step: StepOutline, translation: Translation | None) -> dg.AssetKey:
    spec = dg.AssetSpec([_prefix(outline), step.name])
    if translation is None:
        return spec.key
    try:
        return translation(spec, StepNames(outline.name, step.name, step.type, step.method)).key
    # It may be what the file is left out for.
    except Exception:  # noqa: BLE001
        return spec.key


def _spec(broken: BrokenAsset, outline: Outline, key: dg.AssetKey) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=[broken.key],
        group_name=GROUP,
        kinds={"json"},
        description=broken.message,
        metadata={NOT_LOADED: broken.file.text},
        partitions_def=partitions_definition(outline.partitions) if outline.partitions is not None else None,
    )


def _made(broken: BrokenAsset, outline: Outline, specs: Sequence[dg.AssetSpec], names: OpNames) -> BrokenPipeline:
    prefix = check_valid_name(_prefix(outline))
    job = None
    if names.is_free(prefix):
        job = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
            name=names.take(prefix),
            selection=dg.AssetSelection.assets(*(spec.key for spec in specs)).without_checks(),
            description=broken.message,
            executor_def=dg.in_process_executor,
        )

    @dg.multi_asset(name=names.take(f"not_loaded_{prefix}"), specs=specs, can_subset=True, description=broken.message)
    def compute() -> Iterator[dg.MaterializeResult[Any]]:
        yield from _refuse(broken)

    return BrokenPipeline(compute, job)


def _refuse(broken: BrokenAsset) -> Iterator[dg.MaterializeResult[Any]]:
    raise dg.Failure(f"{broken.file.text}\nnext: correct the file, and reload the definitions", allow_retries=False)
