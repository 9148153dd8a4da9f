"""A person's own assets with partitions: each type of an argument has the rows of the run's partition."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa
from deltalake import write_deltalake

from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta

LOAD = dg.AssetKey(["sales", "to_delta_lake"])
KINDS = {"table": pa.Table, "reader": pa.RecordBatchReader, "frame": pl.DataFrame, "lazy": pl.LazyFrame, "none": Any}
KEYS = ["o'brien", "x\\`", 'q"q', "a=b c", "North", "north"]


class Project:
    """A table with partitions, and an asset for each type that takes it."""

    def __init__(self, define: MakeDefinitions, place: Path, partitions: dict[str, Any], rows: Any, **load: Any):
        write_deltalake(place / "lake", rows, partition_by=load.pop("partition_by", None))
        pipeline = rate_to_delta("sales", place / "lake", mode="overwrite")
        self.definitions = define({**pipeline, "partitions": partitions})
        spec = self.definitions.resolve_asset_graph().get(LOAD).partitions_def
        assert spec is not None
        self.partitions = spec

    def taken(self, key: str | None, **metadata: Any) -> dict[str, Any]:
        """What each type has of a partition."""
        seen: dict[str, Any] = {}
        whole = None if key is None else self.partitions
        assets = [_own_asset(name, kind, seen, whole, metadata) for name, kind in KINDS.items()]
        both = dg.Definitions.merge(self.definitions, dg.Definitions(assets=assets))
        job = dg.define_asset_job("own", selection=[asset.key for asset in assets])
        both = dg.Definitions.merge(both, dg.Definitions(jobs=[job]))
        both.resolve_job_def("own").execute_in_process(partition_key=key)
        return {name: _as_arrow(found) for name, found in seen.items()}


def _own_asset(name: str, kind: Any, seen: dict[str, Any], partitions: Any, metadata: Any) -> dg.AssetsDefinition:
    def report(table: Any) -> None:
        seen[name] = table

    report.__annotations__["table"] = kind
    ins = {"table": dg.AssetIn(LOAD, input_manager_key="delta_tables", metadata=metadata)}
    return dg.asset(name=name, ins=ins, partitions_def=partitions)(report)


def _as_arrow(found: Any) -> Any:
    if isinstance(found, pl.LazyFrame):
        found = found.collect()
    if isinstance(found, pl.DataFrame):
        return found.to_arrow()
    return found.read_all() if isinstance(found, pa.RecordBatchReader) else found


def ids(found: dict[str, Any]) -> dict[str, list[int]]:
    assert all(isinstance(table, pa.Table) for table in found.values())
    return {name: sorted(table.column("id").to_pylist()) for name, table in found.items()}


def for_every_type(expected: list[int]) -> dict[str, list[int]]:
    return dict.fromkeys(KINDS, expected)


def by_duckdb(rows: Any, condition: str) -> list[int]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("rows", rows)
    return [row[0] for row in connection.execute(f"SELECT id FROM rows WHERE {condition} ORDER BY id").fetchall()]


def every(minutes: int, first: datetime, count: int) -> list[datetime]:
    return [first + timedelta(minutes=minutes * n) for n in range(count)]


def test_an_hour_is_the_same_for_every_type_where_clocks_are_put_back(define: MakeDefinitions, tmp_path: Path):
    times = every(15, datetime(2024, 10, 26, 21, tzinfo=UTC), 40)
    rows = pa.table({"at": pa.array(times, pa.timestamp("us", "UTC")), "id": range(40)})
    zone = {"type": "hourly", "timezone": "Europe/Berlin", "column": "AT"}
    hours = {**zone, "start": "2024-10-27T01:00", "end": "2024-10-27T04:00"}
    project = Project(define, tmp_path, hours, rows)
    # One, twice two, and three, by the clock in Berlin.
    keys = project.partitions.get_partition_keys()
    assert len(keys) == 4
    for number, key in enumerate(keys):
        start = datetime(2024, 10, 26, 23, tzinfo=UTC) + timedelta(hours=number)
        expected = by_duckdb(rows, f"\"at\" >= '{start}' AND \"at\" < '{start + timedelta(hours=1)}'")
        assert len(expected) == 4
        assert ids(project.taken(key)) == for_every_type(expected)


def test_a_day_is_the_same_for_every_type_whatever_the_column_is(define: MakeDefinitions, tmp_path: Path):
    times = every(60, datetime(2024, 10, 25, tzinfo=UTC), 96)
    moment = "(\"at\" AT TIME ZONE 'Europe/Berlin')"
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    first = pa.table({"at": pa.array(times, pa.timestamp("us", "UTC")), "id": range(96)})
    connection.register("first", first)
    kinds = f'"at", {moment} AS local, {moment}::DATE AS day, id'
    rows = connection.sql(f"SELECT {kinds} FROM first").to_arrow_table()
    days = {"type": "daily", "timezone": "Europe/Berlin", "start": "2024-10-26", "end": "2024-10-29"}
    for column in ("at", "local", "day"):
        project = Project(define, tmp_path / column, {**days, "column": column}, rows)
        expected = by_duckdb(rows, f"{moment}::DATE = '2024-10-27'")
        assert len(expected) == 25
        assert ids(project.taken("2024-10-27")) == for_every_type(expected)


def test_a_key_of_odd_characters_is_the_same_for_every_type(define: MakeDefinitions, tmp_path: Path):
    rows = pa.table({"key": KEYS, "id": range(len(KEYS))})
    static = {"type": "static", "keys": KEYS, "column": "Key"}
    project = Project(define, tmp_path, static, rows, partition_by=["key"])
    for number, key in enumerate(KEYS):
        assert ids(project.taken(key)) == for_every_type([number])


def test_columns_of_any_name_are_the_same_for_every_type(define: MakeDefinitions, tmp_path: Path):
    names = ["a`b", "c.d", 'q"q', "^.*$", "*", "unit price", "SELECT"]
    rows = pa.table({"day": [date(2024, 1, 1)] * 2, **{name: [n, n + 10] for n, name in enumerate(names)}})
    days = {"type": "daily", "start": "2024-01-01", "end": "2024-01-02", "column": "day"}
    project = Project(define, tmp_path, days, rows)
    for wanted in ([names[0]], names[1:], ["Unit Price"]):
        spelled = [next(name for name in names if name.lower() == one.lower()) for one in wanted]
        found = project.taken("2024-01-01", columns=wanted)
        for table in found.values():
            assert table.sort_by(spelled[0]).to_pydict() == rows.select(spelled).to_pydict()


def test_a_condition_of_the_assets_own_holds_for_every_type(define: MakeDefinitions, tmp_path: Path):
    rows = pa.table({"day": [date(2024, 1, n) for n in (1, 1, 2)], "id": [1, 2, 3]})
    days = {"type": "daily", "start": "2024-01-01", "end": "2024-01-03", "column": "day"}
    project = Project(define, tmp_path, days, rows)
    assert ids(project.taken("2024-01-01", predicate="id > 1 OR id = 0")) == for_every_type([2])
