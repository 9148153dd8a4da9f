"""The JVM starts quietly, says why if it does not start, and from an archive that is made once."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import psutil
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, run, transform
from pipeline_platform.engine.spark import jvm
from pipeline_platform.engine.spark.home import CACHE_VARIABLE
from pipeline_platform.engine.spark.java import require_java
from pipeline_platform.engine.spark.jvm import DRIVER_OPTIONS, class_archive, driver_options, launch
from pipeline_platform.exceptions import PipelineExecutionException


def test_a_jvm_that_does_not_start_says_why() -> None:
    with pytest.raises(PipelineExecutionException) as raised:
        launch({DRIVER_OPTIONS: "-Xss1"})
    assert "stack size specified is too small" in raised.value.message
    assert "sparkConf" in (raised.value.hint or "")


def test_what_the_jvm_says_is_handed_on_but_the_noise(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PipelineExecutionException):
        launch({DRIVER_OPTIONS: "--add-modules=jdk.incubator.vector -Xss1"})
    said = capfd.readouterr()
    assert "stack size specified is too small" in said.err
    assert "incubator" not in said.err
    assert said.out == ""


def test_settings_reach_spark_and_stand_neither_on_a_command_line_nor_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path / "conf"))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text("spark.test.default kept\nspark.test.secret replaced\n")
    secret = "canary/\u00fc\U0001f511 \\ = : \"'%"
    settings = {"spark.driver.memory": "300m", "spark.test.secret": secret, DRIVER_OPTIONS: "-Dtest.option=given"}
    seen: set[str] = set()
    modes: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for child in psutil.Process().children(recursive=True):
                # One that has ended meanwhile hides none of the others.
                with suppress(psutil.Error):
                    seen.add(" ".join([*child.cmdline(), *child.environ().values()]))
            time.sleep(0.02)
            modes.update(path.stat().st_mode & 0o777 for path in tmp_path.glob("*/*.properties"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        gateway = launch(settings)
    finally:
        ended.set()
        watching.join()
    process = psutil.Process(cast("subprocess.Popen[bytes]", gateway.proc).pid)
    try:
        seen.add(" ".join([*process.cmdline(), *process.environ().values()]))
        java: Any = gateway.jvm.java
        system = java.lang.System
        assert system.getProperty("spark.test.secret") == secret
        assert system.getProperty("spark.test.default") == "kept"
        assert system.getProperty("test.option") == "given"
        assert java.lang.Runtime.getRuntime().maxMemory() <= 300 * 2**20
    finally:
        gateway.shutdown()
        process.terminate()
    assert any("org.apache.spark.launcher.Main" in line for line in seen)
    assert any("org.apache.spark.deploy.SparkSubmit" in line for line in seen)
    assert not [line for line in seen if "canary" in line]
    assert modes == {0o600}
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_options_that_were_asked_for_come_last_and_so_win() -> None:
    assert driver_options("-Xss4m", None).endswith(" -Xss4m")
    assert driver_options(None, None).startswith("-Duser.timezone=UTC -Xss16m ")
    assert "-XX:SharedArchiveFile=/x.jsa" in driver_options(None, Path("/x.jsa"))


@pytest.mark.timeout(600)
def test_a_pipeline_of_very_many_filters_plans_and_runs(spark: SparkSession, tmp_path: Path) -> None:
    # With the 1 MB that Java gives a thread by default this ends the JVM. 300 take four times as long, and go, too.
    filters = [transform("filterRows", condition=f"value <> {index}") for index in range(100, 250)]
    run(
        spark,
        extract("fromRate", rowsPerSecond=10),
        *filters,
        load("toFiles", path=f"{tmp_path}/out", format="parquet"),
    )
    values = pq.read_table(tmp_path / "out")["value"].to_pylist()
    assert sorted(values) == [*range(100), *range(250, 600)]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The archives that were made; making one is a matter of writing a file."""
    made: list[Path] = []

    def train(archive: Path) -> bool:
        made.append(archive)
        archive.write_text("classes")
        return True

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(jvm, "_dump", train)
    return made


def test_the_archive_is_made_once_for_each_set_of_jars(trained: list[Path]) -> None:
    said: list[str] = []
    java, jars = require_java(), [Path("/a.jar")]
    archive = class_archive(java, jars, said.append)
    assert archive is not None
    assert class_archive(java, jars, said.append) == archive
    assert (len(trained), len(said)) == (1, 1)
    assert class_archive(java, [Path("/b.jar")], said.append) not in (None, archive)


def test_an_archive_that_can_not_be_made_stops_nothing_and_is_not_tried_again(
    trained: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(jvm, "_dump", lambda archive: False)
    for _ in range(2):
        assert class_archive(require_java(), [], said.append) is None
    assert len(said) == 1


def test_an_archive_that_another_process_is_making_is_not_waited_for(trained: list[Path]) -> None:
    java = require_java()
    archive = class_archive(java, [], lambda line: None)
    assert archive is not None
    archive.unlink()
    with jvm.FileLock(f"{archive}.lock"):
        assert class_archive(java, [], lambda line: None) is None
