"""By which load ids the sinks of a stream know its micro-batches, and whether one holds more than the checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.planned import Plan
from pipeline_platform.engine.streaming.checkpoint import CheckpointPosition
from pipeline_platform.engine.streaming.checkpoint_place import reset_command
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.load import Load, RemembersBatches


def sink_names(pipeline: PipelineConfig) -> dict[int, str]:
    """A name for the sink of each load, by its index, that stays when loads are put before it or taken away.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
    """
    names: dict[int, str] = {}
    for step in pipeline.steps:
        if isinstance(step.config, Load):
            uri = step.config.dataset().uri
            same = sum(name.startswith(f"{uri}#") for name in names.values())
            names[step.index] = f"{uri}#{same}"
    return names


def load_ids(pipeline: PipelineConfig, known: Mapping[str, str], first: str) -> dict[str, str]:
    """What the load id of each sink adds to that of the query, by the sink's name.

    A sink keeps the one that it has: with another, the micro-batch that it was given last could come to it twice.
    Nothing is added for a sink that Spark's own may serve, as that knows micro-batches by the query alone.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        known: Those of the last run; empty for a new checkpoint, or one of a version that did not note them.
        first: Name of the load for which nothing is added where none are known.
    """
    names = sink_names(pipeline)
    if not known:
        return {
            name: "" if pipeline.steps[index].name == first else pipeline.steps[index].name
            for index, name in names.items()
        }
    found = dict(known)
    plain = pipeline.shape.plain_load
    if plain is not None and names[plain] not in found:
        found = {name: added for name, added in found.items() if added} | {names[plain]: ""}
    for index, name in names.items():
        if name not in found:
            found[name] = _free(pipeline.steps[index].name, set(found.values()))
    return found


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


@dataclass(frozen=True)
class SinkPosition:
    """What a sink holds of a stream.

    Args:
        step: The step that writes to it.
        uri: The sink.
        last: The newest micro-batch of the stream that it holds; None for none.
    """

    step: Step
    uri: str
    last: int | None

    def __str__(self) -> str:
        return f"{self.uri} ({self.step.config.method})"


def sink_positions(planned: Plan) -> list[SinkPosition]:
    """What each sink holds that remembers micro-batches.

    Args:
        planned: What is done with a micro-batch; its load ids are those of the query.

    Raises:
        PipelineException: A sink does not answer; it names the step.
    """
    found: list[SinkPosition] = []
    for step, uri, prepared in planned.writes():
        if isinstance(prepared, RemembersBatches):
            with error_context(step):
                found.append(SinkPosition(step, uri, prepared.last_batch()))
    return found


def require_not_ahead(
    pipeline: PipelineConfig, checkpoint: StorageLocation, position: CheckpointPosition, sinks: Sequence[SinkPosition]
) -> None:
    """Raise if a sink holds a micro-batch that the checkpoint has not begun: it is a copy from before that.

    Spark notes the offsets of a micro-batch before any sink is given it. The micro-batches that would follow have other
    rows than those of the same numbers that the sink holds, and it would leave them out.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Its checkpoint.
        position: How far that is.
        sinks: How far the sinks are.

    Raises:
        PipelineConfigurationException: A sink is ahead.
    """
    ahead = [sink for sink in sinks if sink.last is not None and sink.last > position.planned]
    if not ahead:
        return
    begun = f"ends with micro-batch {position.planned}" if position.planned >= 0 else "has begun no micro-batch"
    holds = ", ".join(f"{sink} holds micro-batch {sink.last}" for sink in ahead)
    command = reset_command(pipeline)
    raise PipelineConfigurationException(
        f"the checkpoint {checkpoint.uri} is older than what was loaded: it {begun}, and {holds}; continuing from "
        "it, the stream would leave out new rows",
        location=pipeline.location,
        hint=(
            "restore the newest copy of the checkpoint, if there is a newer one; or load again what came after "
            f"this one, leaving nothing out: {command} --keep-offsets; or start over, which loads again what the "
            f"source still has (from a topic: from 'startingOffsets', 'latest' by default): {command}"
        ),
    )


def gaps(
    pipeline: PipelineConfig, position: CheckpointPosition, known: Collection[str], sinks: Sequence[SinkPosition]
) -> list[str]:
    """A sentence for each sink that lacks what was loaded before it was put there.

    Args:
        pipeline: A streaming pipeline, its environment variables replaced.
        position: How far its checkpoint is.
        known: The names of the sinks that it had when it last ran; empty if that is not known.
        sinks: How far the sinks are.
    """
    if position.finished < 0 or not known:
        return []
    names = sink_names(pipeline)
    empty = {sink.step.index: sink for sink in sinks if sink.last is None and sink.step.index in names}
    told: list[str] = []
    for index, name in names.items():
        if name not in known:
            uri = name.rpartition("#")[0]
            told.append(f"{uri} is new to this stream: it gets what comes after micro-batch {position.finished}")
        elif index in empty:
            told.append(
                f"{empty[index]} holds no micro-batch of this stream, which has finished {position.finished + 1}: "
                "if it was replaced, it lacks what came before"
            )
    return told
