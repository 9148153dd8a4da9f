"""The sensor that tells people what needs them: failed runs and checks, streams, data that is old or left out."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import cache

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_platform.orchestration.alert_events import Positions, events_since, present
from pipeline_platform.orchestration.alert_rules import Memory, Occurrence, Subject, decide
from pipeline_platform.redaction import redact
from pipeline_platform.resources.alert_model import Alert, Kind
from pipeline_platform.resources.alert_routes import Routing
from pipeline_platform.resources.alerts import AlertsResource
from pipeline_platform.resources.asset_metadata import OPTIONS, PIPELINE, PIPELINE_FILE
from pipeline_platform.resources.notifiers import Delivery, deliver

SENSOR = "alerts"
DAGSTER_URL_VARIABLE = "PIPELINE_PLATFORM_DAGSTER_URL"
_TICK_SECONDS = 30
_LONGEST_TEXT = 3000
"""Slack asks for messages of at most 4,000 characters."""
_HEADINGS: dict[Kind, str] = {
    "check_failed": "checks failed",
    "check_warned": "checks warned",
    "freshness_missed": "assets are not fresh",
}
_LOG = logging.getLogger(__name__)


class AlertsCursor(BaseModel):
    """What the sensor remembers."""

    model_config = ConfigDict(frozen=True)

    positions: Positions
    memory: Memory = Memory()


class Claim(BaseModel):
    """What a tick has begun to tell, so that the next does not tell it again if this one dies."""

    base: str
    """Of which cursor the tick made it."""
    cursor: str
    """The cursor after it."""
    alerts: list[Alert]
    left: list[tuple[int, str]]
    """Which of the alerts is for which recipient, as far as they were not notified yet."""


@cache
def alerts_sensor(status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING) -> dg.SensorDefinition:
    """A sensor, on by default, that tells of what has happened since it was first on, each occurrence once.

    It tells of all assets and checks of the code location, also of those that no pipeline makes. It is one for every
    folder of pipelines: otherwise Dagster takes those of two components for different ones.

    Args:
        status: Whether it is on by default.
    """

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=SENSOR,
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=status,
        description="Notifies the owners of pipelines, or those in PIPELINE_PLATFORM_ALERTS, of what needs a person.",
    )
    def tell(context: dg.SensorEvaluationContext, alerts: AlertsResource) -> dg.SensorResult:
        cursor = _cursor(context.cursor)
        if cursor is None:
            begin = AlertsCursor(positions=present(context.instance))
            return dg.SensorResult(skip_reason="tells what happens from now on", cursor=begin.model_dump_json())
        claims = _Claims(context)
        claim = claims.unfinished()
        found, after = _alerts(context, cursor) if claim is None else ([], cursor)
        if claim is None and not found:
            return dg.SensorResult(skip_reason=_idle(context), cursor=after.model_dump_json())
        routing = alerts.routing()
        claim = claim or _claim(context, found, routing, after)
        deliveries = _deliveries(claim, routing)
        if not deliveries:
            return dg.SensorResult(skip_reason=_idle(context), cursor=claim.cursor)
        claims.keep(claim)

        def done(delivery: Delivery) -> None:
            index = next(index for index, alert in enumerate(claim.alerts) if alert is delivery[0])
            claim.left.remove((index, delivery[1].id))
            claims.keep(claim)

        deliver(deliveries, done)
        titles = list(dict.fromkeys(alert.title for alert, _ in deliveries))
        for title in titles:
            context.log.info(title)
        return dg.SensorResult(skip_reason=f"told: {'; '.join(titles)}", cursor=claim.cursor)

    return tell


def _cursor(text: str | None) -> AlertsCursor | None:
    try:
        return AlertsCursor.model_validate_json(text) if text else None
    except ValidationError:
        _LOG.error("the cursor of the sensor '%s' can't be read; it tells what happens from now on", SENSOR)
        return None


def _idle(context: dg.SensorEvaluationContext) -> str:
    if context.instance.freshness_enabled:
        return "nothing to tell"
    return "nothing to tell; of data that is not fresh nothing is known, as dagster.yaml turns 'freshness' off"


def _alerts(
    context: dg.SensorEvaluationContext, cursor: AlertsCursor
) -> tuple[list[tuple[Alert, Kind | None]], AlertsCursor]:
    """What is to be told, with the kind that whoever is told of it is not told again; and the cursor after it."""
    assert context.repository_def is not None
    graph = context.repository_def.asset_graph

    def subject_of(key: dg.AssetKey) -> Subject:
        node = graph.get(key)
        name, file, options = (node.metadata.get(name) for name in (PIPELINE, PIPELINE_FILE, OPTIONS))
        arguments = f"{file} {options}" if options is not None else str(file)
        pipeline = str(name) if name is not None else key.to_user_string()
        return Subject(pipeline, arguments if file is not None else None, tuple(node.owners), dict(node.tags))

    events, positions = events_since(
        context.instance, cursor.positions, graph.has, lambda run: _location(run) == _own_location(context)
    )
    memory = cursor.memory
    if memory.checks:
        memory = memory.of({key.to_user_string() for key in graph.get_all_asset_keys()})
    memory, occurrences = decide(memory, events, subject_of)
    found: list[tuple[Alert, Kind | None]] = [
        (_alert(one, [subject_of(asset) for asset in one.assets]), one.told_as) for one in occurrences
    ]
    return found, AlertsCursor(positions=positions, memory=memory)


def _claim(
    context: dg.SensorEvaluationContext,
    found: Sequence[tuple[Alert, Kind | None]],
    routing: Routing,
    after: AlertsCursor,
) -> Claim:
    left: list[tuple[int, str]] = []
    for index, (alert, told_as) in enumerate(found):
        to = {one.id for one in routing.recipients(alert)}
        if told_as is not None:
            to -= {one.id for one in routing.recipients(alert.model_copy(update={"kind": told_as}))}
        left += [(index, one) for one in sorted(to)]
    alerts = [alert for alert, _ in found]
    return Claim(base=_digest(context.cursor), cursor=after.model_dump_json(), alerts=alerts, left=left)


def _deliveries(claim: Claim, routing: Routing) -> list[Delivery]:
    left = set(claim.left)
    return [
        (alert, recipient)
        for index, alert in enumerate(claim.alerts)
        for recipient in routing.recipients(alert)
        if (index, recipient.id) in left
    ]


def _alert(occurrence: Occurrence, subjects: Sequence[Subject]) -> Alert:
    base = os.environ.get(DAGSTER_URL_VARIABLE, "").rstrip("/")
    path = f"runs/{occurrence.run_id}" if occurrence.run_id is not None else None
    if path is None and occurrence.assets:
        path = f"assets/{'/'.join(occurrence.assets[0].path)}"
    return Alert(
        kind=occurrence.kind,
        pipeline=occurrence.pipeline,
        run_id=occurrence.run_id,
        at=occurrence.at,
        # Redacted before it is shortened, so that no part of a secret stays.
        text=_shortened(redact(_text(occurrence))),
        owners=tuple(dict.fromkeys(owner for subject in subjects for owner in subject.owners)),
        tags={key: value for subject in subjects for key, value in (subject.tags or {}).items()},
        assets=tuple(asset.to_user_string() for asset in occurrence.assets),
        url=f"{base}/{path}" if base and path else None,
    )


def _text(occurrence: Occurrence) -> str:
    if len(occurrence.lines) == 1:
        return occurrence.lines[0]
    heading = f"{len(occurrence.lines)} {_HEADINGS.get(occurrence.kind, 'things happened')}:"
    return "\n".join([heading, *(f"- {line}" for line in occurrence.lines)])


def _shortened(text: str) -> str:
    """Without its middle if it is long: an error begins with what happened, and ends with what to do."""
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[: _LONGEST_TEXT * 2 // 3]}\n…\n{text[-_LONGEST_TEXT // 3 :]}"


def _location(run: dg.DagsterRun) -> tuple[str, str] | None:
    origin = run.remote_job_origin
    if origin is None:
        return None
    repository = origin.repository_origin
    return repository.code_location_origin.location_name, repository.repository_name


def _own_location(context: dg.SensorEvaluationContext) -> tuple[str, str] | None:
    origin = context.code_location_origin
    return (origin.location_name, context.repository_name or "") if origin is not None else None


class _Claims:
    """Keeps the claim of the tick in the instance, where it is after the death of a process."""

    def __init__(self, context: dg.SensorEvaluationContext) -> None:
        self._storage = context.instance.daemon_cursor_storage
        self._base = _digest(context.cursor)
        self._key = "/".join(["pipeline_platform", SENSOR, *(_own_location(context) or ())])

    def unfinished(self) -> Claim | None:
        """What a tick with the same cursor has begun."""
        text = self._storage.get_cursor_values({self._key}).get(self._key)
        try:
            claim = Claim.model_validate_json(text) if text else None
        except ValidationError:
            # Of another version.
            return None
        return claim if claim is not None and claim.base == self._base else None

    def keep(self, claim: Claim) -> None:
        self._storage.set_cursor_values({self._key: claim.model_dump_json()})


def _digest(cursor: str | None) -> str:
    return hashlib.sha256((cursor or "").encode()).hexdigest()
