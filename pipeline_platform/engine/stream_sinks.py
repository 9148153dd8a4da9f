"""By which load ids the sinks of a stream know its micro-batches, and whether one holds more than the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.checkpoint import CheckpointPosition, reset_command
from pipeline_platform.engine.failures import explaining
from pipeline_platform.engine.plan import Plan
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.methods.load.base import Load, RemembersBatches
from pipeline_platform.methods.s3 import Place


def sink_names(pipeline: PipelineConfig) -> dict[int, str]:
    """A name for the sink of each load, by its index, that stays when loads are put before it or taken away.

    Args:
        pipeline: A streaming pipeline.
    """
    names: dict[int, str] = {}
    for step in pipeline.steps:
        config = step.config.resolved()
        if isinstance(config, Load):
            uri = config.dataset().uri
            same = sum(name.startswith(f"{uri}#") for name in names.values())
            names[step.index] = f"{uri}#{same}"
    return names


def load_ids(
    pipeline: PipelineConfig, known: Mapping[str, str], first: str, plain: Step | None, *, is_between: bool
) -> dict[str, str]:
    """What the load id of each sink adds to that of the query, by the sink's name.

    A sink keeps the one that it has: with another, the micro-batch that it was given last could come to it twice.
    Nothing is added for the load that Spark's own sink may carry out, as that knows micro-batches by the query alone.

    Args:
        pipeline: A streaming pipeline.
        known: Those of the last run; empty for a new checkpoint, or one of a version that did not note them.
        first: Name of the load for which nothing is added where none are known.
        plain: The load, where the stream is this one load.
        is_between: Whether every micro-batch that was begun is done, so that the ids may change.
    """
    names = sink_names(pipeline)
    if not known:
        return {
            name: "" if pipeline.steps[index].name == first else pipeline.steps[index].name
            for index, name in names.items()
        }
    found = dict(known)
    if plain is not None and (is_between or names[plain.index] not in found):
        found = {name: added for name, added in found.items() if added} | {names[plain.index]: ""}
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


def require_not_ahead(pipeline: PipelineConfig, checkpoint: Place, position: CheckpointPosition, planned: Plan) -> None:
    """Raise if a sink holds a micro-batch that the checkpoint has not begun: it is a copy from before that.

    Spark notes the offsets of a micro-batch before any sink is given it. The micro-batches that would follow have other
    rows than those of the same numbers that the sink holds, and it would leave them out.

    Args:
        pipeline: A streaming pipeline.
        checkpoint: Its checkpoint.
        position: How far that is.
        planned: What is done with a micro-batch; its load ids are those of the query.

    Raises:
        PipelineException: A sink is ahead, or does not answer.
    """
    ahead: dict[str, int] = {}
    for step, uri, prepared in planned.writes():
        if not isinstance(prepared, RemembersBatches):
            continue
        with explaining(step):
            last = prepared.last_batch()
        if last is not None and last > position.planned:
            ahead[f"{uri} ({step.config.method})"] = last
    if ahead:
        begun = f"ends with micro-batch {position.planned}" if position.planned >= 0 else "has begun no micro-batch"
        holds = ", ".join(f"{sink} holds micro-batch {last}" for sink, last in ahead.items())
        command = reset_command(pipeline)
        raise PipelineConfigurationException(
            f"the checkpoint {checkpoint.uri} is older than what was loaded: it {begun}, and {holds}; gone on from "
            "there, the stream would leave out new rows",
            location=pipeline.location,
            hint="put back the newest copy of the checkpoint, if there is a newer one; or load once more what came "
            f"after this one, leaving nothing out, with '{command} --keep-offsets'; or begin anew with '{command}', "
            "which loads again all that the source still has",
        )
