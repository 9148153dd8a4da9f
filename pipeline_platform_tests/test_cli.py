"""The command line as a person or a cron job uses it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import psutil
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.cli.output import CANCELLED
from pipeline_platform.engine.spark import submit
from pipeline_platform.engine.spark.settings import MASTER_VARIABLE
from pipeline_platform.orchestration.project_definitions import project_definitions

FIVE_MISTAKES = """{
  "name": "five-mistakes",
  "mode": "batch",
  "steps": [
    {"type": "extract", "method": "fromFile", "config": {"path": "in", "format": "csv"}},
    {"type": "transform", "method": "filterRows", "config": {"condition": "a >"}},
    {"type": "transform", "method": "enrichData", "config": {"colums": {"b": "a + 1"}}},
    {"type": "load", "method": "toDeltaLake", "config": {"path": "out", "mode": "appendd"}}
  ]
}
"""


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


def written(folder: Path, **config: object) -> Path:
    path = folder / "flow.json"
    steps = [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
        {"type": "transform", "method": "filterRows", "config": {"condition": "value < 10"}},
        {"type": "load", "method": "toDeltaLake", "config": {"path": str(folder / "t"), **config}},
    ]
    path.write_text(json.dumps({"name": "flow", "mode": "batch", "steps": steps}, indent=2))
    return path


def test_check_is_silent_when_all_is_well(cli: CliRunner, tmp_path: Path):
    result = cli.invoke(app, ["check", str(written(tmp_path))])
    assert (result.exit_code, result.output) == (0, "")


def test_check_reports_every_mistake_of_a_file_with_its_line(cli: CliRunner, tmp_path: Path):
    path = tmp_path / "five.json"
    path.write_text(FIVE_MISTAKES)
    result = cli.invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    places = [line.split(": ")[0] for line in result.output.splitlines() if line.startswith(str(path))]
    assert [place.removeprefix(f"{path}:").split(":")[0] for place in places] == ["5", "6", "7", "7", "8"]
    assert "did you mean 'fromFiles'?" in result.output
    assert "did you mean 'columns'?" in result.output
    assert "did you mean 'append'?" in result.output


def test_check_warns_of_a_secret_in_a_file_and_does_not_show_it(cli: CliRunner, tmp_path: Path):
    path = tmp_path / "secret.json"
    config = {
        "path": "s",
        "format": "csv",
        "bucket": "b",
        "accessKeyId": "AKIA-12345",
        "secretAccessKey": "hush-hush-1",
    }
    step = {"type": "extract", "method": "fromS3", "config": config}
    path.write_text(json.dumps({"name": "s", "mode": "batch", "steps": [step]}, indent=1))
    result = cli.invoke(app, ["check", str(path)])
    assert result.exit_code == 0
    assert "warning:" in result.output
    assert "hush-hush-1" not in result.output


def test_run_writes_the_table_and_prints_its_metrics(cli: CliRunner, tmp_path: Path, spark: SparkSession):
    result = cli.invoke(app, ["run", "--json", str(written(tmp_path))])
    assert result.exit_code == 0
    metrics = json.loads(result.stdout)
    assert metrics["status"] == "COMPLETED"
    assert [step["rows"] for step in metrics["steps"]] == [60, 10, 10]
    assert DeltaTable(tmp_path / "t").to_pyarrow_table().num_rows == 10


def test_a_run_with_the_load_id_of_an_earlier_one_loads_nothing_twice(
    cli: CliRunner, tmp_path: Path, spark: SparkSession
):
    for _ in range(2):
        assert cli.invoke(app, ["run", "--load-id", "monday", str(written(tmp_path))]).exit_code == 0
    assert DeltaTable(tmp_path / "t").to_pyarrow_table().num_rows == 10


def test_a_run_says_its_load_id_before_it_loads_so_that_one_that_is_killed_can_be_repeated(
    cli: CliRunner, tmp_path: Path, spark: SparkSession
):
    told = cli.invoke(app, ["run", str(written(tmp_path))]).stderr
    load_id = re.search(r"load id (\w+)", told)
    assert load_id is not None
    assert load_id.start() < told.index(": step ")
    assert cli.invoke(app, ["run", "--load-id", load_id[1], str(written(tmp_path))]).exit_code == 0
    assert DeltaTable(tmp_path / "t").to_pyarrow_table().num_rows == 10


def test_a_failed_run_says_where_and_what_next_and_exits_with_1(cli: CliRunner, tmp_path: Path, spark: SparkSession):
    path = written(tmp_path, partitionBy="nowhere")
    result = cli.invoke(app, ["run", "--json", str(path)])
    assert result.exit_code == 1
    told = result.stderr.replace("\n", " ")
    assert "step 3 (load toDeltaLake)" in told
    assert "nowhere" in told
    assert "Traceback" not in told
    assert json.loads(result.stdout)["status"] == "FAILED"


def test_select_of_a_step_that_does_not_exist_names_those_that_do(cli: CliRunner, tmp_path: Path):
    result = cli.invoke(app, ["run", "--select", "nope", str(written(tmp_path))])
    assert result.exit_code == 1
    assert "from_rate, filter_rows, to_delta_lake" in result.output


def test_check_plan_builds_every_frame_and_writes_nothing(cli: CliRunner, tmp_path: Path, spark: SparkSession):
    assert cli.invoke(app, ["check", "--plan", str(written(tmp_path))]).exit_code == 0
    assert not (tmp_path / "t").exists()
    result = cli.invoke(app, ["check", "--plan", str(written(tmp_path, partitionBy="nowhere"))])
    assert result.exit_code == 1
    assert "nowhere" in result.output


def test_a_stream_of_what_is_there_now_is_run_to_its_end(
    cli: CliRunner, tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text('{"value": 1}\n{"value": 2}\n{"value": 30}\n')
    source = {"path": str(tmp_path / "in"), "format": "json", "schema": "value INT"}
    path = written(tmp_path, trigger="availableNow", checkpointLocation=str(tmp_path / "checkpoint"))
    flow = json.loads(path.read_text()) | {"mode": "streaming"}
    flow["steps"][0] = {"type": "extract", "method": "fromFiles", "config": source}
    path.write_text(json.dumps(flow, indent=2))
    assert cli.invoke(app, ["check", "--plan", str(path)]).exit_code == 0
    assert not (tmp_path / "t").exists()
    result = cli.invoke(app, ["run", "--json", str(path)])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["steps"][-1]["rows"] == 2
    assert "micro-batch 0: " in result.stderr
    assert sorted(DeltaTable(tmp_path / "t").to_pyarrow_table()["value"].to_pylist()) == [1, 2]
    assert cli.invoke(app, ["run", "--select", "from_files", str(path)]).exit_code == 1


def test_metrics_are_served_until_somebody_ends_it(tmp_path: Path):
    program = str(Path(sys.executable).with_name("pipeline-platform"))
    serving = subprocess.Popen([program, "metrics", str(tmp_path), "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        assert serving.stderr is not None
        told = serving.stderr.readline()
        with urlopen(told.removeprefix("serving ").strip()) as response:
            assert response.status == 200
    finally:
        serving.terminate()
    assert serving.wait(30) == 0


def test_a_port_that_is_taken_is_told(cli: CliRunner, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli.invoke(app, ["metrics", str(tmp_path), "--port", str(port)])
    assert result.exit_code == 1
    assert result.stderr == f"can't listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"


def flow(folder: Path, name: str, *between: Mapping[str, object], **keys: object) -> Path:
    """A pipeline of generated rows, some steps, and a Delta table."""
    path = folder / f"{name}.json"
    steps = [
        {"type": "extract", "method": "fromRate", "config": {"rowsPerSecond": 1}},
        *between,
        {"type": "load", "method": "toDeltaLake", "config": {"path": str(folder / name)}},
    ]
    path.write_text(json.dumps({"name": name, "mode": "batch", **keys, "steps": steps}, indent=2))
    return path


def test_a_variable_that_is_not_set_is_told_before_spark_starts(
    cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_session(*_: object) -> None:
        raise AssertionError("Spark was started")

    for module in ("pipeline_platform.engine.spark.session", "pipeline_platform.resources.spark"):
        monkeypatch.setattr(f"{module}.spark_session", no_session, raising=False)
    limited = {"type": "transform", "method": "filterRows", "config": {"condition": "value < ${env:NO_LIMIT}"}}
    batch = flow(tmp_path, "batch", limited)
    stream = flow(tmp_path, "stream", limited, mode="streaming")
    assert cli.invoke(app, ["check", str(batch), str(stream)]).output == ""
    for file in (batch, stream):
        for command in (["run"], ["check", "--plan"]):
            result = cli.invoke(app, [*command, str(file)])
            assert result.exit_code == 1
            told = " ".join(result.output.split())
            assert "step 2 (transform filterRows)" in told
            assert "the environment variable NO_LIMIT (in step 2) is not set" in told
    definitions = project_definitions(tmp_path)
    for job in ("batch", "stream"):
        with dg.DagsterInstance.ephemeral() as instance:
            run = definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)
        failure = run.failure_data_for_node(f"run_{job}")
        assert failure is not None
        assert failure.user_failure_data is not None
        assert "the environment variable NO_LIMIT" in str(failure.user_failure_data.description)


def test_check_plan_gives_each_pipeline_its_own_settings_alone(cli: CliRunner, tmp_path: Path, spark: SparkSession):
    strict = flow(tmp_path, "strict", sparkConf={"spark.sql.caseSensitive": True})
    upper = {"type": "transform", "method": "filterRows", "config": {"condition": "VALUE < 10"}}
    lax = flow(tmp_path, "lax", upper)
    assert cli.invoke(app, ["check", "--plan", str(strict), str(lax)]).exit_code == 0
    wrong = flow(tmp_path, "wrong", upper, sparkConf={"spark.sql.caseSensitive": True})
    result = cli.invoke(app, ["check", "--plan", str(strict), str(wrong), str(lax)])
    assert result.exit_code == 1
    assert "1 error" in result.output
    assert "pipeline 'wrong', step 2 (transform filterRows)" in result.output


def test_check_plan_tells_types_that_clash_with_frame_and_column(cli: CliRunner, tmp_path: Path, spark: SparkSession):
    file = flow(
        tmp_path,
        "clash",
        {"type": "transform", "method": "enrichData", "config": {"columns": {"id": "value"}, "registerAs": "numbers"}},
        {"type": "transform", "method": "enrichData", "config": {"columns": {"id": "'007'"}, "registerAs": "texts"}},
        {"type": "transform", "method": "unionDataFrames", "config": {"inputDataFrames": ["numbers", "texts"]}},
    )
    result = cli.invoke(app, ["check", "--plan", str(file)])
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert "step 4 (transform unionDataFrames)" in told
    assert "'numbers' has the column 'id' as bigint, and 'texts' has 'id' as string" in told
    assert "CAST(id AS bigint)" in told


def test_column_names_are_told_apart_as_spark_does(cli: CliRunner, tmp_path: Path, spark: SparkSession):
    added = {"straße": "value", "strasse": "value + 1", "ﬁn": "value", "fin": "value + 2"}
    variant = "parse_json(concat('{\"x\": {\"y\": [', value, ']}}')):x.y[0]::int = value"
    file = flow(
        tmp_path,
        "sharp",
        {"type": "transform", "method": "enrichData", "config": {"columns": added}},
        {"type": "transform", "method": "filterRows", "config": {"condition": variant}},
        {"type": "validate", "method": "validateNulls", "config": {"notNullColumns": list(added)}},
        {"type": "transform", "method": "deduplicate", "config": {"columns": ["straße", "strasse"]}},
    )
    result = cli.invoke(app, ["run", str(file)])
    assert result.exit_code == 0, result.output
    rows = DeltaTable(tmp_path / "sharp").to_pyarrow_table().sort_by("value").to_pylist()
    assert [{name: row[name] for name in added} for row in rows] == [
        {"straße": value, "strasse": value + 1, "ﬁn": value, "fin": value + 2} for value in range(60)
    ]


def test_warm_up_says_where_all_is_that_a_run_would_wait_for(cli: CliRunner, spark: SparkSession):
    done = cli.invoke(app, ["warm-up"])
    assert done.exit_code == 0, done.output
    context: Any = spark.sparkContext
    settings = dict(context.getConf().getAll())
    home = context._jvm.System.getenv("SPARK_HOME")
    (jars,) = {str(Path(jar).parent) for jar in settings["spark.driver.extraClassPath"].split(":")}
    (archive,) = re.findall(r"SharedArchiveFile=(\S+)", settings["spark.driver.extraJavaOptions"])
    where = dict(re.findall(r"(?m)^(.+?) {2,}(.*)$", done.output))
    assert where == {
        "Spark": home,
        "connector jars": f"{jars}: {len(list(Path(jars).iterdir()))}",
        "class archive": archive,
    }


def test_warm_up_fails_without_java(cli: CliRunner, tmp_path: Path):
    failed = cli.invoke(app, ["warm-up"], env={"JAVA_HOME": str(tmp_path)})
    assert failed.exit_code == 1
    assert "Java" in failed.output


def test_a_master_that_spark_submit_does_not_know_is_told_before_java_starts(
    cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(MASTER_VARIABLE, "nosuch:7077")
    failed = cli.invoke(app, ["submit", str(written(tmp_path))])
    assert failed.exit_code == 1
    assert "knows no master like 'nosuch:7077'\n  next: set SPARK_MASTER to local[*]" in failed.stderr


def test_who_ends_submit_ends_the_driver_that_it_has_started(
    cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = tmp_path / "pid"
    driver = f"import os, pathlib, time; pathlib.Path({str(said)!r}).write_text(str(os.getpid())); time.sleep(600)"

    @contextmanager
    def command(*_: object) -> Generator[list[str]]:
        yield [sys.executable, "-c", driver]

    def end() -> None:
        while not (said.exists() and said.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(submit, "submit_command", command)
    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=end).start()
    try:
        done = cli.invoke(app, ["submit", str(written(tmp_path))])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (done.exit_code, done.stderr.strip()) == (CANCELLED, "the run was stopped; nothing is half-written")
    assert not psutil.pid_exists(int(said.read_text()))
