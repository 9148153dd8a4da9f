"""What has happened in a Dagster instance since the last time, at the cost of what has happened since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from pipeline_platform.orchestration.alert_rules import (
    CheckEvaluated,
    Event,
    FreshnessMissed,
    RowsLeftOut,
    RunFailed,
    RunSucceeded,
    StreamGivenUp,
    in_utc,
)
from pipeline_platform.orchestration.stream_health import HEALTH_CHECK
from pipeline_platform.orchestration.supervisor import STREAM_TAG
from pipeline_platform.resources.alert_model import Kind

_MOST_RUNS, _MOST_EVENTS = 200, 500
"""What one tick looks at; the rest is for the next."""
_NO_RUN = ""
"""Dagster's id for the run of what is reported without one."""
_WILL_RETRY_TAG, _PARTITION_TAG = "dagster/will_retry", "dagster/partition"
_RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_RUN_ENDS = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)
_OF_A_RUN = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
}
_WITHOUT_RUN = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.FRESHNESS_STATE_CHANGE}
_MISSED = "FAIL"
_LATE_ROWS, _FUTURE_ROWS = "stream/late_rows", "stream/future_rows"

IsOurs = Callable[[dg.AssetKey], bool]


class Positions(BaseModel):
    """Up to where the events of an instance were looked at."""

    model_config = ConfigDict(frozen=True)

    runs: dict[str, int]
    """The last event, by its type."""
    without_run: str
    observations: int


def present(instance: dg.DagsterInstance) -> Positions:
    """The positions from which on nothing has happened yet.

    Args:
        instance: The instance.
    """
    runs = {
        end.value: next((record.storage_id for record in instance.fetch_run_status_changes(end, limit=1).records), 0)
        for end in _RUN_ENDS
    }
    newest = instance.get_records_for_run(_NO_RUN, of_type=_WITHOUT_RUN, limit=1, ascending=False).cursor
    last = instance.event_log_storage.get_event_records(_observations_after(None), limit=1)
    return Positions(runs=runs, without_run=newest, observations=last[0].storage_id if last else 0)


def events_since(
    instance: dg.DagsterInstance,
    positions: Positions,
    is_ours: IsOurs,
    is_our_run: Callable[[dg.DagsterRun], bool],
) -> tuple[list[Event], Positions]:
    """What has happened, and the positions after it.

    A check of a run is looked at when the run has ended: only then it is known whether the run fails because of it.

    Args:
        instance: The instance.
        positions: Where to begin.
        is_ours: Whether an asset is one of this code location.
        is_our_run: Whether a run was launched from this code location.
    """
    found: list[Event] = []
    runs = dict(positions.runs)
    for end in _RUN_ENDS:
        wanted = dg.RunStatusChangeRecordsFilter(end, after_storage_id=runs.get(end.value, 0))
        records = instance.fetch_run_status_changes(wanted, limit=_MOST_RUNS, ascending=True).records
        ids = [record.run_id for record in records]
        known = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))} if ids else {}
        for record in records:
            runs[end.value] = record.storage_id
            # It may have been deleted since.
            if record.run_id in known:
                found += _of_run(instance, known[record.run_id], record, is_ours, is_our_run)
    reported = instance.get_records_for_run(
        _NO_RUN, cursor=positions.without_run, of_type=_WITHOUT_RUN, limit=_MOST_EVENTS
    )
    found += _without_run(instance, reported.records, is_ours)
    observed = instance.event_log_storage.get_event_records(
        _observations_after(positions.observations), limit=_MOST_EVENTS, ascending=True
    )
    found += _rows_left_out(observed, is_ours)
    last = observed[-1].storage_id if observed else positions.observations
    return found, Positions(runs=runs, without_run=reported.cursor, observations=last)


def _observations_after(storage_id: int | None) -> dg.EventRecordsFilter:
    return dg.EventRecordsFilter(dg.DagsterEventType.ASSET_OBSERVATION, after_cursor=storage_id)


