"""Pipelines that run by themselves: when what they read was loaded, when they were never loaded, when files are new."""

import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.resources.vault import VaultResource
from pipeline_platform_tests.config.reading import extract, load, messages_of, pipeline, transform
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta

DAILY = {"type": "daily", "start": "2024-01-01", "end": "2024-03-01", "column": "day"}
MONTHLY = {**DAILY, "type": "monthly"}


def from_delta(name: str, source: Path, target: Path, **keys: Any) -> dict[str, Any]:
    """A pipeline from one Delta table to another."""
    made = rate_to_delta(name, target, mode="overwrite")
    made["steps"][0] = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(source)}}
    return {**made, **keys}


def from_files(name: str, source: str, target: Path, **config: Any) -> dict[str, Any]:
    made = rate_to_delta(name, target, mode="overwrite")
    made["steps"][0] = extract("fromFiles", path=source, format="json", schema="id INT, day DATE", **config)
    return made


@pytest.fixture
def instance() -> Any:
    with dg.instance_for_test() as made:
        yield made


def loaded(instance: dg.DagsterInstance, *key: str, partition: str | None = None) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(list(key), partition=partition))


def requested(result: Any, *key: str) -> set[str | None]:
    subset = result.get_requested_partitions(dg.AssetKey(list(key)))
    return set(subset)


