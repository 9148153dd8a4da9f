"""Where the columns of an asset come from: columns of other assets, through the steps that are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform.orchestration.asset_view import AssetView

Origins = Mapping[str, Sequence[dg.TableColumnDep]]
"""By column: the columns of other assets that it is made of."""


def column_origins(view: AssetView, pipeline: PipelineConfig, step: Step, steps: Mapping[int, StepMetrics]) -> Origins:
    """The columns of other assets that those of a step's asset are made of.

    Args:
        view: Which steps are assets.
        pipeline: The pipeline.
        step: One that is an asset.
        steps: What each step did, by its index.
    """
    shown = {shown.index for shown in view.steps(pipeline)}
    found: dict[str, list[dg.TableColumnDep]] = {}
    for column in _columns(steps[step.index]):
        deps: dict[dg.TableColumnDep, None] = {}
        pending = [(step.index, column)]
        seen = set(pending)
        while pending:
            index, name = pending.pop(0)
            if index != step.index and index in shown:
                deps[dg.TableColumnDep(view.key(pipeline, pipeline.steps[index]), name)] = None
            elif pipeline.steps[index].type == "extract":
                keys = view.source_keys(pipeline, pipeline.steps[index])
                deps |= dict.fromkeys(dg.TableColumnDep(key, name) for key in keys)
            else:
                above = steps[index].lineage.get(name, []) if index in steps else []
                pending += [origin for origin in above if origin not in seen]
                seen.update(above)
        found[column] = list(deps)
    return found


def described_columns(
    view: AssetView, pipeline: PipelineConfig, step: Step, steps: Mapping[int, StepMetrics], origins: Origins
) -> dict[str, str]:
    """For each column of a step's asset a line that says where it comes from, such as `avg(temp) ← weather.temp`.

    Args:
        view: Which steps are assets.
        pipeline: The pipeline.
        step: One that is an asset.
        steps: What each step did, by its index.
        origins: As `column_origins` has them.
    """
    shown = {shown.index for shown in view.steps(pipeline)}
    found: dict[str, str] = {}
    for column, deps in origins.items():
        expression = _expression(step.index, column, steps, shown)
        names = ", ".join(f"{dep.asset_key.path[-1]}.{dep.column_name}" for dep in deps)
        line = " ".join(f"{expression or ''} {f'← {names}' if names else ''}".split())
        if line:
            found[column] = line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
    return found


_LONGEST_LINE = 200


def _expression(index: int, column: str, steps: Mapping[int, StepMetrics], shown: Set[int]) -> str | None:
    """What computes a column, in its own step or in one above it that is no asset and from which it is handed on."""
    start = index
    while index in steps and (index == start or index not in shown):
        if column in steps[index].expressions:
            return steps[index].expressions[column]
        above = steps[index].lineage.get(column, [])
        if len(above) != 1 or above[0][1] != column:
            return None
        index = above[0][0]
    return None


def _columns(metrics: StepMetrics) -> list[str]:
    return [column.name for column in metrics.columns]