def _of_run(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    end: dg.EventLogRecord,
    is_ours: IsOurs,
    is_our_run: Callable[[dg.DagsterRun], bool],
) -> Iterator[Event]:
    # One that was not launched by the daemon or the UI belongs to no location, but its assets do.
    if run.remote_job_origin is not None and not is_our_run(run):
        return
    records = instance.get_records_for_run(run.run_id, of_type=_OF_A_RUN).records
    by_step = _assets_by_step(records)
    assets = list(dict.fromkeys(asset for of_step in by_step.values() for asset in of_step))
    ours = tuple(asset for asset in assets if is_ours(asset))
    if not (ours or (not assets and is_our_run(run))):
        return
    at, has_failed = in_utc(end.timestamp), end.event_type == dg.DagsterEventType.RUN_FAILURE
    # The supervisor starts a stream again, and says when it gives up; Dagster a run that it retries.
    is_stream, will_retry = STREAM_TAG in run.tags, run.tags.get(_WILL_RETRY_TAG) == "true"
    told_as: Kind | None = None
    if has_failed:
        told_as = "stream_given_up" if is_stream else "run_failed"
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluated = event.asset_check_evaluation_data
            if is_ours(evaluated.asset_key) and evaluated.check_name != HEALTH_CHECK:
                yield _check(record, evaluated, run, told_as)
    if end.event_type == dg.DagsterEventType.RUN_SUCCESS:
        yield RunSucceeded(at, ours)
    elif has_failed and not is_stream and not will_retry:
        failures = list(_failures(records, by_step)) or [(ours, _message(end))]
        for failed, reason in failures:
            yield RunFailed(at, run.run_id, run.job_name, tuple(key for key in failed if is_ours(key)) or ours, reason)


def _assets_by_step(records: Sequence[dg.EventLogRecord]) -> dict[str | None, list[dg.AssetKey]]:
    found: dict[str | None, list[dg.AssetKey]] = {}
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
            key = event.asset_materialization_planned_data.asset_key
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            key = event.asset_check_planned_data.asset_key
        else:
            continue
        of_step = found.setdefault(event.step_key, [])
        if key not in of_step:
            of_step.append(key)
    return found


def _failures(
    records: Sequence[dg.EventLogRecord], by_step: Mapping[str | None, Sequence[dg.AssetKey]]
) -> Iterator[tuple[Sequence[dg.AssetKey], str]]:
    """What each step that failed was to make, and what it failed at, as the engine put it."""
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None or event.event_type != dg.DagsterEventType.STEP_FAILURE:
            continue
        failed = event.step_failure_data
        if failed.user_failure_data is not None and failed.user_failure_data.description:
            yield by_step.get(event.step_key, ()), failed.user_failure_data.description
        elif failed.error is not None:
            yield by_step.get(event.step_key, ()), failed.error.message.strip()


def _message(end: dg.EventLogRecord) -> str:
    event = end.event_log_entry.dagster_event
    return (event.message if event is not None else None) or "the reason is not known"


def _without_run(
    instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord], is_ours: IsOurs
) -> Iterator[Event]:
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluated = event.asset_check_evaluation_data
            supervision = evaluated.metadata.get("supervision")
            if not is_ours(evaluated.asset_key):
                continue
            if evaluated.check_name != HEALTH_CHECK:
                yield _check(record, evaluated, None, None)
            elif supervision is not None and supervision.value == "given_up":
                yield StreamGivenUp(in_utc(record.timestamp), evaluated.asset_key, evaluated.description or "given up")
            continue
        changed = event.asset_freshness_state_change_data
        if changed.new_state == _MISSED and is_ours(changed.key):
            latest = instance.get_latest_materialization_event(changed.key)
            updated = in_utc(latest.timestamp) if latest is not None else None
            yield FreshnessMissed(in_utc(record.timestamp), changed.key, updated)


def _check(
    record: dg.EventLogRecord, evaluated: dg.AssetCheckEvaluation, run: dg.DagsterRun | None, told_as: Kind | None
) -> CheckEvaluated:
    # Dagster sets it only for a check that has partitions itself, and not for one of an asset that has them.
    partition = evaluated.partition or (_partition(run) if run is not None else None)
    return CheckEvaluated(
        at=in_utc(record.timestamp),
        key=evaluated.asset_check_key,
        passed=evaluated.passed,
        is_error=evaluated.severity == dg.AssetCheckSeverity.ERROR,
        description=evaluated.description,
        partition=partition,
        run_id=run.run_id if run is not None else None,
        told_as=told_as if evaluated.blocking else None,
    )


def _partition(run: dg.DagsterRun) -> str | None:
    """The partition of a run, or the range of those that it loads."""
    if all(tag in run.tags for tag in _RANGE_TAGS):
        return "...".join(dict.fromkeys(run.tags[tag] for tag in _RANGE_TAGS))
    return run.tags.get(_PARTITION_TAG)


def _rows_left_out(records: Sequence[dg.EventLogRecord], is_ours: IsOurs) -> Iterator[Event]:
    for record in records:
        event = record.event_log_entry.dagster_event
        observed = event.asset_observation_data.asset_observation if event is not None else None
        if observed is None or not is_ours(observed.asset_key):
            continue
        late, future = (_count(observed.metadata, name) for name in (_LATE_ROWS, _FUTURE_ROWS))
        if late or future:
            yield RowsLeftOut(in_utc(record.timestamp), observed.asset_key, record.run_id, late, future)


def _count(metadata: Mapping[str, Any], name: str) -> int:
    value = metadata[name].value if name in metadata else 0
    return value if isinstance(value, int) else 0
