"""What `onSchedule` runs: days of a simulated clock, with tables that are loaded before the tick, after it or not."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform_tests.config.reading import extract, transform

DAILY = {"type": "daily", "start": "2024-01-01", "column": "day"}
WEEKLY, MONTHLY = {**DAILY, "type": "weekly"}, {**DAILY, "type": "monthly"}
STATIC = {"type": "static", "keys": ["north"], "column": "shop"}
AT_SIX = {"automation": "onSchedule", "schedule": "0 6 * * *"}
FILES = extract("fromFiles", path="rows.csv", format="csv", schema="day DATE, shop STRING")


def flow(name: str, *reads: str, target: str | None = None, **keys: Any) -> dict[str, Any]:
    """A pipeline that reads these tables, or files, and loads one."""
    extracts = [extract("fromDeltaLake", path=f"lake/{table}", registerAs=table) for table in reads] or [FILES]
    union = [transform("unionDataFrames", inputDataFrames=list(reads))] if len(reads) > 1 else []
    config = {"path": f"lake/{target or name}", "mode": "overwrite"}
    load = {"type": "load", "name": "l", "method": "toDeltaLake", "config": config}
    return {"name": name, "mode": "batch", "steps": [*extracts, *union, load], **keys}


class Clock:
    """A project whose daemon looks at it when it is told to."""

    def __init__(
        self,
        folder: Path,
        *flows: dict[str, Any],
        assets: Literal["steps", "tables"] = "tables",
        zone: str = "UTC",
        **rest: Any,
    ):
        folder.joinpath("pipelines").mkdir()
        for one in flows:
            folder.joinpath("pipelines", f"{one['name']}.json").write_text(json.dumps(one))
        self.zone = ZoneInfo(zone)
        self.instance = dg.DagsterInstance.ephemeral()
        with freeze_time(datetime(2024, 1, 8, 12, tzinfo=self.zone)):
            self.definitions = project_definitions(folder / "pipelines", assets, **rest)
        self.cursor: Any = None

    def load(self, at: str, *keys: str) -> None:
        """Tables, or partitions of them, such as `sales:2024-01-01`, are loaded; nobody looks."""
        with freeze_time(self._time(at)):
            for key in keys:
                table, _, partition = key.partition(":")
                event = dg.AssetMaterialization([table, "l"], partition=partition or None)
                self.instance.report_runless_asset_event(event)

    def at(self, at: str, *keys: str) -> set[str]:
        """The same, and then the daemon looks: what it requests, written in the same way."""
        self.load(at, *keys)
        with freeze_time(self._time(at)):
            result = dg.evaluate_automation_conditions(
                self.definitions, self.instance, cursor=self.cursor, evaluation_time=self._time(at)
            )
        self.cursor = result.cursor
        assets = [spec.key for spec in self.definitions.resolve_all_asset_specs()]
        found = {(key.path[0], partition) for key in assets for partition in result.get_requested_partitions(key)}
        return {table if partition is None else f"{table}:{partition}" for table, partition in found}

    def _time(self, at: str) -> datetime:
        return datetime.fromisoformat(f"2024-{at}").replace(tzinfo=self.zone)


@pytest.mark.parametrize("assets", ["steps", "tables"])
def test_a_day_that_is_loaded_before_the_tick_is_run_at_it_and_once(assets: Any, tmp_path: Path):
    own_day = flow("report", "sales", partitions=DAILY, **AT_SIX)
    three_days = flow("average", "sales", partitions={**DAILY, "lookback": 2}, **AT_SIX)
    clock = Clock(tmp_path, flow("sales", partitions=DAILY), own_day, three_days, assets=assets)
    clock.at("01-08 07:00", *(f"sales:2024-01-0{day}" for day in range(1, 8)))
    for day in ("09", "10"):
        before = f"2024-01-{int(day) - 1:02}"
        assert clock.at(f"01-{day} 00:01") == set()
        assert clock.at(f"01-{day} 05:00", f"sales:{before}") == set()
        assert clock.at(f"01-{day} 06:01") == {f"report:{before}", f"average:{before}"}
        assert clock.at(f"01-{day} 06:02") == set()
        # The same day is loaded again, after its tick.
        assert clock.at(f"01-{day} 12:00", f"sales:{before}") == set()


def test_a_day_that_comes_late_is_run_as_soon_as_it_is_there_even_if_another_one_has_begun(tmp_path: Path):
    clock = Clock(tmp_path, flow("sales", partitions=DAILY), flow("report", "sales", partitions=DAILY, **AT_SIX))
    clock.at("01-09 05:00")
    assert clock.at("01-09 06:01") == set()
    assert clock.at("01-09 07:00", "sales:2024-01-08") == {"report:2024-01-08"}
    assert clock.at("01-10 06:01") == set()
    assert clock.at("01-11 01:00", "sales:2024-01-10") == set()
    assert clock.at("01-11 06:01") == {"report:2024-01-10"}
    assert clock.at("01-11 06:02", "sales:2024-01-09") == {"report:2024-01-09"}


def test_a_table_without_partitions_is_run_at_the_tick_and_after_a_late_load_at_once(tmp_path: Path):
    clock = Clock(tmp_path, flow("sales"), flow("report", "sales", **AT_SIX))
    clock.at("01-08 12:00")
    assert clock.at("01-09 05:00", "sales") == set()
    assert clock.at("01-09 06:01") == {"report"}
    assert clock.at("01-09 06:02") == set()
    for day in ("10", "11"):
        assert clock.at(f"01-{day} 06:01") == set()
        assert clock.at(f"01-{day} 07:00", "sales") == {"report"}
        assert clock.at(f"01-{day} 08:00") == set()
    assert clock.at("01-12 05:00", "sales") == set()
    assert clock.at("01-12 06:01") == {"report"}
    # It is loaded twice between two ticks.
    assert clock.at("01-12 12:00", "sales") == clock.at("01-13 05:00", "sales") == set()
    assert clock.at("01-13 06:01") == {"report"}


def test_after_a_day_on_which_the_upstream_failed_the_next_one_is_run_at_its_tick(tmp_path: Path):
    clock = Clock(tmp_path, flow("sales"), flow("report", "sales", **AT_SIX))
    clock.at("01-08 12:00")
    assert clock.at("01-09 05:00", "sales") == set()
    assert clock.at("01-09 06:01") == {"report"}
    assert {*clock.at("01-10 05:00"), *clock.at("01-10 06:01"), *clock.at("01-10 23:00")} == set()
    for day in ("11", "12"):
        assert clock.at(f"01-{day} 05:00", "sales") == set()
        assert clock.at(f"01-{day} 06:01") == {"report"}


def test_what_is_loaded_between_two_looks_with_the_tick_in_between_is_not_lost(tmp_path: Path):
    clock = Clock(tmp_path, flow("sales"), flow("report", "sales", **AT_SIX))
    assert clock.at("01-09 05:59", "sales") == set()
    clock.load("01-10 05:59:40", "sales")
    assert clock.at("01-10 06:00:10") == {"report"}


def test_ticks_that_pass_while_nobody_looks_are_one(tmp_path: Path):
    days = flow("days", "sales", partitions=DAILY, **AT_SIX)
    clock = Clock(tmp_path, flow("sales", partitions=DAILY), flow("all"), days, flow("report", "all", **AT_SIX))
    clock.at("01-09 05:30", "sales:2024-01-08", "all")
    clock.load("01-10 05:00", "sales:2024-01-09", "all")
    clock.load("01-11 05:00", "sales:2024-01-10", "all")
    assert clock.at("01-11 10:00") == {"days:2024-01-10", "report"}
    assert clock.at("01-11 10:01") == set()


@pytest.mark.parametrize("partitions", [None, STATIC], ids=["tables", "keys"])
def test_of_two_tables_both_are_waited_for(partitions: Any, tmp_path: Path):
    keys = {"partitions": partitions} if partitions else {}
    key = ":north" if partitions else ""
    flows = (flow("a", **keys), flow("b", **keys), flow("report", "a", "b", **keys, **AT_SIX))
    clock = Clock(tmp_path, *flows, assets="steps")
    clock.at("01-08 12:00")
    assert clock.at("01-09 05:00", f"a{key}") == set()
    assert clock.at("01-09 06:01") == set()
    assert clock.at("01-09 06:30", f"b{key}") == {f"report{key}"}
    # The load of the day before was run already, and does not count for this tick.
    assert clock.at("01-10 05:00", f"a{key}") == set()
    assert clock.at("01-10 06:01") == set()
    assert clock.at("01-10 06:30", f"b{key}") == {f"report{key}"}


def test_beside_a_day_a_table_without_partitions_is_waited_for(tmp_path: Path):
    report = flow("report", "sales", "shops", partitions=DAILY, **AT_SIX)
    clock = Clock(tmp_path, flow("sales", partitions=DAILY), flow("shops"), report, assets="steps")
    clock.at("01-09 12:00", "shops")
    assert clock.at("01-10 05:00", "sales:2024-01-09", "shops") == set()
    assert clock.at("01-10 06:01") == {"report:2024-01-09"}
    assert clock.at("01-11 05:00", "sales:2024-01-10") == set()
    assert clock.at("01-11 06:01") == set()
    assert clock.at("01-11 07:00", "shops") == {"report:2024-01-10"}
    assert clock.at("01-11 07:01", "shops") == set()


def test_a_week_and_a_month_run_when_their_last_day_is_there(tmp_path: Path):
    week = flow("week", "sales", partitions=WEEKLY, automation="onSchedule", schedule="0 6 * * 1")
    month = flow("month", "sales", partitions=MONTHLY, automation="onSchedule", schedule="0 6 1 * *")
    clock = Clock(tmp_path, flow("sales", partitions=DAILY), week, month)
    clock.at("01-08 07:00", *(f"sales:2024-01-0{day}" for day in range(1, 8)))
    for day in range(8, 14):
        assert clock.at(f"01-{day + 1:02} 05:00", f"sales:2024-01-{day:02}") == set()
        assert clock.at(f"01-{day + 1:02} 06:01") == set()
    assert clock.at("01-15 05:00", "sales:2024-01-14") == set()
    assert clock.at("01-15 06:01") == {"week:2024-01-08"}
    assert clock.at("01-31 23:00", *(f"sales:2024-01-{day}" for day in range(15, 31))) == {"week:2024-01-22"}
    assert clock.at("02-01 06:01") == set()
    assert clock.at("02-01 07:00", "sales:2024-01-31") == {"month:2024-01-01"}
    # A day that is loaded again is told at the next tick, when there is another month.
    assert clock.at("02-02 07:00", "sales:2024-01-15") == set()


@pytest.mark.parametrize("partitions", [DAILY, None], ids=["day", "without partitions"])
def test_a_writer_that_has_ended_is_not_waited_for(partitions: Any, tmp_path: Path):
    old = flow("old", target="sales", partitions={**DAILY, "end": "2024-01-05"})
    new = flow("new", target="sales", partitions={**DAILY, "start": "2024-01-05"})
    keys = {"partitions": partitions} if partitions else {}
    clock = Clock(tmp_path, old, new, flow("report", "sales", **keys, **AT_SIX))
    clock.at("01-09 04:00", *(f"old:2024-01-0{day}" for day in range(1, 5)))
    assert clock.at("01-09 05:00", "new:2024-01-08") == set()
    assert clock.at("01-09 06:01") == {"report:2024-01-08" if partitions else "report"}


def test_a_day_waits_for_its_week_and_all_days_of_it_run_then(tmp_path: Path):
    clock = Clock(tmp_path, flow("weeks", partitions=WEEKLY), flow("report", "weeks", partitions=DAILY, **AT_SIX))
    clock.at("01-09 05:00", "weeks:2024-01-01")
    for day in range(9, 16):
        assert clock.at(f"01-{day:02} 06:01") == set()
    assert clock.at("01-15 07:00", "weeks:2024-01-08") == {f"report:2024-01-{day:02}" for day in range(8, 15)}


def test_a_tick_each_hour_runs_the_day_again_only_if_it_was_loaded_again(tmp_path: Path):
    report = flow("report", "sales", partitions=DAILY, automation="onSchedule", schedule="0 * * * *")
    clock = Clock(tmp_path, flow("sales", partitions=DAILY), report)
    clock.at("01-09 00:30")
    assert clock.at("01-09 00:40", "sales:2024-01-08") == set()
    assert clock.at("01-09 01:01") == {"report:2024-01-08"}
    assert clock.at("01-09 02:01") == set()
    assert clock.at("01-09 02:40", "sales:2024-01-08") == {"report:2024-01-08"}
    assert clock.at("01-09 02:50", "sales:2024-01-08") == set()
    assert clock.at("01-09 03:01") == {"report:2024-01-08"}


def test_what_reads_only_what_nobody_loads_is_run_at_each_tick(tmp_path: Path):
    clock = Clock(tmp_path, flow("report", **AT_SIX), flow("days", partitions=DAILY, **AT_SIX), assets="steps")
    clock.at("01-09 05:00")
    for day in ("09", "10"):
        assert clock.at(f"01-{day} 06:01") == {"report", f"days:2024-01-{int(day) - 1:02}"}
        assert clock.at(f"01-{day} 06:02") == set()


def test_what_was_never_loaded_is_run_at_the_first_tick_if_what_it_reads_is_there(tmp_path: Path):
    clock = Clock(tmp_path, flow("sales"), flow("report", "sales", **AT_SIX))
    clock.load("01-09 05:00", "sales")
    assert clock.at("01-09 05:30") == set()
    assert clock.at("01-09 06:01") == {"report"}
    assert clock.at("01-10 06:01") == set()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Auckland"])
def test_the_tick_is_in_the_time_zone_of_the_schedule(zone: str, tmp_path: Path):
    at_six: dict[str, Any] = {"automation": "onSchedule", "schedule": {"cron": "0 6 * * *", "timezone": zone}}
    days = {**DAILY, "timezone": zone}
    both = flow("days", "sales", partitions=days, **at_six), flow("report", "all", **at_six)
    clock = Clock(tmp_path, flow("sales", partitions=days), flow("all"), *both, zone=zone)
    clock.at("01-08 12:00")
    for day in ("09", "10"):
        assert clock.at(f"01-{day} 05:00", f"sales:2024-01-{int(day) - 1:02}", "all") == set()
        assert clock.at(f"01-{day} 06:01") == {f"days:2024-01-{int(day) - 1:02}", "report"}
        assert clock.at(f"01-{day} 18:30") == set()


def test_assets_that_have_other_keys_are_run_at_a_tick(tmp_path: Path):
    clock = Clock(
        tmp_path,
        flow("sales"),
        flow("report", "sales", "other", **AT_SIX),
        flow("other"),
        assets="steps",
        translation=lambda spec, _names: spec.replace_attributes(key=dg.AssetKey([*spec.key.path, "l"])),
    )
    clock.at("01-08 12:00")
    for table in ("sales", "other"):
        event = dg.AssetMaterialization([table, "l", "l"])
        with freeze_time(datetime(2024, 1, 9, 5, tzinfo=ZoneInfo("UTC"))):
            clock.instance.report_runless_asset_event(event)
    assert clock.at("01-09 06:01") == {"report"}
    assert clock.at("01-09 06:02") == set()
