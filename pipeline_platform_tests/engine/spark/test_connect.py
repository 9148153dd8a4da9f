"""Pipelines on a real Spark Connect server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from devtools.pipelines import extract, json_rows, listing, load, transform, validate
from devtools.services.kafka import Kafka
from devtools.services.process import ServerProcess, free_port, new_folder
from devtools.services.s3 import S3Server
from pipeline_platform.engine.spark import connect
from pipeline_platform.engine.spark.connect import remote_session
from pipeline_platform.engine.spark.home import spark_home
from pipeline_platform.engine.spark.jars import connector_jars, say
from pipeline_platform.engine.spark.java import require_java
from pipeline_platform.engine.spark.jvm import class_archive, driver_options
from pipeline_platform.engine.spark.settings import EVERYWHERE_CONF, LOCAL_CONF, REMOTE_VARIABLE
from pipeline_platform.engine.streaming.stream_state import StreamState
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform_tests.engine.processes import (
    COMMAND,
    PATIENCE_SECONDS,
    completed,
    finished,
    started,
    wait_until,
    waiting,
    write_pipeline,
    write_rows,
)

ORDERS = "id BIGINT, customer STRING, quantity INT"


def start_server(conf: dict[str, str]) -> tuple[str, ServerProcess]:
    """A server that listens, and its address."""
    port, folder, jars = free_port(), new_folder("connect"), connector_jars()
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        **LOCAL_CONF,
        **conf,
    }
    command = [
        *[str(spark_home() / "bin" / "spark-submit"), "--master", "local[2]"],
        *["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"],
        *["--driver-class-path", os.pathsep.join(map(str, jars))],
        *[option for key, value in settings.items() for option in ("--conf", f"{key}={value}")],
        *["--driver-java-options", driver_options(None, class_archive(require_java(), jars, say))],
        "spark-internal",
    ]
    environment = {"SPARK_HOME": str(spark_home()), "PYSPARK_PYTHON": sys.executable}

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            return False
        return True

    server = ServerProcess("connect", command, folder, listens, environment=environment)
    server.start()
    return f"sc://127.0.0.1:{port}", server


@pytest.fixture(scope="module")
def event_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the server keeps what its UI shows."""
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def server(event_log: Path) -> Iterator[tuple[str, ServerProcess]]:
    """A server with Delta Lake, and its address."""
    events = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": event_log.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        # The session of a run brings its own.
        "spark.sql.redaction.string.regex": "nothing",
    }
    address, process = start_server({**EVERYWHERE_CONF, **events})
    yield address, process
    process.stop()
    shutil.rmtree(process.folder)


@pytest.fixture
def remote(server: tuple[str, ServerProcess], monkeypatch: pytest.MonkeyPatch) -> str:
    """Its address, named to every process that this test starts."""
    monkeypatch.setenv(REMOTE_VARIABLE, server[0])
    return server[0]


def refused(file: Path) -> str:
    """What a run says that has to fail."""
    done = subprocess.run(
        [COMMAND, "run", str(file)], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def rows_of(table: Path) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in DeltaTable(table).to_pyarrow_table().to_pylist())


@pytest.mark.usefixtures("remote")
def test_a_batch_is_counted_validated_and_merged(tmp_path: Path):
    def ran(*orders: tuple[int, str, int]) -> dict[str, dict[str, Any]]:
        rows: list[dict[str, Any]] = [dict(zip(("id", "customer", "quantity"), order, strict=True)) for order in orders]
        steps = [
            json_rows(tmp_path / "orders.json", rows, ORDERS),
            transform("deduplicate", columns=["id"]),
            validate("validateRanges", ranges={"quantity": {"min": 1}}, onFailure="quarantine"),
            load("toDeltaLake", path=str(tmp_path / "a {table}"), mode="merge", mergeKeys=["id"]),
        ]
        return {step["name"]: step for step in completed(write_pipeline(tmp_path, steps))["steps"]}

    first = ran((1, "anna", 2), (2, "ben", 1), (2, "ben", 1), (3, "anna", -1))
    assert [first[name]["rows"] for name in ("from_files", "deduplicate", "to_delta_lake")] == [4, 3, 2]
    assert first["validate_ranges"]["quarantined"] == 1
    second = ran((2, "ben", 5), (4, "carla", 3))
    assert (second["to_delta_lake"]["rows"], second["to_delta_lake"]["version"]) == (2, 1)
    assert rows_of(tmp_path / "a {table}") == [(1, "anna", 2), (2, "ben", 5), (4, "carla", 3)]


