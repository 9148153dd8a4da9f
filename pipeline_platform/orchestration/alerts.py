"""Sensors that tell people: a run has failed, a stream was given up."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import dagster as dg

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.stream_health import health_check_key
from pipeline_platform.orchestration.supervisor import STREAM_TAG
from pipeline_platform.resources.alerts import AlertsResource
from pipeline_platform.resources.notifiers import Alert, send

RUN_FAILED_SENSOR = "alert_run_failed"
GIVEN_UP_SENSOR = "alert_stream_given_up"
_TICK_SECONDS = 30


@cache
def run_failed_sensor() -> dg.SensorDefinition:
    """A sensor that tells of each run that failed; of a supervised stream's only once it is given up."""

    @dg.run_failure_sensor(  # pyright: ignore[reportUnknownMemberType]
        name=RUN_FAILED_SENSOR,
        minimum_interval_seconds=_TICK_SECONDS,
        description="Notifies those in PIPELINE_PLATFORM_ALERTS of each run that failed.",
    )
    def alert_run_failed(context: dg.RunFailureSensorContext, alerts: AlertsResource) -> dg.SkipReason | None:
        run = context.dagster_run
        if STREAM_TAG in run.tags:
            return dg.SkipReason("its supervisor starts the stream again")
        text = f"run {run.run_id} failed: {_reason(context)}"
        at = datetime.now(UTC)
        send(alerts.notifiers(), Alert(kind="run_failed", pipeline=run.job_name, run_id=run.run_id, at=at, text=text))
        return None

    return alert_run_failed


def _reason(context: dg.RunFailureSensorContext) -> str:
    """What a step failed at, as the engine put it; what Dagster says of the run if no step did."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data.user_failure_data
        if failure is not None and failure.description:
            return failure.description
        if event.step_failure_data.error is not None:
            return event.step_failure_data.error.message.strip()
    return context.failure_event.message or "the reason is not known"


def stream_given_up_sensor(view: AssetView, pipelines: Sequence[PipelineConfig]) -> dg.SensorDefinition:
    """A sensor that tells of each stream that its supervisor has given up, once.

    Args:
        view: Which steps are assets.
        pipelines: The supervised streams.
    """

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=GIVEN_UP_SENSOR,
        minimum_interval_seconds=_TICK_SECONDS,
        description="Notifies those in PIPELINE_PLATFORM_ALERTS of each stream that was given up.",
    )
    def alert_stream_given_up(context: dg.SensorEvaluationContext, alerts: AlertsResource) -> dg.SensorResult:
        before: dict[str, int] = json.loads(context.cursor) if context.cursor else {}
        told = dict(before)
        for pipeline in pipelines:
            record = context.instance.get_latest_asset_check_evaluation_record(health_check_key(view, pipeline))
            found = record.evaluation if record is not None else None
            if record is None or found is None or told.get(pipeline.name) == record.id:
                continue
            supervision = found.metadata.get("supervision")
            if supervision is None or supervision.value != "given_up":
                continue
            told[pipeline.name] = record.id
            text = f"the stream is {found.description}\nfix it, then: pipeline-platform resume {pipeline.file}"
            at = datetime.fromtimestamp(record.create_timestamp, UTC)
            alert = Alert(kind="stream_given_up", pipeline=pipeline.name, run_id=None, at=at, text=text)
            send(alerts.notifiers(), alert)
        idle = None if told != before else dg.SkipReason("no stream was given up since the last tick")
        return dg.SensorResult(skip_reason=idle, cursor=json.dumps(told))

    return alert_stream_given_up