def test_what_reads_a_table_runs_once_when_it_was_loaded(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    raw = rate_to_delta("raw", tmp_path / "raw")
    report = from_delta("report", tmp_path / "raw", tmp_path / "report", automation="onUpstream")
    definitions = define(raw, report)
    result = dg.evaluate_automation_conditions(definitions, instance)
    assert result.total_requested == 0
    loaded(instance, "raw", "to_delta_lake")
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert requested(result, "report", "from_delta_lake") == requested(result, "report", "to_delta_lake") == {None}
    assert requested(result, "raw", "to_delta_lake") == set()
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert result.total_requested == 0


def test_a_day_that_is_loaded_runs_its_month_however_long_ago_it_was(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    days = from_files("days", str(tmp_path / "rows.json"), tmp_path / "days")
    days["partitions"] = DAILY
    months = from_delta("months", tmp_path / "days", tmp_path / "months", partitions=MONTHLY, automation="onUpstream")
    definitions = define(days, months)
    days_of_january = [str(date(2024, 1, 1) + timedelta(days=n)) for n in range(31)]
    for day in days_of_january[:-1]:
        loaded(instance, "days", "to_delta_lake", partition=day)
    result = dg.evaluate_automation_conditions(definitions, instance)
    # One of its days is still missing.
    assert result.total_requested == 0
    loaded(instance, "days", "to_delta_lake", partition=days_of_january[-1])
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert requested(result, "months", "to_delta_lake") == {"2024-01-01"}
    loaded(instance, "days", "to_delta_lake", partition="2024-01-10")
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert requested(result, "months", "to_delta_lake") <= {"2024-01-01"}


def test_days_that_are_loaded_again_run_all_whose_windows_hold_them(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    days = from_files("days", str(tmp_path / "rows.json"), tmp_path / "days")
    days["partitions"] = DAILY
    week = {**DAILY, "start": "2024-01-07", "lookback": 6}
    average = from_delta("average", tmp_path / "days", tmp_path / "a", partitions=week, automation="onUpstream")
    definitions = define(days, average)
    january = [str(date(2024, 1, 1) + timedelta(days=n)) for n in range(31)]
    for day in january[:25]:
        loaded(instance, "days", "to_delta_lake", partition=day)
    for day in january[6:25]:
        loaded(instance, "average", "from_delta_lake", partition=day)
        loaded(instance, "average", "to_delta_lake", partition=day)
    result = dg.evaluate_automation_conditions(definitions, instance)
    assert result.total_requested == 0
    for day in ("2024-01-15", "2024-01-16"):
        loaded(instance, "days", "to_delta_lake", partition=day)
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    affected = {f"2024-01-{day}" for day in range(15, 23)}
    assert requested(result, "average", "from_delta_lake") == requested(result, "average", "to_delta_lake") == affected


@pytest.mark.parametrize("reads", [{**DAILY, "lookback": 6}, MONTHLY], ids=["a window", "a month"])
def test_a_tick_waits_for_all_days_and_not_for_one_that_is_loaded_again(
    reads: dict[str, Any], define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    days = from_files("days", str(tmp_path / "rows.json"), tmp_path / "days")
    days["partitions"] = DAILY
    keys = {"automation": "onSchedule", "schedule": "0 6 * * *", "partitions": reads}
    definitions = define(days, from_delta("report", tmp_path / "days", tmp_path / "report", **keys))
    all_days = [str(date(2024, 1, 1) + timedelta(days=n)) for n in range(60)]
    for day in all_days[:-1]:
        loaded(instance, "days", "to_delta_lake", partition=day)
    tick = datetime.now(UTC).replace(hour=6, minute=0) - timedelta(days=1)
    result = dg.evaluate_automation_conditions(definitions, instance, evaluation_time=tick - timedelta(hours=1))
    loaded(instance, "days", "to_delta_lake", partition="2024-02-25")
    result = dg.evaluate_automation_conditions(
        definitions, instance, cursor=result.cursor, evaluation_time=tick + timedelta(hours=1)
    )
    assert result.total_requested == 0
    loaded(instance, "days", "to_delta_lake", partition=all_days[-1])
    result = dg.evaluate_automation_conditions(
        definitions, instance, cursor=result.cursor, evaluation_time=tick + timedelta(hours=2)
    )
    latest = "2024-02-01" if reads is MONTHLY else "2024-02-29"
    assert requested(result, "report", "to_delta_lake") == {latest}


@pytest.mark.parametrize("is_there", [True, False], ids=["loaded before", "loaded later"])
def test_what_was_never_loaded_runs_once_when_what_it_reads_is_there(
    is_there: bool, define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    raw = rate_to_delta("raw", tmp_path / "raw")
    definitions = define(raw, from_delta("report", tmp_path / "raw", tmp_path / "report", automation="onMissing"))
    if is_there:
        loaded(instance, "raw", "to_delta_lake")
    result = dg.evaluate_automation_conditions(definitions, instance)
    assert requested(result, "report", "to_delta_lake") == ({None} if is_there else set())
    if not is_there:
        loaded(instance, "raw", "to_delta_lake")
        result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
        assert requested(result, "report", "to_delta_lake") == {None}
    # It has failed, or has not run yet.
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert result.total_requested == 0
    loaded(instance, "report", "to_delta_lake")
    loaded(instance, "raw", "to_delta_lake")
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert result.total_requested == 0


def test_each_day_that_was_never_loaded_runs_when_what_it_reads_is_there(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    days = from_files("days", str(tmp_path / "rows.json"), tmp_path / "days")
    days["partitions"] = DAILY
    copy = from_delta("copy", tmp_path / "days", tmp_path / "copy", partitions=DAILY, automation="onMissing")
    definitions = define(days, copy)
    loaded(instance, "days", "to_delta_lake", partition="2024-01-05")
    loaded(instance, "copy", "to_delta_lake", partition="2024-01-06")
    loaded(instance, "days", "to_delta_lake", partition="2024-01-06")
    result = dg.evaluate_automation_conditions(definitions, instance)
    assert requested(result, "copy", "to_delta_lake") == {"2024-01-05"}
    loaded(instance, "days", "to_delta_lake", partition="2024-01-07")
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert requested(result, "copy", "to_delta_lake") == {"2024-01-07"}


def test_a_dataset_that_nobody_loads_is_not_waited_for(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    raw = rate_to_delta("raw", tmp_path / "raw")
    report = from_delta("report", tmp_path / "raw", tmp_path / "report", automation="onUpstream")
    report["steps"][0]["config"]["registerAs"] = "loaded"
    files = extract("fromFiles", path=str(tmp_path / "x"), format="json", schema="id INT", registerAs="files")
    report["steps"][1:1] = [files, transform("unionDataFrames", inputDataFrames=["loaded", "files"])]
    definitions = define(raw, report)
    result = dg.evaluate_automation_conditions(definitions, instance)
    loaded(instance, "raw", "to_delta_lake")
    result = dg.evaluate_automation_conditions(definitions, instance, cursor=result.cursor)
    assert requested(result, "report", "union_data_frames") == {None}
    assert requested(result, "report", "to_delta_lake") == {None}


def test_what_a_condition_looks_at_has_no_schedule_beside_it(define: MakeDefinitions, tmp_path: Path):
    raw = rate_to_delta("raw", tmp_path / "raw")
    keys = {"automation": "onSchedule", "schedule": "0 6 * * *"}
    definitions = define(raw, from_delta("report", tmp_path / "raw", tmp_path / "report", **keys))
    assert not definitions.get_repository_def().schedule_defs


def test_the_sensor_that_evaluates_the_conditions_is_on(define: MakeDefinitions, tmp_path: Path):
    raw = rate_to_delta("raw", tmp_path / "raw")
    report = from_delta("report", tmp_path / "raw", tmp_path / "report", automation="onMissing")
    sensor = define(raw, report).get_repository_def().get_sensor_def("automation")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"automation": "onSchedule"}, "onSchedule needs the key 'schedule'"),
        ({"automation": "onupstraem"}, "did you mean 'onUpstream'?"),
        (
            {"automation": "onUpstream", "variables": {"x": {}}},
            "the variable 'x' needs a default: the sensor that starts the pipeline gives it no value",
        ),
    ],
)
def test_what_can_not_start_by_itself_is_told(keys: dict[str, Any], message: str):
    assert message in " ".join(messages_of(pipeline(extract(), load(), **keys)))


def test_a_stream_is_started_by_its_own_sensor_alone():
    value = pipeline(extract("fromRate", rowsPerSecond=1), load(), automation="onUpstream", mode="streaming")
    assert "a stream runs all the time: 'automation' is for batch pipelines" in messages_of(value)


NEVER = "'onUpstream' starts it when a table that it reads was loaded, and no pipeline of this folder loads one"


@pytest.mark.parametrize(
    ("what", "is_told"),
    [
        ("nothing that is loaded", True),
        ("a folder that nobody writes", True),
        ("a folder that is watched", False),
        ("a table that another one loads", False),
    ],
)
def test_what_no_load_can_start_is_warned_of(
    what: str, is_told: bool, define: MakeDefinitions, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    made = {
        "nothing that is loaded": rate_to_delta("flow", tmp_path / "flow"),
        "a folder that nobody writes": from_files("flow", str(tmp_path / "in"), tmp_path / "flow"),
        "a folder that is watched": from_files("flow", str(tmp_path / "in"), tmp_path / "flow", watch=True),
        "a table that another one loads": from_delta("flow", tmp_path / "raw", tmp_path / "flow"),
    }[what]
    with caplog.at_level("WARNING"):
        define(rate_to_delta("raw", tmp_path / "raw"), {**made, "automation": "onUpstream"})
    place = rf"flow\.json:\d+:17: {NEVER}"
    assert (re.search(place, caplog.text) is not None) == is_told
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "pipelines")])
    assert checked.exit_code == 0
    assert (re.search(place, checked.output) is not None) == is_told
    # Of one file nobody knows what loads what it reads.
    assert NEVER not in CliRunner().invoke(app, ["check", str(tmp_path / "pipelines" / "flow.json")]).output


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None) -> Any:
    repository = definitions.get_repository_def()
    context = dg.build_sensor_context(
        instance, cursor=cursor, repository_def=repository, resources={"vault": VaultResource()}
    )
    return repository.get_sensor_def("new_data").evaluate_tick(context)


