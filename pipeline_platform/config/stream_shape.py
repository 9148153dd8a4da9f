"""What of a streaming pipeline is the stream, and what is done with each of its micro-batches.

A pipeline is one query, however many loads it has. Its head is the last frame from which everything comes that is
validated or loaded: up to there Spark runs the stream and keeps its state, and what follows is done with each
micro-batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from pipeline_platform.config.step import Step

QUERY_KEYS = ("checkpointLocation", "trigger", "outputMode", "queryName")
"""Keys of a load that are about the query; there is one, so those of the first load count."""

_NO_STEP = -1


class StreamShapeError(ValueError):
    """The steps can't be one query.

    Args:
        message: Why.
        step: Index of the step that stands in the way.
        hint: What to do.
    """

    def __init__(self, message: str, step: int, hint: str) -> None:
        super().__init__(message)
        self.step = step
        self.hint = hint


@dataclass(frozen=True)
class StreamShape:
    """The two parts of a streaming pipeline.

    Args:
        head: Index of the step whose frame becomes the micro-batches.
        streamed: Indices of the steps that make that frame, itself included.
        plain_load: Index of the load, for a stream that is this load and nothing beside it: no validation, no
            quarantine, no other load. None for any other.
    """

    head: int
    streamed: frozenset[int]
    plain_load: int | None = None


def stream_shape(steps: Sequence[Step]) -> StreamShape:
    """Find the head of a pipeline's stream.

    Args:
        steps: All steps, connected, in their order.

    Raises:
        StreamShapeError: Nothing streams, a load or validation has no part in the stream, or the frames that are
            validated and loaded have no frame in common.
    """
    streams = frozenset(step.index for step in steps if step.traits.is_stream)
    if not streams:
        raise StreamShapeError(
            "nothing in this streaming pipeline is a stream",
            0,
            "begin with fromKafka, fromFiles, fromS3, fromAvro, fromDeltaLake or fromRate, or set mode to batch",
        )
    sinks = [step for step in steps if step.type in ("validate", "load")]
    if not any(step.type == "load" for step in sinks):
        raise StreamShapeError("a streaming pipeline needs a load", steps[-1].index, "add a load, such as toDeltaLake")
    dominators = _dominators(steps, streams)
    for sink in sinks:
        if _input(sink) not in dominators:
            raise StreamShapeError(
                f"{sink.config.method} works on a frame that is not a stream",
                sink.index,
                "leave it to a batch pipeline",
            )
    wanted = {_input(sink) for sink in sinks}
    aside = {index for index in _upstream(steps, wanted) & streams if steps[index].config.quarantines_bad_records()}
    head = _meeting(dominators, wanted | aside)
    if head == _NO_STEP:
        raise StreamShapeError(
            f"{sinks[-1].config.method} works on a different stream from the steps before it, and a streaming "
            "pipeline is one query",
            sinks[-1].index,
            "split it into two pipelines, or combine the streams with a join or a union first",
        )
    streamed = frozenset(_upstream(steps, {head}))
    shape = StreamShape(head, streamed, _plain_load(steps, sinks, head, streamed))
    below = _below(steps, head)
    for step in steps:
        _require_row_by_row(steps, step, shape, below)
        named = frozenset(edge.name for edge in step.inputs if edge.step in dominators)
        error = step.config.state_error(named) if step.index in shape.streamed else None
        if error is not None:
            message, hint = error
            raise StreamShapeError(message, step.index, hint)
    _require_output(steps, shape)
    for step in sinks:
        if step.config.is_continuous() and shape.plain_load is None:
            raise StreamShapeError(
                "a continuous stream has one load and nothing else, and another step here needs micro-batches",
                step.index,
                "use an interval as the trigger, such as '1 second', or give the load a pipeline of its own",
            )
    return shape


def _require_output(steps: Sequence[Step], shape: StreamShape) -> None:
    """Raise for a step whose rows are never complete, where only those come out that are."""
    load = next(step for step in steps if step.type == "load")
    if getattr(load.config, "output_mode", "append") != "append":
        return
    for step in (steps[index] for index in sorted(shape.streamed)):
        before = _upstream(steps, {edge.step for edge in step.inputs})
        # The time of a watermark set before may be a group under another name.
        is_timed = any(steps[index].traits.sets_watermark for index in before)
        error = step.config.append_error() if not is_timed else None
        if error is not None:
            message, hint = error
            raise StreamShapeError(message, step.index, hint)


def _plain_load(steps: Sequence[Step], sinks: Sequence[Step], head: int, streamed: Set[int]) -> int | None:
    has_quarantine = any(steps[index].config.quarantines_bad_records() for index in streamed)
    return sinks[0].index if len(sinks) == 1 and not has_quarantine and _input(sinks[0]) == head else None


def _dominators(steps: Sequence[Step], streams: Set[int]) -> dict[int, int]:
    """For each step that a stream leads to, the last step before it that every way from a stream leads through.

    One pass suffices, as a step has its inputs before it.
    """
    found: dict[int, int] = {}
    for step in steps:
        ways = [edge.step for edge in step.inputs if edge.step in found]
        if step.index in streams:
            found[step.index] = _NO_STEP
        elif ways:
            found[step.index] = _meeting(found, ways)
    return found


def _meeting(dominators: Mapping[int, int], indices: Collection[int]) -> int:
    """The last step that every way from a stream to these steps leads through, be it one of them."""
    meeting, *others = indices
    for index in others:
        other = index
        while meeting != other:
            if meeting > other:
                meeting = dominators[meeting]
            else:
                other = dominators[other]
    return meeting


def _require_row_by_row(steps: Sequence[Step], step: Step, shape: StreamShape, below: Set[int]) -> None:
    """Raise for a transform after the head that has to see more rows than those of one micro-batch."""
    if step.type != "transform" or step.index in shape.streamed:
        return
    from_head = [edge.step for edge in step.inputs if edge.step in below]
    joins_itself = len(set(from_head)) > 1 and step.traits.is_join
    if joins_itself or (from_head and step.traits.is_stateful):
        raise StreamShapeError(
            f"{step.config.method} comes after '{steps[shape.head].name}', which is validated or loaded too, so it "
            "would see only the rows of one micro-batch",
            step.index,
            "move it before the first validation or load, or into a pipeline of its own that reads what this one loads",
        )


def _input(sink: Step) -> int:
    return sink.inputs[0].step


def _upstream(steps: Sequence[Step], indices: Set[int]) -> set[int]:
    """These steps and all that their frames are made from."""
    found: set[int] = set()
    pending = list(indices)
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending.extend(edge.step for edge in steps[index].inputs)
    return found


def _below(steps: Sequence[Step], head: int) -> set[int]:
    """The head, and all whose frames are made from it."""
    found = {head}
    for step in steps:
        if any(edge.step in found for edge in step.inputs):
            found.add(step.index)
    return found
