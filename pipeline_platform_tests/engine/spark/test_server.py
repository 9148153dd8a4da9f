"""The Spark server of a machine, which runs share, as people start, use and end it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable

from devtools.pipelines import StepValue, extract, load, transform
from devtools.services.s3 import S3Server
from devtools.services.spark_server import end_server, spark_state
from pipeline_platform.engine.spark.server import (
    SERVER_VARIABLE,
    SparkServer,
    running_server,
    server_file,
    start_server,
    stop_server,
)
from pipeline_platform.engine.spark.sharing import configured_use
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform_tests.connectors.databases import until
from pipeline_platform_tests.engine.processes import (
    COMMAND,
    PATIENCE_SECONDS,
    WAITING_ALLOWED,
    finished,
    running,
    started,
    wait_until,
    waiting,
    write_pipeline,
    write_rows,
)

pytestmark = pytest.mark.timeout(900)

ANSWERS = """
import sys
from pyspark.sql import SparkSession
print(SparkSession.builder.remote(sys.argv[1]).getOrCreate().range(3).count())
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server of these tests is noted; ends it, if it runs."""
    folder = tmp_path_factory.mktemp("state")
    # As for a service, whose PATH does not know the environment that the platform is in.
    another = tmp_path_factory.mktemp("another") / "python3"
    another.write_text("#!/bin/sh\necho this is another Python >&2\nexit 3\n")
    another.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, spark_state(folder):
        patch.setenv("PATH", f"{another.parent}:{os.environ['PATH']}")
        patch.delenv("PYSPARK_PYTHON", raising=False)
        patch.setenv(SERVER_VARIABLE, "running")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-shell")
        yield folder


@pytest.fixture
def server(state: Path) -> SparkServer:
    """The server that all of these tests share, unless one of them has ended it."""
    return start_server("1g")


def without_spark() -> dict[str, str]:
    """The environment, where nothing says on which Spark to run."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}


