"""Pipelines with partitions in Dagster: definitions, runs, ranges, mappings, schedules, tables for people's assets."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._utils.schedules import schedule_execution_time_iterator
from deltalake import DeltaTable

from pipeline_platform.config.partitions import Partitions
from pipeline_platform.orchestration.assets import LOAD_ID_TAG
from pipeline_platform.orchestration.schedules import due_partitions
from pipeline_platform.resources.partitions import partition_mapping, partitions_definition
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, filtered

DAILY = {"type": "daily", "start": "2024-01-01", "end": "2024-03-01", "column": "day"}
WEEKLY = {**DAILY, "type": "weekly", "end": "2024-02-26"}
MONTHLY = {"type": "monthly", "start": "2024-01-01", "end": "2024-03-01", "column": "day"}
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(60)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three rows for each day of January and February."""
    path = tmp_path / "rows.json"
    path.write_text("".join(json.dumps({"id": n, "day": str(DAYS[n % 60])}) + "\n" for n in range(180)))
    return path


def by_day(name: str, source: Path, path: Path, condition: str | None = None, **keys: Any) -> dict[str, Any]:
    """A pipeline with partitions, from rows in JSON or a Delta table to a Delta table."""
    config = {"path": str(source), "format": "json", "schema": "id INT, day DATE"}
    step = {"type": "extract", "method": "fromFiles", "config": config}
    if source.suffix != ".json":
        step = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(source)}}
    steps = [step, *([filtered(condition)] if condition else [])]
    steps.append({"type": "load", "method": "toDeltaLake", "config": {"path": str(path), "mode": "overwrite"}})
    return {"name": name, "mode": "batch", "partitions": DAILY, **keys, "steps": steps}


def days_in(table: Path) -> dict[str, int]:
    days = DeltaTable(table).to_pyarrow_table()["day"].to_pylist()
    return {str(day): count for day, count in sorted(Counter(days).items())}


