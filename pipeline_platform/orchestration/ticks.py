"""When a tick of `onSchedule` runs a pipeline: once what it reads was loaded since the tick before.

Dagster's own `on_cron` counts only what was loaded after a tick. A table that is loaded at five each day would not be
there for a tick at six; and of a pipeline with partitions the next partition is the latest one by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from typing import Any, TypeGuard
from zoneinfo import ZoneInfo

import dagster as dg

from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.resources.partitions import partitions_definition
from pipeline_platform.steps.extract import Extract

# Dagster's own types leave the kind of key open.
_IS: Any = dg.AutomationCondition
_TICKS_LOOKED_AT = 60
_EASTERNMOST = 14


@dataclass(frozen=True)
class _Reader:
    """An asset that reads what other pipelines load.

    Args:
        key: Of the asset.
        partitions: Of its pipeline.
        tick: True when the schedule ticks.
        upstream: The loads that it reads, with the partitions of each.
    """

    key: dg.AssetKey
    partitions: Partitions | None
    tick: Any
    upstream: Mapping[dg.AssetKey, Partitions | None]

    @property
    def windows(self) -> dict[dg.AssetKey, Partitions]:
        """The loads of which a partition needs those that lie in its own window."""
        own = self.partitions
        if not _by_time(own):
            return {}
        return {
            key: found for key, found in self.upstream.items() if _by_time(found) and found.timezone == own.timezone
        }

    @property
    def others(self) -> list[dg.AssetKey]:
        """The other loads; not those that are over, unless there is nothing else to wait for."""
        others = {key: found for key, found in self.upstream.items() if key not in self.windows}
        going_on = [key for key, found in others.items() if found is None or not _is_over(found)]
        return going_on or ([] if self.windows else list(others))

    def any_of(self, keys: Iterable[dg.AssetKey], condition: Any) -> Any:
        """Whether the condition holds for a partition, or more, that is needed of these loads."""
        return _IS.any_deps_match(condition).allow(dg.AssetSelection.assets(*keys))

    def each_of(self, keys: Iterable[dg.AssetKey], condition: Any) -> list[Any]:
        """For each of these loads: whether the condition holds for a partition, or more, that is needed of it."""
        return [self.any_of([key], condition) for key in keys]


def on_schedule(view: AssetView, pipeline: PipelineConfig, step: Step) -> Any:
    """The condition of an asset; all assets of a pipeline are requested at the same moment.

    Args:
        view: Which steps are assets, and under which keys.
        pipeline: A pipeline with a schedule.
        step: That of the asset.
    """
    assert pipeline.cron is not None
    if view.inputs(pipeline, step):
        return _IS.any_deps_match(_IS.will_be_requested()).with_label("with_the_steps_before")
    tick = _IS.cron_tick_passed(pipeline.cron, pipeline.cron_timezone)
    own = _reader(view, pipeline, step, tick)
    firsts = [root for root in view.steps(pipeline) if root != step and not view.inputs(pipeline, root)]
    # Steps that read the same need not be asked twice.
    others = [found for found in (_reader(view, pipeline, root, tick) for root in firsts) if _is_more(found, own)]
    conditions = [_waits(pipeline, tick), (~_IS.in_progress()).with_label("not_in_progress")]
    if own.upstream or others:
        ready = [_ready(own), *(_IS.asset_matches(other.key, _ready(other)) for other in others)]
        new = [_new(own), *(_IS.asset_matches(other.key, _new(other)) for other in others)]
        if _by_time(pipeline.partitions):
            conditions += [_all(ready), _any(new)]
        else:
            conditions.append(_any([_all(ready), _all(new)]))
    return _all(conditions).with_label(f"onSchedule({pipeline.cron}, {pipeline.cron_timezone})")


def unhandled() -> Any:
    """What is missing and was not requested since; Dagster's `on_missing` leaves out what is so from the beginning."""
    came_up = _IS.missing().newly_true() | (_IS.initial_evaluation() & _IS.missing())
    return came_up.since(_IS.newly_requested() | _IS.newly_updated())


def _reader(view: AssetView, pipeline: PipelineConfig, step: Step, tick: Any) -> _Reader:
    upstream: dict[dg.AssetKey, Partitions | None] = {}
    for extract in view.sources(pipeline, step):
        dataset = extract.config.dataset() if isinstance(extract.config, Extract) else None
        # What nobody in the project loads is not waited for.
        writers = view.project.writers_of(dataset, pipeline) if dataset is not None else []
        upstream |= {view.key(*writer): writer[0].partitions for writer in writers}
    return _Reader(view.key(pipeline, step), pipeline.partitions, tick, upstream)


def _is_more(reader: _Reader, other: _Reader) -> bool:
    return not {*reader.upstream} <= {*other.upstream}


