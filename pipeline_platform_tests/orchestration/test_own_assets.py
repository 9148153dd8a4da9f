"""A person's own assets beside pipelines: the table of a load as Arrow, without a JVM, and the platform's session."""

import json
import logging
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from devtools.services.s3 import S3Server, delta_rs_options
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.resources.spark import SparkResource
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta

LOAD = dg.AssetKey(["sales", "to_delta_lake"])
ROWS = pa.table({"id": [1, 2, 3], "unit price": [1.5, None, 3.0]})


def own_asset(kind: Any, seen: list[Any], key: dg.AssetKey = LOAD, **metadata: Any) -> dg.AssetsDefinition:
    """An asset that takes a table as this type and keeps it in `seen`."""

    def report(table: Any) -> None:
        seen.append(table)

    report.__annotations__["table"] = kind
    return dg.asset(ins={"table": dg.AssetIn(key, input_manager_key="delta_tables", metadata=metadata)})(report)


def materialize(definitions: dg.Definitions, *assets: dg.AssetsDefinition) -> None:
    """Materialize the assets alone, in a project with these definitions."""
    with_own = dg.Definitions.merge(definitions, dg.Definitions(assets=list(assets)))
    job = with_own.resolve_implicit_global_asset_job_def()
    keys = [key for asset in assets for key in asset.keys]
    job.execute_in_process(asset_selection=keys)


def test_the_table_of_a_load_is_an_argument_without_a_jvm(define: MakeDefinitions, tmp_path: Path):
    write_deltalake(tmp_path / "lake" / "sales", ROWS)
    seen: list[Any] = []
    definitions = define(rate_to_delta("sales", tmp_path / "lake" / "sales"))
    for kind in (pa.Table, pl.DataFrame, pl.LazyFrame):
        materialize(definitions, own_asset(kind, seen))
    assert seen[0].sort_by("id").to_pylist() == ROWS.to_pylist()
    for frame in (seen[1], seen[2].collect()):
        assert frame.sort("id").rows(named=True) == ROWS.to_pylist()


def test_columns_that_have_other_names_in_the_files_are_read_or_refused(
    define: MakeDefinitions, tmp_path: Path, spark: SparkSession
):
    names = {"delta.columnMapping.mode": "name"}
    rows = spark.sql("SELECT 1 AS id, 1.5D AS `unit price`").write.format("delta").options(**names)
    rows.save(str(tmp_path / "sales"))
    seen: list[Any] = []
    definitions = define(rate_to_delta("sales", tmp_path / "sales"))
    materialize(definitions, own_asset(pa.Table, seen, columns=["unit price"]))
    assert seen[0].to_pylist() == [{"unit price": 1.5}]
    with pytest.raises(dg.DagsterInvariantViolationError, match="which Polars does not find: all values would be NULL"):
        materialize(definitions, own_asset(pl.DataFrame, seen))


def test_it_is_the_table_itself_with_its_history(define: MakeDefinitions, tmp_path: Path):
    for _ in range(2):
        write_deltalake(tmp_path / "sales", ROWS, mode="append")
    seen: list[Any] = []
    materialize(define(rate_to_delta("sales", tmp_path / "sales")), own_asset(DeltaTable, seen))
    assert seen[0].version() == 1
    assert [commit["version"] for commit in seen[0].history()] == [1, 0]


def test_it_is_a_stream_of_batches_and_has_the_columns_that_are_asked_for(define: MakeDefinitions, tmp_path: Path):
    write_deltalake(tmp_path / "sales", ROWS)
    seen: list[Any] = []
    level = logging.getLogger().level
    reader = own_asset(pa.RecordBatchReader, seen, columns=["unit price"])
    materialize(define(rate_to_delta("sales", tmp_path / "sales")), reader)
    assert seen[0].read_all().to_pydict() == {"unit price": [1.5, None, 3.0]}
    assert logging.getLogger().level == level


