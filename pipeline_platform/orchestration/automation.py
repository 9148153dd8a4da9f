"""When Dagster runs a pipeline by itself, by its own conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.orchestration.asset_view import AssetView

MODE_TAG = "pipeline_platform/mode"
"""On the runs of pipelines, but not of backfills: `batch` or `streaming`, so that an instance can limit either."""
SENSOR = "automation"
_APPEARED = "missing_since_last_handled"
"""What Dagster's `on_missing` calls its condition for what has come to be missing."""


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
            # All of its own that is missing is requested at once, and so counts as there.
            without_sources = missing.ignore(dg.AssetSelection.assets(*sources))
            on_missing = condition.on_missing().without(latest).replace(missing, without_sources)
            return on_missing.replace(_APPEARED, _unhandled())
        case "onSchedule":
            assert pipeline.cron is not None
            ticks = condition.on_cron(pipeline.cron, pipeline.cron_timezone)
            since_the_tick = ticks.ignore(dg.AssetSelection.assets(*sources))
            # Of several partitions that one of its own needs, Dagster takes one for all.
            return since_the_tick & ~not_loaded if pipeline.partitions is not None else since_the_tick


def _unhandled() -> dg.AutomationCondition[dg.AssetKey]:
    """What is missing and was not requested since; Dagster's `on_missing` leaves out what is so from the beginning."""
    condition: Any = dg.AutomationCondition
    came_up = condition.missing().newly_true() | (condition.initial_evaluation() & condition.missing())
    return came_up.since(condition.newly_requested() | condition.newly_updated())


def automation_sensor(
    pipelines: Sequence[PipelineConfig], keys: Sequence[dg.AssetKey], part: str = ""
) -> dg.SensorDefinition:
    """The sensor, on by default, that evaluates the conditions.

    Args:
        pipelines: Those that have one.
        keys: Their assets.
        part: What its name ends with.
    """
    names = ", ".join(pipeline.name for pipeline in pipelines)
    return dg.AutomationConditionSensorDefinition(
        f"{SENSOR}{part}",
        target=dg.AssetSelection.assets(*keys),
        default_status=dg.DefaultSensorStatus.RUNNING,
        # As those of the pipelines' jobs, so that one limit holds for both.
        run_tags={MODE_TAG: "batch"},
        description=f"Runs what `automation` in its file says: {names}.",
    )
