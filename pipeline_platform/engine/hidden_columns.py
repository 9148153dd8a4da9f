"""Columns whose values are not shown to everyone, also under another name further down."""

from __future__ import annotations

from collections.abc import Mapping, Set

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.planned import PlannedFrame
from pipeline_platform.frames.sensitive_fields import sensitive_columns, unfound_names
from pipeline_platform.steps.validate import Validate


def hidden_columns(
    pipeline: PipelineConfig,
    frames: Mapping[int, PlannedFrame],
    step: Step,
    elsewhere: Mapping[int, Set[str]] | None = None,
) -> frozenset[str]:
    """The columns of a step's frame that are marked as sensitive, look like secrets, or are made of such columns.

    A column is marked by `sensitiveColumns` of a validation, or by the contract of a load. Where a step does not say
    what a column of it is made of, it counts as made of all there are.

    Args:
        pipeline: The pipeline.
        frames: What its extracts and transforms make, as planned.
        step: An extract or a transform.
        elsewhere: Names, in lower case, of columns that other pipelines hide, by the index of the step that reads them.
    """
    above = pipeline.upstream_of({step.index})
    return hidden_by_step(pipeline, {index: one for index, one in frames.items() if index in above}, elsewhere)[
        step.index
    ]


def hidden_by_step(
    pipeline: PipelineConfig,
    frames: Mapping[int, PlannedFrame],
    elsewhere: Mapping[int, Set[str]] | None = None,
) -> Mapping[int, frozenset[str]]:
    """As `hidden_columns`, of each frame.

    Args:
        pipeline: The pipeline.
        frames: What its extracts and transforms make, as planned.
        elsewhere: Names, in lower case, of columns that other pipelines hide, by the index of the step that reads them.

    Returns:
        By step index.
    """
    marked = marked_columns(pipeline)
    beside = elsewhere or {}
    found: dict[int, frozenset[str]] = {}
    for index in sorted(frames):
        found[index] = _hidden(frames[index], found, marked | beside.get(index, frozenset()))
    return found


def _hidden(planned: PlannedFrame, above: Mapping[int, frozenset[str]], marked: frozenset[str]) -> frozenset[str]:
    hidden_above = {(index, name) for index, names in above.items() for name in names}
    inputs = {edge.step for edge in planned.step.inputs}
    is_any_hidden = any(index in inputs for index, _ in hidden_above)
    names = sensitive_columns(planned.frame.schema, marked)
    for column in planned.columns:
        sources = planned.lineage.get(column.name)
        is_made_of_hidden = is_any_hidden if sources is None else not hidden_above.isdisjoint(sources)
        if is_made_of_hidden:
            names.add(column.name)
    return frozenset(names)


def sensitive_sources(pipeline: PipelineConfig, frames: Mapping[int, PlannedFrame]) -> Mapping[int, frozenset[str]]:
    """The columns of each frame that are marked as sensitive, look like secrets, or that such a column is made of.

    Args:
        pipeline: The pipeline.
        frames: What its extracts and transforms make, as planned.

    Returns:
        By step index.
    """
    marked = marked_columns(pipeline)
    found: dict[int, set[str]] = {
        index: sensitive_columns(planned.frame.schema, marked) for index, planned in frames.items()
    }
    for index in sorted(frames, reverse=True):
        planned = frames[index]
        above = [edge.step for edge in planned.step.inputs if edge.step in frames]
        for name in found[index]:
            every = [(step, one.name) for step in above for one in frames[step].columns]
            for step, column in planned.lineage.get(name, every):
                if step in found:
                    found[step].add(column)
    return {index: frozenset(names) for index, names in found.items()}


def marked_columns(pipeline: PipelineConfig) -> frozenset[str]:
    """Names, in lower case, of the columns that are marked as sensitive, and of fields in them.

    Args:
        pipeline: The pipeline.
    """
    configs = (one.config for one in pipeline.steps)
    return frozenset(name.lower() for one in configs if isinstance(one, Validate) for name in one.sensitive_columns)


def unfound_marks(pipeline: PipelineConfig, frames: Mapping[int, PlannedFrame]) -> str | None:
    """What to say of names in `sensitiveColumns` that no frame has a column of; None if there are none.

    A contract may promise columns that need not be there.

    Args:
        pipeline: The pipeline.
        frames: What all its extracts and transforms make, as planned.
    """
    written = (one.config for one in pipeline.steps if one.guards is None)
    marked = [name for one in written if isinstance(one, Validate) for name in one.sensitive_columns]
    unfound = unfound_names([one.frame.schema for one in frames.values()], marked) if marked else []
    if not unfound:
        return None
    names = ", ".join(f"'{name}'" for name in unfound)
    return (
        f"'sensitiveColumns' hides nothing by {names}, as no step has such a column: check the spelling; a field in a "
        "column is written as column.field"
    )
