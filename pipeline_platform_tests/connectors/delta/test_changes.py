"""Changes that are applied to a Delta table: what it holds is what DuckDB makes of all changes at once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, json_rows, last_step, listing, load, pipeline_of, run, validate
from pipeline_platform.connectors.delta.changes.merge import ChangeMerge
from pipeline_platform.connectors.delta.write import DeltaWrite
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException, ValidationException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.metrics.run import StepMetrics

SCHEMA = "id BIGINT, name STRING, size INT, op STRING, lsn BIGINT"
ARROW_SCHEMA = pa.schema(
    {"id": pa.int64(), "name": pa.string(), "size": pa.int32(), "op": pa.string(), "lsn": pa.int64()}
)
CHANGES = {
    "keys": ["id"],
    "sequenceBy": "lsn",
    "deleteWhen": "op = 'd'",
    "columns": ["id", "name", "size"],
}
NEWEST = {**CHANGES, "truncateWhen": "op = 't'"}
VERSIONS = {**CHANGES, "scdType": 2}

Change = dict[str, Any]
Apply = Callable[..., StepMetrics]


@pytest.fixture
def apply(spark: SparkSession, tmp_path: Path, table: Path) -> Apply:
    """Run a pipeline that applies these changes to the table."""

    def once(
        rows: Sequence[Change],
        changes: Mapping[str, Any] = NEWEST,
        schema: str = SCHEMA,
        load_id: str | None = None,
        **config: Any,
    ) -> StepMetrics:
        step = load("toDeltaLake", path=str(table), mode="applyChanges", changes=dict(changes), **config)
        return last_step(run(spark, json_rows(tmp_path / "rows.json", rows, schema), step, load_id=load_id))

    return once


def change(key: int | None, lsn: int | None, name: str | None = None, op: str = "u") -> Change:
    return {"id": key, "name": name, "size": 1 if name is not None else None, "op": op, "lsn": lsn}


def deleted(key: int, lsn: int) -> Change:
    return change(key, lsn, op="d")


def random_changes(seed: int, count: int, keys: int, truncations: int = 0) -> list[Change]:
    """Changes of some keys in a random order, some of them twice; each sequence is there once for a key."""
    random_of = random.Random(seed)
    made: dict[tuple[int | None, int], Change] = {}
    while len(made) < count:
        key, lsn = random_of.randrange(keys), random_of.randrange(count)
        found = change(key, lsn, random_of.choice("abc"))
        made[key, lsn] = deleted(key, lsn) if random_of.random() < 0.25 else found
    for _ in range(truncations):
        lsn = random_of.randrange(count // 2)
        made[None, lsn] = change(None, lsn, op="t")
    changes = [*made.values(), *random_of.sample(list(made.values()), count // 10)]
    random_of.shuffle(changes)
    return changes


def parts(seed: int, changes: Sequence[Change], count: int) -> list[list[Change]]:
    """The changes in some loads of different sizes."""
    random_of = random.Random(seed)
    cuts = sorted(random_of.sample(range(1, len(changes)), count - 1))
    return [list(changes[start:end]) for start, end in zip([0, *cuts], [*cuts, len(changes)], strict=True)]


def newest_by_duckdb(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    return _by_duckdb(
        changes,
        """
        SELECT id, name, size, lsn FROM changes
        WHERE op <> 't'
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY lsn DESC) = 1
            AND op <> 'd' AND lsn >= (SELECT coalesce(max(lsn), -1) FROM changes WHERE op = 't')
        ORDER BY id
        """,
    )


def versions_by_duckdb(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    return _by_duckdb(
        changes,
        """
        WITH
        once AS (SELECT DISTINCT id, lsn, op = 'd' AS gone, name, size FROM changes),
        beside AS (
            SELECT *, coalesce(
                gone = lag(gone) OVER key AND (gone OR (name, size) = lag((name, size)) OVER key), false
            ) AS same FROM once WINDOW key AS (PARTITION BY id ORDER BY lsn)
        ),
        ended AS (SELECT *, lead(lsn) OVER (PARTITION BY id ORDER BY lsn) AS until FROM beside WHERE NOT same)
        SELECT id, name, size, lsn, until, until IS NULL FROM ended WHERE NOT gone ORDER BY id, lsn
        """,
    )


def _by_duckdb(changes: Sequence[Change], query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        # Row by row it would take longer than what is tested.
        connection.register("changes", pa.Table.from_pylist(list(changes), ARROW_SCHEMA))
        return connection.execute(query).fetchall()


def rows_in(table: Path) -> list[tuple[Any, ...]]:
    found = DeltaTable(table).to_pyarrow_table()
    order = "validFrom" if "validFrom" in found.column_names else "id"
    columns = [found.column(name).to_pylist() for name in found.column_names]
    rows = list(zip(*columns, strict=True))
    return sorted(rows, key=lambda row: (row[0], row[found.column_names.index(order)]))


def version(table: Path) -> int:
    return DeltaTable(table).version()


def test_the_table_has_the_newest_row_of_each_key_however_the_changes_come(apply: Apply, table: Path) -> None:
    changes = random_changes(1, 2000, 300, truncations=2)
    loaded: list[Change] = []
    for part in parts(2, changes, 5):
        apply(part)
        loaded += part
        assert rows_in(table) == newest_by_duckdb(loaded)


def test_the_table_has_every_version_of_each_key_however_the_changes_come(apply: Apply, table: Path) -> None:
    changes = random_changes(3, 2000, 150)
    loaded: list[Change] = []
    for part in parts(4, changes, 5):
        apply(part, VERSIONS)
        loaded += part
        assert rows_in(table) == versions_by_duckdb(loaded)


@pytest.mark.parametrize("kind", [NEWEST, VERSIONS])
def test_a_load_that_changes_nothing_makes_no_version(apply: Apply, table: Path, kind: dict[str, Any]) -> None:
    changes = [change(1, 1, "a"), change(1, 3, "b"), change(2, 2, "c"), deleted(2, 4)]
    apply(changes, kind)
    apply([change(3, 9, "d")], kind)
    before = version(table)
    assert apply(changes[::-1], kind).rows == 0
    assert version(table) == before


def killed(*_: Any, **__: Any) -> None:
    raise RuntimeError("killed")


def remembered(table: Path) -> int:
    return DeltaTable(table / "_pipeline_platform" / "changes").to_pyarrow_table().num_rows


@pytest.mark.parametrize(("kind", "computed"), [(NEWEST, newest_by_duckdb), (VERSIONS, versions_by_duckdb)])
def test_a_load_that_is_killed_before_the_table_is_written_counts_once_it_is_tried_again(
    apply: Apply,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: dict[str, Any],
    computed: Callable[[Sequence[Change]], list[tuple[Any, ...]]],
) -> None:
    # Of key 1 the delete and the change after it belong together, and 2 is repeated, which only a later change shows.
    first = [change(1, 1, "a"), change(2, 1, "a")]
    cut_off = [deleted(1, 5), change(1, 8, "c"), change(2, 5, "a"), deleted(3, 9)]
    other = [change(1, 3, "b"), change(2, 3, "b"), change(3, 3, "b")]
    with monkeypatch.context() as faulty:
        faulty.setattr(DeltaWrite, "_create", killed)
        with pytest.raises(PipelineExecutionException, match="killed"):
            apply(cut_off, kind, load_id="cut off")
    assert remembered(table) > 0
    apply(first, kind)
    assert rows_in(table) == computed(first)
    with monkeypatch.context() as faulty:
        faulty.setattr(ChangeMerge, "write", killed)
        with pytest.raises(PipelineExecutionException, match="killed"):
            apply(cut_off, kind, load_id="cut off")
    assert remembered(table) > 0
    apply(other, kind)
    assert rows_in(table) == computed([*first, *other])
    apply(cut_off, kind, load_id="cut off")
    assert rows_in(table) == computed([*first, *other, *cut_off])
    assert apply(cut_off, kind, load_id="cut off").status == "SKIPPED"


def test_a_load_that_only_has_deletes_to_remember_is_not_taken_back(apply: Apply, table: Path) -> None:
    apply([change(1, 1, "a")])
    apply([deleted(2, 9)])
    apply([change(None, 5, op="t"), deleted(3, 9)])
    apply([change(None, 6, op="t")])
    apply([change(2, 8, "late"), change(3, 8, "late"), change(4, 5, "late"), change(5, 6, "in time")])
    assert rows_in(table) == [(5, "in time", 1, 6)]


def test_a_delete_that_comes_before_what_it_deletes_ends_its_version(apply: Apply, table: Path) -> None:
    apply([deleted(1, 5)], VERSIONS)
    apply([change(1, 3, "a")], VERSIONS)
    assert rows_in(table) == [(1, "a", 1, 3, 5, False)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([change(3, 7, "a"), change(3, 7, "b")], "two different changes have the same keys and sequence: id 3, lsn 7"),
        ([change(3, 7, "a"), deleted(3, 7)], "two different changes have the same keys and sequence: id 3, lsn 7"),
        ([change(1, 1, "other")], "two different changes have the same keys and sequence: id 1, lsn 1"),
        ([change(None, 7, "a")], "a change has NULL in id"),
        ([change(3, None, "a")], "a change has NULL in lsn"),
    ],
)
def test_changes_that_are_no_changes_are_refused_and_nothing_is_written(
    apply: Apply, table: Path, rows: list[Change], message: str
) -> None:
    apply([change(1, 1, "a"), deleted(2, 2)])
    before = listing(table)
    with pytest.raises(PipelineExecutionException) as raised:
        apply([deleted(1, 9), deleted(4, 4), *rows])
    assert raised.value.message == message
    assert raised.value.hint is not None
    assert listing(table) == before


def test_files_without_a_changed_row_stay_and_maintenance_leaves_what_is_remembered(
    spark: SparkSession, apply: Apply, table: Path
) -> None:
    apply([change(key, 1, "a") for key in range(5)])
    apply([change(key, 1, "a") for key in range(10, 15)] + [deleted(20, 9)])
    files = set(DeltaTable(table).file_uris())
    # One of the same file has not changed, one of the other is loaded again.
    apply([change(3, 2, "b"), change(12, 1, "a")])
    assert len(files & set(DeltaTable(table).file_uris())) == 1
    DeltaTable(table).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    no_retention = {"spark.databricks.delta.retentionDurationCheck.enabled": "false"}
    with spark_settings(spark, no_retention):
        spark.sql(f"VACUUM delta.`{table}` RETAIN 0 HOURS")
    apply([change(20, 5, "late")])
    assert [row[0] for row in rows_in(table)] == [*range(5), *range(10, 15)]


@pytest.mark.parametrize("kind", [1, 2])
def test_columns_of_any_type_and_name_are_applied_and_compared(apply: Apply, table: Path, kind: int) -> None:
    schema = "Id STRING, day DATE, m MAP<STRING, INT>, at TIMESTAMP, op STRING"
    changes = {"keys": ["id", "Day"], "sequenceBy": "AT", "deleteWhen": "op = 'd'", "scdType": kind}
    changes["columns"] = ["id", "day", "m"]

    def at(minute: int, m: Mapping[str, int] | None, op: str = "u") -> Change:
        return {"Id": "x'y", "day": "2024-01-01", "m": m, "at": f"2024-01-01T00:0{minute}:00.000001Z", "op": op}

    how = {"partitionBy": "day", "mergeSchema": True}
    apply([at(1, {"a": 1, "b": 2}), at(3, {"b": 2, "a": 1})], changes, schema, **how)
    apply([at(2, {"a": 1}), at(5, None, "d")], changes, schema, **how)
    wider = {**changes, "columns": ["id", "day", "m", "more"]}
    apply([{**at(4, {"a": 1}), "more": 7}, {**at(7, {"a": 1}), "more": 8}], wider, f"{schema}, more INT", **how)
    found = DeltaTable(table).to_pyarrow_table()
    assert DeltaTable(table).metadata().partition_columns == ["day"]
    if kind == 1:
        assert found.column_names == ["Id", "day", "m", "at", "more"]
        assert [(dict(row["m"]), row["more"], row["at"].minute) for row in found.to_pylist()] == [({"a": 1}, 8, 7)]
        return
    versions = sorted(found.to_pylist(), key=lambda row: row["validFrom"])
    minutes = [(row["validFrom"].minute, row["validTo"] and row["validTo"].minute) for row in versions]
    assert minutes == [(1, 2), (2, 3), (3, 4), (4, 5), (7, None)]
    assert [row["more"] for row in versions] == [None, None, None, 7, 8]


def test_a_rule_that_is_broken_leaves_no_table(spark: SparkSession, tmp_path: Path, table: Path) -> None:
    rows = json_rows(tmp_path / "rows.json", [change(1, 1, "a"), change(2, 1, "b")], SCHEMA)
    step = load("toDeltaLake", path=str(table), mode="applyChanges", changes=NEWEST, clusterBy="id")
    with pytest.raises(ValidationException):
        run(spark, rows, validate("validateBusinessRules", rules=["id < 2"]), step)
    assert not table.exists()
    metrics = last_step(run(spark, rows, step))
    assert metrics.rows == 2
    run(spark, json_rows(tmp_path / "rows.json", [deleted(1, 9)], SCHEMA), step)
    assert rows_in(table) == [(2, "b", 1, 1)]


def test_a_stream_applies_changes(spark: SparkSession, tmp_path: Path, table: Path) -> None:
    changes = random_changes(5, 60, 9)
    (tmp_path / "in").mkdir()
    steps = [
        extract("fromFiles", path=str(tmp_path / "in"), format="json", schema=SCHEMA),
        load("toDeltaLake", path=str(table), mode="applyChanges", changes=VERSIONS, trigger="availableNow"),
    ]
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    for number, part in enumerate(parts(6, changes, 3)):
        (tmp_path / "in" / f"{number}.json").write_text("".join(json.dumps(row) + "\n" for row in part))
        StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark).run()
    assert rows_in(table) == versions_by_duckdb(changes)


def test_a_clustered_table_is_made_of_changes_that_begin_with_a_delete(apply: Apply, table: Path) -> None:
    apply([deleted(1, 5), change(2, 1, "b")], clusterBy=["id"])
    apply([change(1, 3, "late"), change(2, 2, "c")], clusterBy=["id"])
    assert [row[:2] for row in rows_in(table)] == [(2, "c")]


@pytest.mark.parametrize("other", [{"keys": ["id", "name"]}, {"sequenceBy": "size"}], ids=str)
def test_what_tells_changes_apart_stays_what_it_was(apply: Apply, table: Path, other: dict[str, Any]) -> None:
    history = {"keys": ["id"], "sequenceBy": "lsn", "columns": ["id", "name"], "scdType": 2}
    apply([change(1, 1, "a")], history)
    with pytest.raises(PipelineExecutionException, match=f"with '{next(iter(other))}' .* before, and the step says"):
        apply([change(1, 2, "b")], {**history, **other})
    assert DeltaTable(table).version() == 0


def test_a_table_that_changes_do_not_fit_is_refused(spark: SparkSession, apply: Apply, table: Path) -> None:
    apply([change(1, 1, "a"), deleted(2, 1)])
    for changes, message in (
        ({**NEWEST, "columns": ["id", "name"]}, "the changes have no column 'size'"),
        (VERSIONS, "has no column 'validFrom'"),
        ({**NEWEST, "keys": ["id", "name"]}, "with 'keys' id before, and the step says id, name"),
        ({**NEWEST, "sequenceBy": "at"}, "there is no column 'at'"),
        ({**NEWEST, "deleteWhen": "nothing = 1"}, "nothing"),
    ):
        with pytest.raises(PipelineExecutionException, match=message):
            apply([change(1, 2, "b")], changes)
    assert version(table) == 0


@pytest.mark.parametrize(
    "config",
    [
        {"mode": "applyChanges"},
        {"mode": "merge", "mergeKeys": "id", "changes": NEWEST},
        {"mode": "applyChanges", "changes": {**NEWEST, "scdType": 2}},
        {"mode": "applyChanges", "changes": {**NEWEST, "scdType": 3}},
        {"mode": "applyChanges", "changes": {**NEWEST, "columns": ["name"]}},
        {"mode": "applyChanges", "changes": {**VERSIONS, "columns": ["id", "lsn"]}},
        {"mode": "applyChanges", "changes": {**VERSIONS, "columns": ["id", "current"]}},
        {"mode": "applyChanges", "changes": {**NEWEST, "deleteWhen": "op ="}},
    ],
)
def test_keys_that_do_not_go_together_are_mistakes_in_the_file(config: dict[str, Any]) -> None:
    with pytest.raises(PipelineConfigurationException):
        pipeline_of([load("toDeltaLake", path="x", **config)])


def test_partitions_may_be_applied_again_and_in_any_order() -> None:
    partitions = {"type": "daily", "start": "2024-01-01", "column": "day"}
    step = load("toDeltaLake", path="x", mode="applyChanges", changes=NEWEST)
    assert pipeline_of([extract("fromFiles", path="y", format="csv"), step], partitions=partitions).partitions
