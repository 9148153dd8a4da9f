"""Which steps the rows of a quarantine have to take once more, and why those of some can't."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence, Set
from dataclasses import dataclass

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.quarantine_tables import validated_together
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.transform import Transform
from pipeline_platform.steps.validate import Validate

_ELSEWHERE = "mend the source, and run the pipeline again"


@dataclass(frozen=True)
class ReplaySteps:
    """The way of rows that a validation has taken out.

    Args:
        head: The step whose rows they were.
        steps: Indices of all steps that are run: that one, the validation and those beside it, what comes after it,
            and what that reads beside these rows.
        loads: The loads among them.
    """

    head: Step
    steps: frozenset[int]
    loads: tuple[Step, ...]

    def fingerprint(self, pipeline: PipelineConfig) -> str:
        """What tells whether other rows would be put into quarantine again.

        A replay that was interrupted has done so already with some, and goes on only if it would do the same.
        """
        chosen = [pipeline.steps[index] for index in self.steps if pipeline.steps[index].config.fills_quarantine()]
        validations = [one for step in chosen if step.type == "validate" for one in validated_together(pipeline, step)]
        above = pipeline.upstream_of({step.index for step in validations}) & self.steps - {self.head.index}
        told = [
            [pipeline.steps[index].config.method, pipeline.steps[index].config.as_config()] for index in sorted(above)
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def quarantine_step(pipeline: PipelineConfig, name: str) -> Step:
    """The step of this name, which has a quarantine.

    Raises:
        PipelineConfigurationException: There is none, or it has none.
    """
    step = next((one for one in pipeline.steps if one.name == name), None)
    if step is not None and step.config.fills_quarantine():
        return step
    those = ", ".join(one.name for one in pipeline.steps if one.config.fills_quarantine())
    has = f"those with a quarantine are {those}" if those else "no step of the pipeline has a quarantine"
    if step is None:
        raise PipelineConfigurationException(f"there is no step called '{name}'; {has}", location=pipeline.location)
    raise PipelineConfigurationException(
        f"the step '{name}' puts no rows into quarantine; {has}",
        location=step.location,
        hint="name one of them with --step" if those else "set 'onFailure' of a validation to quarantine",
    )


def replay_steps(pipeline: PipelineConfig, step: Step) -> ReplaySteps:
    """The steps that the rows of a quarantine take when they are replayed.

    Args:
        pipeline: The pipeline.
        step: The step that has put them there.

    Raises:
        PipelineConfigurationException: They can't be replayed; it says why, and what to do instead.
    """
    if step.type != "validate":
        records = "could not be read" if step.type == "extract" else "its sink could not store"
        raise _refused(
            step,
            f"the quarantine of '{step.name}' has what {records}, as it came, and not rows of a frame",
            f"{_ELSEWHERE}; then remove these with: pipeline-platform quarantine drop",
        )
    if pipeline.partitions is not None:
        raise _refused(
            step,
            "the pipeline has partitions, of which each is loaded as a whole",
            "mend the source, and run the partitions again that '_partition' names: each then has its rows once, and "
            "in quarantine only those that still break a rule",
        )
    head = pipeline.steps[step.inputs[0].step]
    affected = _affected(pipeline, step, head)
    loads = tuple(one for one in pipeline.after(step) if one.index in affected and one.type == "load")
    if not loads:
        raise _refused(step, f"no load comes after '{step.name}', so that there is nowhere to replay its rows to", None)
    for load in loads:
        _require_adds(load)
    together = validated_together(pipeline, step)
    for one in together:
        _require_by_row(one, {head.index}, head)
    block = {one.index for one in together}
    beside = _read_beside(pipeline, affected | block, head)
    return ReplaySteps(head, frozenset(affected | block | beside | {head.index}), loads)


def _affected(pipeline: PipelineConfig, step: Step, head: Step) -> set[int]:
    """Indices of the steps after a validation that get the rows which it lets through.

    Raises:
        PipelineConfigurationException: One of them would not make of these rows what it would have made of all.
    """
    with_head = _below(pipeline, head)
    affected: set[int] = set()
    for one in pipeline.after(step):
        ours = {edge.step for edge in one.inputs if edge.step in affected or edge.step == head.index}
        if isinstance(one.config, Validate) and one.inputs[0].step not in ours:
            continue
        if not ours:
            continue
        if (others := {edge.step for edge in one.inputs} & with_head - ours) or len(ours) > 1:
            named = pipeline.steps[max(others or ours)].name
            raise _refused(
                one, f"it brings rows of '{head.name}' together with others of them, by way of '{named}'", _ELSEWHERE
            )
        _require_by_row(one, ours, head)
        affected.add(one.index)
    return affected


def _require_by_row(one: Step, ours: Set[int], head: Step) -> None:
    config = one.config
    if isinstance(config, Validate) and config.judges_whole_frame():
        raise _refused(
            one, f"'{config.method}' is about all rows together, and only some would be replayed", _ELSEWHERE
        )
    if not isinstance(config, Transform):
        return
    if one.traits.is_stateful:
        raise _refused(
            one,
            f"what '{config.method}' makes of a row depends on the other rows of '{head.name}', and only some would be "
            "replayed",
            f"{_ELSEWHERE}; or let a pipeline of its own do this step, which reads what this one loads",
        )
    names = frozenset(edge.name for edge in one.inputs if edge.step in ours)
    if len(names) < len(one.inputs) and not config.makes_rows_of(names):
        raise _refused(
            one, f"'{config.method}' also passes on rows of its other inputs, which are loaded already", _ELSEWHERE
        )


def _require_adds(load: Step) -> None:
    """Raise for a load that would not add the rows, each once, to what it has loaded.

    Raises:
        PipelineConfigurationException: It would not.
    """
    config = load.config
    assert isinstance(config, Load)
    mode = getattr(config, "mode", None)
    if (replaces := config.replaces()) is not None:
        raise _refused(
            load, f"the load {replaces.does}, and of those only the replayed ones would be there then", _ELSEWHERE
        )
    if mode in ("errorIfExists", "ignore"):
        raise _refused(load, f"with mode {mode} the load adds no rows to a table that is there", _ELSEWHERE)
    if not load.traits.loads_once:
        raise _refused(
            load,
            f"'{config.method}' can't tell what it has loaded already, and would load rows twice if a replay is "
            "interrupted",
            _ELSEWHERE,
        )


def _read_beside(pipeline: PipelineConfig, run: Set[int], head: Step) -> set[int]:
    """Indices of the steps whose frames are read beside the rows.

    Raises:
        PipelineConfigurationException: One of them would not be what it was.
    """
    found: set[int] = set()
    pending = [edge.step for index in run for edge in pipeline.steps[index].inputs]
    while pending:
        index = pending.pop()
        if index in run or index in found or index == head.index:
            continue
        found.add(index)
        pending += [edge.step for edge in pipeline.steps[index].inputs]
    for index in sorted(found):
        if pipeline.steps[index].config.reads_increments():
            raise _refused(
                pipeline.steps[index], "the rows are brought together with what is new in this source", _ELSEWHERE
            )
    guards: Sequence[Step] = [one for one in pipeline.steps if one.type == "validate" and one.inputs[0].step in found]
    for guard in guards:
        if guard.config.fills_quarantine():
            frame = pipeline.steps[guard.inputs[0].step].name
            raise _refused(
                guard,
                f"the rows are brought together with '{frame}', whose own bad rows would be put into quarantine again",
                _ELSEWHERE,
            )
    return found


def _below(pipeline: PipelineConfig, head: Step) -> set[int]:
    """The step, and all whose frames are made from its."""
    found = {head.index}
    for step in pipeline.steps:
        if any(edge.step in found for edge in step.inputs):
            found.add(step.index)
    return found


def _refused(step: Step, why: str, instead: str | None) -> PipelineConfigurationException:
    hint = instead or "look at them with: pipeline-platform quarantine show; remove them with: quarantine drop"
    return PipelineConfigurationException(f"rows can't be replayed: {why}", location=step.location, hint=hint)
