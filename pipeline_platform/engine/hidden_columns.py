"""Columns whose values are not shown to everyone, also under another name further down."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.planned import PlannedFrame
from pipeline_platform.redaction import looks_secret
from pipeline_platform.steps.validate import Validate


def hidden_columns(pipeline: PipelineConfig, frames: Mapping[int, PlannedFrame], step: Step) -> frozenset[str]:
    """The columns of a step's frame that are marked as sensitive, look like secrets, or are made of such columns.

    A column is marked by `sensitiveColumns` of a validation, or by the contract of a load. Where a step does not say
    what a column of it is made of, it counts as made of all there are.

    Args:
        pipeline: The pipeline.
        frames: What its extracts and transforms make, as planned.
        step: An extract or a transform.
    """
    marked = frozenset(
        name.lower()
        for one in pipeline.steps
        if isinstance(one.config, Validate)
        for name in one.config.sensitive_columns
    )
    found: dict[int, frozenset[str]] = {}
    for index in sorted(pipeline.upstream_of({step.index})):
        if index in frames:
            found[index] = _hidden(frames[index], found, marked)
    return found[step.index]


def _hidden(planned: PlannedFrame, above: Mapping[int, frozenset[str]], marked: frozenset[str]) -> frozenset[str]:
    hidden_above = {(index, name) for index, names in above.items() for name in names}
    inputs = {edge.step for edge in planned.step.inputs}
    is_any_hidden = any(index in inputs for index, _ in hidden_above)
    names: set[str] = set()
    for column in planned.columns:
        sources = planned.lineage.get(column.name)
        is_made_of_hidden = is_any_hidden if sources is None else not hidden_above.isdisjoint(sources)
        if column.name.lower() in marked or looks_secret(column.name) or is_made_of_hidden:
            names.add(column.name)
    return frozenset(names)
