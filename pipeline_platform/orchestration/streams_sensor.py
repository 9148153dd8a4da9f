"""The sensor that keeps the streams of a project running."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.target import ExecutableDefinition

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming.other_streams import orphans
from pipeline_platform.engine.streaming.stream_group import all_groups, group_of_each
from pipeline_platform.engine.streaming.stream_state import (
    StreamRequest,
    StreamState,
    all_states,
    request_file,
    state_file,
)
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.project import Project
from pipeline_platform.orchestration.stream_groups import GroupsNow, assigned, group_size
from pipeline_platform.orchestration.stream_health import health
from pipeline_platform.orchestration.supervisor import (
    GENERATION_TAG,
    LIVE_STATUSES,
    RESTARTS_TAG,
    STREAM_TAG,
    Decision,
    Observation,
    SeenRun,
    SupervisorState,
    decide,
)

SENSOR = "streams"
_ORPHANED = "the sensor 'streams', as the pipeline was gone"
TICK_SECONDS = 10


def is_supervised(pipeline: PipelineConfig) -> bool:
    """Whether a pipeline is a stream that is meant to run all the time; `availableNow` ends by itself."""
    return pipeline.mode == "streaming" and not pipeline.main_load.config.ends_by_itself()


def has_orphans(project: Project) -> bool:
    """Whether a stream runs whose file in the project's folder was renamed or removed.

    Args:
        project: The project.
    """
    return bool(_orphans(project, datetime.now(UTC)))


def streams_sensor(
    view: AssetView,
    pipelines: Sequence[PipelineConfig],
    jobs: Mapping[str, ExecutableDefinition],
    groups: Mapping[str, ExecutableDefinition],
    part: str = "",
) -> dg.SensorDefinition:
    """A sensor that starts streams, restarts those that fail or stand still, and gives up those that don't get on.

    It is off until somebody turns it on. What it remembers stands in its cursor; it reads small files and the
    instance, and starts no JVM.

    It also ends the runs of streams whose pipeline was renamed or removed.

    Args:
        view: The project, and which steps are assets.
        pipelines: Its streams.
        jobs: The job of each, by the pipeline's name.
        groups: The jobs of groups of streams, by the groups' names.
        part: What its name ends with.
    """

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{SENSOR}{part}",
        jobs=[*(jobs[pipeline.name] for pipeline in pipelines), *groups.values()] or None,
        minimum_interval_seconds=TICK_SECONDS,
        description="Keeps the streams running: starts them, restarts them from their checkpoints, gives up loudly.",
    )
    def supervise(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC)
        watches = _watches(context.cursor)
        requests: list[dg.RunRequest] = []
        events: list[dg.AssetCheckEvaluation] = []
        kept: dict[str, SupervisorState] = {}
        live = _live_runs(context.instance)
        shared = _groups_now(context.instance, view.project, pipelines, groups, live)
        for pipeline in pipelines:
            name = pipeline.name
            state, own = StreamState.read(state_file(name)), live.get(pipeline.asset_prefix)
            watch = shared.settled(name, watches.get(name, SupervisorState()))
            request = _request_of(pipeline)
            run = own or shared.run_of(name, watch, state, request, now) or _run_of(context.instance, pipeline, watch)
            decision = decide(pipeline.streaming, watch, Observation(run, state, request), now)
            kept[name] = decision.watch
            if decision.watch.phase != watch.phase:
                _tell(context, pipeline, decision.watch)
            if own is not None and decision.end_run is not None:
                _end(context.instance, own, decision)
            if own is None and name in shared.groups:
                shared.keep(name, decision, state, now)
            elif decision.start:
                requests.append(_request(pipeline, decision.watch))
            if decision.watch.phase in ("waiting", "given_up", "stopped") and run is not None:
                _free_slot(context.instance, run)
            if decision.watch.phase != watch.phase and decision.watch.phase not in ("requested", "wanted"):
                events.append(health(view, pipeline, state, decision.watch, now))
        for run, decision in shared.gone():
            _end(context.instance, run, decision)
        shared.tell()
        requests += shared.requests()
        for state in _orphans(view.project, now):
            _end_orphan(context, state)
        idle = None if requests else _summary(kept) or "no streams"
        return dg.SensorResult(run_requests=requests, skip_reason=idle, asset_events=events, cursor=_cursor(kept))

    return supervise


def _orphans(project: Project, now: datetime) -> list[StreamState]:
    if project.folder is None:
        return []
    names = {pipeline.name for pipeline in project.pipelines if pipeline.mode == "streaming"}
    states = all_states(project.place_apart)
    return orphans(states, project.folder, names, [broken.path for broken in project.broken], now)


def _end_orphan(context: dg.SensorEvaluationContext, state: StreamState) -> None:
    """Stop the run of a stream that has no pipeline any more; somebody's own process is left to them."""
    told = f"the stream {state.pipeline} is still running, though its pipeline was renamed or removed"
    run = context.instance.get_run_by_id(state.run_id)
    if run is None or run.is_finished:
        context.log.warning(f"{told}: stop process {state.pid} on {state.host}")
        return
    request = StreamRequest.read(request_file(state.pipeline))
    if request is None or request.at <= state.started:
        StreamRequest(action="stop", by=_ORPHANED).write(request_file(state.pipeline))
        context.log.warning(f"{told}: run {state.run_id} is stopped after its micro-batch")


