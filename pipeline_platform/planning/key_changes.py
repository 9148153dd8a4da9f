"""What the keys of a pipeline beside its steps change: partitions, streams, cursors, schedules, and what is safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pipeline_platform.config.incremental import Incremental
from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.streaming.checkpoint_fingerprint import differences_for_checkpoint
from pipeline_platform.engine.streaming.checkpoint_place import reset_command
from pipeline_platform.planning.changes import Change, Severity
from pipeline_platform.planning.step_changes import StepChange, shown, title
from pipeline_platform.planning.versions import Pair, Version
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load

_SHOWN_KEYS = 5
_SAFE_KEYS = {
    "description": "the description is another one",
    "metadata": "owner, team, version or tags are others",
    "editor_schema": "the JSON Schema for editors is another one",
    "retry": "failed steps are retried otherwise",
    "automation": "Dagster runs it by itself at other times",
}


def key_changes(pair: Pair, steps: Sequence[StepChange], now: Version) -> Iterator[Change]:
    """The changes of a pipeline that no frame tells.

    Args:
        pair: The pipeline in both versions.
        steps: What of its steps is another.
        now: This version.
    """
    before, after, place = pair.before, pair.now, now.place(pair.now)

    def change(severity: Severity, what: str, text: str, todo: str | None = None) -> Change:
        return Change(severity, after.name, what, text, place, todo=todo)

    if pair.is_renamed:
        text = f"'{before.name}' is now called '{after.name}': Dagster keeps runs and assets under the old name"
        yield change(Severity.SAFE, "pipeline renamed", text)
    for key, text in _SAFE_KEYS.items():
        if getattr(before, key) != getattr(after, key):
            yield change(Severity.SAFE, key.replace("_", " "), text)
    if (before.cron, before.cron_timezone) != (after.cron, after.cron_timezone):
        ticks = [shown(one.cron) if one.cron else "none" for one in (before, after)]
        yield change(Severity.SAFE, "schedule", f"the schedule: {ticks[0]} → {ticks[1]}")
    if before.variables != after.variables:
        yield from _variables(before, after, change)
    if before.spark_conf != after.spark_conf:
        keys = sorted(
            {key for one in (before, after) for key in one.spark_conf if _setting(before, key) != _setting(after, key)}
        )
        may_matter = any(key.startswith("spark.sql.") for key in keys)
        text = f"'sparkConf' has other values for {', '.join(keys)}"
        text += ", by which Spark may compute other values" if may_matter else ""
        yield change(Severity.DATA if may_matter else Severity.SAFE, "spark settings", text)
    yield from _partitions(before.partitions, after.partitions, change)
    if before.mode != after.mode:
        text = f"it was a {before.mode} pipeline, and is a {after.mode} one: it begins anew, and reads everything again"
        yield change(Severity.BREAKING, "mode", text, "empty the tables that it adds to before it runs")
    elif after.mode == "streaming":
        yield from _stream(pair, change)
    yield from _cursors(pair, steps, now)


class _MakeChange(Protocol):
    """How the changes of a pipeline are made."""

    def __call__(self, severity: Severity, what: str, text: str, todo: str | None = None) -> Change: ...


def _setting(pipeline: PipelineConfig, key: str) -> object:
    value = pipeline.spark_conf.get(key)
    return getattr(value, "get_secret_value", lambda: value)()


def _variables(before: PipelineConfig, after: PipelineConfig, change: _MakeChange) -> Iterator[Change]:
    for name in dict.fromkeys((*after.variables, *before.variables)):
        old, new = before.variables.get(name), after.variables.get(name)
        if old == new:
            continue
        if old is None or new is None:
            text = f"the variable '{name}' is {'new' if old is None else 'gone'}"
            needs = new is not None and new.default is None and after.item is None
            if needs:
                yield change(
                    Severity.BREAKING,
                    "variable",
                    f"{text}, and has no default: a run that is given none is refused",
                    f"give it a default, or give a value wherever it is run: --var {name}=…",
                )
            elif new is None and before.item is None:
                yield change(
                    Severity.DATA,
                    "variable",
                    f"{text}: a run that is given one is refused",
                    f"leave it out wherever the pipeline is run: --var {name}=…",
                )
            else:
                yield change(Severity.SAFE, "variable", text)
            continue
        if old.default is not None and new.default is None and after.item is None:
            text = f"the variable '{name}' has no default any more: a run that is given none is refused"
            yield change(Severity.BREAKING, "variable", text, f"give a value wherever it is run: --var {name}=…")
        elif old.default != new.default:
            text = f"the default of the variable '{name}': {shown(old.default)} → {shown(new.default)}"
            yield change(Severity.SAFE, "variable", f"{text}; what it changes in the steps is told there")
        elif old.type != new.type:
            yield change(Severity.SAFE, "variable", f"the variable '{name}' is of the type {new.type}, not {old.type}")


def _partitions(before: Partitions | None, after: Partitions | None, change: _MakeChange) -> Iterator[Change]:
    if before == after:
        return
    if before is None or after is None:
        text = "it has partitions now" if before is None else "it has no partitions any more"
        yield change(
            Severity.DATA,
            "partitions",
            f"{text}: Dagster keeps no history across that, and counts every asset of it as never loaded",
            "load it again: all partitions by a backfill" if before is None else None,
        )
        return
    if before.type != after.type:
        text = f"the partitions are {after.type}, and were {before.type}: no key is one of before, and Dagster counts "
        yield change(
            Severity.DATA,
            "partitions",
            f"{text}all partitions as never loaded",
            "load all partitions by a backfill; alerts and sensors that name keys need the new ones",
        )
    if before.column != after.column:
        text = f"rows belong to a partition by '{after.column}', and did by '{before.column}'"
        yield change(Severity.DATA, "partitions", text, "load all partitions again by a backfill")
    if before.type == after.type:
        yield from _keys(before, after, change)
    if before.lookback != after.lookback:
        text = f"it is said to read {after.lookback} partitions back, and was {before.lookback}"
        yield change(Severity.SAFE, "partitions", text)


def _keys(before: Partitions, after: Partitions, change: _MakeChange) -> Iterator[Change]:
    """Which keys disappear or come, of partitions of one type."""
    gone = "their rows stay in the tables, and Dagster shows them no more"
    if before.keys != after.keys:
        old, new = before.keys or [], after.keys or []
        if lost := [key for key in old if key not in new]:
            yield change(Severity.DATA, "partitions", f"the partitions {_listed(lost)} are gone: {gone}")
        if added := [key for key in new if key not in old]:
            text = f"the partitions {_listed(added)} are new, and not loaded yet"
            yield change(Severity.SAFE, "partitions", text, "load them by a backfill")
    if before.name != after.name:
        text = f"the keys are kept under the name '{after.name}', and were under '{before.name}'"
        yield change(Severity.DATA, "partitions", text, "add the keys under the new name")
    if not before.by_time:
        return
    if before.timezone != after.timezone:
        text = f"a partition begins and ends in {after.timezone}, and did in {before.timezone}: its rows are others"
        yield change(Severity.DATA, "partitions", text, "load all partitions again by a backfill")
    if after.first > before.first:
        text = f"the first partition is that of {after.start}, and was that of {before.start}: earlier ones are gone"
        yield change(Severity.DATA, "partitions", f"{text}; {gone}")
    elif after.first < before.first:
        text = (
            f"there are partitions from {after.start} on, and were from {before.start} on; the new ones are not loaded"
        )
        yield change(Severity.SAFE, "partitions", text, "load them by a backfill")
    if before.last_end != after.last_end:
        text = f"the last partition ends at {after.end or 'no time'}, and did at {before.end or 'no time'}"
        is_less = after.last_end is not None and (before.last_end is None or after.last_end < before.last_end)
        yield change(Severity.DATA if is_less else Severity.SAFE, "partitions", text)


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return ", ".join(keys[:_SHOWN_KEYS]) + more


def _stream(pair: Pair, change: _MakeChange) -> Iterator[Change]:
    before, after = pair.before, pair.now
    if before.streaming != after.streaming and _checkpoint(before) == _checkpoint(after):
        yield change(Severity.SAFE, "streaming", "the stream is supervised otherwise")
    if runs_otherwise(pair):
        ends = after.main_load.config.ends_by_itself()
        text = (
            "the stream ends by itself once it has read what there is: Dagster does not keep it running any more, and "
            f"it runs {'by its schedule alone' if after.cron else 'only when someone starts it'}"
            if ends
            else "the stream does not end by itself any more: Dagster keeps it running, whatever its schedule"
        )
        severity = Severity.DATA if ends and not after.cron else Severity.SAFE
        yield change(severity, "trigger", text, "give it a 'schedule'" if severity else None)
    reset = f"{reset_command(after)}: the stream starts over; empty the tables that it adds to first"
    if differences := differences_for_checkpoint(before, after):
        text = f"the checkpoint does not fit any more, and the stream will refuse to start: {'; '.join(differences)}"
        yield change(Severity.BREAKING, "checkpoint", text, reset)
    if (old := _checkpoint(before)) != (new := _checkpoint(after)):
        text = f"the checkpoint is looked for in {new}, and was in {old}: the stream begins anew"
        yield change(Severity.BREAKING, "checkpoint", text, f"stop the stream, and move the folder {old} to {new}")
    elif not differences and _steps(before) != _steps(after):
        yield change(Severity.SAFE, "checkpoint", "the checkpoint still fits: the stream goes on where it was")


def runs_otherwise(pair: Pair) -> bool:
    """Whether a stream that was kept running ends by itself now, or the other way round.

    Args:
        pair: The pipeline in both versions.
    """
    ends = [one.mode == "streaming" and one.main_load.config.ends_by_itself() for one in (pair.before, pair.now)]
    return pair.now.mode == "streaming" and ends[0] != ends[1]


def _checkpoint(pipeline: PipelineConfig) -> str:
    load = pipeline.main_load.config
    assert isinstance(load, Load)
    return load.checkpoint_location or f"{pipeline.streaming.checkpoint_root.rstrip('/')}/{pipeline.name}"


def _steps(pipeline: PipelineConfig) -> list[Mapping[str, object]]:
    return [step.config.as_written.as_config() for step in pipeline.steps]


def _cursors(pair: Pair, steps: Sequence[StepChange], now: Version) -> Iterator[Change]:
    """What happens to where the loads of what is new have come."""
    for one in steps:
        old, new = one.before, one.now
        if old is None or new is None or not isinstance(old.config, Extract) or not isinstance(new.config, Extract):
            continue
        was, is_now = old.config.reads_increments(), new.config.reads_increments()
        place, name = now.place(pair.now, new), title(new)
        reset = f"pipeline-platform cursor {pair.now.command_arguments} --reset, and empty the table, or --set VALUE"
        if was != is_now:
            text = (
                f"{name} reads only what is new from now on; the first load reads everything, and adds it to what is "
                "there"
                if is_now
                else f"{name} reads everything at each run, and no more only what is new"
            )
            yield Change(
                Severity.DATA, pair.now.name, "cursor", text, place, todo="empty the table before the next run"
            )
        elif not was:
            continue
        elif (wrong := _other_cursor(pair, one)) is not None:
            text = f"{name}: {wrong}, so the next run is refused, or reads everything again"
            yield Change(Severity.BREAKING, pair.now.name, "cursor", text, place, todo=reset)
        elif getattr(old.config, "incremental", None) != getattr(new.config, "incremental", None):
            text = f"{name} looks for what is new otherwise, from where the last load ended"
            yield Change(Severity.DATA, pair.now.name, "cursor", text, place)


def _other_cursor(pair: Pair, one: StepChange) -> str | None:
    """Why the cursor that is there is none of the step."""
    assert one.before is not None
    assert one.now is not None
    old, new = one.before.config, one.now.config
    assert isinstance(old, Extract)
    assert isinstance(new, Extract)
    former, wanted = getattr(old, "incremental", None), getattr(new, "incremental", None)
    if isinstance(former, Incremental) and isinstance(wanted, Incremental):
        column, other = former.cursor_column, wanted.cursor_column
        if column.lower() != other.lower():
            return f"the cursor is of the column '{column}', and now '{other}' is read"
    if old.dataset() != new.dataset():
        return "the cursor is of another source"
    if pair.is_renamed or one.is_renamed:
        return "the cursor is kept under the name of pipeline and step, and there is none under the new one"
    return None
