"""Tables that are registered in a catalog, as Hive's own client and another Spark find them there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from devtools.pipelines import extract, json_rows, last_step, load, pipeline_of, run, wrote_nothing
from devtools.services.hive_metastore import HiveMetastore
from devtools.services.s3 import S3Server, delta_rs_options
from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.connectors.delta.catalogs import registration
from pipeline_platform.connectors.delta.catalogs.by_sql import SparkCatalog
from pipeline_platform.connectors.delta.catalogs.hive import METASTORE_VARIABLE
from pipeline_platform.connectors.delta.catalogs.registration import Registration
from pipeline_platform.connectors.delta.write import DeltaWrite
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.connectors.storage.location import StorageLocation, place_of
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.table_facts import TableFacts
from pipeline_platform_tests.config.contracts import project
from pipeline_platform_tests.config.contracts import table as contract_of

pytestmark = pytest.mark.in_jvm
ONCE: dict[str, Any] = {"retry": {"maxAttempts": 1}}
# Another process, of plain pyspark: it knows nothing of the platform but where Delta's jars are.
READER = """
import json, sys
from pyspark.sql import SparkSession
jars, address, name, folder = sys.argv[1:]
settings = {
    "spark.master": "local[1]", "spark.ui.enabled": "false", "spark.driver.extraClassPath": jars,
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.hadoop.hive.metastore.uris": address, "spark.sql.warehouse.dir": folder,
    "spark.sql.shuffle.partitions": "1", "spark.databricks.delta.snapshotPartitions": "1",
}
spark = SparkSession.builder.config(map=settings).enableHiveSupport().getOrCreate()
rows = [row.asDict() for row in spark.sql(f"SELECT * FROM {name} ORDER BY id").collect()]
columns = {column.name: column.description for column in spark.catalog.listColumns(name)}
print(json.dumps({"rows": rows, "columns": columns, "comment": spark.catalog.getTable(name).description}))
"""


@pytest.fixture
def metastore(hive_metastore: HiveMetastore, monkeypatch: pytest.MonkeyPatch) -> HiveMetastore:
    monkeypatch.setenv(METASTORE_VARIABLE, hive_metastore.address)
    return hive_metastore


@pytest.fixture
def hive(spark: SparkSession, metastore: HiveMetastore) -> Iterator[Any]:
    """Hive's own client of the metastore, with a schema `sales` that is empty."""
    jvm: Any = spark._jvm
    settings = jvm.org.apache.hadoop.hive.conf.HiveConf()
    settings.set("hive.metastore.uris", metastore.address)
    client = jvm.org.apache.hadoop.hive.metastore.HiveMetaStoreClient(settings)
    if "sales" not in client.getAllDatabases():
        folder = (metastore.warehouse / "sales").as_uri()
        client.createDatabase(jvm.org.apache.hadoop.hive.metastore.api.Database("sales", None, folder, None))
    yield client
    for name in client.getAllTables("sales"):
        client.dropTable("sales", name, False, True)
    client.close()


def orders(spark: SparkSession, folder: Path, table: Path, **keys: Any) -> RunMetrics:
    """Load two orders into a table that is registered as `sales.orders`, unless `keys` say otherwise."""
    rows = json_rows(folder / "rows.json", [{"id": 1}, {"id": 2}], "id INT")
    config = {"path": str(table), "mode": "append", "catalogTable": "sales.orders", **keys.pop("config", {})}
    return run(spark, rows, load("toDeltaLake", **config), **ONCE, **keys)


def ids(table: Path) -> list[int]:
    return sorted(DeltaTable(table).to_pyarrow_table()["id"].to_pylist())


def told(found: Any) -> dict[str, Any]:
    """What Hive says of a table."""
    parameters = dict(found.getParameters())
    ours = {name: value for name, value in parameters.items() if name.startswith("pipeline_platform.")}
    return {"owner": found.getOwner(), "comment": parameters.get("comment"), **ours}


