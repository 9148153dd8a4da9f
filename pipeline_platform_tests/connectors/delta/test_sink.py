"""Delta tables as other readers see them: delta-rs and DuckDB, never Spark itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from devtools.pipelines import json_rows, last_step, listing, load, pipeline_of, run, transform, validate
from pipeline_platform.connectors.delta import sink as delta_lake
from pipeline_platform.connectors.delta.source import FromDeltaLake
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException, ValidationException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.metrics.run import StepMetrics

SCHEMA = "id BIGINT, name STRING"
ONE_AND_TWO = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
THREE = [{"id": 3, "name": "three"}]

Write = Callable[..., StepMetrics]


@pytest.fixture
def write(spark: SparkSession, tmp_path: Path, table: Path) -> Write:
    """Run a pipeline that loads these rows into the table."""

    def once(
        rows: Sequence[Mapping[str, Any]],
        schema: str = SCHEMA,
        load_id: str | None = None,
        conf: Mapping[str, str] | None = None,
        **config: Any,
    ) -> StepMetrics:
        steps = [json_rows(tmp_path / "rows.json", rows, schema), load("toDeltaLake", path=str(table), **config)]
        return last_step(run(spark, *steps, load_id=load_id, sparkConf=dict(conf or {})))

    return once


def rows_as_written(table: Path) -> list[dict[str, Any]]:
    rows = DeltaTable(table.as_uri()).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row["id"] is not None, row["id"]))


def test_a_text_that_an_earlier_version_padded_is_not_joined_by_one_that_is_not(
    spark: SparkSession, write: Write, table: Path
) -> None:
    schema, modes = (
        "id STRING, n INT",
        ({"mode": "append"}, {"mode": "overwrite"}, {"mode": "merge", "mergeKeys": ["id"]}),
    )
    was, now = [{"id": "m" + " " * 10, "n": 1}], [{"id": "m", "n": 2}]
    # As an ENUM of MySQL was read.
    char = {"jdbcClientType": "CHAR", "__CHAR_VARCHAR_TYPE_STRING": "char(11)"}
    padded = spark.createDataFrame([tuple(row.values()) for row in was], schema).withMetadata("id", char)
    padded.write.format("delta").save(str(table))
    hint = ""
    for mode in modes:
        with pytest.raises(PipelineExecutionException, match=r"'id' of the table at .* is char\(11\)") as raised:
            write(now, schema, **mode)
        hint = raised.value.hint or ""
    assert rows_as_written(table) == was
    assert "ALTER TABLE ... ALTER COLUMN id TYPE STRING, then UPDATE ... SET id = rtrim(id)" in hint
    spark.sql(f"ALTER TABLE delta.`{table}` ALTER COLUMN id TYPE STRING")
    spark.sql(f"UPDATE delta.`{table}` SET id = rtrim(id)")
    write(now, schema, **modes[-1])
    assert rows_as_written(table) == now


def test_an_append_adds_the_rows(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    metrics = write(THREE, mode="Append")
    assert rows_as_written(table) == [*ONE_AND_TWO, *THREE]
    assert (metrics.rows, metrics.version, metrics.files) == (1, 1, 1)


@pytest.mark.parametrize("config", [{}, {"mode": "overwrite"}, {"mode": "merge", "mergeKeys": "id"}])
def test_a_retried_append_leaves_every_row_once(write: Write, table: Path, config: dict[str, Any]) -> None:
    write(THREE, load_id="before", **config)
    write(ONE_AND_TWO, load_id="first", **config)
    expected = rows_as_written(table)
    again = write(ONE_AND_TWO, load_id="first", **config)
    assert again.status == "SKIPPED"
    assert rows_as_written(table) == expected
    assert DeltaTable(table.as_uri()).version() == 1


def test_overwrite_replaces_the_partitions_it_has_rows_for_if_so_asked(write: Write, table: Path) -> None:
    dynamic = {"mode": "overwrite", "partitionBy": "name"}
    write([*ONE_AND_TWO, *THREE], partitionBy="name")
    write([{"id": 4, "name": "two"}], **dynamic, partitionOverwrite="dynamic", load_id="first")
    assert write([{"id": 4, "name": "two"}], **dynamic, partitionOverwrite="dynamic", load_id="first").skipped
    left = [ONE_AND_TWO[0], *THREE, {"id": 4, "name": "two"}]
    assert rows_as_written(table) == left
    session = {"spark.sql.sources.partitionOverwriteMode": "dynamic"}
    write([{"id": 5, "name": "one"}], **dynamic, conf=session)
    assert [row["id"] for row in rows_as_written(table)] == [3, 4, 5]
    write(THREE, **dynamic, conf=session, partitionOverwrite="static")
    assert rows_as_written(table) == THREE


def test_a_new_load_of_the_same_rows_appends_them_again(write: Write, table: Path) -> None:
    write(ONE_AND_TWO, load_id="first")
    write(ONE_AND_TWO, load_id="second")
    assert rows_as_written(table) == [row for row in ONE_AND_TWO for _ in range(2)]


def test_a_late_retry_is_recognised_after_newer_loads(write: Write, table: Path) -> None:
    write(ONE_AND_TWO, load_id="first")
    write(THREE, load_id="second")
    write(ONE_AND_TWO, load_id="first")
    assert rows_as_written(table) == [*ONE_AND_TWO, *THREE]


def test_a_retry_of_errorifexists_is_no_error(write: Write, table: Path) -> None:
    write(ONE_AND_TWO, mode="errorIfExists", load_id="first")
    assert write(ONE_AND_TWO, mode="errorIfExists", load_id="first").status == "SKIPPED"
    with pytest.raises(PipelineExecutionException, match="already, and mode is errorIfExists"):
        write(ONE_AND_TWO, mode="errorIfExists", load_id="second")
    assert rows_as_written(table) == ONE_AND_TWO


def test_overwrite_replaces_the_rows(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    write(THREE, mode="overwrite")
    assert rows_as_written(table) == THREE


def test_ignore_writes_only_where_there_is_nothing(write: Write, table: Path) -> None:
    assert write(ONE_AND_TWO, mode="ignore").rows == 2
    second = write(THREE, mode="ignore")
    assert second.status == "SKIPPED"
    assert second.rows is None
    assert rows_as_written(table) == ONE_AND_TWO


def test_merge_updates_equal_keys_and_adds_the_others(write: Write, table: Path) -> None:
    write([*ONE_AND_TWO, {"id": None, "name": "nobody"}], mode="merge", mergeKeys="id")
    changed = [{"id": 2, "name": "TWO"}, {"id": None, "name": "NOBODY"}, *THREE]
    metrics = write(changed, mode="merge", mergeKeys=["id"])
    assert rows_as_written(table) == [
        {"id": None, "name": "NOBODY"},
        {"id": 1, "name": "one"},
        {"id": 2, "name": "TWO"},
        {"id": 3, "name": "three"},
    ]
    assert metrics.rows == 3


@pytest.mark.parametrize("before", [[], ONE_AND_TWO])
def test_a_merge_with_repeated_keys_fails_and_leaves_the_table(
    write: Write, table: Path, before: list[dict[str, Any]]
) -> None:
    if before:
        write(before)
    with pytest.raises(PipelineExecutionException) as raised:
        write([*THREE, {"id": 3, "name": "drei"}], mode="merge", mergeKeys="id")
    assert raised.value.message == "two rows of this load have the same merge keys id: 3"
    assert (raised.value.hint or "").startswith(
        "make the rows unique first, with deduplicate and its 'orderBy'; or use mode"
    )
    if before:
        assert rows_as_written(table) == before
    else:
        assert not DeltaTable.is_deltatable(table.as_uri())


def test_a_merge_adds_columns_when_it_may(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    wider = [{"id": 2, "name": "TWO", "size": 2}, {"id": 3, "name": "three", "size": 3}]
    with pytest.raises(PipelineExecutionException, match="has no column 'size'"):
        write(wider, f"{SCHEMA}, size INT", mode="merge", mergeKeys="id")
    write(wider, f"{SCHEMA}, size INT", mode="merge", mergeKeys="id", mergeSchema="true")
    assert rows_as_written(table) == [{"id": 1, "name": "one", "size": None}, *wider]


def test_a_merge_without_a_column_of_the_table_is_refused_unless_it_may_leave_it(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    with pytest.raises(PipelineExecutionException, match="the frame has no column 'name'"):
        write([{"id": 2}, {"id": 3}], "id BIGINT", mode="merge", mergeKeys="id")
    write([{"id": 2}, {"id": 3}], "id BIGINT", mode="merge", mergeKeys="id", mergeSchema=True)
    assert rows_as_written(table) == [*ONE_AND_TWO, {"id": 3, "name": None}]


def test_merge_keys_may_have_any_name(write: Write, table: Path) -> None:
    schema, conf = "`a b.c` INT, v INT", {"spark.databricks.delta.properties.defaults.columnMapping.mode": "name"}
    for value in (1, 2):
        write([{"a b.c": 1, "v": value}], schema, conf=conf, mode="merge", mergeKeys="a b.c")
    assert DeltaTable(table.as_uri()).version() == 1


def test_partition_values_of_any_letters_survive(write: Write, table: Path) -> None:
    names = ["a%20b", "x=y", " blank ", "_hidden", ".dot", "a/b", "ü", None, "100%"]
    rows = [{"id": place, "name": name} for place, name in enumerate(names)]
    write(rows, partitionBy="name")
    assert rows_as_written(table) == rows
    assert DeltaTable(table.as_uri()).metadata().partition_columns == ["name"]


@pytest.mark.parametrize("config", [{}, {"mode": "merge", "mergeKeys": "id"}])
@pytest.mark.parametrize("name", ["", "__HIVE_DEFAULT_PARTITION__"])
def test_a_partition_value_that_delta_takes_for_null_is_refused(
    write: Write, table: Path, name: str, config: dict[str, Any]
) -> None:
    write(ONE_AND_TWO, partitionBy="name")
    with pytest.raises(PipelineExecutionException, match="can't represent what is in the column 'name'"):
        write([{"id": 3, "name": name}], **config)
    assert rows_as_written(table) == ONE_AND_TWO
    write([{"id": 3, "name": name}], mode="overwrite", overwriteSchema=True, clusterBy="id")
    assert rows_as_written(table) == [{"id": 3, "name": name}]


def test_a_path_of_any_letters_is_one_place_for_every_reader(spark: SparkSession, tmp_path: Path) -> None:
    table = tmp_path / "a b=ü"
    steps = [json_rows(tmp_path / "rows.json", ONE_AND_TWO, SCHEMA), load("toDeltaLake", path=str(table))]
    for status in ("COMPLETED", "SKIPPED"):
        assert last_step(run(spark, *steps, load_id="first")).status == status
    assert rows_as_written(table) == ONE_AND_TWO


def test_a_load_that_replaces_rows_counts_those_alone_that_it_was_given(write: Write, table: Path) -> None:
    write([{"id": number, "name": "old"} for number in range(19)])
    assert write(ONE_AND_TWO, mode="overwrite", replaceWhere="id < 5").rows == 2
    found = [(row["id"], row["name"]) for row in rows_as_written(table)]
    assert found == [(1, "one"), (2, "two"), *((number, "old") for number in range(5, 19))]


def test_clustering_is_the_tables(write: Write, table: Path) -> None:
    write(ONE_AND_TWO, clusterBy="id")
    write(THREE, clusterBy="id")
    log = (table / "_delta_log" / "00000000000000000000.json").read_text()
    assert '\\"clusteringColumns\\":[[\\"id\\"]]' in log
    assert rows_in_log(table) == 3


def test_a_clustered_table_that_was_only_begun_is_finished_by_the_retry(
    write: Write, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as faulty:
        faulty.setattr(delta_lake.DeltaWrite, "_save", killed)
        with pytest.raises(PipelineExecutionException, match="killed"):
            write(ONE_AND_TWO, clusterBy="id", mode="errorIfExists", load_id="first")
    for mode in ("ignore", "errorIfExists"):
        # Not a table that was loaded, which `ignore` would leave alone for ever.
        with pytest.raises(PipelineExecutionException, match="is empty: the load first has made it") as raised:
            write(THREE, clusterBy="id", mode=mode, load_id="second")
        assert "delete the table" in (raised.value.hint or "")
    write(ONE_AND_TWO, clusterBy="id", mode="errorIfExists", load_id="first")
    assert rows_in_log(table) == 2
    assert write(THREE, clusterBy="id", mode="ignore", load_id="second").skipped


def test_a_rule_that_is_broken_leaves_no_clustered_table(spark: SparkSession, tmp_path: Path, table: Path) -> None:
    rows = json_rows(tmp_path / "rows.json", ONE_AND_TWO, SCHEMA)
    rule = validate("validateBusinessRules", rules=["id < 2"])
    with pytest.raises(ValidationException):
        run(spark, rows, rule, load("toDeltaLake", path=str(table), clusterBy="id", mode="ignore"))
    assert not table.exists()


def rows_in_log(table: Path) -> int:
    commits = sorted((table / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for commit in commits for line in commit.read_text().splitlines()]
    return sum(json.loads(action["add"]["stats"])["numRecords"] for action in actions if "add" in action)


def test_an_unknown_column_is_refused_until_the_schema_may_grow(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    wider = [{"id": 3, "name": "three", "size": 3}]
    with pytest.raises(PipelineExecutionException) as raised:
        write(wider, f"{SCHEMA}, size INT")
    assert "has no column 'size'; it has id, name" in raised.value.message
    assert raised.value.hint == 'drop the column, or set \'schemaPolicy\', such as to {"newColumns": "add"}'
    write(wider, f"{SCHEMA}, size INT", mergeSchema=True)
    assert rows_as_written(table) == [{**row, "size": None} for row in ONE_AND_TWO] + wider


def test_a_field_inside_a_struct_is_a_column_too(write: Write, table: Path) -> None:
    write([{"id": 1, "s": {"a": 1}}], "id BIGINT, s STRUCT<a: INT>")
    wider = [{"id": 2, "s": {"a": 2, "b": 2}}]
    with pytest.raises(PipelineExecutionException, match=r"has no column 's\.b'"):
        write(wider, "id BIGINT, s STRUCT<a: INT, b: INT>")
    write(wider, "id BIGINT, s STRUCT<a: INT, b: INT>", mergeSchema=True)
    assert rows_as_written(table)[0]["s"] == {"a": 1, "b": None}


def test_another_type_than_the_tables_is_refused_with_the_cast_to_make(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    before = listing(table)
    with pytest.raises(PipelineExecutionException) as raised:
        write([{"id": 1.5, "name": "x"}], "id DOUBLE, name STRING")
    assert f"the column 'id' is double, and the table at {table} has it as bigint" in raised.value.message
    assert raised.value.hint == "cast it with enrichData: CAST(id AS bigint)"
    assert listing(table) == before


def test_overwriteschema_gives_the_table_the_frames_columns(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    write([{"id": "a"}], "id STRING", mode="overwrite", overwriteSchema="true")
    assert rows_as_written(table) == [{"id": "a"}]


def test_another_partitioning_than_the_tables_is_refused(write: Write, table: Path) -> None:
    write(ONE_AND_TWO, partitionBy="name")
    write(THREE)
    with pytest.raises(PipelineExecutionException, match="is partitioned by name, and 'partitionBy' says id"):
        write(THREE, partitionBy="id")
    write(THREE, partitionBy="id", mode="overwrite", overwriteSchema=True)
    assert DeltaTable(table.as_uri()).metadata().partition_columns == ["id"]


def test_no_rows_make_an_empty_table_with_the_schema(write: Write, table: Path) -> None:
    metrics = write([], "id BIGINT, at TIMESTAMP, s STRUCT<a: INT>")
    assert metrics.rows == 0
    fields = [(field.name, field.type.type) for field in DeltaTable(table.as_uri()).schema().fields[:2]]
    assert fields == [("id", "long"), ("at", "timestamp")]
    assert rows_as_written(table) == []


def test_a_timestamp_of_a_partition_that_has_no_zone_is_read_in_the_sessions_zone(
    spark: SparkSession, table: Path
) -> None:
    times = [datetime(2024, 7, 1, 12, tzinfo=UTC), datetime(2024, 1, 1, 0, 30, 0, 123456, tzinfo=UTC), None]
    rows = pa.table({"id": [1, 2, 3], "at": pa.array(times, pa.timestamp("us", tz="UTC"))})
    write_deltalake(table, rows, partition_by=["at"])
    assert '"at":"2024-07-01 12:00:00' in (table / "_delta_log" / f"{0:020}.json").read_text()
    as_delta_rs_has_them = [row["at"] for row in rows_as_written(table)]
    for zone in ("UTC", "Asia/Tokyo"):
        with spark_settings(spark, {"spark.sql.session.timeZone": zone}):
            frame = FromDeltaLake.model_validate({"path": str(table)}).read(spark, None)
            found = frame.sort("id").selectExpr("unix_micros(at)").collect()
        there = [time and time.replace(tzinfo=ZoneInfo(zone)) for time in as_delta_rs_has_them]
        micros = [time and (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) for time in there]
        assert [row[0] for row in found] == micros


@pytest.mark.parametrize("config", [{}, {"mode": "overwrite"}, {"mode": "merge", "mergeKeys": "id"}])
def test_no_rows_can_be_loaded_and_loaded_again(write: Write, table: Path, config: dict[str, Any]) -> None:
    write(ONE_AND_TWO)
    for _ in range(2):
        assert not write([], load_id="first", **config).rows
    assert rows_as_written(table) == ([] if config.get("mode") == "overwrite" else ONE_AND_TWO)


def test_what_delta_could_only_refuse_while_writing_is_refused_before(write: Write, table: Path) -> None:
    for schema, config, message in (
        ("`a b` INT", {}, "does not allow the column name 'a b'"),
        ("id INT", {"partitionBy": "id"}, "names every column"),
        ("id INT, s STRUCT<a: INT>", {"partitionBy": "s"}, "can't be the name of a folder"),
        ("id INT", {"partitionBy": "idd"}, "names the column 'idd'"),
    ):
        with pytest.raises(PipelineExecutionException, match=message):
            write([], schema, **config)
    assert not table.exists()


@pytest.mark.parametrize(
    "config",
    [
        {"mode": "merge"},
        {"mergeKeys": "id"},
        {"overwriteSchema": True},
        {"partitionBy": "id", "clusterBy": "id"},
        {"mode": "upsert"},
    ],
)
def test_keys_that_do_not_go_together_are_mistakes_in_the_file(config: dict[str, Any]) -> None:
    with pytest.raises(PipelineConfigurationException):
        pipeline_of([load("toDeltaLake", path="x", **config)])


def test_a_merge_tells_of_rows_that_the_table_has_twice(write: Write, table: Path) -> None:
    write(ONE_AND_TWO)
    write(ONE_AND_TWO[:1])
    changed = [{"id": 1, "name": "changed"}, {"id": 3, "name": "new"}]
    metrics = write(changed, mode="merge", mergeKeys="id")
    assert [row["name"] for row in rows_as_written(table)].count("changed") == 2
    assert metrics.remark is not None
    assert metrics.remark.startswith("3 rows of the table were merged with 2: it has rows with the same keys")
    assert write(changed[1:], mode="merge", mergeKeys="id").remark is None


def test_two_threads_append_and_merge_into_one_table_at_once(spark: SparkSession, tmp_path: Path, table: Path) -> None:
    def one(number: int) -> None:
        rows = [{"id": number, "name": f"n{number}"}, {"id": 100, "name": "shared"}] if number % 2 else [{"id": number}]
        config = {"mode": "merge", "mergeKeys": "id"} if number % 2 else {}
        steps = [
            json_rows(tmp_path / f"{number}.json", rows, SCHEMA),
            transform("enrichData", columns={"name": "coalesce(name, 'appended')"}),
            load("toDeltaLake", path=str(table), **config),
        ]
        retry = {"maxAttempts": 20, "delaySeconds": 0.1}
        BatchRun(pipeline_of(steps, retry=retry), spark).run()

    one(0)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(1, 9)))
    expected = [{"id": n, "name": f"n{n}" if n % 2 else "appended"} for n in range(9)]
    assert rows_as_written(table) == [*expected, {"id": 100, "name": "shared"}]


@pytest.mark.parametrize("name", ["a#b", "50% ?"])
def test_a_path_with_characters_of_urls_is_counted_and_loaded_once(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    rows = json_rows(tmp_path / "rows.json", ONE_AND_TWO, SCHEMA)
    table = tmp_path / name

    def loaded(load_id: str) -> StepMetrics:
        return last_step(run(spark, rows, load("toDeltaLake", path=str(table)), load_id=load_id))

    first = loaded("first")
    assert (first.rows, first.version, first.files) == (2, 0, 1)
    assert loaded("first").status == "SKIPPED"
    assert rows_in_log(table) == 2


def test_a_path_that_delta_rs_would_read_as_an_escape_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    rows = json_rows(tmp_path / "rows.json", ONE_AND_TWO, SCHEMA)
    with pytest.raises(PipelineExecutionException, match="must not hold '%' before two"):
        run(spark, rows, load("toDeltaLake", path=str(tmp_path / "a%20b")))
    assert not list(tmp_path.glob("a*"))


def test_a_merge_takes_names_with_backticks(write: Write, table: Path) -> None:
    schema = "id BIGINT, `a``b` STRING, `c.d` INT"
    old, new = [{"id": 1, "a`b": "x", "c.d": 1}], [{"id": 1, "a`b": "x", "c.d": 2}, {"id": 2, "a`b": "y", "c.d": 3}]
    write(old, schema, mode="merge", mergeKeys=["a`b"])
    assert write(new, schema, mode="merge", mergeKeys=["a`b"]).rows == 2
    assert rows_as_written(table) == new


def test_the_later_of_two_first_loads_at_once_is_tried_again(
    spark: SparkSession, tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_found_no_table = threading.Barrier(2)
    save = delta_lake.DeltaWrite._save
    held: list[str] = []

    def meeting(write: delta_lake.DeltaWrite, frame: Any, mode: str, *replaced: str | None) -> None:
        if len(held) < 2:
            held.append(mode)
            both_found_no_table.wait(60)
        save(write, frame, mode, *replaced)

    monkeypatch.setattr(delta_lake.DeltaWrite, "_save", meeting)

    def first_load(number: int) -> int:
        rows = json_rows(tmp_path / f"{number}.json", [{"id": number, "name": "x"}], SCHEMA)
        pipeline = pipeline_of([rows, load("toDeltaLake", path=str(table))], retry={"delaySeconds": 0})
        return BatchRun(pipeline, spark).run().attempts

    with ThreadPoolExecutor(2) as pool:
        attempts = list(pool.map(first_load, [1, 2]))
    assert [row["id"] for row in rows_as_written(table)] == [1, 2]
    assert sorted(attempts) == [1, 2]


def test_the_tables_type_is_widened_where_the_table_and_the_step_allow_it(
    spark: SparkSession, write: Write, table: Path
) -> None:
    spark.sql(
        f"CREATE TABLE delta.`{table}` (id INT, s STRUCT<x: SMALLINT>, d DECIMAL(5,1)) USING delta "
        "TBLPROPERTIES ('delta.enableTypeWidening' = 'true')"
    )
    wide = [{"id": 3_000_000_000, "s": {"x": 70_000}, "d": 12345678.25}]
    schema = "id BIGINT, s STRUCT<x: INT>, d DECIMAL(12,2)"
    with pytest.raises(PipelineExecutionException) as raised:
        write(wide, schema)
    assert raised.value.hint == "set 'mergeSchema', which widens the table's column"
    with pytest.raises(PipelineExecutionException, match="'id' is string"):
        write([{"id": "1"}], "id STRING", mergeSchema=True)
    write(wide, schema, mergeSchema=True)
    # delta-rs reads no rows of a table whose types were widened.
    types = {field.name: str(field.type) for field in DeltaTable(table).schema().fields}
    assert types["id"] == 'PrimitiveType("long")'
    assert types["d"] == 'PrimitiveType("decimal(12,2)")'
    rows = duckdb.execute(f"SELECT id, s.x, d FROM '{table}/*.parquet'").fetchall()
    assert rows == [(3_000_000_000, 70_000, Decimal("12345678.25"))]
