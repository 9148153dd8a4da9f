"""Compares two versions of the pipelines of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.spark.session import session_for
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.planning.changes import Change, ChangePlan, Reader, Severity
from pipeline_platform.planning.derivation import Derived, derived_frames
from pipeline_platform.planning.described import Described
from pipeline_platform.planning.frames import PipelineFrames, VersionFrames
from pipeline_platform.planning.key_changes import key_changes, runs_otherwise
from pipeline_platform.planning.reruns import reruns
from pipeline_platform.planning.sink_changes import (
    SinkPair,
    load_changes,
    sink_changes,
    sink_name,
    validation_change,
)
from pipeline_platform.planning.step_changes import StepChange, frame_forms, step_changes, title
from pipeline_platform.planning.versions import Pair, Pairing, Version, paired
from pipeline_platform.redaction import redact
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load

_OTHER = ("added", "removed", "changed", "moved")
_NOTHING: Mapping[str, PipelineFrames] = {}


@dataclass(frozen=True)
class _Compared:
    """A pipeline, and what of its steps is another."""

    pair: Pair
    steps: Sequence[StepChange]

    @property
    def needs_frames(self) -> bool:
        """Whether frames may be others than before."""
        before, now = self.pair.before, self.pair.now
        return repr(frame_forms(before)) != repr(frame_forms(now)) or before.spark_conf != now.spark_conf


def compare(before: Version, now: Version, methods: Methods) -> ChangePlan:
    """Say what becomes of tables, streams and assets by a change; starts Spark only where steps are others.

    Args:
        before: The version that is there.
        now: The version that is to be.
        methods: The methods a step may name.
    """
    pairing = paired(before.project.pipelines, now.project.pipelines)
    compared = [_Compared(pair, step_changes(pair)) for pair in pairing.pairs]
    seeds = {name for one in compared if one.needs_frames for name in (one.pair.before.name, one.pair.now.name)} | {
        one.name for one in (*pairing.added, *pairing.removed)
    }
    needs = any(one.needs_frames for one in compared)
    described = _described(before, now, methods, seeds, _formers(compared)) if needs else None
    old, new = described or (Described(before, _NOTHING, {}, {}), Described(now, _NOTHING, {}, {}))
    changes: list[Change] = []
    for one in compared:
        changes += _pipeline_changes(one, old, new)
    changes += _broken(old, new, pairing)
    changes += [_added(pipeline, now) for pipeline in pairing.added]
    changes += [_removed(pipeline, before, now) for pipeline in pairing.removed]
    changes = [replace(one, text=redact(one.text), todo=redact(one.todo) if one.todo else None) for one in changes]
    order = {pipeline.name: place for place, pipeline in enumerate(_in_order(now))}
    changes.sort(key=lambda change: (order.get(change.pipeline, len(order)), -change.severity))
    unknown = {**_unknown(old, is_before=True), **_unknown(new, is_before=False)}
    return ChangePlan(before.revision.title, tuple(changes), tuple(reruns(pairing, changes, old, new)), unknown)


def _formers(compared: Sequence[_Compared]) -> Mapping[str, Mapping[int, Step]]:
    """By pipeline and step index of this version: the step that it was before."""
    return {
        one.pair.now.name: {
            change.now.index: change.before
            for change in one.steps
            if change.now is not None and change.before is not None and change.now.type == "extract"
        }
        for one in compared
    }


def _described(
    before: Version, now: Version, methods: Methods, seeds: set[str], formers: Mapping[str, Mapping[int, Step]]
) -> tuple[Described, Described]:
    looked_at = [_downstream(version, seeds) for version in (before, now)]
    changed = looked_at[0] | looked_at[1]
    # What is wrong with Spark itself is no pipeline's failure.
    session_for(now.project.pipelines[0], is_short=True)
    shared: dict[str, PipelineFrames] = {}
    old = VersionFrames(before, methods, shared, changed)
    former = {one.name: old.of(one) for one in before.project.pipelines if one.name in changed}
    tables = {
        dataset: written
        for pipeline in before.project.pipelines
        if pipeline.name in former
        for dataset, written in former[pipeline.name].loaded(pipeline).items()
    }
    new = VersionFrames(now, methods, shared, changed, tables)
    current = {one.name: new.of(one) for one in now.project.pipelines if one.name in changed}
    inside = _written(before) | _written(now)
    described = _derived(before, former, dict.fromkeys(inside), {})
    # What nobody writes any more stays as it is.
    left = {dataset: one for dataset, one in described.tables().items() if dataset not in _written(now)}
    return described, _derived(now, current, {**dict.fromkeys(inside), **left}, formers)


def _written(version: Version) -> set[Dataset]:
    return {
        step.config.dataset()
        for pipeline in version.project.pipelines
        for step in pipeline.steps
        if isinstance(step.config, Load)
    }


def _downstream(version: Version, seeds: set[str]) -> set[str]:
    """These pipelines, and all that read what is made of their tables."""
    found = set(seeds)
    names = {pipeline.asset_prefix: pipeline.name for pipeline in version.project.pipelines}
    while True:
        grown = found | {
            names[prefix]
            for prefix, above in version.project.upstream.items()
            if any(names.get(one) in found for one in above)
        }
        if grown == found:
            return found
        found = grown


def _derived(
    version: Version,
    frames: Mapping[str, PipelineFrames],
    there: Mapping[Dataset, Derived | None],
    formers: Mapping[str, Mapping[int, Step]],
) -> Described:
    own: dict[str, Mapping[int, Derived]] = {}
    whole: dict[str, Mapping[int, Derived]] = {}
    tables = dict(there)
    for pipeline in _in_order(version):
        planned = frames.get(pipeline.name)
        if planned is None or not planned.is_known:
            continue
        before = formers.get(pipeline.name, {})
        own[pipeline.name] = derived_frames(pipeline, planned.frames, dict.fromkeys(there), before)
        whole[pipeline.name] = derived_frames(pipeline, planned.frames, tables, before)
        for step in pipeline.steps:
            if isinstance(step.config, Load):
                tables[step.config.dataset()] = whole[pipeline.name][step.index]
    return Described(version, frames, own, whole)


def _in_order(version: Version) -> Sequence[PipelineConfig]:
    try:
        return version.project.in_order()
    except PipelineConfigurationException:
        return version.project.pipelines


def _pipeline_changes(one: _Compared, before: Described, now: Described) -> Iterator[Change]:
    pair = one.pair
    yield from key_changes(pair, one.steps, now.version)
    frames = [described.frames.get(name) for described, name in ((before, pair.before.name), (now, pair.now.name))]
    are_known = all(planned is not None and planned.is_known for planned in frames)
    told: set[int] = set()
    for change in one.steps:
        if change.step.type == "validate" and change.kind in _OTHER:
            yield validation_change(pair, change, before, now)
        if change.step.type != "load":
            continue
        if change.before is None or change.now is None:
            yield _load_added_or_removed(pair, change, before.version, now.version)
            continue
        sink = SinkPair(pair, change.before, change.now, one.steps)
        yield from load_changes(sink, change, now)
        if are_known:
            found = list(sink_changes(sink, before, now))
            told |= {change.now.index} if found else set()
            yield from found
    if one.needs_frames and not are_known:
        yield from _unjudged(one, now, frames[1])
    yield from _without_effect(one, now.version, is_told=bool(told), are_known=are_known)


def _unjudged(one: _Compared, now: Described, frames: PipelineFrames | None) -> Iterator[Change]:
    """Changes of steps of which nobody can say what they do to the columns."""
    if frames is not None and frames.failure is not None:
        return
    for change in one.steps:
        if change.step.type in ("extract", "transform") and change.kind in _OTHER:
            text = f"{change.told()}: rows or columns may change; which ones can't be told"
            place = now.version.place(one.pair.now, change.now)
            yield Change(Severity.DATA, one.pair.now.name, "step", text, place)


def _without_effect(one: _Compared, now: Version, *, is_told: bool, are_known: bool) -> Iterator[Change]:
    pair = one.pair
    for change in one.steps:
        place = now.place(pair.now, change.now)
        if change.is_renamed and change.step.type != "load":
            assert change.before is not None
            text = f"the step '{change.before.name}' is now called '{change.step.name}': nothing it makes changes"
            if change.step.type != "validate":
                text += "; where steps are assets, Dagster keeps its history under the old name"
            yield Change(Severity.SAFE, pair.now.name, "step renamed", text, place)
        # That of a stream is told with it.
        keys = [one for one in change.keys if one.key != "trigger" or not runs_otherwise(pair)]
        if change.kind == "rewritten" and keys:
            text = f"{title(change.step)} is written otherwise, and does the same: {'; '.join(map(str, keys))}"
            yield Change(Severity.SAFE, pair.now.name, "written otherwise", text, place)
        is_effective = (
            change.kind in _OTHER
            and change.step.type in ("extract", "transform")
            and not (change.effective and all(one.key.startswith("incremental") for one in change.effective))
        )
        if is_effective and are_known and not is_told:
            text = f"{change.told()}: no table changes by it"
            yield Change(Severity.SAFE, pair.now.name, "step", text, place)


def _load_added_or_removed(pair: Pair, change: StepChange, before: Version, now: Version) -> Change:
    table = sink_name(change.step)
    if change.now is not None:
        return Change(
            Severity.SAFE, pair.now.name, "sink added", f"{table} is a new sink", now.place(pair.now, change.now), table
        )
    assert change.before is not None
    return _left_table(pair.before, [change.before], before, now, pair.now.name, f"{table} is not written any more")


def _left_table(
    writer: PipelineConfig, loads: Sequence[object], before: Version, now: Version, name: str, text: str
) -> Change:
    """What happens to those who read a table that nobody writes any more."""
    steps = [step for step in writer.steps if step in loads]
    readers: list[Reader] = []
    written = {
        step.config.dataset() for one in now.project.pipelines for step in one.steps if isinstance(step.config, Load)
    }
    for load in (step.config for step in steps):
        if isinstance(load, Load) and load.dataset() not in written:
            for pipeline, step in now.readers_of(load, writer):
                readers.append(Reader(pipeline.name, title(step), now.place(pipeline, step)))
    place = before.place(writer, steps[0] if len(steps) == 1 else None)
    table = sink_name(steps[0]) if len(steps) == 1 else None
    if readers:
        text = f"{text}, but read by {'; '.join(map(str, readers))}"
    else:
        text = f"{text}, and stays as it is; no pipeline reads it"
    severity = Severity.BREAKING if readers else Severity.DATA
    return Change(severity, name, "sink removed", text, place, table, readers=tuple(readers))


def _added(pipeline: PipelineConfig, now: Version) -> Change:
    tables = ", ".join(sink_name(step) for step in pipeline.steps if step.type == "load")
    text = f"the pipeline is new{f'; it writes {tables}' if tables else ''}"
    return Change(Severity.SAFE, pipeline.name, "pipeline added", text, now.place(pipeline))


def _removed(pipeline: PipelineConfig, before: Version, now: Version) -> Change:
    loads = [step for step in pipeline.steps if step.type == "load"]
    tables = " and ".join(map(sink_name, loads)) or "nothing"
    text = f"the pipeline is removed, with its assets in Dagster; {tables} is not written any more"
    return _left_table(pipeline, loads, before, now, pipeline.name, text)


def _broken(before: Described, now: Described, pairing: Pairing) -> Iterator[Change]:
    """Pipelines that can't be planned any more."""
    formers = {pair.now.name: pair.before.name for pair in pairing.pairs}
    for pipeline in now.version.project.pipelines:
        frames = now.frames.get(pipeline.name)
        former = before.frames.get(formers.get(pipeline.name, ""))
        if frames is None or frames.failure is None or (former is not None and former.failure is not None):
            continue
        failure = frames.failure
        where = f"{title(failure.step)}: " if failure.step is not None else ""
        text = f"the pipeline can't run any more: {where}{failure.message}"
        place = now.version.place(pipeline, failure.step)
        yield Change(Severity.BREAKING, pipeline.name, "pipeline broken", text, place, todo=failure.hint)


def _unknown(described: Described, *, is_before: bool) -> dict[str, str]:
    """Of which pipelines nothing is said; one that can't be planned any more is a change."""
    found: dict[str, str] = {}
    for name, frames in described.frames.items():
        if frames.unknown is not None:
            found[name] = frames.unknown
        elif frames.failure is not None and is_before:
            found[name] = f"it can't be planned in the version of {described.version.revision.name}: " + (
                frames.failure.message
            )
    return found