@pytest.mark.usefixtures("remote")
def test_a_clustered_table_and_files_are_written_once_whatever_the_load_is_called(tmp_path: Path):
    steps = [
        json_rows(tmp_path / "orders.json", [{"id": 1, "customer": "anna", "quantity": 2}], ORDERS),
        load("toDeltaLake", path=str(tmp_path / "clustered"), clusterBy=["id"]),
        load("toFiles", path=str(tmp_path / "files"), format="json"),
    ]
    file = write_pipeline(tmp_path, steps)
    for _ in range(2):
        completed(file, "--load-id", "the day's \\ first")
    assert rows_of(tmp_path / "clustered") == [(1, "anna", 2)]
    written = [line for path in (tmp_path / "files").glob("*.json") for line in path.read_text().splitlines()]
    assert [json.loads(line) for line in written] == [{"id": 1, "customer": "anna", "quantity": 2}]


@pytest.mark.usefixtures("remote")
def test_a_missing_column_is_found_before_any_load(tmp_path: Path):
    steps = [
        json_rows(tmp_path / "orders.json", [{"id": 1, "customer": "anna", "quantity": 2}], schema=None),
        load("toFiles", path=str(tmp_path / "files"), format="json"),
        validate("validateBusinessRules", rules=["quantiyt > 0"]),
        load("toDeltaLake", path=str(tmp_path / "table")),
    ]
    said = refused(write_pipeline(tmp_path, steps))
    assert "step 3 (validate validateBusinessRules)" in said
    assert "quantiyt" in said
    assert listing(tmp_path) == ["orders.json", "pipeline.json"]


@pytest.mark.usefixtures("remote")
def test_a_table_that_must_not_be_there_is_made_once(tmp_path: Path):
    steps = [
        json_rows(tmp_path / "orders.json", [{"id": 1, "customer": "anna", "quantity": 2}], ORDERS),
        load("toDeltaLake", path=str(tmp_path / "table"), mode="errorIfExists"),
    ]
    file = write_pipeline(tmp_path, steps)
    assert completed(file)["rows_written"] == 1
    assert "there is a Delta table at" in refused(file)
    assert rows_of(tmp_path / "table") == [(1, "anna", 2)]


@pytest.mark.usefixtures("remote")
def test_a_signal_stops_a_batch_and_leaves_nothing_half_written(tmp_path: Path):
    files = tmp_path / "files"
    steps = [
        write_rows(tmp_path, wait_milliseconds=600_000),
        waiting(),
        load("toFiles", path=str(files), format="parquet"),
    ]
    with started(write_pipeline(tmp_path, steps)) as process:
        wait_until(lambda: any(files.rglob("*.parquet")), process)
        process.send_signal(signal.SIGINT)
        said = finished(process)
    assert process.returncode == 130, said
    assert "the run was stopped; nothing is half-written" in said
    assert listing(tmp_path) == ["pipeline.json", "rows.json"]


@pytest.mark.usefixtures("remote")
def test_a_stream_tells_rows_and_offsets_and_goes_on_from_its_checkpoint(kafka: Kafka, streams: Path, tmp_path: Path):
    kafka.make_topic("over-connect")
    producer = Producer({"bootstrap.servers": kafka.address})
    steps = [
        extract(
            "fromKafka",
            **{"bootstrap.servers": kafka.address, "topic": "over-connect"},
            startingOffsets="earliest",
            valueFormat="string",
        ),
        transform("filterRows", condition="CAST(value AS INT) % 2 = 0"),
        load("toDeltaLake", path=str(tmp_path / "table"), trigger="availableNow"),
    ]
    keys = {"mode": "streaming", "streaming": {"checkpointRoot": str(tmp_path / "checkpoints")}}
    file = write_pipeline(tmp_path, steps, **keys)
    for start in (0, 10):
        for number in range(start, start + 10):
            producer.produce("over-connect", str(number).encode())
        assert producer.flush(30) == 0
        loaded = completed(file)["steps"][-1]
        assert loaded["rows"] == 5
        state = StreamState.read(streams / "tested.state.json")
        assert state is not None
        assert state.progress is not None
        (source,) = state.progress.sources
        assert (source.offsets, source.lag) == ({"over-connect": {"0": start + 10}}, 0)
    values = DeltaTable(tmp_path / "table").to_pyarrow_table().column("value").to_pylist()
    assert sorted(map(int, values)) == [*range(0, 20, 2)]


