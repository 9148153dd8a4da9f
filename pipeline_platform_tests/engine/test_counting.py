"""Row counts are exact or withheld, whatever Spark makes of the plan."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from devtools.pipelines import extract, load, pipeline_of, run_by_name, transform, validate, wrote_nothing
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine import counting
from pipeline_platform.engine.counting import counted
from pipeline_platform.engine.execution import NOT_RUN
from pipeline_platform.engine.plan import plan
from pipeline_platform.frames.remote import is_remote
from pipeline_platform_tests.engine import lost_shuffle

ROWS = 1000


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand rows as parquet, json and Delta; and the same rows in two halves."""
    folder = tmp_path_factory.mktemp("counting")
    frame = spark.range(ROWS, numPartitions=4).withColumn("k", F.col("id") % 10)
    for name in ("parquet", "json", "delta"):
        frame.write.format(name).save(str(folder / name))
    return folder


def json_rows(folder: Path, **more: Any) -> dict[str, Any]:
    return extract("fromFiles", path=str(folder / "json"), format="json", schema="id BIGINT, k BIGINT", **more)


def to_delta(path: Path, **more: Any) -> dict[str, Any]:
    return load("toDeltaLake", path=str(path), mode="overwrite", **more)


def to_parquet(path: Path, **more: Any) -> dict[str, Any]:
    return load("toFiles", path=str(path), format="parquet", **more)


