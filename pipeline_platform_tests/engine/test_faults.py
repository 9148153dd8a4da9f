"""What goes wrong is told with the step, the line and what to do next, and leaves every sink as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import (
    StepValue,
    extract,
    json_rows,
    listing,
    load,
    pipeline_of,
    pipeline_text,
    run,
    transform,
)
from pipeline_platform.exceptions import (
    PipelineConfigurationException,
    PipelineException,
    PipelineExecutionException,
)

SCHEMA = "id BIGINT, name STRING"
ROWS = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]


@pytest.fixture
def rows(tmp_path: Path) -> StepValue:
    return json_rows(tmp_path / "rows.json", ROWS, SCHEMA)


@pytest.fixture
def sinks(tmp_path: Path) -> list[StepValue]:
    """One of each kind of sink."""
    return [
        load("toDeltaLake", path=str(tmp_path / "sinks" / "table")),
        load("toFiles", path=str(tmp_path / "sinks" / "files"), format="parquet"),
    ]


def fails(spark: SparkSession, steps: list[StepValue], index: int) -> PipelineException:
    """The error of a run that has to fail at this step, told as a user should see it."""
    with pytest.raises(PipelineException) as raised:
        run(spark, *steps, retry={"maxAttempts": 1})
    error, lines = raised.value, pipeline_text(steps, retry={"maxAttempts": 1}).splitlines()
    method = steps[index]["method"]
    line = next(n for n, line in enumerate(lines, 1) if f'"method": "{method}"' in line) - 2
    told = str(error)
    assert f"step {index + 1} ({steps[index]['type']} {method}), tested.json:{line}: " in told
    assert "\n  next: " in told
    for clutter in ("SQLSTATE", "\tat ", "org.apache", "An error occurred while calling", "Traceback", "\x1b"):
        assert clutter not in told
    return error


def test_a_sink_that_can_not_be_planned_leaves_the_first_unwritten(
    spark: SparkSession, tmp_path: Path, rows: StepValue, sinks: list[StepValue]
) -> None:
    sinks[1] = load("toFiles", path=str(tmp_path / "sinks" / "files"), format="parquet", partitionBy="nme")
    error = fails(spark, [rows, *sinks], 2)
    assert "'partitionBy' names the column 'nme', which the frame does not have; it has id, name" in error.message
    assert error.hint == "did you mean 'name'?"
    assert not (tmp_path / "sinks").exists()


@pytest.mark.parametrize(
    ("step", "told", "hint"),
    [
        (extract("fromFiles", path="{}/no", format="parquet"), "Path does not exist", "check the path"),
        (extract("fromDeltaLake", path="{}/no"), "Path does not exist", "check the path"),
        (extract("fromDeltaLake", path="{}/empty"), "doesn't exist", "run that one first"),
        (extract("fromFiles", path="{}/empty", format="parquet"), "infer schema", "there are no files"),
        (extract("fromFiles", path="{}/bad", format="parquet"), "is not a Parquet file", "damaged or truncated"),
        (extract("fromFiles", path="{}/cut", format="parquet"), "is not a Parquet file", "damaged or truncated"),
        (extract("fromAvro", path="{}/bad"), "bad/x.", "damaged or truncated"),
        (extract("fromFiles", path="foo://x", format="csv"), 'No FileSystem for scheme "foo"', "use a path or URI"),
    ],
)
def test_a_source_that_can_not_be_read_stops_the_run_before_anything_is_written(
    spark: SparkSession, tmp_path: Path, sinks: list[StepValue], step: dict[str, Any], told: str, hint: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.parquet").write_text("no Parquet file, whatever its name says")
    (tmp_path / "bad" / "x.avro").write_text("no Avro file, whatever its name says")
    spark.range(100).coalesce(1).write.parquet(str(tmp_path / "good"))
    (good,) = (tmp_path / "good").glob("*.parquet")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "x.parquet").write_bytes(good.read_bytes()[:-100])
    placed = {**step, "config": {**step["config"], "path": step["config"]["path"].format(tmp_path)}}
    error = fails(spark, [placed, *sinks], 0)
    assert told in error.message
    assert hint in (error.hint or "")
    assert not (tmp_path / "sinks").exists()


@pytest.mark.parametrize("sink", [0, 1])
def test_a_file_that_is_damaged_inside_is_named_and_leaves_the_sink_as_it_was(
    spark: SparkSession, tmp_path: Path, rows: StepValue, sinks: list[StepValue], sink: int
) -> None:
    run(spark, rows, sinks[sink])
    before = visible(tmp_path / "sinks")
    spark.range(10_000).selectExpr("id", "CAST(id AS STRING) AS name").coalesce(1).write.parquet(str(tmp_path / "good"))
    (good,) = (tmp_path / "good").glob("*.parquet")
    damaged = bytearray(good.read_bytes())
    damaged[60:200] = bytes(140)
    good.write_bytes(bytes(damaged))
    good.with_name(f".{good.name}.crc").unlink()
    error = fails(spark, [extract("fromFiles", path=str(tmp_path / "good"), format="parquet"), sinks[sink]], 1)
    assert good.name in error.message
    assert "damaged or truncated" in (error.hint or "")
    assert visible(tmp_path / "sinks") == before


def visible(folder: Path) -> list[str]:
    """What readers see: of a table its commits, of a folder its files; and whatever is staged."""
    names = listing(folder)
    return [name for name in names if not name.startswith("table/part-")]


@pytest.mark.parametrize(
    ("step", "told", "hint"),
    [
        (transform("filterRows", condition="idd > 1"), "`idd` cannot be resolved", "columns that are there"),
        (transform("filterRows", condition="nofunc(id)"), "Cannot resolve routine `nofunc`", "check the spelling"),
        (transform("filterRows", condition="id"), "is not a boolean", "cast the operands"),
    ],
)
def test_an_expression_that_spark_refuses_stops_the_run_before_anything_is_written(
    spark: SparkSession, tmp_path: Path, rows: StepValue, sinks: list[StepValue], step: StepValue, told: str, hint: str
) -> None:
    error = fails(spark, [rows, step, *sinks], 1)
    assert told in error.message
    assert hint in (error.hint or "")
    assert not (tmp_path / "sinks").exists()


@pytest.mark.parametrize(
    ("expression", "told", "step"),
    [
        ("CAST(name AS INT)", "The value 'one' of the type \"STRING\" cannot be cast", 1),
        ("id / (id - 1)", "Division by zero", 1),
        # Spark does not say of which expression it is.
        ("CAST(id * 1000 AS TINYINT)", "overflow", 2),
    ],
)
def test_a_value_that_can_not_be_computed_leaves_the_sink_as_it_was(
    spark: SparkSession, tmp_path: Path, rows: StepValue, sinks: list[StepValue], expression: str, told: str, step: int
) -> None:
    for sink in sinks:
        error = fails(spark, [rows, transform("enrichData", columns={"x": expression}), sink], step)
        assert told in error.message
        assert not error.retryable
    assert visible(tmp_path / "sinks") == []


def test_no_rows_are_no_error(spark: SparkSession, tmp_path: Path, sinks: list[StepValue]) -> None:
    metrics = run(spark, json_rows(tmp_path / "none.json", [], SCHEMA), *sinks)
    assert [step.rows for step in metrics.steps] == [0, 0, 0]
    for name in ("table", "files"):
        reader = spark.read.format("delta" if name == "table" else "parquet")
        assert reader.load(str(tmp_path / "sinks" / name)).schema.simpleString() == "struct<id:bigint,name:string>"


@pytest.mark.parametrize("method", ["toDeltaLake", "toFiles"])
def test_a_full_disk_is_told_and_leaves_what_was_there(spark: SparkSession, small_disk: Path, method: str) -> None:
    config = {"path": str(small_disk / "sink"), **({"format": "parquet"} if method == "toFiles" else {})}
    run(spark, extract("fromRate", rowsPerSecond=1), load(method, **config))
    before = {name for name in listing(small_disk) if "part-" not in name or method == "toFiles"}
    big = transform("enrichData", columns={"text": "concat(uuid(), uuid(), uuid(), uuid(), uuid(), uuid())"})
    steps = [extract("fromRate", rowsPerSecond=1000), big]
    more = {"mergeSchema": True} if method == "toDeltaLake" else {"schemaPolicy": {"newColumns": "add"}}
    error = fails(spark, [*steps, load(method, **config, **more)], 2)
    assert "No space left on device" in error.message
    assert error.hint == "free some disk space and run again: nothing was committed"
    assert {name for name in listing(small_disk) if "part-" not in name or method == "toFiles"} == before


def test_a_malformed_file_tells_every_mistake_with_its_line() -> None:
    with pytest.raises(PipelineConfigurationException) as raised:
        pipeline_of([extract("fromFile", path="x"), load("toDeltaLake", pth="x")])
    told = str(raised.value)
    assert "tested.json:7:17: " in told
    assert "fromFiles" in told
    assert "'pth'" in told


def test_cached_frames_are_given_up_however_the_run_ends(
    spark: SparkSession, tmp_path: Path, rows: StepValue, sinks: list[StepValue]
) -> None:
    def kept() -> int:
        in_java: Any = spark.sparkContext._jsc
        return in_java.getPersistentRDDs().size()

    before = kept()
    cached = {**rows, "config": {**rows["config"], "cache": True}}
    run(spark, cached, *sinks)
    assert kept() == before
    wider = {**sinks[1], "config": {**sinks[1]["config"], "schemaPolicy": {"newColumns": "add"}}}
    fails(spark, [cached, transform("enrichData", columns={"x": "CAST(name AS INT)"}), wider], 1)
    assert kept() == before
    fails(spark, [cached, transform("filterRows", condition="nothing"), *sinks], 1)
    # A frame that was only marked is as much of a leak: the next one like it would be kept.
    assert spark.read.schema(SCHEMA).json(str(tmp_path / "rows.json")).storageLevel.useMemory is False
    assert kept() == before


def test_sparkconf_holds_for_the_run_alone(spark: SparkSession, tmp_path: Path, rows: StepValue) -> None:
    spark.conf.set("spark.sql.ansi.enabled", "true")
    spark.conf.unset("spark.sql.session.localRelationCacheThreshold")
    table = load("toFiles", path=str(tmp_path / "files"), format="parquet", mode="overwrite")
    conf = {"spark.sql.ansi.enabled": "false", "spark.sql.shuffle.partitions": "7"}
    partitions = spark.conf.get("spark.sql.shuffle.partitions")
    lenient = transform("enrichData", columns={"n": "CAST(name AS INT)"})
    run(spark, rows, lenient, table, sparkConf=conf)
    assert spark.conf.get("spark.sql.ansi.enabled") == "true"
    assert spark.conf.get("spark.sql.shuffle.partitions") == partitions
    with pytest.raises(PipelineExecutionException):
        run(spark, rows, lenient, table)
    with pytest.raises(PipelineException):
        run(spark, rows, transform("filterRows", condition="nothing"), table, sparkConf=conf)
    assert spark.conf.get("spark.sql.shuffle.partitions") == partitions
    spark.conf.unset("spark.sql.ansi.enabled")


def test_a_setting_that_is_fixed_at_the_start_is_an_error_that_names_it(spark: SparkSession, rows: StepValue) -> None:
    with pytest.raises(PipelineConfigurationException) as raised:
        run(spark, rows, sparkConf={"spark.driver.memory": "17g", "spark.sql.ansi.enabled": "true"})
    assert "spark.driver.memory, which are fixed when it starts" in raised.value.message
    assert "17g" not in raised.value.message
    assert raised.value.hint == "run the pipeline, or check it, in a process of its own"