def called(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, where nothing says on which Spark to run."""
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        env={**without_spark(), **WAITING_ALLOWED, **environment},
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def spark_of(file: Path, **environment: str) -> tuple[str, dict[str, Any]]:
    """Which Spark a run had, as a table tells that it has written, and its metrics."""
    done = called("run", str(file), "--json", **environment)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    (row,) = DeltaTable(file.parent / "table").to_pyarrow_table().to_pylist()
    return row["spark"], metrics


def telling(folder: Path, **keys: Any) -> Path:
    """A pipeline that writes the options of its JVM's Spark into a table."""
    (folder / "one.csv").write_text("id\n1\n")
    steps: list[StepValue] = [
        extract("fromFiles", path=str(folder / "one.csv"), format="csv"),
        transform("enrichData", columns={"spark": "java_method('java.lang.System', 'getProperty', 'spark.app.name')"}),
        load("toDeltaLake", path=str(folder / "table"), mode="overwrite"),
    ]
    return write_pipeline(folder, steps, **keys)


def test_a_run_is_on_the_server_while_it_is_there_and_leaves_nobody_connected(server: SparkServer, tmp_path: Path):
    file = telling(tmp_path)
    on, metrics = spark_of(file)
    assert (on, metrics["rows_written"]) == ("pipeline-platform-server", 1)
    until(lambda: server.clients() == 0)
    assert spark_of(file, **{SERVER_VARIABLE: "never"})[0] == "tested"


def test_a_setting_that_is_fixed_when_spark_starts_is_a_reason_for_a_spark_of_its_own(
    server: SparkServer, tmp_path: Path
):
    assert server.is_alive()
    sql = {"spark.sql.shuffle.partitions": "3"}
    assert spark_of(telling(tmp_path, sparkConf=sql))[0] == "pipeline-platform-server"
    fixed = {**sql, "spark.driver.memory": "1g", "spark.sql.warehouse.dir": str(tmp_path / "w")}
    done = called("run", str(telling(tmp_path, sparkConf=fixed)))
    assert done.returncode == 0, done.stderr
    assert "not on the Spark server that runs: spark.driver.memory, spark.sql.warehouse.dir can only be set" in (
        " ".join(done.stderr.split())
    )
    (row,) = DeltaTable(tmp_path / "table").to_pyarrow_table().to_pylist()
    assert row["spark"] == "tested"


def test_a_server_of_another_version_is_left_alone(server: SparkServer, tmp_path: Path):
    server.model_copy(update={"build": "of-another"}).write(server_file())
    try:
        done = called("run", str(telling(tmp_path)))
        assert done.returncode == 0, done.stderr
        assert "it belongs to another version of the platform" in " ".join(done.stderr.split())
        started_again = called("spark", "start")
        assert started_again.returncode == 1
        assert "end it with `pipeline-platform spark stop`" in started_again.stderr
    finally:
        server.write(server_file())


def test_only_who_can_read_its_file_can_use_the_server(server: SparkServer):
    assert stat.S_IMODE(server_file().stat().st_mode) == 0o600
    address = f"sc://localhost:{server.port}"

    def answer(remote: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", ANSWERS, remote],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    assert answer(server.remote).stdout == "3\n"
    for wrong in (address, f"{address}/;token=guessed"):
        done = answer(wrong)
        assert done.returncode != 0
        assert "UNAUTHENTICATED" in done.stderr or "Invalid authentication token" in done.stderr


def test_the_server_does_not_know_the_credentials_of_the_shell_that_started_it(server: SparkServer):
    known = psutil.Process(server.jvm.pid).environ()
    assert "PATH" in known
    assert "AWS_SECRET_ACCESS_KEY" not in known


PYTHON_OF_WORKERS = """
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.engine.spark.session import spark_session

spark = spark_session("client", {}, server=Use.RUNNING)
print(spark.range(1).mapInArrow(lambda batches: batches, "id BIGINT").count())
"""


def test_functions_in_python_run_in_that_of_who_started_the_server_whatever_the_path_has(server: SparkServer):
    assert server.is_alive()
    done = subprocess.run(
        [sys.executable, "-c", PYTHON_OF_WORKERS], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.stdout == "1\n", done.stderr[-2000:]


def test_starting_it_twice_gives_the_same_one_and_its_status_tells_how_it_is(server: SparkServer):
    assert start_server() == server
    told = called("spark", "status", "--json")
    assert told.returncode == 0, told.stderr
    status = json.loads(told.stdout)
    assert (status["pid"], status["connections"], status["memory"]) == (server.jvm.pid, 0, "1g")
    assert status["memory_used_bytes"] > 2**27
    assert server.token not in told.stdout


SESSIONS = """
import json, sys
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.connectors.storage.location import place_of
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.engine.spark.session import spark_session

(uri, keys), partitions = json.loads(sys.argv[1]), sys.argv[2]
spark = spark_session("client", {"spark.sql.shuffle.partitions": partitions}, server=Use.RUNNING)
place = place_of(uri, S3Credentials.model_validate(keys))
spark.range(int(partitions)).createOrReplaceTempView("numbers")
print("ready", flush=True)
for _ in sys.stdin:
    try:
        rows = spark.read.options(**place.spark_options()).parquet(uri).count()
    except Exception as error:
        rows = type(error).__name__
    print(spark.table("numbers").count(), spark.conf.get("spark.sql.shuffle.partitions"), rows, flush=True)
"""


def test_runs_at_the_same_time_have_keys_views_and_settings_of_their_own(server: SparkServer, s3: S3Server):
    assert server.is_alive()
    s3.make_bucket("shared-server")
    uri, right = "s3a://shared-server/rows", s3.credentials()
    wrong = {**right, "secretAccessKey": "not-the-key-of-anyone"}
    kept = without_spark()
    write = "import json, sys; " + (
        "from pipeline_platform.connectors.storage.credentials import S3Credentials; "
        "from pipeline_platform.connectors.storage.location import place_of; "
        "from pipeline_platform.engine.spark.server import Use; "
        "from pipeline_platform.engine.spark.session import spark_session; "
        "uri, keys = json.loads(sys.argv[1]); "
        "options = place_of(uri, S3Credentials.model_validate(keys)).spark_options(); "
        "spark_session('writer', {}, server=Use.RUNNING).range(5).write.options(**options).parquet(uri)"
    )
    subprocess.run([sys.executable, "-c", write, json.dumps([uri, right])], env=kept, check=True, timeout=300)
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", SESSIONS, json.dumps([uri, keys]), partitions],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=kept,
        )
        for keys, partitions in ((right, "3"), (wrong, "4"), (right, "7"))
    ]
    try:
        said: list[list[str]] = []
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for _ in range(2):
            for client in clients:
                assert client.stdin is not None
                client.stdin.write("go\n")
                client.stdin.flush()
            said += [client.stdout.readline().split() for client in clients if client.stdout is not None]
    finally:
        for client in clients:
            client.communicate(timeout=60)
    for mine, stranger, other in (said[:3], said[3:]):
        assert mine == ["3", "3", "5"]
        assert other == ["7", "7", "5"]
        assert stranger[:2] == ["4", "4"]
        assert not stranger[2].isdigit()


BOTH = """
import sys
from pathlib import Path
import dagster as dg
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.resources.spark import SparkResource

@dg.asset
def own(spark: SparkResource) -> None:
    assert spark.spark_session.sparkContext.parallelize([1, 2]).sum() == 3

defs = dg.Definitions.merge(project_definitions(Path(sys.argv[1])), dg.Definitions(assets=[own]))
for asset in ("tested", "own", "tested"):
    keys = [key for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[0] == asset]
    run = defs.resolve_implicit_global_asset_job_def()
    assert run.execute_in_process(asset_selection=keys, instance=dg.DagsterInstance.ephemeral()).success
    from pyspark.sql import SparkSession
    print(type(SparkSession.getActiveSession()).__module__)
"""


def test_dagster_starts_one_on_demand_and_a_person_s_own_asset_has_a_spark_context(state: Path, tmp_path: Path):
    end_server()
    telling(tmp_path)
    environment = {**without_spark(), **WAITING_ALLOWED, SERVER_VARIABLE: "on_demand"}
    with running([sys.executable, "-c", BOTH, str(tmp_path)], environment) as process:
        said = finished(process)
    assert process.returncode == 0, said
    # The last run finds the Spark that the person's asset has started.
    sessions = [line for line in said.splitlines() if line.startswith("pyspark.")]
    assert sessions == ["pyspark.sql.connect.session", "pyspark.sql.session", "pyspark.sql.session"]
    assert "starting a Spark server, which the next runs use too" in said
    started_one = running_server()
    assert started_one is not None
    assert started_one.idle_minutes == 10
    stop_server(started_one)


def killed_meanwhile(folder: Path, server: SparkServer, number: signal.Signals, victim: int) -> str:
    """What a run says whose server is killed while it works."""
    steps = [
        write_rows(folder, wait_milliseconds=600_000),
        waiting(),
        load("toFiles", path=str(folder / "files"), format="json"),
    ]
    file = write_pipeline(folder, steps)
    gone: Mapping[str, str] = {"SPARK_MASTER": ""}
    with started(file, environment=gone) as process:
        wait_until(lambda: any((folder / "files").rglob("*.json")), process)
        assert server.clients() > 0
        refused = called("spark", "stop")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "runs use the server" in refused.stderr
        os.kill(victim, number)
        said = finished(process)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return " ".join(said.split())


def test_a_run_whose_server_is_killed_says_so_and_the_next_one_does_without(server: SparkServer, tmp_path: Path):
    said = killed_meanwhile(tmp_path, server, signal.SIGKILL, server.jvm.pid)
    assert "Spark's process (Java) was killed" in said
    assert server.token not in said
    assert called("spark", "status").returncode == 1
    (tmp_path / "next").mkdir()
    assert spark_of(telling(tmp_path / "next"))[0] == "tested"


def test_a_server_ends_when_nobody_uses_it(state: Path):
    end_server()
    server = start_server("1g", idle_minutes=0.05)
    until(lambda: not server.jvm.is_alive() and not server.keeper.is_alive())
    assert not server_file().exists()


def test_a_server_that_does_not_start_says_why(state: Path):
    end_server()
    done = called("spark", "start", "--memory", "much")
    assert done.returncode == 1
    assert "the Spark server ended" in done.stderr
    assert "much" in done.stderr
    assert "Traceback" not in done.stderr
    assert running_server() is None


def test_whether_to_use_it_is_one_of_three_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SERVER_VARIABLE, "always")
    with pytest.raises(PipelineConfigurationException, match="'always', which says nothing"):
        configured_use()


WATCHED = """
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.engine.spark_progress import watched

told = []
spark = spark_session("watched", {}, server=Use.RUNNING)
with watched(spark, told.append, 0.1):
    sleeps = "java_method('java.lang.Thread', 'sleep', 1500 + id * 0)"
    spark.range(0, 12, 1, 12).selectExpr(sleeps).write.format("noop").mode("overwrite").save()
before = len(told)
spark.range(0, 4, 1, 4).selectExpr(sleeps).write.format("noop").mode("overwrite").save()
print(before == len(told), *told, sep="\\n")
"""


def test_a_run_on_it_tells_how_many_of_its_tasks_are_done(server: SparkServer):
    assert server.is_alive()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    nothing_later, *told = done.stdout.splitlines()
    assert nothing_later == "True"
    assert told
    assert all(line.endswith(" of 12 tasks done") for line in told)
