"""What becomes of the tables: their columns, their rows, how they are loaded, and whether the load would be refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline_platform.config.step import Step
from pipeline_platform.frames.storable import field_names
from pipeline_platform.frames.widening import holds
from pipeline_platform.planning.changes import Change, Reader, Severity
from pipeline_platform.planning.derivation import decides_on_rows
from pipeline_platform.planning.described import Described
from pipeline_platform.planning.misread import misread
from pipeline_platform.planning.step_changes import KeyChange, StepChange, title
from pipeline_platform.planning.versions import Pair
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.validate import Validate

_PLACES = ("path", "table", "topic", "uri", "bucket")
# What a load may do with a table that is there, and where it is kept.
_HARMLESS = (
    "mergeSchema",
    "schemaPolicy",
    "overwriteSchema",
    "timeoutSeconds",
    "compression",
    "batchSize",
    "clusterBy",
)


@dataclass(frozen=True)
class SinkPair:
    """A load in both versions.

    Args:
        pair: Its pipeline.
        before: The load before.
        now: The load now.
        steps: What of the steps of the pipeline is another.
    """

    pair: Pair
    before: Step
    now: Step
    steps: Sequence[StepChange]

    @property
    def table(self) -> str:
        """What is written, as messages name it."""
        return sink_name(self.now)


def sink_name(step: Step) -> str:
    """What a load writes, as its file says it; its name where that is a whole URI or more.

    Args:
        step: The load.
    """
    written = step.config.as_written.as_config()
    place = next((written[key] for key in _PLACES if isinstance(written.get(key), str)), None)
    return place or step.name


def sink_changes(sink: SinkPair, before: Described, now: Described) -> Iterator[Change]:
    """What becomes of the table of a load of which the frames are known in both versions.

    Args:
        sink: The load.
        before: The other version.
        now: This version.
    """
    yield from _columns(sink, before, now)
    yield from _rows(sink, before, now)
    pipeline = sink.pair.now
    refused = now.frames[pipeline.name].refused.get(sink.now.index)
    if refused is not None:
        yield Change(
            Severity.BREAKING,
            pipeline.name,
            "load refused",
            f"the next load of {sink.table} is refused: {refused.message}",
            now.version.place(pipeline, sink.now),
            sink.table,
            todo=refused.hint,
        )


def _columns(sink: SinkPair, before: Described, now: Described) -> Iterator[Change]:
    pair = sink.pair
    old, new = before.schema(pair.before, sink.before), now.schema(pair.now, sink.now)
    was = before.own[pair.before.name][sink.before.index].columns
    is_now = now.own[pair.now.name][sink.now.index].columns
    gone, added = [name for name in old if name not in new], [name for name in new if name not in old]
    place = now.version.place(pair.now, sink.now)

    def change(
        severity: Severity, what: str, text: str, column: str, readers: Iterable[Reader] = (), where: str = place
    ) -> Change:
        told = tuple(dict.fromkeys(readers))
        text = f"{text}; read by {'; '.join(map(str, told))}" if told else text
        return Change(severity, pair.now.name, what, text, where, sink.table, column, told)

    for name in gone:
        shown, kind, _ = old[name]
        readers = _left_behind(sink, before, now, shown)
        severity = Severity.BREAKING if readers else Severity.DATA
        twin = next((other for other in added if is_now.get(other) == was.get(name)), None)
        if twin is not None:
            added.remove(twin)
            yield change(severity, "column renamed", f"column '{shown}' is now '{new[twin][0]}'", shown, readers)
            continue
        text = f"column '{shown}' ({kind}) is gone{'' if readers else ', and no pipeline reads it'}"
        yield change(severity, "column removed", text, shown, readers)
    for name in added:
        yield change(Severity.DATA, "column added", f"column '{new[name][0]}' ({new[name][1]}) is new", new[name][0])
    places = (pair.now.name, sink.now.index), (pair.before.name, sink.before.index)
    for name in (name for name in new if name in old):
        shown = new[name][0]
        if old[name][0] != shown:
            text = f"column '{old[name][0]}' is spelled '{shown}' now: who tells upper and lower case apart misses it"
            yield change(Severity.DATA, "column spelled", text, shown)
        if old[name][1] != new[name][1]:
            yield change(*_retyped(sink, before, now, name))
            how, where = _how(sink, before, now, shown)
            old_text, new_text = _expressions(sink, before, now, shown)
            if old_text is not None and new_text is not None and old_text != new_text:
                yield change(Severity.DATA, "values", f"values of '{shown}' change{how}", shown, where=where or place)
            continue
        if not now.is_same(before, *places, name):
            how, where = _how(sink, before, now, shown)
            yield change(Severity.DATA, "values", f"values of '{shown}' change{how}", shown, where=where or place)
        elif new[name][2] and not old[name][2]:
            yield change(Severity.DATA, "nullable", f"column '{shown}' may be NULL now, and was never", shown)


def _retyped(
    sink: SinkPair, before: Described, now: Described, name: str
) -> tuple[Severity, str, str, str, Sequence[Reader]]:
    pair = sink.pair
    old, new = before.schema(pair.before, sink.before)[name], now.schema(pair.now, sink.now)[name]
    assert isinstance(sink.now.config, Load)
    readers = now.readers(sink.now.config, pair.now, new[0])
    kinds = [
        described.frames[pipeline.name].frames[load.inputs[0].step].schema[column].dataType
        for described, pipeline, load, column in (
            (before, pair.before, sink.before, old[0]),
            (now, pair.now, sink.now, new[0]),
        )
    ]
    is_wider = holds(kinds[1], kinds[0]) and (new[1] == "string") == (old[1] == "string")
    is_wider = is_wider and set(field_names(kinds[0])) <= set(field_names(kinds[1]))
    text = f"column '{new[0]}': {old[1]} → {new[1]}, which {'holds' if is_wider else 'does not hold'} every value of it"
    if new[1] == "string" and not is_wider:
        text = f"column '{new[0]}': {old[1]} → {new[1]}, so that it is compared, sorted and computed with as text"
    severity = Severity.BREAKING if readers and not is_wider else Severity.DATA
    return severity, "column retyped", text, new[0], readers


def _left_behind(sink: SinkPair, before: Described, now: Described, column: str) -> list[Reader]:
    """Who reads a column that is gone: pipelines that are as they were, and those that can't be planned any more."""
    assert isinstance(sink.before.config, Load)
    readers = before.readers(sink.before.config, sink.pair.before, column)
    if not readers or not isinstance(sink.now.config, Load):
        return []
    now_reading = {pipeline.name: pipeline for pipeline, _ in now.version.readers_of(sink.now.config, sink.pair.now)}
    found: list[Reader] = []
    for reader in readers:
        if reader.pipeline not in now_reading:
            continue
        frames = now.frames.get(reader.pipeline)
        is_broken = frames is not None and frames.failure is not None
        if is_broken or not _is_adapted(reader, before, now):
            # Where it is as it was, people look for it in this version.
            steps = {title(step): step for step in now_reading[reader.pipeline].in_turn}
            same = steps.get(reader.step)
            place = now.version.place(now_reading[reader.pipeline], same) if same is not None else reader.place
            found.append(replace(reader, place=place))
    return found


