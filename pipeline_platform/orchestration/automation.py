"""When Dagster runs a pipeline by itself, by its own conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.orchestration.apart import environment_tags, sensor_status
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.ticks import on_schedule, unhandled

MODE_TAG = "pipeline_platform/mode"
"""On the runs of pipelines, but not of backfills: `batch` or `streaming`, so that an instance can limit either."""
SENSOR = "automation"
_APPEARED = "missing_since_last_handled"
"""What Dagster's `on_missing` calls its condition for what has come to be missing."""


def automation_conditions(
    view: AssetView, pipeline: PipelineConfig
) -> Sequence[dg.AutomationCondition[dg.AssetKey] | None]:
    """The condition of each asset of a pipeline, in the order of the view's steps; None if nothing runs it by itself.

    All partitions count, and not only the latest one, as in Dagster's own conditions: a day that is loaded again is to
    be told to whoever reads it. Only at the tick of a schedule it is the latest one.

    Args:
        view: Which steps are assets, and under which keys.
        pipeline: The pipeline.
    """
    steps = view.steps(pipeline)
    if pipeline.automation == "onSchedule":
        return [on_schedule(view, pipeline, step) for step in steps]
    return [_of_all(view, pipeline)] * len(steps)


def _of_all(view: AssetView, pipeline: PipelineConfig) -> dg.AutomationCondition[dg.AssetKey] | None:
    """The condition that all assets of a pipeline share."""
    if pipeline.automation is None:
        return None
    # What nobody in the project loads is not waited for; its own assets that were never made are made by the run.
    sources = [key for step in pipeline.steps if step.type == "extract" for key in view.unwritten(pipeline, step)]
    own = [view.key(pipeline, step) for step in view.steps(pipeline)]
    # Dagster's own types leave the kind of key open.
    condition: Any = dg.AutomationCondition
    latest, missing = condition.in_latest_time_window(), condition.any_deps_missing()
    if pipeline.automation == "onUpstream":
        not_loaded = missing.ignore(dg.AssetSelection.assets(*sources, *own))
        return condition.eager().without(latest).replace(missing, not_loaded)
    # On missing. All of its own that is missing is requested at once, and so counts as there.
    without_sources = missing.ignore(dg.AssetSelection.assets(*sources))
    on_missing = condition.on_missing().without(latest).replace(missing, without_sources)
    return on_missing.replace(_APPEARED, unhandled())


def automation_sensor(
    pipelines: Sequence[PipelineConfig], keys: Sequence[dg.AssetKey], part: str = ""
) -> dg.SensorDefinition:
    """The sensor, on by default in production, that evaluates the conditions.

    Args:
        pipelines: Those that have one.
        keys: Their assets.
        part: What its name ends with.
    """
    names = ", ".join(pipeline.name for pipeline in pipelines)
    return dg.AutomationConditionSensorDefinition(
        f"{SENSOR}{part}",
        target=dg.AssetSelection.assets(*keys),
        default_status=sensor_status(pipelines[0].environment),
        # As those of the pipelines' jobs, so that one limit holds for both.
        run_tags={MODE_TAG: "batch", **environment_tags(pipelines[0].environment)},
        description=f"Runs what `automation` in its file says: {names}.",
    )
