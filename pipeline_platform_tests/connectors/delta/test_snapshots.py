"""Snapshots that are loaded one after the other: what the table holds is what DuckDB makes of all of them at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from devtools.pipelines import json_rows, last_step, load, pipeline_of, run
from pipeline_platform.connectors.delta.changes.merge import ChangeMerge
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.metrics.run import StepMetrics

SCHEMA = "day DATE, id BIGINT, name STRING, tags MAP<STRING, INT>"
NEWEST = {"snapshotKeys": ["id"], "columns": ["id", "name", "tags"]}
VERSIONS = {**NEWEST, "sequenceBy": "day", "scdType": 2}

Row = dict[str, Any]
Take = Callable[..., StepMetrics]


@pytest.fixture
def take(spark: SparkSession, tmp_path: Path, table: Path) -> Take:
    """Run a pipeline that loads a snapshot."""

    def once(rows: Sequence[Row], changes: Mapping[str, Any], schema: str = SCHEMA, **config: Any) -> StepMetrics:
        load_id = config.pop("load_id", None)
        step = load("toDeltaLake", path=str(table), mode="applyChanges", changes=dict(changes), **config)
        return last_step(run(spark, json_rows(tmp_path / "rows.json", rows, schema), step, load_id=load_id))

    return once


def row(day: int, key: int, name: str, tags: Mapping[str, int] | None = None) -> Row:
    return {"day": f"2024-01-{day:02}", "id": key, "name": name, "tags": tags}


def snapshots(count: int, keys: int) -> list[list[Row]]:
    """Of a table of some keys: a third of them is missing in each, and two thirds are as they were."""
    random_of = random.Random(7)
    names: dict[int, str] = {}
    made: list[list[Row]] = []
    for day in range(1, count + 1):
        for key in random_of.sample(range(keys), keys // 3):
            names[key] = random_of.choice("abc")
        made.append([row(day, key, name) for key, name in names.items() if random_of.random() < 0.7])
    return made


def versions_by_duckdb(taken: Sequence[Sequence[Row]]) -> list[tuple[Any, ...]]:
    rows = [{**each, "day": date.fromisoformat(each["day"])} for snapshot in taken for each in snapshot]
    with duckdb.connect() as connection:
        schema = pa.schema({"day": pa.date32(), "id": pa.int64(), "name": pa.string()})
        connection.register("rows", pa.Table.from_pylist(rows, schema))
        # Of each key on each day: its name, or that it was not there.
        return connection.execute("""
            WITH
            days AS (SELECT DISTINCT day FROM rows),
            states AS (
                SELECT days.day, keys.id, rows.name, rows.id IS NOT NULL AS is_there
                FROM days CROSS JOIN (SELECT DISTINCT id FROM rows) keys LEFT JOIN rows USING (day, id)
            ),
            begun AS (
                SELECT * FROM states
                QUALIFY (is_there, name) IS DISTINCT FROM lag((is_there, name)) OVER (PARTITION BY id ORDER BY day)
            ),
            ended AS (SELECT *, lead(day) OVER (PARTITION BY id ORDER BY day) AS until FROM begun)
            SELECT id, name, day, until, until IS NULL FROM ended WHERE is_there ORDER BY id, day
        """).fetchall()


def history_in(table: Path) -> list[tuple[Any, ...]]:
    found = DeltaTable(table).to_pyarrow_table().select(["id", "name", "validFrom", "validTo", "current"])
    return sorted((tuple(each.values()) for each in found.to_pylist()), key=lambda each: (each[0], each[2]))


def names_in(table: Path) -> dict[int, str]:
    return {each["id"]: each["name"] for each in DeltaTable(table).to_pyarrow_table().to_pylist()}


def test_the_table_is_the_newest_snapshot(take: Take, table: Path) -> None:
    for number, snapshot in enumerate(snapshots(3, 60)):
        assert take(snapshot, NEWEST).version == number
        assert names_in(table) == {each["id"]: each["name"] for each in snapshot}


def test_the_history_has_every_version_of_each_key(take: Take, table: Path) -> None:
    taken = snapshots(4, 60)
    for number, snapshot in enumerate(taken, 1):
        take(snapshot, VERSIONS)
        assert history_in(table) == versions_by_duckdb(taken[:number])


@pytest.mark.parametrize("changes", [NEWEST, VERSIONS], ids=["newest", "versions"])
def test_a_snapshot_without_a_difference_makes_no_version(take: Take, table: Path, changes: dict[str, Any]) -> None:
    take([row(1, 1, "a", {"x": 1, "y": 2}), row(1, 2, "b")], changes)
    again = take([row(2, 2, "b"), row(2, 1, "a", {"y": 2, "x": 1})], changes)
    assert (again.rows, DeltaTable(table).version()) == (0, 0)


def test_by_default_a_version_is_valid_from_when_it_was_loaded(take: Take, table: Path) -> None:
    changes = {"snapshotKeys": ["id"], "columns": ["id", "name"], "scdType": 2}
    take([row(1, 1, "a"), row(1, 2, "b")], changes)
    take([], changes)
    take([row(1, 2, "b")], changes)
    (first, second, third) = history_in(table)
    assert first[2] == second[2] < first[3] == second[3] < third[2]
    assert [each[4] for each in (first, second, third)] == [False, False, True]


def test_a_load_that_is_killed_leaves_the_table_and_counts_once(
    take: Take, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    first, second = snapshots(2, 9)
    take(first, VERSIONS)
    with monkeypatch.context() as faulty:
        faulty.setattr(ChangeMerge, "write", killed)
        with pytest.raises(PipelineExecutionException, match="killed"):
            take(second, VERSIONS, load_id="second")
    assert history_in(table) == versions_by_duckdb([first])
    take(second, VERSIONS, load_id="second")
    assert take(second, VERSIONS, load_id="second").status == "SKIPPED"
    assert history_in(table) == versions_by_duckdb([first, second])


REFUSED = [
    ([row(3, 1, "a"), row(3, 1, "b")], VERSIONS, "two rows of this load have the same merge keys"),
    ([{**row(3, 1, "a"), "id": None}], VERSIONS, "a change has NULL in id"),
    ([row(3, 1, "x"), row(4, 2, "b")], VERSIONS, "a snapshot is of one time, and its 'day' has both"),
    ([], VERSIONS, "its 'day' has no value, as there is no row"),
    (
        [row(1, 1, "other")],
        VERSIONS,
        "goes up to 2024-01-02, and this snapshot, which differs from it, is of 2024-01-01",
    ),
    ([row(3, 1, "x")], NEWEST, "the changes have no column 'validFrom'"),
]


def test_what_is_no_newer_snapshot_of_the_table_is_refused_and_nothing_is_written(take: Take, table: Path) -> None:
    take([row(2, 1, "a")], VERSIONS)
    for rows, changes, message in REFUSED:
        with pytest.raises(PipelineExecutionException, match=message):
            take(rows, changes)
    assert DeltaTable(table).version() == 0


def test_a_table_that_single_changes_were_applied_to_takes_no_snapshot(take: Take, table: Path) -> None:
    take([row(2, 1, "a")], {"keys": ["id"], "sequenceBy": "day", "columns": ["id", "name"]})
    with pytest.raises(PipelineExecutionException, match="has had single changes applied to it"):
        take([row(3, 1, "a")], {"snapshotKeys": ["id"], "columns": ["id", "name", "day"]})


def test_a_table_that_has_a_key_twice_is_told(take: Take, table: Path) -> None:
    write_deltalake(table, pa.table({"id": pa.array([1, 1], pa.int64())}))
    with pytest.raises(PipelineExecutionException) as raised:
        take([], {"snapshotKeys": "id"}, "id BIGINT")
    assert (
        raised.value.hint
        == "the table has several rows with the same keys: delete all but one of each, or load it anew"
    )


def test_columns_are_added_and_whole_numbers_of_any_width_are_compared(take: Take, table: Path) -> None:
    take([{"id": 1, "n": 1}, {"id": 2, "n": 2}], {"snapshotKeys": "id"}, "id INT, n INT")
    metrics = take(
        [{"ID": 1, "n": 1}, {"ID": 2, "n": 2, "more": "x"}],
        {"snapshotKeys": "id"},
        "ID SMALLINT, n SMALLINT, more STRING",
        mergeSchema=True,
    )
    assert metrics.rows == 1
    found = DeltaTable(table).to_pyarrow_table().sort_by("id").to_pylist()
    assert found == [{"id": 1, "n": 1, "more": None}, {"id": 2, "n": 2, "more": "x"}]


def test_fields_are_compared_by_their_names(take: Take, table: Path) -> None:
    changes = {"snapshotKeys": "id"}
    first = {"id": 1, "s": {"a": 1, "b": 2}, "l": [{"a": 1, "b": 2}]}
    take([first], changes, "id INT, s STRUCT<a: INT, b: INT>, l ARRAY<STRUCT<a: INT, b: INT>>")
    other = "id INT, s STRUCT<b: INT, a: INT>, l ARRAY<STRUCT<b: INT, a: INT>>"
    assert take([first], changes, other).rows == 0
    swapped = {"id": 1, "s": {"a": 2, "b": 1}, "l": [{"a": 2, "b": 1}]}
    assert take([swapped], changes, other).rows == 1
    assert DeltaTable(table).to_pyarrow_table().to_pylist() == [swapped]
    more = {"id": 1, "s": {"a": 2, "b": 1, "c": 3}, "l": [{"a": 2, "b": 1}]}
    wider = "id INT, s STRUCT<c: INT, b: INT, a: BIGINT>, l ARRAY<STRUCT<b: INT, a: INT>>"
    with pytest.raises(PipelineExecutionException):
        take([more], changes, wider)
    take([more], changes, wider.replace("BIGINT", "SMALLINT"), mergeSchema=True)
    assert DeltaTable(table).to_pyarrow_table().to_pylist() == [more]


def test_a_time_without_a_zone_is_that_of_the_snapshot_wherever_it_is_loaded(
    take: Take, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        changes = {"snapshotKeys": "id", "scdType": 2, "sequenceBy": "at"}
        take([{"id": 1, "at": "2024-07-27T01:30:00"}], changes, "id INT, at TIMESTAMP_NTZ")
    finally:
        monkeypatch.undo()
        time.tzset()
    [found] = DeltaTable(table).to_pyarrow_table().to_pylist()
    assert found["validFrom"] == datetime(2024, 7, 27, 1, 30)


def test_a_row_of_the_table_that_no_snapshot_could_delete_is_told(take: Take, table: Path) -> None:
    write_deltalake(table, pa.table({"id": pa.array([1, None], pa.int64())}))
    with pytest.raises(PipelineExecutionException, match=r"a row of the table, .*, has NULL in id"):
        take([{"id": 1}], {"snapshotKeys": "id"}, "id BIGINT")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"keys": "id", "snapshotKeys": "id", "sequenceBy": "at"},
        {"keys": "id"},
        {"snapshotKeys": "id", "deleteWhen": "true"},
        {"snapshotKeys": "id", "sequenceBy": "at"},
        {"snapshotKeys": ["id", "ID"]},
    ],
    ids=str,
)
def test_keys_that_do_not_go_together_are_mistakes_in_the_file(changes: dict[str, Any]) -> None:
    with pytest.raises(PipelineConfigurationException):
        pipeline_of([load("toDeltaLake", path="x", mode="applyChanges", changes=changes)])


def test_what_is_only_a_part_of_the_source_is_no_snapshot() -> None:
    step = load("toDeltaLake", path="x", mode="applyChanges", changes={"snapshotKeys": "id"})
    source = {"type": "extract", "method": "fromDeltaLake", "config": {"path": "y"}}
    new = {**source, "config": {"path": "y", "incremental": {"cursorColumn": "at"}}}
    daily = {"type": "daily", "start": "2024-01-01", "column": "day"}
    ways: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([source, step], {"mode": "streaming"}),
        ([new, step], {}),
        ([source, step], {"partitions": daily}),
    ]
    for steps, how in ways:
        with pytest.raises(PipelineConfigurationException, match="'snapshotKeys' deletes what a snapshot lacks"):
            pipeline_of(steps, **how)
