"""Runs on a standalone cluster of two workers: of which one is killed, and that `spark-submit` starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from devtools.pipelines import StepValue, extract, load, transform, validate
from devtools.services.kafka import Kafka
from devtools.services.postgres import Postgres
from devtools.services.process import ServerProcess
from devtools.services.s3 import S3Server, delta_rs_options
from devtools.services.spark_cluster import SparkCluster, spark_cluster
from devtools.services.vault import VaultServer
from pipeline_platform.engine.spark.settings import MASTER_VARIABLE, REMOTE_VARIABLE
from pipeline_platform.engine.spark.submit import MODE_VARIABLE
from pipeline_platform.orchestration.submitted_runs import FOLDER_VARIABLE
from pipeline_platform_tests.engine.processes import (
    WAITING_ALLOWED,
    finished,
    has_a_task,
    running,
    started,
    wait_until,
    waiting,
    write_pipeline,
)
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta, validation

pytestmark = pytest.mark.timeout(900)
# Spark's defaults for clusters are for larger ones.
SMALL = {
    "spark.driver.host": "127.0.0.1",
    "spark.executor.memory": "1g",
    "spark.sql.shuffle.partitions": 2,
    "spark.databricks.delta.snapshotPartitions": 2,
}
ROWS = "id BIGINT, wait BIGINT"
HOUR = 3_600_000


@pytest.fixture(scope="module")
def entered(vault: VaultServer, postgres: Postgres, kafka: Kafka, s3: S3Server) -> Mapping[str, str]:
    """The environment in which all systems can be entered."""
    vault.write("cluster/postgres", postgres.credentials())
    vault.write("cluster/kafka", kafka.credentials())
    vault.write("cluster/s3", s3.credentials())
    s3.make_bucket("cluster")
    return vault.environment()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, entered: Mapping[str, str]) -> Iterator[SparkCluster]:
    # Drivers and executors have what their worker has.
    with spark_cluster(tmp_path_factory.mktemp("cluster"), {**entered, **WAITING_ALLOWED}) as running_cluster:
        yield running_cluster


@pytest.fixture
def environment(cluster: SparkCluster, entered: Mapping[str, str]) -> Mapping[str, str]:
    """That of whoever starts runs there."""
    python = {"PYSPARK_PYTHON": sys.executable}
    return {**os.environ, **entered, **WAITING_ALLOWED, **python, MASTER_VARIABLE: cluster.master}


def credential(name: str, **kind: str) -> dict[str, str]:
    return {"credentialPath": f"secret/data/cluster/{name}", **kind}


def to_postgres(table: str, **config: Any) -> StepValue:
    return load("toPostgres", **credential("postgres"), table=table, **config)


def write(folder: Path, *, wait_milliseconds: int) -> None:
    """A hundred rows, at the last of which whoever reads it waits; the file is as long, however long that is."""
    folder.mkdir(exist_ok=True)
    rows = [f'{{"id": {number}, "wait": {wait_milliseconds if number == 99 else 0:>9}}}\n' for number in range(100)]
    (folder / "rows.json").write_text("".join(rows))


def waits_at_a_task(worker: ServerProcess) -> bool:
    """Whether an executor of this worker has begun a task."""
    assert worker.process is not None
    return any(has_a_task(child.pid) for child in psutil.Process(worker.process.pid).children(recursive=True))


def worker_with_a_task(cluster: SparkCluster, process: subprocess.Popen[str]) -> ServerProcess:
    """The worker on which a run waits."""
    found: list[ServerProcess] = []

    def look() -> bool:
        found[:] = [worker for worker in cluster.workers if worker.process is not None and waits_at_a_task(worker)]
        return bool(found)

    wait_until(look, process)
    return found[0]


def delta_counts(table: Path) -> Counter[int]:
    return Counter(DeltaTable(str(table)).to_pyarrow_table()["id"].to_pylist())


def file_to_both(tmp_path: Path, table: str, **keys: Any) -> Path:
    """A pipeline from the rows to PostgreSQL and Delta Lake, each of which waits."""
    rows = extract("fromFiles", path=str(tmp_path / "in"), format="json", schema=ROWS)
    trigger = {"trigger": "availableNow"} if keys else {}
    steps = [rows, waiting(), to_postgres(table, **trigger), load("toDeltaLake", path=str(tmp_path / "table"))]
    return write_pipeline(tmp_path, steps, sparkConf=SMALL, **keys)


def failure_of(done: dg.ExecuteInProcessResult) -> str:
    """What a run says that has failed."""
    [failure] = [event.step_failure_data for event in done.all_node_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.description or ""


@pytest.mark.parametrize("mode", ["batch", "streaming"])
def test_a_worker_that_is_killed_in_the_middle_loses_and_repeats_nothing(
    tmp_path: Path, cluster: SparkCluster, environment: Mapping[str, str], postgres: Postgres, mode: str
):
    streaming = {"checkpointRoot": str(tmp_path / "checkpoints")}
    file = file_to_both(tmp_path, mode, **({"mode": mode, "streaming": streaming} if mode == "streaming" else {}))
    write(tmp_path / "in", wait_milliseconds=HOUR)
    with started(file, environment=environment) as process:
        worker = worker_with_a_task(cluster, process)
        write(tmp_path / "in", wait_milliseconds=0)
        worker.kill()
        try:
            said = finished(process)
        finally:
            worker.start()

    assert process.returncode == 0, said
    once = Counter(range(100))
    assert Counter(number for [number] in postgres.query(f"SELECT id FROM {mode}")) == once
    assert delta_counts(tmp_path / "table") == once


@pytest.fixture
def from_cluster(environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have runs of Dagster be submitted, with their drivers in the cluster: the folder in which these tell."""
    for name, value in {**environment, MODE_VARIABLE: "cluster", FOLDER_VARIABLE: str(tmp_path / "told")}.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "told"