def range_tags(first: str, last: str) -> dict[str, str]:
    """What a backfill puts on the one run of a range."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def run(definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, **options: Any) -> Any:
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, **options)


@pytest.fixture
def instance() -> Any:
    with dg.instance_for_test() as made:
        yield made


def test_a_partition_is_materialized_with_its_rows_counted_as_its_own(
    define: MakeDefinitions, source: Path, tmp_path: Path, instance: dg.DagsterInstance
):
    definitions = define(by_day("sales", source, tmp_path / "out"))
    run(definitions, "sales", instance, partition_key="2024-01-03")
    assert days_in(tmp_path / "out") == {"2024-01-03": 3}
    key = dg.AssetKey(["sales", "to_delta_lake"])
    assert instance.get_materialized_partitions(key) == {"2024-01-03"}
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 3
    assert "dagster/row_count" not in metadata


def test_a_year_is_one_run_and_a_day_that_changed_is_loaded_again_alone(define: MakeDefinitions, tmp_path: Path):
    # Dagster stores an event for each asset and day, which takes it a minute on a disk.
    instance = dg.DagsterInstance.ephemeral()
    source, table = tmp_path / "rows.json", tmp_path / "out"
    days = [date(2023, 1, 1) + timedelta(days=n) for n in range(365)]

    def write(changed: date | None = None) -> None:
        rows = [{"id": n + 1000 * (days[n % 365] == changed), "day": str(days[n % 365])} for n in range(1000)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def by_duckdb(where: str = "true") -> list[tuple[Any, ...]]:
        rows = f"read_json('{source}', columns = {{id: 'INT', day: 'DATE'}})"
        with duckdb.connect() as connection:
            query = f"SELECT day, count(*), sum(id) FROM {rows} WHERE {where} GROUP BY 1 ORDER BY 1"
            return connection.execute(query).fetchall()

    def loaded() -> list[tuple[Any, ...]]:
        return sorted((row["day"], row["n"], row["total"]) for row in DeltaTable(table).to_pyarrow_table().to_pylist())

    year = {**DAILY, "start": "2023-01-01", "end": "2024-01-01"}
    pipeline = by_day("sales", source, table, "day >= '${partition:start}'", partitions=year)
    totals = {"groupBy": ["day"], "aggregations": {"n": "count(*)", "total": "sum(id)"}}
    pipeline["steps"].insert(2, {"type": "transform", "method": "aggregateData", "config": totals})
    definitions = define(pipeline)
    key = dg.AssetKey(["sales", "to_delta_lake"])
    assert definitions.resolve_asset_graph().get(key).backfill_policy == dg.BackfillPolicy.single_run()
    write()
    run(definitions, "sales", instance, tags=range_tags("2023-01-01", "2023-12-31"))
    assert loaded() == by_duckdb()
    assert len(instance.get_materialized_partitions(key)) == 365
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows"].value == "365 in 365 partitions, 2023-01-01 to 2023-12-31"

    before = loaded()
    write(changed=days[40])
    run(definitions, "sales", instance, partition_key=str(days[40]))
    (changed,) = by_duckdb(f"day = '{days[40]}'")
    assert loaded() == by_duckdb() == [*before[:40], changed, *before[41:]]
    assert changed != before[40]


def test_a_range_that_looks_back_is_one_run_and_replaces_its_own_days_alone(define: MakeDefinitions, tmp_path: Path):
    source, table = tmp_path / "rows.json", tmp_path / "out"
    windows = """
        SELECT day, sum(total) OVER (ORDER BY day RANGE BETWEEN INTERVAL 6 DAYS PRECEDING AND CURRENT ROW) AS week
        FROM (SELECT day, sum(id) AS total FROM rows WHERE {} GROUP BY day) AS days"""

    def write(more: int = 0) -> None:
        rows = [{"id": n + more * (DAYS[n % 60].day in (15, 16)), "day": str(DAYS[n % 60])} for n in range(180)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def by_duckdb() -> dict[date, int]:
        rows = f"(SELECT * FROM read_json('{source}', columns = {{id: 'INT', day: 'DATE'}})) AS rows"
        with duckdb.connect() as connection:
            query = windows.format("true").replace("6 DAYS", "6 DAY").replace("FROM rows", f"FROM {rows}")
            return {day: int(week) for day, week in connection.execute(query).fetchall()}

    def loaded() -> dict[date, int]:
        return {row["day"]: row["week"] for row in DeltaTable(table).to_pyarrow_table().to_pylist()}

    pipeline = by_day("weeks", source, table, partitions={**DAILY, "lookback": 6})
    pipeline["steps"][0]["config"]["registerAs"] = "rows"
    condition = "day >= DATE '${partition:start}' - INTERVAL 6 DAYS AND day < '${partition:end}'"
    query = {"type": "transform", "method": "sqlQuery", "config": {"query": windows.format(condition)}}
    pipeline["steps"].insert(1, query)
    definitions, instance = define(pipeline), dg.DagsterInstance.ephemeral()
    write()
    run(definitions, "weeks", instance, tags=range_tags("2024-01-01", "2024-02-29"))
    before = by_duckdb()
    assert loaded() == before
    write(more=1000)
    run(definitions, "weeks", instance, tags=range_tags("2024-01-15", "2024-01-18"))
    again = {date(2024, 1, day) for day in range(15, 19)}
    assert loaded() == {day: (by_duckdb() if day in again else before)[day] for day in before}
    assert DeltaTable(table).version() == 1


def test_a_pipeline_whose_steps_need_the_key_runs_once_for_each(define: MakeDefinitions, source: Path, tmp_path: Path):
    definitions = define(by_day("sales", source, tmp_path / "out", "day = '${partition:key}'"))
    assets = definitions.resolve_asset_graph().get(dg.AssetKey(["sales", "to_delta_lake"]))
    assert assets.backfill_policy == dg.BackfillPolicy.multi_run(1)


def test_a_run_that_repeats_a_failed_one_loads_its_partition_under_the_same_id(
    define: MakeDefinitions, source: Path, tmp_path: Path, instance: dg.DagsterInstance
):
    definitions = define(by_day("sales", source, tmp_path / "out"))
    for _ in range(2):
        tags = {**range_tags("2024-01-01", "2024-01-02"), LOAD_ID_TAG: "first"}
        run(definitions, "sales", instance, tags=tags)
    assert days_in(tmp_path / "out") == {"2024-01-01": 3, "2024-01-02": 3}


def test_a_month_needs_its_days(define: MakeDefinitions, source: Path, tmp_path: Path):
    days = by_day("days", source, tmp_path / "days")
    months = by_day("months", tmp_path / "days", tmp_path / "months", partitions=MONTHLY)
    graph = define(days, months).resolve_asset_graph()
    read = graph.get(dg.AssetKey(["months", "from_delta_lake"]))
    (written,) = read.parent_keys
    mapping = graph.get_partition_mapping(read.key, written)
    assert read.partitions_def is not None
    written_in = graph.get(written).partitions_def
    assert written_in is not None
    month = read.partitions_def.subset_with_partition_keys(["2024-02-01"])
    needed = mapping.get_upstream_mapped_partitions_result_for_partitions(month, read.partitions_def, written_in)
    assert list(needed.partitions_subset.get_partition_keys()) == [str(day) for day in DAYS if day.month == 2]


def before(start: datetime, kind: str, count: int) -> datetime:
    """The start of the partition that lies some before one."""
    if kind == "hourly":
        return (start.astimezone(UTC) - timedelta(hours=count)).astimezone(start.tzinfo)
    if kind == "monthly":
        months = start.year * 12 + start.month - 1 - count
        return start.replace(year=months // 12, month=months % 12 + 1)
    return start - timedelta(days=count * {"daily": 1, "weekly": 7}[kind])


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("of_writer", ["hourly", "daily", "weekly", "monthly"])
@pytest.mark.parametrize("of_reader", ["hourly", "daily", "weekly", "monthly"])
def test_a_partition_needs_what_overlaps_with_it_and_with_those_that_it_looks_back_on(
    of_reader: str, of_writer: str, zone: str
):
    lookback = 30 if of_reader == "hourly" else 2
    limits = {"start": "2024-02-01", "column": "day", "timezone": zone}
    until = {"hourly": "2024-02-04", "weekly": "2024-04-11"}
    reader = Partitions.model_validate(
        {**limits, "type": of_reader, "lookback": lookback, "end": until.get(of_reader, "2024-05-01")}
    )
    # The clock is put forward within them, and some of what is looked back on is not there.
    writer = Partitions.model_validate(
        {**limits, "type": of_writer, "end": until["weekly"] if of_writer == "weekly" else "2024-05-01"}
    )
    mapping, read, written = partition_mapping(reader, writer), *map(partitions_definition, (reader, writer))
    assert isinstance(mapping, dg.TimeWindowPartitionMapping)
    assert isinstance(read, dg.TimeWindowPartitionsDefinition)
    assert isinstance(written, dg.TimeWindowPartitionsDefinition)
    windows = {key: written.time_window_for_partition_key(key) for key in written.get_partition_keys()}
    needed: dict[str, set[str]] = {}
    for key in read.get_partition_keys():
        own = read.time_window_for_partition_key(key)
        first, end = before(own.start, of_reader, lookback).timestamp(), own.end.timestamp()
        needed[key] = {
            other for other, its in windows.items() if its.start.timestamp() < end and its.end.timestamp() > first
        }
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            read.subset_with_partition_keys([key]), read, written
        )
        assert set(found.partitions_subset.get_partition_keys()) == needed[key]
        assert found.required_but_nonexistent_subset.is_empty
    for other in list(windows)[:: 25 if of_writer == "hourly" else 1]:
        affected = mapping.get_downstream_partitions_for_partitions(
            written.subset_with_partition_keys([other]), written, read
        )
        assert set(affected.get_partition_keys()) == {key for key, keys in needed.items() if other in keys}


def test_a_tick_may_load_several_partitions_and_the_next_one_the_same(
    define: MakeDefinitions, source: Path, tmp_path: Path, instance: dg.DagsterInstance
):
    shops = {"type": "static", "keys": ["1", "2"], "column": "id"}
    definitions = define(by_day("shops", source, tmp_path / "out", partitions=shops, schedule="@daily"))
    schedule = definitions.resolve_schedule_def("shops_schedule")
    keys = set[str | None]()
    for day in (10, 11):
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2024, 1, day, tzinfo=UTC),
            repository_def=definitions.get_repository_def(),
        )
        requests = schedule.evaluate_tick(context).run_requests or []
        assert [request.partition_key for request in requests] == ["1", "2"]
        keys |= {request.run_key for request in requests}
    assert len(keys) == 4


def test_days_of_two_time_zones_need_all_of_each_other(define: MakeDefinitions, source: Path, tmp_path: Path):
    days = by_day("days", source, tmp_path / "days")
    there = {**DAILY, "timezone": "Europe/Berlin"}
    read = by_day("there", tmp_path / "days", tmp_path / "there", partitions=there, automation="onUpstream")
    graph = define(days, read).resolve_asset_graph()
    node = graph.get(dg.AssetKey(["there", "from_delta_lake"]))
    assert graph.get_partition_mapping(node.key, next(iter(node.parent_keys))) == dg.AllPartitionMapping()


def test_keys_and_days_need_all_of_each_other(define: MakeDefinitions, source: Path, tmp_path: Path):
    days = by_day("days", source, tmp_path / "days")
    shops = {"type": "static", "keys": ["1", "2"], "column": "id"}
    by_shop = by_day("shops", tmp_path / "days", tmp_path / "shops", partitions=shops)
    graph = define(days, by_shop).resolve_asset_graph()
    read = graph.get(dg.AssetKey(["shops", "from_delta_lake"]))
    assert graph.get_partition_mapping(read.key, next(iter(read.parent_keys))) == dg.AllPartitionMapping()


def test_of_two_pipelines_that_replace_each_other_s_rows_of_a_table_the_later_one_fails_and_says_why(
    define: MakeDefinitions, source: Path, tmp_path: Path
):
    days = by_day("days", source, tmp_path / "out")
    months = by_day("months", source, tmp_path / "out", partitions=MONTHLY)
    definitions = define(days, months)
    why = "this load replaces all rows of a partition whenever it is loaded"
    broken = definitions.resolve_asset_graph().get(dg.AssetKey(["broken", "months"]))
    assert why in (broken.description or "")
    graph = definitions.resolve_asset_graph()
    groups = {key.path[0]: graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups["months"] == "broken" != groups["days"]
    assert why in (definitions.resolve_job_def("months").description or "")


@pytest.mark.parametrize(
    ("partitions", "cron", "due"),
    [
        ({**DAILY, "end": "2024-02-01"}, "0 6 * * *", ["2024-01-09"]),
        ({**DAILY, "type": "hourly"}, "0 6 * * *", 24),
        (WEEKLY, "0 6 * * *", []),
        (WEEKLY, "0 6 * * 3", ["2024-01-01"]),
        ({**DAILY, "timezone": "America/New_York"}, "0 4 * * *", ["2024-01-08"]),
        ({"type": "static", "keys": ["a", "b"], "column": "k"}, "0 6 * * *", ["a", "b"]),
        ({"type": "dynamic", "name": "shops", "column": "k"}, "0 6 * * *", ["north"]),
    ],
)
def test_a_tick_of_the_schedule_loads_what_has_ended_since_the_one_before(
    partitions: dict[str, Any], cron: str, due: Any, instance: dg.DagsterInstance
):
    instance.add_dynamic_partitions("shops", ["north"])
    hour = int(cron.split()[1])
    tick = datetime(2024, 1, 10, hour, tzinfo=UTC)
    found = due_partitions(Partitions.model_validate(partitions), cron, "UTC", tick, instance)
    assert (len(found) if isinstance(due, int) else found) == due


def test_a_run_without_a_partition_says_which_to_choose(
    define: MakeDefinitions, source: Path, tmp_path: Path, instance: dg.DagsterInstance
):
    definitions = define(by_day("sales", source, tmp_path / "out"))
    with pytest.raises(dg.Failure, match=r"the run has none of them: say which to load") as raised:
        run(definitions, "sales", instance)
    assert "dg launch --job sales --partition KEY" in (raised.value.description or "")


def test_a_schedule_starts_a_run_for_the_day_that_has_ended(
    define: MakeDefinitions, source: Path, tmp_path: Path, instance: dg.DagsterInstance
):
    definitions = define(by_day("sales", source, tmp_path / "out", schedule="0 6 * * *"))
    schedule = definitions.resolve_schedule_def("sales_schedule")
    repository = definitions.get_repository_def()
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime(2024, 1, 10, 6, tzinfo=UTC), repository_def=repository
    )
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2024-01-09"


def test_every_day_is_loaded_once_also_where_clocks_are_put_back(instance: dg.DagsterInstance):
    zone, cron = "Europe/Berlin", "30 2 * * *"
    limits = {"start": "2024-10-20", "end": "2024-11-03", "timezone": zone}
    partitions = Partitions.model_validate({**DAILY, **limits})
    first = datetime(2024, 10, 20, 12, tzinfo=UTC).timestamp()
    ticks = islice(schedule_execution_time_iterator(first, cron, zone), 16)
    loaded = [key for tick in ticks for key in due_partitions(partitions, cron, zone, tick, instance)]
    assert loaded == list(partitions_definition(partitions).get_partition_keys())


@pytest.mark.parametrize(
    ("partitions", "first", "second"),
    [
        ({**DAILY, "type": "hourly", "start": "2024-01-01T06:00"}, "2024-01-01-06:00", "2024-01-01-07:00"),
        (DAILY, "2024-01-01", "2024-01-02"),
        (WEEKLY, "2024-01-01", "2024-01-08"),
        ({**WEEKLY, "start": "2024-01-03", "end": "2024-02-28"}, "2024-01-03", "2024-01-10"),
        (MONTHLY, "2024-01-01", "2024-02-01"),
    ],
)
def test_the_first_partition_begins_where_the_file_says(partitions: dict[str, Any], first: str, second: str):
    keys = partitions_definition(Partitions.model_validate(partitions)).get_partition_keys()
    assert list(keys[:2]) == [first, second]


@pytest.mark.parametrize(
    ("column", "zone"), [("day DATE", "UTC"), ("day TIMESTAMP", "UTC"), ("day TIMESTAMP", "Asia/Kolkata")]
)
def test_an_asset_of_a_persons_own_gets_the_rows_of_its_partition_alone(
    column: str, zone: str, define: MakeDefinitions, tmp_path: Path, instance: dg.DagsterInstance
):
    source = tmp_path / "rows.json"
    # At midnight and at 19:00 in UTC, which is the next day in Kolkata.
    times = [f"{day}T{hour}:00:00Z" if "TIME" in column else str(day) for day in DAYS for hour in ("00", "19", "20")]
    source.write_text("".join(json.dumps({"id": n, "day": time}) + "\n" for n, time in enumerate(times)))
    pipeline = by_day("sales", source, tmp_path / "out", partitions={**DAILY, "timezone": zone})
    pipeline["steps"][0]["config"]["schema"] = f"id INT, {column}"
    definitions = define(pipeline)
    run(definitions, "sales", instance, tags=range_tags("2024-01-01", "2024-01-31"))
    seen: list[Any] = []
    key = dg.AssetKey(["sales", "to_delta_lake"])
    daily = partitions_definition(Partitions.model_validate(pipeline["partitions"]))

    def report(sales: Any) -> None:
        seen.extend(sales["id"].to_pylist())

    report.__annotations__["sales"] = pa.Table
    own = dg.asset(partitions_def=daily, ins={"sales": dg.AssetIn(key, input_manager_key="delta_tables")})(report)
    both = dg.Definitions.merge(definitions, dg.Definitions(assets=[own]))
    job = both.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, partition_key="2024-01-17", asset_selection=[own.key])
    # Of the 17th at midnight, and in Kolkata of the evening before too.
    expected = [48, 49, 50] if zone == "UTC" else [46, 47, 48]
    assert sorted(seen) == expected
