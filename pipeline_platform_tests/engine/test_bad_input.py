"""What is wrong outside the pipeline: a clear error that names step and line, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, json_rows, listing, load, pipeline_text, run, transform
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import PipelineException, PipelineExecutionException, ValidationException
from pipeline_platform.registry import method_registry


def failure(spark: SparkSession, folder: Path, *steps: StepValue) -> PipelineException:
    """Run a file of these steps, which has to fail in one of them, and return the error."""
    path = folder / "flow.json"
    path.write_text(pipeline_text(steps, "flow"))
    with pytest.raises(PipelineException) as caught:
        BatchRun(load_pipeline(path, method_registry()), spark).run()
    error = caught.value
    location = error.location
    assert location is not None
    assert location.file == path
    assert location.step_index is not None
    lines = path.read_text().splitlines()
    step_lines = [number for number, line in enumerate(lines, 1) if line == "    {"]
    assert location.line == step_lines[location.step_index]
    assert f"step {location.step_index + 1} ({location.step_type} {location.method})" in str(error)
    assert "\tat " not in str(error)
    assert "SQLSTATE" not in str(error)
    return error


@pytest.fixture
def numbers(tmp_path: Path) -> StepValue:
    return json_rows(tmp_path / "numbers.json", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], "a BIGINT, b STRING")


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    folder = tmp_path / "parquet"
    folder.mkdir()
    duckdb.sql(f"COPY (SELECT range AS a FROM range(100000)) TO '{folder / 'part.parquet'}'")
    return folder


def test_an_unknown_column_names_the_step_and_those_there_are(spark: SparkSession, tmp_path: Path, numbers: StepValue):
    error = failure(
        spark,
        tmp_path,
        numbers,
        transform("filterRows", condition="c > 1"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    )
    assert error.location is not None
    assert error.location.step_index == 1
    assert "`c`" in error.message
    assert "`a`" in error.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["fromFiles", "fromDeltaLake", "fromAvro"])
def test_a_missing_path_says_so_before_anything_is_written(spark: SparkSession, tmp_path: Path, method: str):
    config = {"format": "parquet"} if method == "fromFiles" else {}
    error = failure(
        spark,
        tmp_path,
        extract(method, path=str(tmp_path / "nowhere"), **config),
        load("toDeltaLake", path=str(tmp_path / "out")),
    )
    assert "nowhere" in error.message
    assert error.hint is not None
    assert "check the path" in error.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["truncated", "not parquet at all"])
@pytest.mark.parametrize("sink", ["toDeltaLake", "toFiles"])
def test_a_damaged_parquet_file_leaves_nothing_behind(
    spark: SparkSession, tmp_path: Path, parquet: Path, damage: str, sink: str
):
    file = parquet / "part.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"these are no columns" * 100)
    config = {"format": "parquet"} if sink == "toFiles" else {}
    error = failure(
        spark,
        tmp_path,
        extract("fromFiles", path=str(parquet), format="parquet", schema="a BIGINT"),
        load(sink, path=str(tmp_path / "out"), **config),
    )
    assert "part.parquet" in error.message
    assert error.hint is not None
    assert "damaged" in error.hint
    assert not DeltaTable.is_deltatable(str(tmp_path / "out"))
    if sink == "toFiles":
        assert listing(tmp_path / "out") == []


def test_a_type_clash_with_the_table_says_which_cast_to_make(spark: SparkSession, tmp_path: Path, numbers: StepValue):
    run(spark, numbers, load("toDeltaLake", path=str(tmp_path / "out")))
    error = failure(
        spark,
        tmp_path,
        numbers,
        transform("enrichData", columns={"a": "CAST(a AS STRING)"}),
        load("toDeltaLake", path=str(tmp_path / "out")),
    )
    assert error.hint is not None
    assert "bigint" in error.hint.lower()
    assert DeltaTable(tmp_path / "out").version() == 0


def test_a_second_sink_that_cannot_be_planned_keeps_the_first_untouched(
    spark: SparkSession, tmp_path: Path, numbers: StepValue
):
    error = failure(
        spark,
        tmp_path,
        numbers,
        load("toDeltaLake", path=str(tmp_path / "first")),
        load("toFiles", path=str(tmp_path / "second"), format="parquet", partitionBy="nowhere"),
    )
    assert "nowhere" in error.message
    assert not (tmp_path / "first").exists()
    assert not (tmp_path / "second").exists()


def test_a_failing_validation_loads_nothing_and_names_rule_counts_and_samples(
    spark: SparkSession, tmp_path: Path, numbers: StepValue
):
    broken = {"type": "validate", "method": "validateRanges", "config": {"ranges": {"a": {"max": 1}}}}
    error = failure(spark, tmp_path, numbers, broken, load("toDeltaLake", path=str(tmp_path / "out")))
    assert isinstance(error, ValidationException)
    assert (error.rule, error.violations, error.rows) == ("a <= 1", 1, 2)
    assert list(error.samples) == [{"a": 2}]
    assert not DeltaTable.is_deltatable(str(tmp_path / "out"))


@pytest.mark.parametrize("sink", ["toDeltaLake", "toFiles", "toAvro"])
def test_empty_input_is_no_error_and_keeps_the_schema(spark: SparkSession, tmp_path: Path, sink: str):
    config = {"format": "parquet"} if sink == "toFiles" else {}
    metrics = run(
        spark,
        json_rows(tmp_path / "none.json", [], "a BIGINT, b STRING"),
        {"type": "validate", "method": "validateNulls", "config": {"notNullColumns": ["a"]}},
        load(sink, path=str(tmp_path / "out"), **config),
    )
    written = metrics.steps[-1]
    assert written.rows == 0
    assert [column.name for column in written.columns] == ["a", "b"]
    if sink == "toDeltaLake":
        assert DeltaTable(tmp_path / "out").to_pyarrow_table().column_names == ["a", "b"]


@pytest.mark.parametrize("sink", ["toDeltaLake", "toFiles"])
def test_a_full_disk_leaves_no_table_and_no_files(spark: SparkSession, tmp_path: Path, small_disk: Path, sink: str):
    config = {"format": "parquet"} if sink == "toFiles" else {}
    error = failure(
        spark,
        tmp_path,
        extract("fromRate", rowsPerSecond=5000),
        transform("enrichData", columns={"noise": "sha2(CAST(value AS STRING), 512)"}),
        load(sink, path=str(small_disk / "out"), **config),
    )
    assert isinstance(error, PipelineExecutionException)
    assert "No space left on device" in error.message
    assert error.hint is not None
    assert "free some disk space" in error.hint
    assert not DeltaTable.is_deltatable(str(small_disk / "out"))
    if sink == "toFiles":
        assert listing(small_disk / "out") == []


def test_a_column_with_nanoseconds_is_named(spark: SparkSession, tmp_path: Path):
    (tmp_path / "nanos").mkdir()
    nested = pa.array([{"u": 1}], pa.struct([("u", pa.time64("ns"))]))
    values = {"a": pa.array([1]), "t": pa.array([1], pa.timestamp("ns")), "s": nested}
    pq.write_table(pa.table(values), tmp_path / "nanos" / "x.parquet", version="2.6")
    error = failure(
        spark,
        tmp_path,
        extract("fromFiles", path=str(tmp_path / "nanos"), format="parquet"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    )
    assert "'t', 's' in x.parquet have nanoseconds" in error.message
    assert "microseconds" in (error.hint or "")


@pytest.mark.parametrize("value", [1e12, "NaN"])
def test_a_value_that_no_whole_number_holds_is_told_with_the_casts_it_may_be(
    spark: SparkSession, tmp_path: Path, value: float | str
):
    rows = json_rows(tmp_path / "rows.json", [{"a": 1.5}, {"a": value}], "a DOUBLE")
    error = failure(
        spark,
        tmp_path,
        rows,
        transform("enrichData", columns={"n": "int(a)", "big": "CAST(a AS BIGINT)", "safe": "try_cast(a AS INT)"}),
        load("toDeltaLake", path=str(tmp_path / "out")),
    )
    assert "CAST(a AS INT) of 'n' in step 2 (enrichData)" in error.message
    assert "'big'" not in error.message
    assert "'safe'" not in error.message
    assert "try_cast" in (error.hint or "")