def test_a_driver_in_the_cluster_reads_and_writes_every_system_and_dagster_has_what_it_did(
    define: MakeDefinitions, from_cluster: Path, cluster: SparkCluster, kafka: Kafka, postgres: Postgres, s3: S3Server
):
    kafka.make_topic("numbers", 2)
    producer = Producer({"bootstrap.servers": kafka.address})
    for number in range(50):
        producer.produce("numbers", json.dumps({"id": number}), partition=number % 2)
    producer.flush()
    steps = [
        extract("fromKafka", **credential("kafka"), topic="numbers", valueFormat="json", valueSchema="id BIGINT"),
        transform("filterRows", condition="id >= 10"),
        validate("validateUnique", columns=["id"]),
        to_postgres("numbers"),
        load("toDeltaLake", **credential("s3", credentialType="deltalake"), path="s3a://cluster/numbers"),
    ]
    definitions = define({"name": "numbers", "mode": "batch", "sparkConf": SMALL, "steps": steps})
    with dg.instance_for_test() as instance:
        done = definitions.resolve_job_def("numbers").execute_in_process(instance=instance)

    wanted = Counter(range(10, 50))
    assert Counter(number for [number] in postgres.query("SELECT id FROM numbers")) == wanted
    lake = DeltaTable("s3://cluster/numbers", storage_options=delta_rs_options(s3.credentials()))
    assert Counter(lake.to_pyarrow_table()["id"].to_pylist()) == wanted
    counts = {
        made.asset_key.path[-1]: made.metadata["dagster/row_count"].value
        for made in done.asset_materializations_for_node("run_numbers")
    }
    assert counts["to_postgres"] == counts["to_delta_lake"] == 40
    assert [check.passed for check in done.get_asset_check_evaluations()] == [True] * 3
    assert len(cluster.state()["completeddrivers"]) == 1
    assert list(from_cluster.iterdir()) == []


def test_a_broken_rule_is_told_as_if_the_run_were_the_driver(
    define: MakeDefinitions, from_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(MODE_VARIABLE, "client")
    monkeypatch.setenv(MASTER_VARIABLE, "local[2]")
    odd = validation("validateRanges", ranges={"value": {"max": 57}})
    definitions = define(rate_to_delta("odd", tmp_path / "table", odd))
    with dg.instance_for_test() as instance:
        done = definitions.resolve_job_def("odd").execute_in_process(instance=instance, raise_on_error=False)

    assert "pipeline 'odd', step 2 (validate validateRanges)" in failure_of(done)
    assert "2 of 60 rows" in failure_of(done)
    assert [check.passed for check in done.get_asset_check_evaluations()] == [False, False]
    assert done.get_asset_materialization_events() == []
    assert not DeltaTable.is_deltatable(str(tmp_path / "table"))
    assert list(from_cluster.iterdir()) == []


def test_a_driver_that_can_t_start_is_told_with_what_it_said(
    define: MakeDefinitions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(MODE_VARIABLE, "client")
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-agentlib:nosuch")
    definitions = define(rate_to_delta("wrong", tmp_path / "table"))
    with dg.instance_for_test() as instance:
        done = definitions.resolve_job_def("wrong").execute_in_process(instance=instance, raise_on_error=False)

    said = failure_of(done)
    assert said.startswith("pipeline 'wrong', ")
    assert "the driver did not say how the run ended" in said
    assert "Could not find agent library nosuch" in said


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({MODE_VARIABLE: "cluster", FOLDER_VARIABLE: "told"}, "'local[*]' is none"),
        ({MODE_VARIABLE: "cluster", MASTER_VARIABLE: "spark://127.0.0.1:7"}, f"set {FOLDER_VARIABLE} to"),
        ({MODE_VARIABLE: "client", REMOTE_VARIABLE: "sc://127.0.0.1:7"}, "a run on Spark Connect can't be submitted"),
        ({MODE_VARIABLE: "server"}, f"{MODE_VARIABLE} is 'server', which says nothing"),
        ({MODE_VARIABLE: "client", FOLDER_VARIABLE: "/proc/nowhere"}, "can't be written to /proc/nowhere"),
    ],
)
def test_a_setting_that_can_t_be_is_told_before_anything_starts(
    define: MakeDefinitions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], told: str
):
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    definitions = define(rate_to_delta("wrong", tmp_path / "table"))
    with dg.instance_for_test() as instance:
        done = definitions.resolve_job_def("wrong").execute_in_process(instance=instance, raise_on_error=False)
    assert told in failure_of(done)


def test_a_run_that_is_stopped_stops_its_driver_in_the_cluster(
    tmp_path: Path, from_cluster: Path, cluster: SparkCluster
):
    write(tmp_path / "in", wait_milliseconds=HOUR)
    (tmp_path / "pipelines").mkdir()
    file_to_both(tmp_path / "pipelines", "stopped")
    write(tmp_path / "pipelines" / "in", wait_milliseconds=HOUR)
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "pipeline_platform.definitions", "-j", "tested"]
    variables = {**os.environ, "PIPELINES_DIR": str(tmp_path / "pipelines"), "DAGSTER_HOME": str(home)}
    with running(command, variables) as process:
        worker_with_a_task(cluster, process)
        process.send_signal(signal.SIGINT)
        said = finished(process)
    assert "Execution was interrupted" in said
    assert cluster.state()["activedrivers"] == []
    assert not DeltaTable.is_deltatable(str(tmp_path / "pipelines" / "table"))
    assert list(from_cluster.iterdir()) == []