def read_by_name(spark: SparkSession, address: str, name: str, folder: Path) -> Mapping[str, Any]:
    jars = spark.sparkContext.getConf().get("spark.driver.extraClassPath", "")
    command = [sys.executable, "-c", READER, str(jars), address, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_loaded_table_is_found_and_read_by_its_name_with_what_is_said_of_it(
    spark: SparkSession, hive: Any, metastore: HiveMetastore, tmp_path: Path
) -> None:
    number, note = "{name: id, description: The order's number.}", "{name: note, description: What the customer said.}"
    config = {"catalogTable": "`sales`.Orders", "mode": "append", "mergeSchema": True}
    file = project(tmp_path, contract_of(number), **config)
    written = json.loads(file.read_text())

    def loaded(rows: str, **keys: Any) -> None:
        (tmp_path / "orders.csv").write_text(rows)
        written["steps"][0]["config"] = {"path": str(tmp_path / "orders.csv"), "format": "csv"}
        written.update(keys)
        file.write_text(json.dumps(written))
        BatchRun(load_pipeline(file, method_registry()), spark).run()

    loaded("id\n1\n", description="Orders.", metadata={"owner": "ada@example.com", "tags": ["shop", "daily"]})
    pipeline = {"pipeline_platform.pipeline": written["name"], "pipeline_platform.step": "to_delta_lake"}
    tags = {"pipeline_platform.tags": "shop, daily"}
    assert told(hive.getTable("sales", "orders")) == {
        "owner": "ada@example.com", "comment": "Orders.", **pipeline, **tags
    }  # fmt: skip
    made = hive.getTable("sales", "orders").getCreateTime()
    versions = DeltaTable(tmp_path / "lake" / "orders").version()

    loaded("id\n2\n")
    assert DeltaTable(tmp_path / "lake" / "orders").version() == versions + 1
    project(tmp_path, contract_of(number, note), **config)
    description = "Orders of\nthe shop: 'all' {of} \"them\" \\ ${env:HOME}."
    loaded("id,note\n3,soon\n", description=description, metadata={"owner": "team:shop"})
    comment = "Orders of the shop: 'all' {of} \"them\" \\ ${env:HOME}."
    found = hive.getTable("sales", "orders")
    assert told(found) == {"owner": "shop", "comment": comment, **pipeline, **tags}
    assert (found.getCreateTime(), found.getTableType()) == (made, "EXTERNAL_TABLE")
    read = read_by_name(spark, metastore.address, "sales.orders", tmp_path)
    assert read["rows"] == [{"id": 1, "note": None}, {"id": 2, "note": None}, {"id": 3, "note": "soon"}]
    assert read["columns"] == {"id": "The order's number.", "note": "What the customer said."}
    assert read["comment"] == comment
    assert DeltaTable(tmp_path / "lake" / "orders").metadata().description == comment


def test_a_load_that_was_cut_off_before_its_table_was_registered_registers_it_when_it_is_repeated(
    spark: SparkSession, hive: Any, tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_: Registration) -> None:
        raise RuntimeError("the process was killed")

    with monkeypatch.context() as patch:
        patch.setattr(Registration, "carry_out", cut_off)
        with pytest.raises(PipelineExecutionException, match="was killed"):
            orders(spark, tmp_path, table, load_id="one")
    assert list(hive.getAllTables("sales")) == []
    metrics = orders(spark, tmp_path, table, load_id="one")
    assert list(hive.getAllTables("sales")) == ["orders"]
    assert (last_step(metrics).skipped is not None, ids(table)) == (True, [1, 2])


def test_a_name_that_something_else_has_is_refused_before_anything_is_written(
    spark: SparkSession, hive: Any, tmp_path: Path, table: Path
) -> None:
    orders(spark, tmp_path, table)
    other = tmp_path / "other"
    with pytest.raises(PipelineExecutionException) as error:
        orders(spark, tmp_path, other)
    assert "sales.orders is in the Hive metastore at thrift://127.0.0.1:" in error.value.message
    assert f"already, as a table of format delta at file:{table}" in error.value.message
    assert f"this load writes a table of format delta at {other}" in error.value.message
    assert "DROP TABLE sales.orders" in str(error.value.hint)

    foreign = hive.getTable("sales", "orders")
    foreign.setTableName("foreign")
    foreign.setParameters({"EXTERNAL": "TRUE"})
    hive.createTable(foreign)
    with pytest.raises(PipelineExecutionException, match="as a table of format hive at"):
        orders(spark, tmp_path, other, config={"catalogTable": "sales.foreign"})
    with pytest.raises(PipelineExecutionException, match="has no schema 'nowhere'") as missing:
        orders(spark, tmp_path, other, config={"catalogTable": "nowhere.orders"})
    assert "CREATE SCHEMA `nowhere`" in str(missing.value.hint)
    assert wrote_nothing(other)


def test_a_metastore_that_is_down_stops_a_load_before_it_writes_and_leaves_one_that_has_written_to_be_repeated(
    spark: SparkSession,
    hive: Any,
    metastore: HiveMetastore,
    tmp_path: Path,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = DeltaWrite.write

    def write_and_stop(load: DeltaWrite) -> Any:
        result = write(load)
        metastore.server.stop()
        return result

    try:
        with monkeypatch.context() as patch:
            patch.setattr(DeltaWrite, "write", write_and_stop)
            with pytest.raises(PipelineExecutionException) as after:
                orders(spark, tmp_path, table, load_id="one")
        assert after.value.message.startswith("the rows are loaded, and the table is not registered as sales.orders: ")
        with pytest.raises(PipelineExecutionException) as before:
            orders(spark, tmp_path, tmp_path / "other")
    finally:
        if metastore.server.process is None:
            metastore.server.start()
    for error in (after.value, before.value):
        assert f"the Hive metastore at {metastore.address} does not answer" in error.message
        assert error.message.endswith("Connection refused")
        assert error.retryable
    assert "run it again, which registers the table" in str(after.value.hint)
    assert wrote_nothing(tmp_path / "other")
    hive.reconnect()
    orders(spark, tmp_path, table, load_id="one")
    assert (list(hive.getAllTables("sales")), ids(table)) == (["orders"], [1, 2])


def test_a_stream_registers_its_table_once(
    spark: SparkSession, hive: Any, tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    carry_out = Registration.carry_out

    def counted(this: Registration) -> None:
        done.append(str(this.name))
        carry_out(this)

    monkeypatch.setattr(Registration, "carry_out", counted)
    (tmp_path / "in").mkdir()
    steps = [
        extract("fromFiles", path=str(tmp_path / "in"), format="json", schema="id INT"),
        load("toDeltaLake", path=str(table), trigger="availableNow", catalogTable="sales.orders"),
    ]
    options = {"checkpointRoot": str(tmp_path / "checkpoints")}
    for number in (1, 2):
        (tmp_path / "in" / f"{number}.json").write_text(json.dumps({"id": number}))
        StreamRun(pipeline_of(steps, mode="streaming", streaming=options), spark).run()
    assert (ids(table), done, list(hive.getAllTables("sales"))) == ([1, 2], ["sales.orders"], ["orders"])


def test_a_table_on_s3_is_registered_with_the_credentials_of_its_step(
    spark: SparkSession, hive: Any, s3: S3Server, tmp_path: Path
) -> None:
    keys = s3.make_owner("named-lake", "named", "a secret")
    table = "s3://named-lake/my orders"
    rows = json_rows(tmp_path / "rows.json", [{"id": 1}], "id INT")
    to_table = {"path": table, "mode": "append", "catalogTable": "sales.orders"}
    wrong = place_of("s3a://named-lake", S3Credentials.model_validate({**keys, "secretAccessKey": "another"}))
    # From then on, Hadoop keeps a client of the bucket that is let in nowhere.
    with pytest.raises(Py4JJavaError, match="AccessDenied"):
        spark.read.options(**wrong.spark_options()).parquet("s3a://named-lake")
    for _ in range(2):
        run(spark, rows, load("toDeltaLake", **to_table, **keys), description="Orders.", **ONCE)
    place = hive.getTable("sales", "orders").getSd().getSerdeInfo().getParameters()["path"]
    assert place == "s3a://named-lake/my orders"
    assert DeltaTable(table, storage_options=delta_rs_options(keys)).metadata().description == "Orders."


def test_processes_that_register_a_table_at_the_same_time_do_not_disturb_each_other(
    spark: SparkSession, hive: Any, tmp_path: Path, table: Path
) -> None:
    orders(spark, tmp_path, table)
    hive.dropTable("sales", "orders")
    facts = TableFacts("tested", "to_delta_lake", "Orders.", "ada@example.com")
    one = Registration(spark, CatalogName(None, "sales", "orders"), StorageLocation(str(table)), facts)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: one.carry_out(), range(4)))
    assert told(hive.getTable("sales", "orders"))["owner"] == "ada@example.com"


@pytest.fixture
def by_sql(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The session's own catalog, which any other of Spark's is asked like."""

    def found(session: SparkSession, _: CatalogName) -> SparkCatalog:
        return SparkCatalog(session, "spark_catalog")

    monkeypatch.setattr(registration, "catalog_for", found)
    yield
    for name in ("orders", "taken"):
        spark.sql(f"DROP TABLE IF EXISTS default.{name}")
    spark.sql("DROP VIEW IF EXISTS default.seen")


@pytest.mark.usefixtures("by_sql")
def test_any_catalog_of_spark_is_asked_by_sql(spark: SparkSession, tmp_path: Path, table: Path) -> None:
    named = {"config": {"catalogTable": "spark_catalog.default.orders"}}
    orders(spark, tmp_path, table, description="The shop's orders.", **named)
    orders(spark, tmp_path, table, description="The shop's orders.", **named)
    assert spark.table("spark_catalog.default.orders").count() == 4
    assert spark.catalog.getTable("default.orders").description == "The shop's orders."

    other = tmp_path / "other"
    spark.sql("CREATE TABLE default.taken (id INT) USING csv")
    spark.sql("CREATE VIEW default.seen AS SELECT 1 AS id")
    refused: Callable[[str], Any] = lambda name: orders(spark, tmp_path, other, config={"catalogTable": name})  # noqa: E731
    for name, what in (
        ("default.orders", f"as a table of format delta at file:{table}, and"),
        ("default.taken", "as a table of format csv at"),
        ("default.seen", "as a view, and"),
        ("nowhere.orders", "has no schema 'nowhere'"),
    ):
        with pytest.raises(PipelineExecutionException, match=what):
            refused(name)
    assert wrote_nothing(other)
    shutil.rmtree(table)
    with pytest.raises(PipelineExecutionException, match=f"as a table of format delta at file:{table}, and"):
        refused("default.orders")
    orders(spark, tmp_path, table, **named)
    assert spark.table("default.orders").count() == 2


def test_without_a_catalog_nothing_is_registered_and_nothing_written(
    spark: SparkSession, tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(METASTORE_VARIABLE, raising=False)
    with pytest.raises(PipelineConfigurationException, match="and there is no catalog"):
        orders(spark, tmp_path, table)
    with pytest.raises(PipelineConfigurationException, match="Spark knows no catalog 'unity'"):
        orders(spark, tmp_path, table, config={"catalogTable": "unity.sales.orders"})
    monkeypatch.setenv(METASTORE_VARIABLE, "localhost:9083")
    with pytest.raises(PipelineConfigurationException, match="no address of a Hive metastore"):
        orders(spark, tmp_path, table)
    assert wrote_nothing(table)