def _waits(pipeline: PipelineConfig, tick: Any) -> Any:
    """What was the latest partition at a tick, and was not requested since: a day is not lost if it comes late.

    Without partitions by time nothing says for which tick a load is. It is for the last one until the next one is near:
    otherwise, after a day without any, each would be taken for a late one, and be run before its own tick.
    """
    at_tick = tick & _IS.in_latest_time_window()
    is_over = _IS.newly_requested() & ~at_tick
    has_windows = _by_time(pipeline.partitions)
    assert pipeline.cron is not None
    if not has_windows and _is_at_most_daily(pipeline.cron):
        near = _IS.cron_tick_passed(pipeline.cron, _half_a_day_ahead(pipeline.cron_timezone))
        is_over |= (near & ~tick).with_label("next_tick_is_near")
    return (tick.since(_IS.newly_requested()) & at_tick.since(is_over)).with_label("waits_since_a_tick")


def _is_at_most_daily(cron: str) -> bool:
    from croniter import croniter

    ticks = croniter(cron, datetime(2024, 1, 1, tzinfo=UTC), ret_type=datetime)
    times: list[datetime] = [ticks.get_next() for _ in range(_TICKS_LOOKED_AT)]
    return all(after - before >= timedelta(days=1) for before, after in pairwise(times))


def _half_a_day_ahead(timezone: str) -> str:
    """A time zone in which it is each hour half a day earlier, or as early as there is one in the far east."""
    year = datetime.now(UTC).year
    offsets = (datetime(year, month, 1, tzinfo=ZoneInfo(timezone)).utcoffset() for month in (1, 7))
    hours = max(offset // timedelta(hours=1) for offset in offsets if offset is not None)
    ahead = min(hours + 12, _EASTERNMOST)
    # Such names count to the west.
    return f"Etc/GMT-{ahead}" if ahead > 0 else "Etc/GMT"


def _ready(reader: _Reader) -> Any:
    """Whether all that it reads is there: of windows the partitions, of anything else a load since the tick before."""
    if reader.windows:
        loaded = _since_the_tick_before(reader)
        conditions = reader.each_of(reader.others, loaded)
        needed = [key for key, writer in reader.windows.items() if _never_absent(reader, writer)]
        conditions += reader.each_of(needed, (~_IS.missing()).with_label("there"))
    elif _by_time(reader.partitions):
        # The run of another partition takes nothing away from this one.
        conditions = reader.each_of(reader.others, _since_the_tick_before(reader))
    else:
        was_read = _IS.asset_matches(reader.key, _IS.newly_requested())
        not_yet_read = _IS.newly_updated().since(was_read).with_label("not_yet_read")
        conditions = reader.each_of(reader.others, _since_the_tick_before(reader) & not_yet_read)
    if reader.partitions is not None:
        conditions.append(~reader.any_of(reader.upstream, _IS.missing()))
    return _all(conditions).with_label("what_it_reads_is_loaded")


def _new(reader: _Reader) -> Any:
    """Whether it was never loaded and can be, or, with partitions by time, whether any of what it reads was loaded."""
    there = (~_IS.missing()).with_label("there")
    if _by_time(reader.partitions):
        was_loaded = reader.any_of(reader.upstream, _IS.newly_updated()).since(_IS.newly_requested())
        never_loaded = unhandled() & reader.any_of(reader.upstream, there)
        return _any([was_loaded, never_loaded]).with_label("not_yet_run_with_it")
    conditions = [unhandled(), *reader.each_of(reader.others, there)]
    if reader.partitions is not None:
        conditions.append(~reader.any_of(reader.upstream, _IS.missing()))
    return _all(conditions).with_label("never_loaded")


def _since_the_tick_before(reader: _Reader) -> Any:
    """Whether a partition of a load was loaded since the tick before the last one."""
    tick = reader.tick
    since_the_last = _IS.newly_updated().since(tick)
    # It has just come to be before a tick; or both came since Dagster looked last.
    just_before = tick & (_IS.newly_updated() | (~since_the_last).newly_true())
    before_the_last = just_before.since(tick & ~just_before)
    return _any([since_the_last, before_the_last]).with_label("loaded_since_the_tick_before")


def _never_absent(reader: _Reader, writer: Partitions) -> bool:
    """Whether a load has, or will have, partitions in each window: one that is not there yet is waited for."""
    assert reader.partitions is not None
    return writer.last_end is None and writer.first <= reader.partitions.first


def _by_time(partitions: Partitions | None) -> TypeGuard[Partitions]:
    return partitions is not None and partitions.by_time


def _is_over(partitions: Partitions) -> bool:
    """Whether a load has no partition yet, or will have no more."""
    if not partitions.by_time:
        return False
    now = datetime.now(ZoneInfo(partitions.timezone))
    end = partitions.last_end
    return (end is not None and end.replace(tzinfo=now.tzinfo) <= now) or (
        partitions_definition(partitions).get_last_partition_key() is None
    )


def _all(conditions: list[Any]) -> Any:
    return reduce(lambda one, other: one & other, conditions)


def _any(conditions: list[Any]) -> Any:
    return reduce(lambda one, other: one | other, conditions)
