"""What passes by itself is tried again; nothing else is."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from devtools.pipelines import extract, last_step, load, pipeline_of, run, transform, validate
from pipeline_platform.config.step import Step
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.failures import is_transient
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    PipelineExecutionException,
    ValidationException,
)
from pipeline_platform.metrics.run import RunMetrics, StepMetrics
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.transform import Frames, Transform

RATE = extract("fromRate", rowsPerSecond=1)


class Flaky(Transform):
    """Fails with each of these errors in turn, then hands its frame on."""

    method: ClassVar[str] = "flaky"
    errors: ClassVar[list[BaseException]] = []
    times: ClassVar[list[float]] = []

    def apply(self, frames: Frames) -> DataFrame:
        Flaky.times.append(time.monotonic())
        if Flaky.errors:
            raise Flaky.errors.pop(0)
        return frames.frame


_PLATFORM = method_registry()
METHODS = replace(_PLATFORM, methods={**_PLATFORM.methods, "transform": {**_PLATFORM["transform"], "flaky": Flaky}})


def run_flaky(spark: SparkSession, path: Path, *errors: BaseException, **retry: Any) -> tuple[RunMetrics, list[float]]:
    """Run a pipeline that fails so; its metrics, and the seconds between the attempts."""
    Flaky.errors[:], Flaky.times[:] = list(errors), []
    retry = {"delaySeconds": 0, **retry}
    metrics = run(spark, RATE, transform("flaky"), load("toDeltaLake", path=str(path)), methods=METHODS, retry=retry)
    pairs = zip(Flaky.times, Flaky.times[1:], strict=False)
    return metrics, [after - before for before, after in pairs]


def refused() -> BaseException:
    """The error of a port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError as error:
        return error
    raise AssertionError("somebody listens there")


def test_a_refused_connection_is_tried_again_and_counted(spark: SparkSession, tmp_path: Path) -> None:
    metrics, _ = run_flaky(spark, tmp_path / "t", refused(), refused())
    assert metrics.attempts == 3
    assert last_step(metrics).rows == 60


def test_attempts_end_with_the_last_error(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(PipelineExecutionException, match="Connection refused") as raised:
        run_flaky(spark, tmp_path / "t", refused(), refused(), maxAttempts=2)
    assert raised.value.retryable
    assert raised.value.hint == "check that the other system is up and can be reached"
    assert len(Flaky.times) == 2
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(("backoff", "expected"), [("constant", [0.3, 0.3]), ("exponential", [0.3, 0.6])])
def test_the_delay_is_as_the_file_says(
    spark: SparkSession, tmp_path: Path, backoff: str, expected: list[float]
) -> None:
    _, delays = run_flaky(spark, tmp_path / "t", refused(), refused(), delaySeconds=0.3, backoff=backoff)
    for delay, least in zip(delays, expected, strict=True):
        assert least <= delay < least + 0.29


@pytest.mark.parametrize(
    "error",
    [
        PipelineConfigurationException("connection refused"),
        ValidationException("deadlock", rule="r", violations=1, rows=1),
        PipelineCancelledException("connection reset"),
        AnalysisException("connection refused SQLSTATE: 42703"),
        ValueError("no reason to try again"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(spark: SparkSession, tmp_path: Path, error: Exception) -> None:
    with pytest.raises(PipelineException):
        run_flaky(spark, tmp_path / "t", error)
    assert len(Flaky.times) == 1


def test_a_server_that_is_not_up_yet_is_reached_by_a_later_attempt(spark: SparkSession, tmp_path: Path) -> None:
    pipeline = pipeline_of(
        [extract("fromFiles", path="hdfs://127.0.0.1:9/x", format="csv", schema="a INT")],
        retry={"maxAttempts": 2, "delaySeconds": 0.01},
    )
    batch = BatchRun(pipeline, spark)
    with pytest.raises(PipelineExecutionException, match="Connection refused"):
        batch.run()
    assert batch.record.attempts == 2


def test_what_an_earlier_attempt_has_loaded_is_known_when_the_last_one_fails(
    spark: SparkSession, tmp_path: Path
) -> None:
    def cut_off(event: str, step: Step, metrics: StepMetrics | None) -> None:
        if event == "started" and step.name == "to_delta_lake_2":
            Flaky.errors.append(ValueError("no reason to try again"))
            raise refused()

    Flaky.errors.clear()
    loads = [load("toDeltaLake", path=str(tmp_path / name)) for name in "ab"]
    steps = [RATE, transform("flaky"), validate("validateRowCount", min=1), *loads]
    batch = BatchRun(pipeline_of(steps, METHODS, retry={"delaySeconds": 0}), spark, listener=cut_off)
    with pytest.raises(PipelineException, match="no reason to try again"):
        batch.run()
    assert batch.record.attempts == 2
    assert batch.has_loaded()
    assert [(step.name, step.status) for step in batch.record.steps.values()] == [
        ("to_delta_lake", "COMPLETED"),
        ("flaky", "FAILED"),
    ]


def test_interruptions_are_never_transient() -> None:
    interruptions: Mapping[str, BaseException] = {
        "deadlock": KeyboardInterrupt("deadlock"),
        "x": SystemExit("deadlock"),
    }
    assert not any(is_transient(error) for error in interruptions.values())
