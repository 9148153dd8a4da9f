"""What all tests share: one Spark session for the whole process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from devtools.services.spark_server import spark_server
from pipeline_platform import redaction
from pipeline_platform.credentials.audit import AUDIT_LOG_VARIABLE
from pipeline_platform.engine.spark.compilers import C1_ALONE
from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use
from pipeline_platform.engine.spark.session import spark_session
from pipeline_platform.engine.spark.sharing import leave_server
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE

pytest_plugins = [
    "pipeline_platform_tests.services.fixtures",
    "pipeline_platform_tests.orchestration.browser",
    "pipeline_platform_tests.wheel",
]

_INTERPRETED = "-Dspark.sql.codegen.factoryMode=NO_CODEGEN"
# Hadoop starts `chmod` for each file that it writes; by default, Java starts a helper each time that starts it.
_STARTS_PROGRAMS_ITSELF = "-Djdk.lang.Process.launchMechanism=VFORK"


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    if request.config.getoption("--on-server"):
        with spark_server(tmp_path_factory.mktemp("state"), "2g"):
            yield spark_session("tests", {}, server=Use.RUNNING)
            leave_server()
        return
    # Rows given as Arrow are an RDD then, and not constants of which the optimizer makes the results itself.
    given_rows = {"spark.sql.execution.arrow.localRelationThreshold": "0"}
    session = spark_session("tests", {"spark.master": "local[2]", **given_rows})
    yield session
    session.stop()


def pytest_configure(config: pytest.Config) -> None:
    # A test's JVM ends before what C2 compiles for it pays, which takes more than half of its time. So it is with the
    # code that Spark makes of plans, where a quarter goes.
    plans = [] if config.getoption("--compiled") else [_INTERPRETED]
    os.environ.setdefault("SPARK_SUBMIT_OPTS", " ".join([C1_ALONE, _STARTS_PROGRAMS_ITSELF, *plans]))
    # A server that a developer has started is not the tests'.
    os.environ[SERVER_VARIABLE] = "never"
    # Who is started in the background by a shell ignores it, and the tests of signals would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on-server", action="store_true", help="Run the tests of one session on a Spark Connect server.")
    parser.addoption("--compiled", action="store_true", help="Have Spark compile its plans, as it does for users.")
    parser.addoption("--pictures", help="Folder for pictures of the UI, taken while it is tested.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--on-server"):
        left = [item for item in items if item.get_closest_marker("in_jvm")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(autouse=True)
def no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test hands out as a secret must not be masked in another."""
    monkeypatch.setattr(redaction, "_known", set())


@pytest.fixture(autouse=True)
def streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the streams of one test say where they stand."""
    monkeypatch.setenv(STREAMS_VARIABLE, str(tmp_path / "streams"))
    return tmp_path / "streams"


@pytest.fixture(autouse=True, scope="session")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the accesses of the tests are noted."""
    path = tmp_path_factory.mktemp("audit") / "credentials.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(AUDIT_LOG_VARIABLE, str(path))
        yield path