def _is_adapted(reader: Reader, before: Described, now: Described) -> bool:
    """Whether the steps of a pipeline that can be planned are others than before."""
    versions = [
        next((one for one in described.version.project.pipelines if one.name == reader.pipeline), None)
        for described in (before, now)
    ]
    if versions[0] is None or versions[1] is None:
        return True
    written = [[step.config.as_written.as_config() for step in one.in_turn] for one in versions if one is not None]
    return written[0] != written[1]


def _how(sink: SinkPair, before: Described, now: Described, column: str) -> tuple[str, str | None]:
    """How values of a column are computed now and were, and where."""
    pair = sink.pair
    old = before.expression(pair.before, sink.before, column)
    new = now.expression(pair.now, sink.now, column)
    where = now.version.place(pair.now, new[0]) if new is not None else None
    if (old and old[1]) == (new and new[1]):
        return _because(_effective(sink.steps, [sink.now.index, sink.before.index], pair)), where
    return f": {old[1] if old else 'as it was read'} → {new[1] if new else 'as it is read'}", where


def _expressions(sink: SinkPair, before: Described, now: Described, column: str) -> list[str | None]:
    """What computes a column, in both versions."""
    found = [
        before.expression(sink.pair.before, sink.before, column),
        now.expression(sink.pair.now, sink.now, column),
    ]
    return [one[1] if one is not None else None for one in found]