READY = """
from pipeline_platform.engine.spark.session import spark_session

print(spark_session("client", {}).range(3).count(), flush=True)
input()
"""


@pytest.mark.usefixtures("remote")
def test_a_process_ends_whose_server_does_nothing_any_more(server: tuple[str, ServerProcess]):
    process = server[1].process
    assert process is not None
    with subprocess.Popen(
        [sys.executable, "-c", READY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == "3\n"
        process.send_signal(signal.SIGSTOP)
        try:
            client.stdin.write("\n")
            client.stdin.flush()
            assert client.wait(30) == 0
        finally:
            process.send_signal(signal.SIGCONT)
            client.kill()


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("remote")
def test_a_stream_that_was_killed_goes_on_without_a_second_writer(tmp_path: Path, streams: Path):
    steps = [extract("fromRate", rowsPerSecond=10), load("toDeltaLake", path=str(tmp_path / "t"), trigger="1 second")]
    keys = {"mode": "streaming", "streaming": {"checkpointRoot": str(tmp_path / "checkpoints")}}
    file = write_pipeline(tmp_path, steps, **keys)

    def versions() -> int:
        return len([*(tmp_path / "t" / "_delta_log").glob("*.json")])

    def is_running(pid: int) -> bool:
        state = StreamState.read(streams / "tested.state.json")
        return state is not None and state.pid == pid and state.progress is not None

    with started(file) as process:
        wait_until(lambda: versions() >= 3, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with started(file) as process:
        # Until this process has taken over, the server goes on with the query of the one that is gone.
        wait_until(lambda: is_running(process.pid), process)
        before = versions()
        wait_until(lambda: versions() >= before + 3, process)
        process.send_signal(signal.SIGINT)
        said = finished(process)
    assert process.returncode == 130, said
    numbers = sorted(DeltaTable(tmp_path / "t").to_pyarrow_table().column("value").to_pylist())
    assert numbers == [*range(len(numbers))]
    left = versions()
    # Whoever wrote on would do so with the next trigger.
    completed(write_pipeline(tmp_path, [{**steps[0]}, load("toDeltaLake", path=str(tmp_path / "other"))]))
    assert versions() == left


@pytest.mark.usefixtures("remote")
def test_a_stream_that_spark_has_no_sink_for_is_refused_before_it_begins(tmp_path: Path):
    steps = [
        extract("fromRate", rowsPerSecond=10),
        validate("validateNulls", notNullColumns=["value"], onFailure="quarantine"),
        load("toDeltaLake", path=str(tmp_path / "t"), trigger="availableNow"),
    ]
    keys = {"mode": "streaming", "streaming": {"checkpointRoot": str(tmp_path / "checkpoints")}}
    said = refused(write_pipeline(tmp_path, steps, **keys))
    assert "over Spark Connect a stream can only be a single load that Spark has a native sink for" in said
    assert "run it with SPARK_MASTER" in said
    assert not (tmp_path / "t").exists()
    assert not [*tmp_path.rglob("offsets")]


CLIENT = """
import json, sys
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.connectors.storage.location import place_of

for uri, *keys in json.load(sys.stdin):
    place = place_of(uri, S3Credentials.model_validate(keys[0]) if keys else None)
    spark = spark_session("client", {})
    if uri.endswith("new"):
        spark.range(3).write.mode("overwrite").options(**place.spark_options()).parquet(uri)
    try:
        print(spark.read.options(**place.spark_options()).parquet(uri).count())
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.usefixtures("remote")
def test_a_client_with_other_keys_for_a_bucket_is_not_given_those_of_the_client_before(s3: S3Server, event_log: Path):
    s3.make_bucket("over-connect")
    uri, right = "s3a://over-connect/new", s3.credentials()
    wrong = {**right, "secretAccessKey": "not-the-key-of-anyone"}

    def printed(*uses: list[Any]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT],
            input=json.dumps(uses),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert printed([uri, right]) == ["3"]
    refused_keys, kept, again = printed([f"{uri}/", wrong], [f"{uri}/", right], [f"{uri}/", wrong])
    assert not refused_keys.isdigit()
    assert kept == "3"
    assert not again.isdigit()
    # What a client asks is shown there.
    (events,) = [file.read_text() for file in event_log.iterdir()]
    assert "fs.s3a.endpoint" in events
    shown = [name for name, keys in {"right": right, "wrong": wrong}.items() if keys["secretAccessKey"] in events]
    assert shown == []


def test_a_server_without_delta_is_named_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    address, process = start_server({})
    try:
        monkeypatch.setenv(REMOTE_VARIABLE, address)
        said = refused(
            write_pipeline(
                tmp_path, [extract("fromRate", rowsPerSecond=1), load("toDeltaLake", path=str(tmp_path / "t"))]
            )
        )
    finally:
        process.stop()
        shutil.rmtree(process.folder)
    assert "the Spark Connect server was started without Delta Lake" in said
    assert "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension" in said


def test_a_server_that_does_not_answer_is_given_up_with_its_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connect, "_ANSWER_SECONDS", 1)
    port = free_port()
    with pytest.raises(PipelineExecutionException, match=rf"no Spark Connect server answers at 127\.0\.0\.1:{port}\n"):
        remote_session(f"sc://127.0.0.1:{port}/;token=not-to-be-told", "tested")


def test_an_address_that_is_none_is_not_repeated_with_what_may_be_in_it():
    with pytest.raises(PipelineConfigurationException) as raised:
        remote_session("https://user:hidden@example.invalid", "tested")
    assert "hidden" not in str(raised.value)
    assert "sc://HOST:PORT" in str(raised.value)


def test_packages_that_are_missing_are_named_with_what_installs_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(PipelineConfigurationException, match=r"(?s)grpc.*'pipeline-platform\[connect\]'"):
        remote_session("sc://127.0.0.1:1", "tested")


FAILURES = """
import json, sys
from pipeline_platform.engine.spark.connect import remote_session
from pipeline_platform.engine.failure_rules import rule_for
from pipeline_platform.engine.failures import failure_message, is_transient
from pipeline_platform.frames.causes import failure_of

spark = remote_session(sys.argv[1], "tested")
failures = []
for action in (
    lambda: spark.read.schema("a INT").csv("hdfs://127.0.0.1:9/x").collect(),
    lambda: spark.sql("SELECT raise_error('connection refused by the clerk')").collect(),
    lambda: spark.sql("SELECT CAST(concat('connection reset', id) AS INT) FROM range(1)").collect(),
    lambda: spark.sql("SELECT nowhere"),
):
    try:
        action()
    except Exception as error:
        failure, found = failure_of(error), rule_for(failure_of(error))
        failures.append((failure.causes[-1].classes[0], failure.causes[-1].condition, is_transient(error),
                         found is not None and found[0].hint, failure_message(failure)))
print(json.dumps(failures))
"""


def test_a_servers_errors_are_told_by_class_and_condition_too(remote: str):
    done = subprocess.run(
        [sys.executable, "-c", FAILURES, remote], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    refused, clerk, cast, unknown = json.loads(done.stdout.splitlines()[-1])
    assert refused[:3] == ["java.net.ConnectException", None, True]
    assert clerk[1:3] == ["USER_RAISED_EXCEPTION", False]
    assert clerk[4] == "connection refused by the clerk"
    assert cast[1:3] == ["CAST_INVALID_INPUT", False]
    assert "(in the expression CAST(concat('connection reset', id) AS INT))" in cast[4]
    assert unknown[1:4] == ["UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", False, "use one of the columns that are there"]