@pytest.mark.parametrize("place", ["in", "in/*.json"])
def test_files_that_are_new_run_the_pipeline_once(
    place: str, define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    folder = tmp_path / "in"
    folder.mkdir()
    definitions = define(from_files("days", str(tmp_path / place), tmp_path / "out", watch=True))
    first = tick(definitions, instance, None)
    assert first.run_requests == []
    (folder / "a.json").write_text('{"id": 1, "day": "2024-01-01"}\n')
    second = tick(definitions, instance, first.cursor)
    assert [request.job_name for request in second.run_requests] == ["days"]
    # What is written at the moment, and what a ledger holds, is nothing to read.
    (folder / "_pipeline_platform").mkdir()
    (folder / "_pipeline_platform" / "x.json").write_text("{}")
    (folder / ".b.json.tmp").write_text("{}")
    third = tick(definitions, instance, second.cursor)
    assert third.run_requests == []
    # The same name and size, but written anew.
    os.utime(folder / "a.json", (0, 0))
    fourth = tick(definitions, instance, third.cursor)
    assert len(fourth.run_requests) == 1
    # A tick that is repeated asks for the same run, which Dagster has started already.
    again = tick(definitions, instance, third.cursor)
    assert again.run_requests[0].run_key == fourth.run_requests[0].run_key


def test_what_comes_back_is_new_again(define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance):
    here, away = tmp_path / "in", tmp_path / "away"
    here.mkdir()
    definitions = define(from_files("days", str(here), tmp_path / "out", watch=True))
    (here / "a.json").write_text('{"id": 1, "day": "2024-01-01"}\n')
    keys: list[str | None] = []
    cursor = None
    for moves in ((), ((here / "a.json", away),), ((away, here / "a.json"),)) * 2:
        for source, target in moves:
            source.rename(target)
        found = tick(definitions, instance, cursor)
        cursor = found.cursor
        keys += [request.run_key for request in found.run_requests]
    assert len(set(keys)) == len(keys) == 3


def test_a_commit_that_changes_rows_runs_what_watches_the_table(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    table, cursor, started = tmp_path / "shared", None, list[bool]()
    report = from_delta("report", table, tmp_path / "report")
    report["steps"][0]["config"]["watch"] = True
    definitions = define(report)

    def append() -> None:
        write_deltalake(table, pa.table({"id": [1]}), mode="append")

    def make_anew() -> None:
        rmtree(table)
        append()

    def compact() -> None:
        assert DeltaTable(table).optimize.compact()["numFilesRemoved"] > 0

    def nothing() -> None:
        pass

    def delete() -> None:
        DeltaTable(table).delete("id = 1")

    for change in (nothing, append, nothing, append, compact, delete, make_anew):
        change()
        found = tick(definitions, instance, cursor)
        started.append(bool(found.run_requests))
        cursor = found.cursor
    assert started == [False, True, False, True, False, True, True]


def test_one_that_can_not_be_looked_at_keeps_no_other_from_being_run(
    define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.json").write_text('{"id": 1, "day": "2024-01-01"}\n')
    keys = {"accessKeyId": "a", "secretAccessKey": "${env:NOT_THERE}", "endpoint": "http://127.0.0.1:1"}
    broken = from_files("a_broken", "s3://nowhere/in", tmp_path / "x", watch=True, **keys)
    log = tmp_path / "corrupt" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("{")
    corrupt = from_delta("b_corrupt", log.parent, tmp_path / "y")
    corrupt["steps"][0]["config"]["watch"] = True
    right = from_files("right", str(tmp_path / "a.json"), tmp_path / "out", watch=True)
    monkeypatch.delenv("NOT_THERE", raising=False)
    found = tick(define(broken, corrupt, right), instance, None)
    assert [request.job_name for request in found.run_requests] == ["right"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"partitions": DAILY}, "what is new does not say which partition to load"),
        ({"mode": "streaming"}, "a stream reads what is new by itself"),
    ],
)
def test_what_can_not_be_watched_is_told(keys: dict[str, Any], message: str):
    step = extract("fromFiles", path="in", format="json", schema="day DATE", watch=True)
    sink = load(path="out", mode="overwrite") if "partitions" in keys else load(path="out")
    assert message in " ".join(messages_of(pipeline(step, sink, **keys)))


def test_a_table_as_it_once_was_can_not_be_watched():
    step = extract("fromDeltaLake", path="in", version=3, watch=True)
    assert "does not change, so leave out 'watch'" in " ".join(messages_of(pipeline(step, load())))
