"""Pipelines that write one table: whether the loads of one replace rows of another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load


@dataclass(frozen=True)
class Clash:
    """A pipeline that can't write a table beside an earlier one.

    Args:
        pipeline: The later one.
        load: Its load.
        message: Why.
        hint: What to do about it.
    """

    pipeline: PipelineConfig
    load: Step
    message: str
    hint: str


def clashes(pipelines: Iterable[PipelineConfig]) -> list[Clash]:
    """Those pipelines that clash with an earlier one, of which each partition replaces its own rows of a table.

    Two pipelines without partitions may well replace all of one table, such as one that makes it anew by hand.

    Args:
        pipelines: In the order of their files.
    """
    writers: dict[Dataset, list[tuple[PipelineConfig, Step]]] = {}
    found: list[Clash] = []
    for pipeline in pipelines:
        loads = [(step.config.dataset(), step) for step in pipeline.steps if isinstance(step.config, Load)]
        others = ((other, step) for dataset, step in loads for other in writers.get(dataset, ()))
        clash = next((told for other, step in others if (told := _clash(other, (pipeline, step))) is not None), None)
        if clash is not None:
            found.append(clash)
            continue
        for dataset, step in loads:
            writers.setdefault(dataset, []).append((pipeline, step))
    return found


def _clash(earlier: tuple[PipelineConfig, Step], later: tuple[PipelineConfig, Step]) -> Clash | None:
    (other, other_load), (pipeline, load) = earlier, later
    named = f"'{other.name}' ({other.file})"
    if other is pipeline or (other.partitions is None and pipeline.partitions is None):
        return None
    if other.partitions is None:
        whole = f"{named} replaces the whole table, of which this one loads partitions"
        return Clash(*later, whole, _ANOTHER) if _replaces_all(other_load) else None
    if pipeline.partitions is None:
        whole = f"this one replaces the whole table, of which {named} loads partitions"
        return Clash(*later, whole, _ANOTHER) if _replaces_all(load) else None
    if _divided(other) != _divided(pipeline):
        message = f"{named} divides a table into other partitions that this one writes too"
        return Clash(*later, message, "let both have the same partitions")
    if _replaces_all(other_load) and _replaces_all(load) and _overlap(other, pipeline):
        message = f"{named} replaces the same partitions of a table that this one replaces: the last to run is left"
        return Clash(*later, message, "let one of them write another table, merge, or load other partitions")
    return None


_ANOTHER = "let one of them write another table, or have this one merge its rows into the table"


def _replaces_all(load: Step) -> bool:
    assert isinstance(load.config, Load)
    return load.config.replaces_all()


def _divided(pipeline: PipelineConfig) -> tuple[object, ...]:
    """What two pipelines have in common that replace the same rows of a table for a key."""
    found = pipeline.partitions
    assert found is not None
    weekday = found.first.weekday() if found.type == "weekly" else None
    return found.type, found.column.lower(), found.timezone, weekday, found.name, tuple(found.keys or ())


def _overlap(one: PipelineConfig, other: PipelineConfig) -> bool:
    """Whether two that divide a table in the same way have partitions in common."""
    first, second = one.partitions, other.partitions
    assert first is not None
    assert second is not None
    if not first.by_time:
        return True
    return first.first < (second.last_end or datetime.max) and second.first < (first.last_end or datetime.max)