def _rows(sink: SinkPair, before: Described, now: Described) -> Iterator[Change]:
    pair = sink.pair
    here, there = (pair.now.name, sink.now.inputs[0].step), (pair.before.name, sink.before.inputs[0].step)
    if now.is_same(before, here, there, None):
        return
    causes = _effective(sink.steps, [sink.now.index, sink.before.index], pair)
    causes = [one for one in causes if one.kind == "moved" or decides_on_rows(one.before, one.now)]
    if causes and all(one.step.type == "validate" for one in causes):
        # Told with the validation.
        return
    where = causes[0].step if causes else sink.now
    version, pipeline = (now, pair.now) if not causes or causes[0].now is not None else (before, pair.before)
    yield Change(
        Severity.DATA,
        pair.now.name,
        "rows",
        f"the rows of {sink.table} change{_because(causes)}",
        version.version.place(pipeline, where),
        sink.table,
    )


def _because(causes: Sequence[StepChange]) -> str:
    return f": {'; '.join(one.told() for one in causes)}" if causes else ""


def _effective(steps: Sequence[StepChange], loads: Sequence[int], pair: Pair) -> list[StepChange]:
    """The changes of steps that rows of a load come through."""
    now, before = loads
    above = pair.now.upstream_of({now}), pair.before.upstream_of({before})
    found: list[StepChange] = []
    for one in steps:
        if one.kind in ("same", "rewritten") or one.step.type == "load":
            continue
        if one.step.type == "validate":
            reaches = any(
                step is not None and step.config.fills_quarantine() and step.inputs[0].step in some
                for step, some in ((one.now, above[0]), (one.before, above[1]))
            )
        else:
            reaches = (one.now is not None and one.now.index in above[0]) or (
                one.before is not None and one.before.index in above[1]
            )
        if reaches:
            found.append(one)
    return found


def load_changes(sink: SinkPair, change: StepChange, now: Described) -> Iterator[Change]:
    """What is otherwise in how and where a load writes; needs no frames.

    Args:
        sink: The load.
        change: What of it is another.
        now: This version.
    """
    pair, place = sink.pair, now.version.place(sink.pair.now, sink.now)

    def told(severity: Severity, what: str, text: str, todo: str | None = None) -> Change:
        return Change(severity, pair.now.name, what, text, place, sink.table, todo=todo)

    assert isinstance(sink.before.config, Load)
    assert isinstance(sink.now.config, Load)
    if change.is_renamed:
        text = (
            f"the load '{sink.before.name}' is now called '{sink.now.name}': Dagster keeps the asset's history under "
        )
        yield told(Severity.SAFE, "asset renamed", f"{text}the old name")
    has_moved = sink.before.config.dataset() != sink.now.config.dataset()
    if has_moved:
        left = [
            Reader(pipeline.name, title(step), now.version.place(pipeline, step))
            for pipeline, step in now.version.readers_of(sink.before.config, pair.now)
        ]
        still = any(
            isinstance(step.config, Load) and step.config.dataset() == sink.before.config.dataset()
            for pipeline in now.version.project.pipelines
            for step in pipeline.steps
        )
        text = f"{sink_name(sink.before)} is not written any more, but stays; it is {sink.table} now"
        if sink_name(sink.before) == sink.table:
            methods = [step.config.method for step in (sink.before, sink.now)]
            text = (
                f"{sink.table} is written by {methods[1]} now, and was by {methods[0]}, of which the data stays there"
            )
        if left and not still:
            text = f"{text}; the old one is read by {'; '.join(map(str, left))}"
            yield Change(
                Severity.BREAKING,
                pair.now.name,
                "sink moved",
                text,
                place,
                sink.table,
                readers=tuple(left),
                todo="let them read the new one",
            )
        else:
            yield told(Severity.DATA, "sink moved", text, "remove the old one when nobody reads it")
    for key in change.effective:
        name = key.key.partition(".")[0]
        if not (has_moved and name in (*_PLACES, "method")):
            readers = misread(name, sink.now, sink.pair.now, now.version)
            if readers:
                text = f"the load of {sink.table}: {key}, but it is read otherwise by {'; '.join(map(str, readers))}"
                todo = f"give their '{name}' the same value, and load the table again from the start"
                yield Change(
                    Severity.BREAKING, pair.now.name, "load format", text, place, sink.table, readers=readers, todo=todo
                )
            else:
                yield told(*_load_key(key, name, sink))