def test_a_table_on_s3_is_read_with_the_credentials_of_its_load(
    define: MakeDefinitions, s3: S3Server, monkeypatch: pytest.MonkeyPatch
):
    owner = s3.make_owner("own-assets", "reader", "wJalrXUtnFEMI/K7MDENG+bPx")
    for name, key in (("OWN_ID", "accessKeyId"), ("OWN_SECRET", "secretAccessKey")):
        monkeypatch.setenv(name, owner[key])
    write_deltalake("s3://own-assets/sales", ROWS, storage_options=delta_rs_options(owner))
    keys = {"accessKeyId": "${env:OWN_ID}", "secretAccessKey": "${env:OWN_SECRET}", "endpoint": s3.endpoint}
    seen: list[Any] = []
    materialize(define(rate_to_delta("sales", "s3://own-assets/sales", **keys)), own_asset(pa.Table, seen))
    assert seen[0].sort_by("id").to_pylist() == ROWS.to_pylist()


def test_what_is_no_table_is_told(define: MakeDefinitions, tmp_path: Path):
    definitions = define(rate_to_delta("sales", tmp_path / "sales"))
    with pytest.raises(dg.DagsterInvariantViolationError, match="sales/from_rate has no 'dagster/uri'"):
        materialize(definitions, own_asset(pa.Table, [], dg.AssetKey(["sales", "from_rate"])))


def test_a_pipeline_that_was_changed_since_it_was_loaded_is_told(define: MakeDefinitions, tmp_path: Path):
    definitions = define(rate_to_delta("sales", tmp_path / "sales"))
    write_deltalake(tmp_path / "other", ROWS)
    define(rate_to_delta("sales", tmp_path / "other"))
    with pytest.raises(dg.DagsterInvariantViolationError, match=r"has changed: step 2 no longer has .*; reload"):
        materialize(definitions, own_asset(pa.Table, []))


def test_an_extract_is_no_table_of_a_load(define: MakeDefinitions, tmp_path: Path):
    copy = rate_to_delta("copy", tmp_path / "copy")
    copy["steps"][0] = {"type": "extract", "method": "fromDeltaLake", "config": {"path": str(tmp_path), "version": 0}}
    with pytest.raises(dg.DagsterInvariantViolationError, match="its step is fromDeltaLake"):
        materialize(define(copy), own_asset(pa.Table, [], dg.AssetKey(["copy", "from_delta_lake"])))


def test_what_an_asset_returns_is_not_stored(define: MakeDefinitions, tmp_path: Path):
    @dg.asset(io_manager_key="delta_tables")
    def prices() -> Any:
        return ROWS

    with pytest.raises(dg.DagsterInvariantViolationError, match="reads the tables of loads and stores nothing"):
        materialize(define(rate_to_delta("sales", tmp_path / "sales")), prices)


def test_two_folders_of_pipelines_are_one_project(tmp_path: Path):
    folders = [tmp_path / name for name in ("north", "south")]
    for folder in folders:
        folder.mkdir()
        (folder / "p.json").write_text(json.dumps(rate_to_delta(folder.name, tmp_path / f"{folder.name}_sales")))
    both = dg.Definitions.merge(*map(project_definitions, folders))
    assert {job.name for job in both.get_repository_def().get_all_jobs()} >= {"north", "south"}


def test_an_asset_has_the_session_of_the_platform(spark: SparkSession, define: MakeDefinitions, tmp_path: Path):
    seen: list[Any] = []

    @dg.asset(deps=[LOAD])
    def doubled(spark: SparkResource) -> None:
        spark.spark_session.range(3).write.format("delta").save(str(tmp_path / "doubled"))
        seen.append(spark.spark_session)

    materialize(define(rate_to_delta("sales", tmp_path / "sales")), doubled)
    assert DeltaTable(tmp_path / "doubled").to_pyarrow_table().num_rows == 3
    assert seen[0].sparkContext is spark.sparkContext
