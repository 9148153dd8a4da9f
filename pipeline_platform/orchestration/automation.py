"""When Dagster runs a pipeline by itself, by its own conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.orchestration.asset_view import AssetView

SENSOR = "automation"


def automation_condition(view: AssetView, pipeline: PipelineConfig) -> dg.AutomationCondition[dg.AssetKey] | None:
    """The condition of each asset of a pipeline; None if nothing runs it by itself.

    All partitions count, and not only the latest one, as in Dagster's own conditions: a day that is loaded again is to
    be told to whoever reads it. Only at the tick of a schedule it is the latest one.

    Args:
        view: Which steps are assets.
        pipeline: The pipeline.
    """
    if pipeline.automation is None:
        return None
    # What nobody in the project loads is not waited for; its own assets that were never made are made by the run.
    sources = [key for step in pipeline.steps if step.type == "extract" for key in view.unwritten(pipeline, step)]
    own = [view.key(pipeline, step) for step in view.steps(pipeline)]
    # Dagster's own types leave the kind of key open.
    condition: Any = dg.AutomationCondition
    latest, missing = condition.in_latest_time_window(), condition.any_deps_missing()
    not_loaded = missing.ignore(dg.AssetSelection.assets(*sources, *own))
    match pipeline.automation:
        case "onUpstream":
            return condition.eager().without(latest).replace(missing, not_loaded)
        case "onMissing":
            return condition.on_missing().without(latest).replace(missing, not_loaded)
        case "onSchedule":
            assert pipeline.cron is not None
            ticks = condition.on_cron(pipeline.cron, pipeline.cron_timezone)
            return ticks.ignore(dg.AssetSelection.assets(*sources))


def automation_sensor(pipelines: Sequence[PipelineConfig], keys: Sequence[dg.AssetKey]) -> dg.SensorDefinition:
    """The sensor, on by default, that evaluates the conditions.

    Args:
        pipelines: Those that have one.
        keys: Their assets.
    """
    names = ", ".join(pipeline.name for pipeline in pipelines)
    return dg.AutomationConditionSensorDefinition(
        SENSOR,
        target=dg.AssetSelection.assets(*keys),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs what `automation` in its file says: {names}.",
    )