def _load_key(key: KeyChange, name: str, sink: SinkPair) -> tuple[Severity, str, str, str | None]:
    text, again = f"the load of {sink.table}: {key}", "load the table again from the start"
    match name:
        case "mode" | "partitionOverwrite" | "replaceWhere" | "outputMode":
            return Severity.DATA, "load mode", f"{text}, so other rows of it stay or are replaced", again
        case "mergeKeys":
            return (
                Severity.DATA,
                "merge keys",
                f"{text}, so rows that are there are found, or not, by other columns: they may be there twice",
                again,
            )
        case _ if name in _HARMLESS:
            return Severity.SAFE, "load", text, None
        case _:
            return Severity.DATA, "load", text, None


def validation_change(pair: Pair, change: StepChange, before: Described, now: Described) -> Change:
    """What becomes of the rows by a validation that is another.

    Args:
        pair: Its pipeline.
        change: What of it is another.
        before: The other version.
        now: This version.
    """
    old, new = change.before, change.now
    version, pipeline, step = (now, pair.now, new) if new is not None else (before, pair.before, old)
    assert step is not None
    place = version.version.place(pipeline, pipeline.steps[step.guards] if step.guards is not None else step)
    was = old.config.on_failure if old is not None and isinstance(old.config, Validate) else None
    is_now = new.config.on_failure if new is not None and isinstance(new.config, Validate) else None
    effects: dict[tuple[str | None, str | None], str] = {
        (None, "quarantine"): "rows that break it are taken out from now on; those that were loaded stay",
        (None, "fail"): "a run with a row that breaks it loads nothing from now on",
        (None, "warn"): "it only reports",
        ("quarantine", None): "rows that it took out are loaded from now on",
        ("fail", None): "rows that stopped the run are loaded from now on",
        ("warn", None): "it only reported",
        ("fail", "warn"): "rows that stopped the run are loaded from now on",
        ("quarantine", "warn"): "rows that it took out are loaded from now on",
        ("quarantine", "fail"): "rows that it took out stop the run from now on",
        ("fail", "quarantine"): "rows that stopped the run are taken out from now on, and the others loaded",
        ("warn", "fail"): "rows that it only reported stop the run from now on",
        ("warn", "quarantine"): "rows that it only reported are taken out from now on",
    }
    effect = effects.get((was, is_now), "it lets other rows through, or stops the run at others")
    if change.effective and all(one.key == "quarantinePath" for one in change.effective):
        return Change(
            Severity.SAFE, pair.now.name, "validation", f"{change.told()}: what it takes out is kept there", place
        )
    is_silent = {was, is_now} <= {"warn", None}
    kind = "quarantine" if "quarantine" in (was, is_now) else "validation"
    return Change(
        Severity.SAFE if is_silent else Severity.DATA,
        pair.now.name,
        kind if step.guards is None else "contract",
        f"{change.told()}: {effect}",
        place,
    )
