"""The sensor that runs a pipeline when there is something new in a dataset that it watches."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.definitions.target import ExecutableDefinition

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.orchestration.apart import sensor_status
from pipeline_platform.redaction import redact
from pipeline_platform.resources.vault import VaultResource
from pipeline_platform.steps.extract import Extract, SourceState

SENSOR = "new_data"
_TICK_SECONDS = 30
# To look is to wait for others: those that are away must not add up to more than a tick may take.
_AT_ONCE = 32


def watched_steps(pipeline: PipelineConfig) -> list[Step]:
    """The extracts that a pipeline watches."""
    return [step for step in pipeline.steps if step.config.is_watched()]


def new_data_sensor(
    pipelines: Sequence[PipelineConfig], jobs: Mapping[str, ExecutableDefinition], part: str = ""
) -> dg.SensorDefinition:
    """A sensor that runs each pipeline once for each state of what it watches, the first one included.

    In production it is on by default.

    Args:
        pipelines: Those that watch something.
        jobs: The job of each, by the pipeline's name.
        part: What its name ends with.
    """

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{SENSOR}{part}",
        jobs=[jobs[pipeline.name] for pipeline in pipelines],
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=sensor_status(pipelines[0].environment),
        description="Runs each pipeline that watches a dataset when something in it has changed.",
    )
    def look(context: dg.SensorEvaluationContext, vault: VaultResource) -> dg.SensorResult:
        before: dict[str, _Seen] = _read(context.cursor)
        now: dict[str, _Seen] = {}
        requests: list[dg.RunRequest] = []
        with ThreadPoolExecutor(min(len(pipelines), _AT_ONCE)) as pool:
            looked = [pool.submit(_state, pipeline, vault) for pipeline in pipelines]
        for pipeline, found in zip(pipelines, looked, strict=True):
            # The time keeps a sensor that has lost its cursor from asking for a run that there was before.
            seen = before.get(pipeline.name) or _Seen(None, int(time.time()))
            try:
                state = found.result()
            # One that can't be looked at keeps no other from being run, whatever its system, or its package, raises.
            except Exception as error:  # noqa: BLE001
                context.log.error(f"{pipeline.name} can't look at what it watches: {_in_one_line(error)}")
                state = seen.state
            if state != seen.state:
                seen = _Seen(state, seen.changes + 1)
                if state is not None:
                    # Dagster starts one run for a key. By its number, what is there once more is something new.
                    key = f"{pipeline.name}/{seen.changes}/{state}"
                    requests.append(dg.RunRequest(run_key=key, job_name=pipeline.asset_prefix))
            now[pipeline.name] = seen
        idle = None if requests else dg.SkipReason("nothing new")
        return dg.SensorResult(run_requests=requests, skip_reason=idle, cursor=json.dumps(now))

    return look


class _Seen(NamedTuple):
    """What was there at the last look, None for nothing, and a number that grows with each change."""

    state: str | None
    changes: int


def _read(cursor: str | None) -> dict[str, _Seen]:
    written: dict[str, Any] = json.loads(cursor) if cursor else {}
    return {name: _Seen(*seen) for name, seen in written.items() if isinstance(seen, list)}


def _state(pipeline: PipelineConfig, vault: VaultResource) -> str | None:
    """What is there now, in a short text; None if there is nothing in any of the datasets."""
    states: list[SourceState | None] = []
    with closing(vault.run_credentials("sensor", pipeline.location)) as credentials:
        for step in watched_steps(pipeline):
            states.append(_state_of(step, credentials))
    if all(state is None or state.is_empty for state in states):
        return None
    texts = [state.text if state is not None else None for state in states]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _in_one_line(error: Exception) -> str:
    # Each tick tells it again.
    return redact(" ".join(str(error).split()))


def _state_of(step: Step, credentials: RunCredentials) -> SourceState | None:
    from pipeline_platform.engine.step_credentials import credentials_for

    config = step.config.resolved()
    assert isinstance(config, Extract)
    try:
        return config.source_state(credentials_for(credentials, config, step))
    except PipelineException as error:
        raise error.locate(step.location) from error.__cause__