def _request_of(pipeline: PipelineConfig) -> StreamRequest | None:
    """What a person asks of a stream; a stop by the sensor is over once the pipeline is there again."""
    request = StreamRequest.read(request_file(pipeline.name))
    if request is not None and request.by == _ORPHANED:
        request_file(pipeline.name).unlink(missing_ok=True)
        return None
    return request


def _summary(watches: Mapping[str, SupervisorState]) -> str:
    counts = Counter(watch.phase.replace("_", " ") for watch in watches.values())
    return ", ".join(f"{count} {phase}" for phase, count in counts.most_common())


def _watches(cursor: str | None) -> dict[str, SupervisorState]:
    found: dict[str, Any] = json.loads(cursor) if cursor else {}
    return {name: SupervisorState.model_validate(watch) for name, watch in found.items()}


def _cursor(watches: Mapping[str, SupervisorState]) -> str:
    return json.dumps({name: watch.model_dump(mode="json", exclude_defaults=True) for name, watch in watches.items()})


def _live_runs(instance: dg.DagsterInstance) -> dict[str, SeenRun]:
    """The live runs by the name of their job; of two the older one, which holds the checkpoint."""
    records = instance.get_run_records(dg.RunsFilter(statuses=LIVE_STATUSES))
    return {record.dagster_run.job_name: _seen(record) for record in records}


def _groups_now(
    instance: dg.DagsterInstance,
    project: Project,
    pipelines: Sequence[PipelineConfig],
    groups: Mapping[str, ExecutableDefinition],
    live: Mapping[str, SeenRun],
) -> GroupsNow:
    jobs = {group: job.name for group, job in groups.items()}
    folder = project.folder
    before = all_groups(folder, project.place_apart) if folder is not None else {}
    # Other launchers start a container or a pod for each run, so that streams share no machine to begin with.
    size = group_size(pipelines) if isinstance(instance.run_launcher, dg.DefaultRunLauncher) else 1
    running = {group: live[job] for group, job in jobs.items() if job in live}
    last = {
        group: found
        for group, job in jobs.items()
        if group in before and group not in running and (found := _last_run(instance, job)) is not None
    }
    groups_now = assigned(pipelines, group_of_each(before), size)
    return GroupsNow(folder or Path(), jobs, groups_now, before, running, last, project.place_apart)


def _last_run(instance: dg.DagsterInstance, job: str) -> tuple[SeenRun, datetime] | None:
    records = instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    return next(((_seen(record), record.create_timestamp) for record in records), None)


def _run_of(instance: dg.DagsterInstance, pipeline: PipelineConfig, watch: SupervisorState) -> SeenRun | None:
    """The run that was watched or requested and is not live any more."""
    if watch.phase == "live" and watch.run_id is not None:
        wanted = dg.RunsFilter(run_ids=[watch.run_id])
    elif watch.phase == "requested":
        tags = {STREAM_TAG: pipeline.name, GENERATION_TAG: str(watch.generation)}
        wanted = dg.RunsFilter(job_name=pipeline.asset_prefix, tags=tags)
    else:
        return None
    return next((_seen(record) for record in instance.get_run_records(wanted, limit=1)), None)


def _seen(record: dg.RunRecord) -> SeenRun:
    began = datetime.fromtimestamp(record.start_time, UTC) if record.start_time is not None else None
    return SeenRun(record.dagster_run.run_id, record.dagster_run.status, began)


def _request(pipeline: PipelineConfig, watch: SupervisorState) -> dg.RunRequest:
    tags = {STREAM_TAG: pipeline.name, GENERATION_TAG: str(watch.generation), RESTARTS_TAG: str(watch.restarts)}
    # The time keeps a sensor that has lost its cursor from asking for a run that there was before.
    key = f"{pipeline.name}/{watch.generation}/{watch.since.timestamp():.0f}"
    return dg.RunRequest(run_key=key, job_name=pipeline.asset_prefix, tags=tags)


def _end(instance: dg.DagsterInstance, run: SeenRun, decision: Decision) -> None:
    """Mark a run as ended whose process is gone or hangs; one that hangs sees it later and stops."""
    found = instance.get_run_by_id(run.run_id)
    if found is None or found.is_finished:
        return
    message = f"The stream's supervisor has ended this run: {decision.end_run}."
    if decision.watch.phase == "stopped":
        instance.report_run_canceled(found, message=message)
    else:
        instance.report_run_failed(found, message=message)


def _free_slot(instance: dg.DagsterInstance, run: SeenRun) -> None:
    """Free the slot of a run that has ended: one whose process was killed still has it."""
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _tell(context: dg.SensorEvaluationContext, pipeline: PipelineConfig, watch: SupervisorState) -> None:
    match watch.phase:
        case "given_up":
            context.log.error(
                f"{pipeline.name} is given up after {watch.restarts} restarts: {watch.reason}\nfix it, then: "
                f"pipeline-platform resume {pipeline.command_arguments}"
            )
        case "waiting":
            context.log.warning(
                f"{pipeline.name} is started again (restart {watch.restarts}) at {watch.start_at:%H:%M:%S}: "
                f"{watch.reason}"
            )
        case "stopped":
            context.log.info(f"{pipeline.name} is {watch.reason}; it stays stopped until somebody starts it")
        case "requested" | "live" | "wanted":
            context.log.info(f"{pipeline.name} is {watch.phase}")
