"""A JVM that dies is called dead, a setting that Spark does not take is named, and either way the process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from devtools.pipelines import json_rows, load, pipeline_text, transform
from pipeline_platform_tests.engine.processes import PATIENCE_SECONDS
from pipeline_platform_tests.engine.spark import dying_jvm


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sink") / "out"


@pytest.fixture(scope="module")
def ended(sink: Path) -> list[str]:
    """What the runs of one process said: with a wrong master, a wrong setting, a huge text, a killed JVM, and after."""
    folder = sink.parent
    rows = json_rows(folder / "rows.json", [{"a": 1}, {"a": 2}], "a BIGINT")
    rows["config"]["cache"] = True
    steps = [rows, load("toFiles", path=str(sink), format="json")]
    settings = {
        "master.json": {"spark.master": "localx"},
        "partitions.json": {"spark.sql.shuffle.partitions": "x"},
        "good.json": {"spark.sql.shuffle.partitions": "1"},
    }
    for name, conf in settings.items():
        (folder / name).write_text(pipeline_text(steps, sparkConf=conf, retry={"maxAttempts": 3, "delaySeconds": 0}))
    too_large = transform("enrichData", columns={"text": "repeat('x', 2000000000) || a"})
    (folder / "memory.json").write_text(pipeline_text([rows, too_large, steps[-1]]))
    files = ("master.json", "partitions.json", "memory.json", "good.json")
    done = subprocess.run(
        [sys.executable, "-m", dying_jvm.__name__, *(str(folder / name) for name in files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert "Traceback" not in done.stdout
    assert "\tat " not in done.stdout
    told = [" ".join(run.split()) for run in done.stdout.split("ended with ")]
    assert [run[0] for run in told[1:]] == ["1", "1", "1", "1", "0"]
    return told


def test_a_master_that_spark_does_not_know_is_told(ended: list[str]) -> None:
    assert "Could not parse Master URL: 'localx'" in ended[0]
    assert "next: correct the value in sparkConf" in ended[0]


def test_a_setting_that_spark_does_not_take_is_told(ended: list[str]) -> None:
    assert "The value 'x' in the config \"spark.sql.shuffle.partitions\" is invalid" in ended[1]
    assert "next: correct the value in sparkConf" in ended[1]


def test_a_task_that_runs_out_of_memory_is_told_with_what_to_set(ended: list[str]) -> None:
    assert "spark.driver.memory" in ended[2]


def test_a_jvm_that_is_killed_is_called_dead_and_not_asked_again(ended: list[str]) -> None:
    assert "step 2 (load toFiles)" in ended[3]
    assert "Spark's process (Java) was killed" in ended[3]
    assert "the container more memory than one and a half times 'spark.driver.memory'" in ended[3]
    assert "attempt" not in ended[3]


def test_the_next_run_of_the_process_has_a_jvm_of_its_own(ended: list[str], sink: Path) -> None:
    assert "completed" in ended[4]
    assert duckdb.execute(f"SELECT a FROM '{sink}/*.json' ORDER BY a").fetchall() == [(1,), (2,)]
