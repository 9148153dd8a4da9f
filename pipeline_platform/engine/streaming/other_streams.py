"""What a stream has to know of the others here: whether one is itself under another name, or loads the same sink."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.streaming.checkpoint_place import PlaceAt, has_checkpoint_at, reset_command
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load


def sinks_of(pipeline: PipelineConfig) -> tuple[str, ...]:
    """What a pipeline loads, as URIs.

    Args:
        pipeline: The pipeline, its environment variables replaced.
    """
    configs = (step.config for step in pipeline.steps)
    return tuple(sorted({config.dataset().uri for config in configs if isinstance(config, Load)}))


def sources_of(pipeline: PipelineConfig) -> tuple[str, ...]:
    """What a pipeline reads, as URIs.

    Args:
        pipeline: The pipeline, its environment variables replaced.
    """
    datasets = (step.config.dataset() for step in pipeline.steps if isinstance(step.config, Extract))
    return tuple(sorted({dataset.uri for dataset in datasets if dataset is not None}))


def file_of(pipeline: PipelineConfig) -> str | None:
    """The file of a pipeline, by which its stream is known when it gets another name.

    Args:
        pipeline: The pipeline.
    """
    return os.path.abspath(pipeline.file) if pipeline.file is not None else None


def former_selves(pipeline: PipelineConfig, states: Iterable[StreamState]) -> list[StreamState]:
    """The streams that this one was, before the pipeline or its file got another name.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        states: What the streams of the machine last said of themselves.
    """
    here, sources, sinks = file_of(pipeline), sources_of(pipeline), sinks_of(pipeline)
    beside = pipeline.item.names if pipeline.item is not None else ()
    return [
        state
        for state in states
        if state.pipeline not in (pipeline.name, *beside)
        and (state.file == here or (state.file is not None and not Path(state.file).exists()))
        and (state.sources, state.sinks) == (sources, sinks)
    ]


def require_not_renamed(
    pipeline: PipelineConfig,
    checkpoint: StorageLocation,
    formers: Sequence[StreamState],
    place_at: PlaceAt,
    now: datetime,
) -> None:
    """Raise if a stream that has no checkpoint yet is one that ran under another name.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Where its checkpoint is to be made.
        formers: What `former_selves` gave.
        place_at: What `places_of` gave.
        now: The time, with its zone.

    Raises:
        PipelineConfigurationException: It would begin anew.
    """
    for former in formers:
        if former.checkpoint == checkpoint.uri or not has_checkpoint_at(place_at, former.checkpoint):
            continue
        runs = f"; it is still running, on {former.host} as process {former.pid}" if former.is_alive(now) else ""
        first = "stop that process, then " if runs else ""
        raise PipelineConfigurationException(
            f"the stream would start over: under the name '{former.pipeline}' it has a checkpoint at "
            f"{former.checkpoint}, and there is none at {checkpoint.uri} yet{runs}",
            location=pipeline.location,
            hint=(
                f"{first}move that folder to {checkpoint.uri}; to start over, which loads again what the source "
                f"still has, remove {state_file(former.pipeline)}"
            ),
        )


def require_not_lost(pipeline: PipelineConfig, checkpoint: StorageLocation, before: StreamState | None) -> None:
    """Raise if a stream whose checkpoint is not there had begun on it: somebody has removed it.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Where its checkpoint is to be made.
        before: What the stream last said of itself, if it ever ran here.

    Raises:
        PipelineConfigurationException: It would begin anew.
    """
    if before is None or not before.has_begun or before.checkpoint != checkpoint.uri:
        return
    raise PipelineConfigurationException(
        f"the stream would start over: its checkpoint {checkpoint.uri}, from which it has loaded, is gone",
        location=pipeline.location,
        hint=f"restore it from a copy; to start over, which loads again what the source still has: "
        f"{reset_command(pipeline)}",
    )


def orphans(
    states: Iterable[StreamState], folder: Path, names: Collection[str], broken: Collection[Path], now: datetime
) -> list[StreamState]:
    """The streams that run though the folder that their file lay in has no pipeline of that name any more.

    Args:
        states: What the streams of the machine last said of themselves.
        folder: A folder of pipeline files; streams of other folders are none of its business.
        names: The streaming pipelines that are there.
        broken: Files in it that can't be read, whose streams are left alone until they can.
        now: The time, with its zone.
    """
    unreadable = {os.path.abspath(path) for path in broken}
    return [
        state
        for state in states
        if state.is_alive(now)
        and state.pipeline not in names
        and state.file is not None
        and str(Path(state.file).parent) == os.path.abspath(folder)
        and state.file not in unreadable
    ]


def other_writers(name: str, sinks: Collection[str], states: Iterable[StreamState], now: datetime) -> list[str]:
    """A sentence for each other stream that runs and loads into a sink of this one.

    Args:
        name: The stream.
        sinks: What it loads, as URIs.
        states: What the streams of the machine last said of themselves.
        now: The time, with its zone.
    """
    return [
        f"the stream '{state.pipeline}' is running too, and loads {', '.join(shared)}"
        for state in states
        if state.pipeline != name and state.is_alive(now) and (shared := sorted(set(state.sinks) & set(sinks)))
    ]
