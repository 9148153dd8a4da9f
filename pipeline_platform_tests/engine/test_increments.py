"""What is new in a source, loaded once into a Delta table, compared as delta-rs and DuckDB read it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from devtools.pipelines import StepValue, extract, last_step, load, pipeline_text, run, transform
from pipeline_platform.cli import app
from pipeline_platform.connectors.delta.cursor import DeltaCursor
from pipeline_platform.connectors.delta.write import DeltaWrite
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.steps.cursor import CursorMove

START = datetime(2024, 1, 1, 10, tzinfo=UTC)
Row = tuple[int, datetime, str | None]


class Shop:
    """A source that others write to, and the table that what is new is loaded into."""

    def __init__(self, folder: Path) -> None:
        self.source, self.table = folder / "source", folder / "table"

    def add(self, *rows: Row, **columns: Sequence[Any]) -> None:
        ids, times, notes = ([row[place] for row in rows] for place in range(3))
        data = {"id": pa.array(ids, pa.int32()), "at": pa.array(times, pa.timestamp("us", "UTC")), "note": notes}
        frame = pa.table({**data, **columns})
        write_deltalake(self.source, frame, mode="append", schema_mode="merge" if columns else None)

    def steps(self, *between: StepValue, load_config: dict[str, Any] | None = None, **keys: Any) -> list[StepValue]:
        incremental = {"cursorColumn": "at", **keys}
        source = extract("fromDeltaLake", path=str(self.source), incremental=incremental, registerAs="orders")
        return [source, *between, load("toDeltaLake", path=str(self.table), **(load_config or {}))]

    def in_source(self) -> list[tuple[Any, ...]]:
        return rows_of(self.source)

    def in_table(self) -> list[tuple[Any, ...]]:
        return rows_of(self.table)

    def ids(self) -> list[int]:
        return [row[0] for row in self.in_table()]


def rows_of(table: Path) -> list[tuple[Any, ...]]:
    found = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT * FROM t").read_all()
    return duckdb.from_arrow(pa.table(found)).order("ALL").fetchall()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.add((1, at(0), "a"), (2, at(5), "b"))
    return shop


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def test_rows_that_appear_late_are_loaded_once_if_the_lag_reaches_back_to_them(spark: SparkSession, shop: Shop):
    steps = shop.steps(lag="3 minutes")
    assert last_step(run(spark, *steps)).rows == 2
    shop.add((3, at(4), "late"), (4, at(1), "too late"), (5, at(6), "new"))
    assert last_step(run(spark, *steps)).rows == 2
    assert last_step(run(spark, *steps)).rows == 0
    assert shop.ids() == [1, 2, 3, 5]


def test_whatever_comes_within_the_lag_the_table_is_the_source(spark: SparkSession, shop: Shop):
    chance = random.Random(7)
    steps = shop.steps(lag="10 minutes")
    for round_ in range(4):
        now = 10 * round_
        # Few ids and notes, so that some rows are the same as others.
        shop.add(*[(chance.randint(1, 3), at(now + chance.randint(0, 9)), chance.choice("ab")) for _ in range(30)])
        run(spark, *steps)
        shop.add(*[(chance.randint(1, 3), at(now + chance.randint(0, 9)), None) for _ in range(10)])
    run(spark, *steps)
    assert len(shop.in_source()) == 162
    assert shop.in_table() == shop.in_source()


def test_the_first_value_and_the_last_can_be_given(spark: SparkSession, shop: Shop):
    shop.add((3, at(10), "c"), (4, at(11), "d"))
    kept: dict[str, Any] = {"initialValue": "2024-01-01 10:05:00", "endValue": "2024-01-01T12:10:00+02:00"}
    assert last_step(run(spark, *shop.steps(**kept))).cursor == "2024-01-01 10:10:00+00:00"
    assert shop.ids() == [2]
    run(spark, *shop.steps())
    assert shop.ids() == [2, 3, 4]


def test_an_exclusive_boundary_reads_only_what_is_larger(spark: SparkSession, shop: Shop):
    steps = shop.steps(boundary="exclusive")
    run(spark, *steps)
    shop.add((3, at(5), "the same instant"), (4, at(6), "new"))
    run(spark, *steps)
    assert last_step(run(spark, *steps)).skipped == "there is nothing new in the source"
    assert shop.ids() == [1, 2, 4]


class Killed(BaseException):
    """What stands for a SIGKILL: nothing that comes after it is done."""


@pytest.mark.parametrize(
    ("owner", "point", "is_loaded"),
    [(DeltaCursor, "stage", False), (DeltaWrite, "_written", False), (DeltaCursor, "settle", True)],
    ids=["before it is staged", "before the commit", "after the commit"],
)
def test_a_load_that_is_killed_leaves_nothing_out_and_repeats_nothing(
    spark: SparkSession, shop: Shop, monkeypatch: pytest.MonkeyPatch, owner: type, point: str, is_loaded: bool
):
    steps = shop.steps(lag="3 minutes")
    run(spark, *steps)
    shop.add((3, at(4), "late"), (4, at(6), "new"))

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, point, killed)
        with pytest.raises(Killed):
            run(spark, *steps)
    assert shop.ids() == ([1, 2, 3, 4] if is_loaded else [1, 2])
    shop.add((5, at(5), "later"))
    run(spark, *steps)
    assert last_step(run(spark, *steps)).rows == 0
    assert shop.ids() == [1, 2, 3, 4, 5]


def test_of_two_runs_that_begin_at_the_same_place_one_loads(
    spark: SparkSession, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    steps, stage = shop.steps(), DeltaCursor.stage

    def overtaken(cursor: DeltaCursor, move: CursorMove, attempt: str) -> None:
        stage(cursor, move, attempt)
        monkeypatch.setattr(DeltaCursor, "stage", stage)
        shop.add((3, at(6), "c"))
        assert last_step(run(spark, *steps)).rows == 3

    monkeypatch.setattr(DeltaCursor, "stage", overtaken)
    with pytest.raises(PipelineExecutionException, match="another run has loaded what was new in the meantime"):
        run(spark, *steps, retry={"maxAttempts": 1})
    run(spark, *steps)
    assert shop.ids() == [1, 2, 3]


def test_a_source_may_get_columns_and_wider_types(spark: SparkSession, shop: Shop):
    steps = shop.steps(lag="1 hour", load_config={"mergeSchema": True})
    run(spark, *steps)
    shop.add((3, at(5), "c"), price=pa.array([1.5]))
    assert last_step(run(spark, *steps)).rows == 1
    widened = pa.table({"id": pa.array([2**40], pa.int64()), "at": [at(6)], "note": ["d"], "price": [2.5]})
    wide = duckdb.from_arrow(
        QueryBuilder().register("t", DeltaTable(shop.source)).execute("SELECT * FROM t").read_all()
    )
    rows = wide.select('id::BIGINT AS id, "at", note, price').union(duckdb.from_arrow(widened)).to_arrow_table()
    shutil.rmtree(shop.source)
    write_deltalake(shop.source, rows)
    changed = shop.steps(
        transform("filterRows", condition="id < 10"),
        transform("enrichData", columns={"id": "CAST(id AS INT)"}),
        lag="1 hour",
        load_config={"mergeSchema": True},
    )
    assert last_step(run(spark, *changed)).rows == 0
    assert shop.ids() == [1, 2, 3]


def test_rows_are_told_apart_by_their_key_if_there_is_one(spark: SparkSession, shop: Shop):
    steps = shop.steps(key="id")
    run(spark, *steps)
    shop.add((2, at(5), "another note"), (3, at(5), "c"))
    assert last_step(run(spark, *steps)).rows == 1
    assert shop.ids() == [1, 2, 3]


def test_rows_that_change_are_merged(spark: SparkSession, shop: Shop):
    steps = shop.steps(lag="1 minute", load_config={"mode": "merge", "mergeKeys": ["id"]})
    run(spark, *steps)
    shop.add((2, at(6), "changed"), (3, at(7), "new"))
    assert last_step(run(spark, *steps)).rows == 2
    assert [(row[0], row[2]) for row in shop.in_table()] == [(1, "a"), (2, "changed"), (3, "new")]


def test_each_partition_has_a_cursor_of_its_own(spark: SparkSession, shop: Shop, tmp_path: Path):
    shop.add((3, at(24 * 60), "tomorrow"))
    day = transform("filterRows", condition="at >= '${partition:start}' AND at < '${partition:end}'")
    steps = shop.steps(day, load_config={"mode": "merge", "mergeKeys": ["id"]})
    partitions = {"type": "daily", "start": "2024-01-01", "column": "at"}
    file = tmp_path / "shop.json"
    file.write_text(pipeline_text(steps, "shop", partitions=partitions))
    for key in ("2024-01-02", "2024-01-01"):
        done = CliRunner().invoke(app, ["run", "--partition", key, str(file)])
        assert done.exit_code == 0, done.output
    assert shop.ids() == [1, 2, 3]
    shown = CliRunner().invoke(app, ["cursor", "--partition", "2024-01-01", str(file)])
    assert "orders, at: loaded up to 2024-01-02 10:00:00+00:00, by 1 loads" in shown.output


def test_a_row_without_a_value_is_refused(spark: SparkSession, shop: Shop):
    rows = pa.table({"id": pa.array([3], pa.int32()), "at": pa.array([None], pa.timestamp("us", "UTC")), "note": ["c"]})
    write_deltalake(shop.source, rows, mode="append")
    refused(spark, shop.steps(), "the column 'at' of the source has NULL in some rows")
    assert not shop.table.exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cursorColumn": "when"}, "there is no column 'when'"),
        ({"cursorColumn": "note"}, "'cursorColumn' is 'note', which is string"),
        ({"initialValue": "yesterday"}, "'initialValue' has 'yesterday', which is no value of the column 'at', timest"),
        ({"lag": 5}, "'lag' has to be a duration, as the column of 'cursorColumn' holds timestamp values"),
        ({"cursorColumn": "id", "lag": "5 minutes"}, "'lag' has to be a whole number"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_column_is_told_before_anything_is_written(
    spark: SparkSession, shop: Shop, keys: dict[str, Any], said: str
):
    refused(spark, shop.steps(**keys), said)
    assert not shop.table.exists()


def refused(spark: SparkSession, steps: Sequence[StepValue], said: str) -> None:
    with pytest.raises(PipelineExecutionException) as raised:
        run(spark, *steps)
    assert said in str(raised.value)


def test_a_source_that_was_made_anew_is_told(spark: SparkSession, shop: Shop):
    run(spark, *shop.steps())
    shutil.rmtree(shop.source)
    shop.add((7, at(1), "restored"))
    [hint] = run(spark, *shop.steps()).hints
    assert "the largest 'at' is 2024-01-01 10:01:00+00:00, and rows up to 2024-01-01 10:05:00+00:00 were loaded" in hint


def test_a_step_with_another_name_does_not_load_all_again(spark: SparkSession, shop: Shop):
    run(spark, *shop.steps())
    source, sink = shop.steps()
    source["config"]["registerAs"] = "renamed"
    refused(spark, [source, sink], "the sink remembers where the step 'orders' of this pipeline has come")
    assert shop.ids() == [1, 2]


@pytest.fixture
def command(shop: Shop, tmp_path: Path) -> Callable[..., str]:
    """The command `cursor` for the pipeline that `run` runs."""
    file = tmp_path / "tested.json"
    file.write_text(pipeline_text(shop.steps()))

    def invoked(*options: str) -> str:
        done = CliRunner().invoke(app, ["cursor", str(file), *options])
        assert done.exit_code == 0, done.output
        return done.output

    return invoked


def test_a_person_sees_where_it_is_and_can_set_it(spark: SparkSession, shop: Shop, command: Callable[..., str]):
    assert "orders, at: nothing is loaded yet" in command()
    assert "the next run begins at 2024-01-01 10:05, itself included" in command("--set", "2024-01-01 10:05")
    run(spark, *shop.steps())
    assert shop.ids() == [2]
    assert "loaded up to 2024-01-01 10:05:00+00:00, by 1 loads" in command()
    command("--set", "2024-01-01 10:05")
    run(spark, *shop.steps())
    assert shop.ids() == [2, 2]
    assert "nothing is loaded yet" in command("--reset")
    run(spark, *shop.steps())
    assert shop.ids() == [1, 2, 2, 2]
    assert last_step(run(spark, *shop.steps())).rows == 0


def test_maintenance_of_the_table_leaves_its_cursors_alone(spark: SparkSession, shop: Shop):
    steps = shop.steps(lag="3 minutes")
    run(spark, *steps)
    table = DeltaTable(shop.table)
    table.optimize.compact()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with spark_settings(spark, {"spark.databricks.delta.retentionDurationCheck.enabled": "false"}):
        spark.sql(f"VACUUM delta.`{shop.table}` RETAIN 0 HOURS")
    table.create_checkpoint()
    shop.add((3, at(4), "late"))
    run(spark, *steps)
    assert shop.ids() == [1, 2, 3]


def test_changes_that_are_new_are_applied(spark: SparkSession, shop: Shop):
    changes = {"keys": ["id"], "sequenceBy": "at", "deleteWhen": "note = 'gone'"}
    steps = shop.steps(lag="1 hour", load_config={"mode": "applyChanges", "changes": changes})
    run(spark, *steps)
    shop.add((2, at(7), "gone"), (3, at(6), "c"), (1, at(-1), "older"))
    assert last_step(run(spark, *steps)).cursor == "2024-01-01 10:07:00+00:00"
    assert [(row[0], row[2]) for row in shop.in_table()] == [(1, "a"), (3, "c")]
    version = DeltaTable(shop.table).version()
    assert last_step(run(spark, *steps)).rows == 0
    assert DeltaTable(shop.table).version() == version


class Numbers:
    """A source of a column of numbers, and the table that what is new is loaded into."""

    def __init__(self, folder: Path) -> None:
        self.source, self.table = folder / "source", folder / "table"

    def add(self, *numbers: int, **columns: Any) -> None:
        rows = pa.table({"n": pa.array(numbers, pa.int64()), **columns})
        write_deltalake(self.source, rows, mode="append")

    def load(self, spark: SparkSession, column: str = "n", **keys: Any) -> list[Any]:
        """What the table has after a run."""
        incremental = {"cursorColumn": column, **keys}
        source = extract("fromDeltaLake", path=str(self.source), incremental=incremental, registerAs="numbers")
        run(spark, source, load("toDeltaLake", path=str(self.table)))
        return [row[0] for row in rows_of(self.table)]


def test_an_exclusive_boundary_leaves_out_no_value_that_a_run_has_only_come_to(spark: SparkSession, tmp_path: Path):
    numbers = Numbers(tmp_path)
    numbers.add(1, 2, 3, 4, 5)
    assert numbers.load(spark, boundary="exclusive", initialValue=1, endValue=3) == [1, 2]
    assert numbers.load(spark, boundary="exclusive", endValue=5) == [1, 2, 3, 4]
    assert numbers.load(spark, boundary="exclusive") == [1, 2, 3, 4, 5]
    # An inclusive one, of which nothing is known yet, repeats none.
    assert numbers.load(spark, boundary="inclusive") == [1, 2, 3, 4, 5]
    numbers.add(5, 6)
    assert numbers.load(spark, boundary="inclusive") == [1, 2, 3, 4, 5, 6]


def test_a_first_value_that_is_still_to_come_is_loaded_when_it_comes(spark: SparkSession, tmp_path: Path):
    numbers = Numbers(tmp_path)
    numbers.add(1, 2)
    assert numbers.load(spark, boundary="exclusive", initialValue=5) == []
    numbers.add(5, 6)
    assert numbers.load(spark, boundary="exclusive", initialValue=5) == [5, 6]


def test_a_cursor_is_of_one_column_and_one_source(spark: SparkSession, tmp_path: Path):
    numbers = Numbers(tmp_path)
    numbers.add(1, 2, m=pa.array([10, 20], pa.int64()))
    numbers.load(spark)
    with pytest.raises(PipelineExecutionException, match="is of the column n, and the step reads the column m"):
        numbers.load(spark, "m")
    shutil.copytree(numbers.source, tmp_path / "other")
    numbers.source = tmp_path / "other"
    with pytest.raises(PipelineExecutionException, match=rf"and the step reads the source {tmp_path}/other: "):
        numbers.load(spark)
    assert len(rows_of(numbers.table)) == 2


def test_rows_that_differ_by_where_a_null_is_within_a_value_are_different(spark: SparkSession, tmp_path: Path):
    numbers = Numbers(tmp_path)
    kind = pa.struct([("a", pa.int64()), ("b", pa.int64())])
    first, later = [{"a": 1, "b": None}, {"a": 2, "b": None}], [{"a": None, "b": 1}, {"a": None, "b": 2}]
    numbers.add(1, 1, s=pa.array(first, kind))
    numbers.load(spark)
    numbers.add(1, 1, s=pa.array(later, kind))
    numbers.load(spark)
    assert [row[1] for row in rows_of(numbers.table)] == [row[1] for row in rows_of(numbers.source)]
    assert len(rows_of(numbers.table)) == 4


def test_a_lag_is_subtracted_from_decimals_of_all_digits(spark: SparkSession, tmp_path: Path):
    numbers = Numbers(tmp_path)
    for number in range(3):
        # delta-rs would note what a file holds as floating-point numbers, by which Spark leaves files out.
        row = spark.range(1).selectExpr(f"CAST('{10**37 + number * 10**9}' AS DECIMAL(38, 0)) AS n")
        row.write.format("delta").mode("append").save(str(numbers.source))
        assert len(numbers.load(spark, lag=1)) == number + 1


def test_both_hours_are_new_where_clocks_are_put_back(spark: SparkSession, shop: Shop):
    autumn = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    shop.add((3, autumn, "first"))
    run(spark, *shop.steps(), sparkConf={"spark.sql.session.timeZone": "Europe/Berlin"})
    shop.add((4, autumn + timedelta(hours=1), "second"))
    run(spark, *shop.steps(), sparkConf={"spark.sql.session.timeZone": "Europe/Berlin"})
    assert shop.ids() == [1, 2, 3, 4]


def test_a_copy_of_a_table_without_its_cursors_is_not_loaded_again(
    spark: SparkSession, shop: Shop, command: Callable[..., str]
):
    run(spark, *shop.steps())
    shutil.rmtree(shop.table / "_pipeline_platform")
    refused(spark, shop.steps(), "says that the cursor 'tested/orders' was moved 1 times")
    assert shop.ids() == [1, 2]
    command("--set", "2024-01-01 10:06")
    shop.add((3, at(6), "c"))
    run(spark, *shop.steps())
    assert shop.ids() == [1, 2, 3]


def test_a_table_that_has_forgotten_its_transactions_is_not_loaded_again(
    spark: SparkSession, shop: Shop, command: Callable[..., str]
):
    run(spark, *shop.steps())
    shop.add((3, at(6), "c"))
    spark.sql(
        f"ALTER TABLE delta.`{shop.table}` SET TBLPROPERTIES "
        "('delta.setTransactionRetentionDuration' = 'interval 0 seconds')"
    )
    refused(spark, shop.steps(), "has forgotten its transactions, and so where the cursor 'tested/orders' is")
    assert shop.ids() == [1, 2]
    spark.sql(f"ALTER TABLE delta.`{shop.table}` UNSET TBLPROPERTIES ('delta.setTransactionRetentionDuration')")
    command("--set", "2024-01-01 10:06")
    run(spark, *shop.steps())
    assert shop.ids() == [1, 2, 3]


@pytest.mark.parametrize("value", ["banana", "", "Infinity", "2024-13-01"])
def test_a_cursor_is_not_set_to_what_no_column_holds(shop: Shop, tmp_path: Path, value: str):
    file = tmp_path / "tested.json"
    file.write_text(pipeline_text(shop.steps()))
    done = CliRunner().invoke(app, ["cursor", str(file), "--set", value])
    assert done.exit_code == 2
    assert "expected a number, a date or a time" in done.output


def test_a_clustered_table_remembers_it_from_its_first_load_on(spark: SparkSession, shop: Shop):
    steps = shop.steps(load_config={"clusterBy": ["id"]})
    for expected in (2, 0):
        assert last_step(run(spark, *steps)).rows == expected
    assert shop.ids() == [1, 2]
