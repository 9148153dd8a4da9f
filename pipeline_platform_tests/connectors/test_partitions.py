"""Loads of partitions into each sink that can replace one: what is there afterwards, as DuckDB computes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform
from pipeline_platform.config.partitions import Partition
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException
from pipeline_platform.frames.partition_rows import PartitionRows
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.resources.partitions import chosen_partitions
from pipeline_platform_tests.connectors.databases import Schema
from pipeline_platform_tests.duckdb_rows import frame_of

DAILY = {"type": "daily", "start": "2024-01-01", "end": "2024-02-01", "column": "day"}
COLUMNS = "id INT, day DATE, shop STRING"
Row = tuple[int, str | None, str]
JANUARY: list[Row] = [(n, f"2024-01-{1 + n % 28:02}", f"shop {n % 3}") for n in range(112)]


def write_source(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps({"id": i, "day": day, "shop": shop}) + "\n" for i, day, shop in rows))


def queried(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def expected(source: Path, condition: str = "day IS NOT NULL") -> list[tuple[Any, ...]]:
    """Rows of the source, as DuckDB reads them."""
    columns = "{id: 'INT', day: 'DATE', shop: 'VARCHAR'}"
    return queried(
        f"SELECT id, day, shop FROM read_json('{source}', columns = {columns}) WHERE {condition} ORDER BY id"
    )


@dataclass(frozen=True)
class Sink:
    """A sink, and what is in it as another client sees it."""

    step: StepValue
    rows: Callable[[], list[tuple[Any, ...]]]


def in_files(folder: Path) -> list[tuple[Any, ...]]:
    pattern = f"{folder}/**/*.parquet"
    return queried(f"SELECT id, day, shop FROM read_parquet('{pattern}', hive_partitioning = true) ORDER BY id")


@pytest.fixture(params=["delta", "delta by day", "files", "files by path", "postgres", "mysql"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Sink:
    out, kind = tmp_path / "out", request.param
    if kind.startswith("delta"):
        by_day = {"partitionBy": "day"} if kind == "delta by day" else {}

        def in_delta() -> list[tuple[Any, ...]]:
            table = DeltaTable(out).to_pyarrow_table()
            return sorted(zip(*(table[name].to_pylist() for name in ("id", "day", "shop")), strict=True))

        return Sink(load("toDeltaLake", path=str(out), mode="overwrite", **by_day), in_delta)
    if kind.startswith("files"):
        place = {"path": str(out), "partitionBy": "day"} if kind == "files" else {"path": f"{out}/${{partition:key}}"}
        return Sink(load("toFiles", format="parquet", mode="overwrite", **place), lambda: in_files(out))
    schema: Schema = request.getfixturevalue(f"in_{kind}")
    return Sink(schema.load(mode="overwrite"), lambda: schema.rows(columns="id, day, shop"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_source(tmp_path / "rows.json", [*JANUARY, (999, None, "without a day")])
    return tmp_path / "rows.json"


Run = Callable[..., list[RunMetrics]]


@pytest.fixture
def run(spark: SparkSession, source: Path) -> Run:
    """Run a pipeline from the source to a sink, for a partition or a range of them."""

    def once(
        sink: StepValue,
        first: str,
        last: str | None = None,
        *between: StepValue,
        load_id: str | None = None,
        partitions: dict[str, Any] = DAILY,
        schema: str = COLUMNS,
    ) -> list[RunMetrics]:
        steps = [extract("fromFiles", path=str(source), format="json", schema=schema), *between, sink]
        pipeline = pipeline_of(steps, partitions=partitions)
        chosen = chosen_partitions(pipeline, first, last or first)
        return [BatchRun(pipeline, spark, load_id=load_id, partition=partition).run() for partition in chosen]

    return once


def test_one_partition_that_is_run_again_is_replaced_and_no_other(sink: Sink, run: Run, source: Path):
    for day in ("2024-01-01", "2024-01-02", "2024-01-03"):
        run(sink.step, day)
    assert sink.rows() == expected(source, "day <= '2024-01-03'")
    before = expected(source, "day IN ('2024-01-01', '2024-01-03')")
    # All of the source has changed, and the second day has lost a row.
    write_source(source, [(n, day, "changed") for n, day, _ in JANUARY if n != 1])
    run(sink.step, "2024-01-02")
    assert sink.rows() == sorted([*before, *expected(source, "day = '2024-01-02'")])
    write_source(source, [row for row in JANUARY if row[1] != "2024-01-02"])
    run(sink.step, "2024-01-02")
    assert sink.rows() == before


def test_a_range_is_loaded_whole_and_again_without_a_change(sink: Sink, run: Run, source: Path):
    runs = run(sink.step, "2024-01-01", "2024-01-05", load_id="a")
    assert len(runs) == (5 if "${partition:key}" in json.dumps(sink.step) else 1)
    run(sink.step, "2024-01-03", "2024-01-31", load_id="b")
    assert sink.rows() == expected(source)
    loads = [step for done in run(sink.step, "2024-01-01", "2024-01-05", load_id="a") for step in done.steps]
    assert {step.status for step in loads if step.type == "load"} == {"SKIPPED"}
    assert sink.rows() == expected(source)


def test_partitions_that_are_loaded_under_one_load_id_are_all_loaded(sink: Sink, run: Run, source: Path):
    for day in ("2024-01-01", "2024-01-02"):
        run(sink.step, day, load_id="the same")
    assert sink.rows() == expected(source, "day <= '2024-01-02'")


def test_partitions_are_merged_by_keys_alone(schema: Schema, run: Run, source: Path):
    # Not a column by which the rows of a partition could be replaced: it holds times as text.
    schema.query(f"CREATE TABLE {schema.name}.t (id int PRIMARY KEY, day varchar(10), shop varchar(9))")
    merge = schema.load(mode="merge", mergeKeys="id")
    for day in ("2024-01-01", "2024-01-02", "2024-01-01"):
        run(merge, day)
    found = [(number, date.fromisoformat(day), shop) for number, day, shop in schema.rows()]
    assert found == expected(source, "day <= '2024-01-02'")


def test_the_condition_of_a_range_reaches_the_files_that_are_read(run: Run, tmp_path: Path, spark: SparkSession):
    rows = [(n, date(2024, 1, 1) + timedelta(days=n), "s") for n in range(31)]
    spark.createDataFrame(rows, COLUMNS).write.parquet(str(tmp_path / "in"))
    step = extract("fromFiles", path=str(tmp_path / "in"), format="parquet")
    pipeline = pipeline_of([step, load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite")], partitions=DAILY)
    (partition,) = chosen_partitions(pipeline, "2024-01-03", "2024-01-05")
    done = BatchRun(pipeline, spark, partition=partition).run()
    assert [found.rows for found in done.steps] == [None, 3]
    assert done.steps[0].rows_note == "not counted: only the rows of the partition are read"
    assert done.partitions == ["2024-01-03", "2024-01-04", "2024-01-05"]


BERLIN = {"type": "daily", "start": "2024-03-30", "end": "2024-04-02", "column": "at", "timezone": "Europe/Berlin"}


def every_hour() -> Iterator[datetime]:
    start = datetime(2024, 3, 29, 20, tzinfo=UTC)
    yield from (start + timedelta(hours=hour) for hour in range(80))


@pytest.mark.parametrize("kind", ["delta", "postgres", "mysql"])
def test_a_day_of_a_time_zone_has_the_hours_that_it_has_there(
    kind: str, run: Run, source: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    source.write_text("".join(json.dumps({"at": moment.isoformat()}) + "\n" for moment in every_hour()))
    step = load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite")
    if kind != "delta":
        step = request.getfixturevalue(f"in_{kind}").load(mode="overwrite")
    hours = []
    for day in ("2024-03-30", "2024-03-31", "2024-03-31", "2024-04-01"):
        (done,) = run(step, day, partitions=BERLIN, schema="at TIMESTAMP")
        hours.append(done.rows_written)
    # The clock is put forward on the last day of March.
    assert hours == [24, 23, 23, 24]
    if kind == "delta":
        loaded = DeltaTable(tmp_path / "out").to_pyarrow_table()["at"].to_pylist()
        first = datetime(2024, 3, 29, 23, tzinfo=UTC)
        assert sorted(loaded) == [first + timedelta(hours=hour) for hour in range(71)]
    else:
        schema: Schema = request.getfixturevalue(f"in_{kind}")
        assert schema.query(f"SELECT count(*), count(DISTINCT at) FROM {schema.name}.t")[0] == (71, 71)


@pytest.mark.parametrize("column", ["shop STRING", "shop INT"])
def test_keys_are_compared_as_the_column_has_them(column: str, run: Run, source: Path, tmp_path: Path):
    source.write_text("".join(json.dumps({"id": n, "shop": n % 3 + 1}) + "\n" for n in range(30)))
    partitions = {"type": "static", "keys": ["1", "2", "3"], "column": "shop"}
    step = load("toFiles", path=str(tmp_path / "out"), format="parquet", mode="overwrite", partitionBy="shop")
    run(step, "1", "3", partitions=partitions, schema=f"id INT, {column}")
    run(step, "2", partitions=partitions, schema=f"id INT, {column}")
    found = queried(f"SELECT id FROM read_parquet('{tmp_path}/out/**/*.parquet') ORDER BY id")
    assert [n for (n,) in found] == list(range(30))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("id INT, day STRING", r"the column 'day' has to be a date or a timestamp; it is string"),
        ("id INT, shop STRING", r"there is no column 'day'; the columns are id, shop"),
    ],
)
def test_a_frame_that_does_not_show_its_partitions_is_refused_before_anything_is_written(
    schema: str, message: str, run: Run, tmp_path: Path
):
    step = load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite")
    with pytest.raises(PipelineExecutionException, match=message):
        run(step, "2024-01-01", schema=schema)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["2024-02-01", "2023-12-31", "01.01.2024"])
def test_a_key_that_is_none_is_refused(key: str, run: Run, tmp_path: Path):
    step = load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite")
    with pytest.raises(PipelineException, match=rf"no partition '{key}'[\s\S]*'2024-01-01' to '2024-01-31'"):
        run(step, key)


def test_the_condition_of_a_table_is_replaced_without_partitions(spark: SparkSession, source: Path, tmp_path: Path):
    out = tmp_path / "out"

    def overwrite(where: str, **config: Any) -> RunMetrics:
        steps = [
            extract("fromFiles", path=str(source), format="json", schema=COLUMNS),
            transform("filterRows", condition=where),
            load("toDeltaLake", path=str(out), mode="overwrite", **config),
        ]
        return BatchRun(pipeline_of(steps), spark).run()

    overwrite("day < '2024-01-11'")
    write_source(source, [(n, day, "changed") for n, day, _ in JANUARY])
    overwrite("day = '2024-01-02'", replaceWhere="day = '2024-01-02'")
    table = DeltaTable(out).to_pyarrow_table()
    days = {bool(shop == "changed"): set[date]() for shop in table["shop"].to_pylist()}
    for day, shop in zip(table["day"].to_pylist(), table["shop"].to_pylist(), strict=True):
        days[shop == "changed"].add(day)
    second = date(2024, 1, 2)
    assert days == {False: {date(2024, 1, n) for n in range(1, 11)} - {second}, True: {second}}
    with pytest.raises(PipelineExecutionException, match="partial table overwrite condition"):
        overwrite("day = '2024-01-03'", replaceWhere="day = '2024-01-02'")
    assert DeltaTable(out).version() == 1


def test_texts_that_a_collation_takes_for_the_same_are_other_partitions(run: Run, source: Path, schema: Schema):
    keys = ["de", "DE", "d\u00e9", "de_"]
    source.write_text("".join(json.dumps({"id": n, "shop": key}) + "\n" for n, key in enumerate(keys)))
    partitions = {"type": "static", "keys": keys, "column": "shop"}
    for key in [*keys, "de"]:
        run(schema.load(mode="overwrite"), key, partitions=partitions, schema="id INT, shop STRING")
    assert schema.rows(columns="id, shop") == list(enumerate(keys))


def test_a_number_of_the_frame_is_the_text_of_a_table(run: Run, source: Path, in_mysql: Schema):
    in_mysql.query(f"CREATE TABLE {in_mysql.name}.t (id INT, shop VARCHAR(10))")
    in_mysql.query(f"INSERT INTO {in_mysql.name}.t VALUES (7, '1abc'), (8, '01')")
    source.write_text('{"id": 1, "shop": 1}\n')
    partitions = {"type": "static", "keys": ["1"], "column": "shop"}
    for _ in range(2):
        run(in_mysql.load(mode="overwrite"), "1", partitions=partitions, schema="id INT, shop INT")
    assert in_mysql.rows(columns="id, shop") == [(1, "1"), (7, "1abc"), (8, "01")]


def test_a_time_is_not_rounded_into_the_next_partition(run: Run, schema: Schema, source: Path):
    schema.query(f"CREATE TABLE {schema.name}.t (at {'TIMESTAMPTZ(0)' if schema.is_postgres else 'DATETIME'})")
    partition: dict[str, Any] = {"partitions": {**DAILY, "column": "at"}, "schema": "at TIMESTAMP"}
    source.write_text('{"at": "2024-01-31T23:59:59Z"}\n')
    for _ in range(2):
        run(schema.load(mode="overwrite"), "2024-01-31", **partition)
    source.write_text('{"at": "2024-01-31T23:59:59.7Z"}\n')
    with pytest.raises(PipelineExecutionException, match=r"can't hold more than 0 digits of a second"):
        run(schema.load(mode="overwrite"), "2024-01-31", **partition)
    assert [at.replace(tzinfo=None) for (at,) in schema.rows(columns="at")] == [datetime(2024, 1, 31, 23, 59, 59)]


def test_files_beside_the_folders_of_partitions_are_refused(run: Run, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.parquet").write_bytes(b"")
    step = load("toFiles", path=str(tmp_path / "out"), format="parquet", mode="overwrite", partitionBy="day")
    with pytest.raises(PipelineExecutionException, match=r"such as old.parquet: the column 'day' is not in their path"):
        run(step, "2024-01-01")


def test_a_key_that_the_column_can_not_hold_is_refused(run: Run, tmp_path: Path):
    step = load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite")
    partitions = {"type": "static", "keys": ["300"], "column": "id"}
    with pytest.raises(PipelineExecutionException, match="the partition '300' can't be a value of the column 'id'"):
        run(step, "300", partitions=partitions, schema="id TINYINT")


KEYS = ["o'brien", "x' OR '1'='1", 'o"brien', "o`brien", "a\\nb", "x\\", "x''y", "%_", "a b; -- c", "größe", "/* k"]


def test_a_key_in_the_sql_of_spark_is_the_text_that_it_is_or_refused(spark: SparkSession, tmp_path: Path):
    step = transform("filterRows", condition="k = '${partition:key}'")
    steps = [extract("fromRate", rowsPerSecond=1), step, load("toDeltaLake", path=str(tmp_path), mode="overwrite")]
    pipeline = pipeline_of(steps, partitions={"type": "static", "keys": KEYS, "column": "k"})
    conditions: list[tuple[str, str]] = []
    refused: list[str] = []
    for key in KEYS:
        # What the platform writes itself, and then what a person has written.
        conditions.append((key, PartitionRows("k", "string", values=(key,)).spark_sql()))
        try:
            config: Any = pipeline.resolve(partition=Partition("k", (key,))).steps[1].config
            conditions.append((key, config.condition))
        except PipelineException:
            refused.append(key)
    keys = frame_of(spark, [(key,) for key in (*KEYS, "1")], "k STRING")
    found = keys.selectExpr("k", *(condition for _, condition in conditions)).collect()
    for column, (key, condition) in enumerate(conditions, 1):
        assert [row.k for row in found if row[column]] == [key], condition
    assert refused == [key for key in KEYS if "'" in key or "\\" in key]
