"""What a change does to rows: both versions are carried out, and what their loads are given is compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.hidden_columns import marked_columns
from pipeline_platform.engine.table_difference import TableDifference, table_difference
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.frames.columns import find_column
from pipeline_platform.planning.carrying_out import CarriedOut, GivenToLoad, VersionRows
from pipeline_platform.planning.changes import Change, ChangePlan, Severity
from pipeline_platform.planning.sink_changes import sink_name
from pipeline_platform.planning.sources import Sample, Sources
from pipeline_platform.planning.step_changes import step_changes, title
from pipeline_platform.planning.versions import Pair, Version, paired
from pipeline_platform.steps.contract_rules import ContractRules

_NOT_OF_ROWS = ("sink removed", "variable", "checkpoint", "cursor")
# What decides on the rows of a load, and that no fingerprint of a frame has.
_OF_VALIDATIONS = ("validation", "contract")


@dataclass(frozen=True)
class RunFailure:
    """What a run fails at.

    Args:
        told: In words, with the step.
        place: File and line.
        todo: What to do.
    """

    told: str
    place: str
    todo: str | None


@dataclass(frozen=True)
class LoadDifference:
    """How that differs what a load is given in both versions.

    Args:
        sink: What it writes.
        place: File and line of the load.
        found: The difference; None if it could not be told.
        note: What someone should know of it, or why it could not be told.
        is_failure: Whether it could not be told.
    """

    sink: str
    place: str
    found: TableDifference | None
    note: str | None = None
    is_failure: bool = False


@dataclass(frozen=True)
class PipelineDifference:
    """How the rows of a pipeline differ.

    Args:
        pipeline: Its name now.
        loads: Of each load that is in both versions.
        before: What the run of the other version fails at.
        now: What the run of this version fails at.
        left_out: Why nothing was compared, where nothing is wrong with it.
        cut: The extracts of which only the first rows were read.
        notes: What someone should know of it.
        is_new: Whether there is no such pipeline in the other version.
    """

    pipeline: str
    loads: tuple[LoadDifference, ...] = ()
    before: RunFailure | None = None
    now: RunFailure | None = None
    left_out: str | None = None
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_new: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether its run fails now, and did not before."""
        return self.now is not None and self.before is None and not self.is_new

    @property
    def is_unknown(self) -> bool:
        """Whether something kept the rows from being compared that the change has not to do with."""
        return (self.now is not None and not self.is_broken) or any(one.is_failure for one in self.loads)


@dataclass(frozen=True)
class DataDifferences:
    """How the rows differ that both versions load.

    Args:
        sample: What of the sources was looked at.
        pipelines: Those whose rows may differ, those before that others read.
    """

    sample: Sample
    pipelines: tuple[PipelineDifference, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "limit": self.sample.limit,
            "partition": self.sample.partition,
            "pipelines": [
                {
                    "pipeline": one.pipeline,
                    "failsBefore": vars(one.before) if one.before is not None else None,
                    "failsNow": vars(one.now) if one.now is not None else None,
                    "leftOut": one.left_out,
                    "firstRowsOf": one.cut,
                    "notes": one.notes,
                    "loads": [
                        {
                            "sink": load.sink,
                            "place": load.place,
                            "note": load.note,
                            "is_same": load.found.is_same if load.found is not None else None,
                            "difference": asdict(load.found) if load.found is not None else None,
                        }
                        for load in one.loads
                    ],
                }
                for one in self.pipelines
            ],
        }


def data_differences(before: Version, now: Version, plan: ChangePlan, sample: Sample) -> DataDifferences:
    """Carry out both versions of the pipelines whose rows a change may change, and compare what their loads are given.

    Nothing is written. What fails, fails for its pipeline alone.

    Args:
        before: The version that is there.
        now: The version that is to be.
        plan: What the change does, as far as that can be told without rows.
        sample: What of the sources is looked at.
    """
    hidden = {name for version in (before, now) for one in version.project.pipelines for name in marked_columns(one)}
    pairs = {pair.now.name: pair for pair in paired(before.project.pipelines, now.project.pipelines).pairs}
    found: list[PipelineDifference] = []
    with ExitStack() as kept:
        sources = Sources(sample, kept)
        old, new = (VersionRows(version, sample, sources, hidden, kept) for version in (before, now))
        for pipeline in _concerned(now, plan):
            if (pair := pairs.get(pipeline.name)) is None:
                # Others may read what a new one writes.
                done = new.carry_out(pipeline)
                left_out = done.left_out or "it is new, so there is nothing to compare it with"
                found.append(
                    PipelineDifference(pipeline.name, now=_told(done, new, pipeline), left_out=left_out, is_new=True)
                )
            else:
                found.append(_difference(pair, old, new, sample))
    return DataDifferences(sample, tuple(found))