@pytest.mark.parametrize("to_sink", [to_parquet, to_delta], ids=["observed", "told by the sink"])
def test_a_frame_that_is_loaded_twice_is_counted_once(spark: Any, folder: Path, tmp_path: Path, to_sink: Any):
    found = run_by_name(
        spark,
        json_rows(folder, registerAs="all"),
        transform("filterRows", condition="k < 5", registerAs="some"),
        transform("enrichData", columns={"double": "id * 2"}, registerAs="more"),
        to_sink(tmp_path / "a"),
        to_sink(tmp_path / "b", input="some"),
        to_sink(tmp_path / "c", input="all"),
    )
    rows = [metrics.rows for metrics in found.values()]
    assert rows == [ROWS, ROWS // 2, ROWS // 2, ROWS // 2, ROWS // 2, ROWS]


def test_a_load_that_is_skipped_waits_for_no_count(
    spark: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = json_rows(folder, registerAs="all"), to_parquet(tmp_path / "out")
    run_by_name(spark, *steps, load_id="once")
    waited: list[Any] = []
    monkeypatch.setattr(counting, "observed", waited.append)
    found = run_by_name(spark, *steps, load_id="once")
    assert found["to_files"].skipped is not None
    assert found["all"].rows_note == NOT_RUN
    assert waited == []


def test_rows_in_quarantine_belong_to_the_step_whose_rows_they_were(spark: Any, folder: Path, tmp_path: Path):
    found = run_by_name(
        spark,
        json_rows(folder, registerAs="all"),
        transform("enrichData", columns={"double": "id * 2"}, registerAs="more"),
        validate("validateBusinessRules", rules=["k < 5"], onFailure="quarantine"),
        to_delta(tmp_path / "good"),
        transform("filterRows", condition="k = 0", registerAs="first"),
        to_delta(tmp_path / "first"),
    )
    rows = [found[name].rows for name in ("all", "more", "to_delta_lake", "first", "to_delta_lake_2")]
    assert rows == [ROWS, ROWS, ROWS // 2, ROWS // 10, ROWS // 10]


def test_a_frame_that_is_used_twice_in_one_plan_is_counted_once(spark: Any, folder: Path, tmp_path: Path):
    found = run_by_name(
        spark,
        json_rows(folder, registerAs="all"),
        transform("filterRows", condition="k < 5", registerAs="some"),
        transform("sqlQuery", query="SELECT * FROM some UNION ALL SELECT * FROM some", registerAs="twice"),
        transform(
            "sqlQuery",
            query="SELECT a.id FROM all a JOIN twice b ON a.id = b.id JOIN all c ON a.id = c.id",
            registerAs="joined",
        ),
        to_delta(tmp_path / "joined"),
    )
    rows = {name: metrics.rows for name, metrics in found.items()}
    expected = {"all": ROWS, "some": ROWS // 2, "twice": ROWS, "joined": ROWS, "to_delta_lake": ROWS}
    if is_remote(spark):
        # Spark Connect may not tell of what a plan holds several times: then it is not counted, but never wrong.
        assert rows["to_delta_lake"] == ROWS
        expected |= {name: None for name, count in rows.items() if count is None}
    assert rows == expected


@pytest.mark.in_jvm
def test_a_stage_that_is_run_again_after_its_shuffle_was_lost_gives_no_wrong_count(tmp_path: Path):
    command = [sys.executable, "-m", lost_shuffle.__name__, str(tmp_path / "lost")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert (tmp_path / "lost").exists()
    counts = json.loads(done.stdout)
    assert counts["seen"] > lost_shuffle.ROWS, "Spark did not run the stage again: this test shows nothing"
    assert counts["told"] is None


def test_what_lies_before_a_limit_is_not_counted_and_what_comes_after_is(spark: Any, folder: Path, tmp_path: Path):
    found = run_by_name(
        spark,
        json_rows(folder, registerAs="all"),
        transform("sqlQuery", query="SELECT * FROM all LIMIT 3", registerAs="few"),
        to_delta(tmp_path / "few"),
    )
    assert found["all"].rows is None
    assert found["all"].rows_note == "not counted: step 2 (sqlQuery) may leave rows unread"
    assert found["few"].rows == 3


def test_a_branch_that_the_optimizer_removes_gives_no_wrong_count(spark: Any, folder: Path, tmp_path: Path):
    found = run_by_name(
        spark,
        json_rows(folder, registerAs="all"),
        extract("fromFiles", path=str(folder / "json"), format="json", schema="id BIGINT, n INT", registerAs="others"),
        transform("filterRows", condition="n > 0", registerAs="none"),
        transform(
            "joinDataFrames", inputDataFrames=["all", "none"], joinColumn="id", joinType="inner", registerAs="joined"
        ),
        to_delta(tmp_path / "joined"),
    )
    assert found["all"].rows in (None, ROWS)
    assert found["others"].rows in (None, ROWS)
    assert found["none"].rows in (None, 0)
    assert found["joined"].rows in (None, 0)
    assert found["to_delta_lake"].rows == 0


def test_a_cached_frame_is_counted_while_it_is_put_into_the_cache(spark: Any, folder: Path, tmp_path: Path):
    found = run_by_name(
        spark,
        json_rows(folder, registerAs="all", cache="true"),
        validate("validateNulls", notNullColumns="id"),
        transform("filterRows", condition="k < 5", cache=True, registerAs="some"),
        to_parquet(tmp_path / "a"),
        to_parquet(tmp_path / "b"),
    )
    rows = [found[name].rows for name in ("all", "some", "to_files", "to_files_2")]
    assert rows == [ROWS, ROWS // 2, ROWS // 2, ROWS // 2]


def test_a_selection_without_a_load_is_run_for_its_counts_and_writes_nothing(spark: Any, folder: Path, tmp_path: Path):
    steps = [
        json_rows(folder, registerAs="all"),
        transform("filterRows", condition="k < 5", registerAs="some"),
        transform("enrichData", columns={"double": "id * 2"}, registerAs="more"),
        to_delta(tmp_path / "out"),
    ]
    found = run_by_name(spark, *steps, selection={"some"})
    assert {name: metrics.rows for name, metrics in found.items()} == {"all": ROWS, "some": ROWS // 2}
    assert wrote_nothing(tmp_path / "out")


def test_a_pipeline_that_only_looks_at_a_schema_still_counts_its_rows(spark: Any, folder: Path):
    expected = [{"name": "id", "type": "bigint"}]
    found = run_by_name(
        spark, json_rows(folder, registerAs="all"), validate("validateSchema", expectedColumns=expected)
    )
    assert found["all"].rows == ROWS


def test_what_need_not_be_run_again_is_not_counted_and_says_so(spark: Any, folder: Path, tmp_path: Path):
    steps = [json_rows(folder, registerAs="all"), to_delta(tmp_path / "out")]
    assert run_by_name(spark, *steps, load_id="once")["all"].rows == ROWS
    again = run_by_name(spark, *steps, load_id="once")
    assert again["to_delta_lake"].status == "SKIPPED"
    assert (again["all"].rows, again["all"].rows_note) == (None, "not counted: nothing had to be done for it")


FILTERS = {
    "filterRows": transform("filterRows", condition="id >= 990", registerAs="last"),
    "sqlQuery": transform("sqlQuery", query="SELECT * FROM read WHERE id >= 990", registerAs="last"),
}


@pytest.mark.in_jvm
@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("source", ["parquet", "delta"])
def test_a_filter_still_reaches_the_files_and_the_extract_says_why_it_is_not_counted(
    spark: Any, folder: Path, source: str, method: str, tmp_path: Path
):
    path = str(folder / source)
    read_all = (
        extract("fromDeltaLake", path=path, registerAs="read")
        if source == "delta"
        else extract("fromFiles", path=path, format=source, registerAs="read")
    )
    steps = [read_all, FILTERS[method], to_delta(tmp_path / "out")]
    last: Any = plan(pipeline_of(steps), spark, "plan", RunCredentials("plan")).frames[1].frame
    executed = last._jdf.queryExecution().executedPlan().toString()
    [pushed] = re.findall(r"PushedFilters: \[(.*?)\]", executed)
    assert "GreaterThanOrEqual(id,990)" in pushed
    found = run_by_name(spark, *steps)
    assert found["read"].rows_note == f"not counted: step 2 ({method}) filters while reading"
    assert found["last"].rows == 10
    assert found["to_delta_lake"].rows == 10


@pytest.mark.in_jvm
def test_only_the_columns_that_are_needed_are_read_though_the_rows_are_counted(spark: Any, folder: Path):
    frame, _ = counted(spark.read.parquet(str(folder / "parquet")))
    in_java: Any = frame.select("k")._jdf
    executed = in_java.queryExecution().executedPlan().toString()
    assert "ReadSchema: struct<k:bigint>" in executed