def _concerned(now: Version, plan: ChangePlan) -> Iterator[PipelineConfig]:
    """The pipelines whose rows may be others, those before that others read."""
    rows = {change.pipeline for change in plan.changes if change.severity and change.what not in _NOT_OF_ROWS}
    again = {one.pipeline for one in plan.reruns}
    # Whoever reads what they let through has other rows, too.
    judged = {change.pipeline for change in plan.changes if change.what in _OF_VALIDATIONS}
    for pipeline in _in_order(now):
        above = now.project.upstream[pipeline.asset_prefix]
        if any(one.name in judged and one.asset_prefix in above for one in now.project.pipelines):
            judged.add(pipeline.name)
        if pipeline.name in rows | again | judged:
            yield pipeline


def _in_order(now: Version) -> Sequence[PipelineConfig]:
    try:
        return now.project.in_order()
    except PipelineConfigurationException:
        return now.project.pipelines


def _told(done: CarriedOut, rows: VersionRows, pipeline: PipelineConfig) -> RunFailure | None:
    failure = done.failure
    if failure is None:
        return None
    named = f"{title(failure.step)}: " if failure.step is not None else ""
    return RunFailure(f"{named}{failure.message}", rows.version.place(pipeline, failure.step), failure.hint)


def _difference(pair: Pair, old: VersionRows, new: VersionRows, sample: Sample) -> PipelineDifference:
    before, now = old.carry_out(pair.before), new.carry_out(pair.now)
    loads: list[LoadDifference] = []
    for change in step_changes(pair):
        if change.before is None or change.now is None or change.step.type != "load":
            continue
        one, other = before.loads.get(change.before.index), now.loads.get(change.now.index)
        if one is not None and other is not None:
            loads.append(_compared(pair.now, one, other, new.version, sample))
    own = {pair.before.name, pair.now.name}
    cut = [name if writer in own else f"{name} of {writer}" for writer, name in (*before.cut, *now.cut)]
    others = [
        f"each version reads '{change.step.name}' by itself, as it is another step, so that its first rows may differ"
        for change in step_changes(pair)
        if change.step.type == "extract" and change.kind == "changed" and change.step.name in cut
    ]
    return PipelineDifference(
        pair.now.name,
        tuple(loads),
        _told(before, old, pair.before),
        _told(now, new, pair.now),
        now.left_out or before.left_out,
        tuple(dict.fromkeys(cut)),
        tuple(dict.fromkeys((*before.notes, *now.notes, *others))),
    )


def _compared(
    pipeline: PipelineConfig, before: GivenToLoad, now: GivenToLoad, version: Version, sample: Sample
) -> LoadDifference:
    sink, place = sink_name(now.step), version.place(pipeline, now.step)
    key = next((key for key in _keys(pipeline, now, sample) if _has(before, key) and _has(now, key)), ())
    hidden = {*before.hidden, *now.hidden}
    try:
        with error_context(now.step):
            found = table_difference(before.frame, now.frame, key, limit=sample.examples, hidden=hidden)
    except PipelineException as error:
        return LoadDifference(sink, place, None, f"the rows can't be compared: {error.message}", is_failure=True)
    notes = ["these are the rows that are loaded; the table keeps others beside them"] if now.keeps_rows else []
    if not found.key and found.only_before and found.only_after:
        notes.append("a key would show which values are others: --key COLUMN")
    return LoadDifference(sink, place, found, "; ".join(notes) or None)


def _keys(pipeline: PipelineConfig, load: GivenToLoad, sample: Sample) -> Iterator[Sequence[str]]:
    """What may tell the rows of a load apart, the likeliest first."""
    merged: Sequence[str] = getattr(load.config, "merge_keys", ())
    # Others than those of a merge may say which rows are replaced together.
    if merged and load.config.merges_rows():
        yield merged
    yield from _contract_keys(pipeline, load.step)
    if sample.key:
        yield sample.key


def _contract_keys(pipeline: PipelineConfig, load: Step) -> Iterator[Sequence[str]]:
    for step in pipeline.steps:
        if step.guards == load.index and isinstance(step.config, ContractRules):
            properties = step.config.table.table.properties
            keys = sorted((one for one in properties if one.primary_key), key=lambda one: one.primary_key_position)
            if keys:
                yield [one.column for one in keys]


def _has(given: GivenToLoad, key: Sequence[str]) -> bool:
    return all(find_column(given.frame.columns, name) is not None for name in key)


def with_failures(plan: ChangePlan, data: DataDifferences) -> ChangePlan:
    """The plan, and in it the runs that fail by the change, as far as it does not say so already.

    Args:
        plan: What can be told without rows.
        data: What rows tell.
    """
    known = {change.pipeline for change in plan.changes if change.what == "pipeline broken"}
    changes = list(plan.changes)
    for one in data.pipelines:
        if one.is_broken and one.pipeline not in known:
            assert one.now is not None
            text = f"the run fails on these rows, and did not before: {one.now.told}"
            todo = one.now.todo
            changes.append(Change(Severity.BREAKING, one.pipeline, "run fails", text, one.now.place, todo=todo))
    order = {name: place for place, name in reversed(list(enumerate(change.pipeline for change in changes)))}
    changes.sort(key=lambda change: (order[change.pipeline], -change.severity))
    return replace(plan, changes=tuple(changes))
