"""Which runs are taken for short, and start a JVM that compiles with C1 alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.spark import compilers, session
from pipeline_platform.engine.spark.compilers import C1_ALONE, is_short, remember
from pipeline_platform.engine.spark.jvm import DRIVER_OPTIONS
from pipeline_platform.registry import method_registry


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compilers, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def reading(folder: Path, *sources: StepValue, mode: str = "batch") -> PipelineConfig:
    steps = [*sources, load("toDeltaLake", path=str(folder / "out"))]
    (folder / "p.json").write_text(json.dumps({"name": "p", "mode": mode, "steps": steps}))
    return load_pipeline(folder / "p.json", method_registry())


def file_of(folder: Path, megabytes: int) -> StepValue:
    with (folder / f"{megabytes}.csv").open("wb") as file:
        file.truncate(megabytes << 20)
    return extract("fromFiles", path=str(folder / f"{megabytes}.csv"), format="csv", registerAs=f"f{megabytes}")


RATE = extract("fromRate", rowsPerSecond=10)
ON_S3 = extract("fromFiles", path="s3://bucket/rows.csv", format="csv")


def test_what_is_known_to_read_little_is_short(tmp_path: Path):
    assert is_short(reading(tmp_path, RATE))
    assert is_short(reading(tmp_path, file_of(tmp_path, 1), file_of(tmp_path, 9)))


def test_what_reads_much_or_nobody_knows_how_much_is_long(tmp_path: Path):
    assert not is_short(reading(tmp_path, file_of(tmp_path, 9), file_of(tmp_path, 8)))
    for place in ("*.csv", "nowhere"):
        source = extract("fromFiles", path=f"{tmp_path}/{place}", format="csv")
        assert not is_short(reading(tmp_path, source))
    assert not is_short(reading(tmp_path, ON_S3))


def test_a_stream_is_long(tmp_path: Path):
    assert not is_short(reading(tmp_path, RATE, mode="streaming"))


def test_how_long_the_last_run_took_says_more_than_sizes(tmp_path: Path):
    remember(reading(tmp_path, ON_S3), 5)
    assert is_short(reading(tmp_path, ON_S3))
    remember(reading(tmp_path, RATE), 500)
    assert not is_short(reading(tmp_path, RATE))


def test_a_range_takes_as_long_as_its_partitions(tmp_path: Path):
    pipeline = reading(tmp_path, ON_S3)
    remember(pipeline, 20, partitions=10)
    assert is_short(pipeline, partitions=30)
    assert not is_short(pipeline, partitions=31)


def test_a_run_that_failed_tells_only_that_it_takes_longer(tmp_path: Path):
    pipeline = reading(tmp_path, ON_S3)
    remember(pipeline, 70, is_whole=False)
    assert not is_short(pipeline)
    remember(pipeline, 5, is_whole=False)
    assert not is_short(pipeline)
    remember(pipeline, 5)
    assert is_short(pipeline)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"seconds": null}', '{"seconds": "x"}'])
def test_a_note_that_can_not_be_read_is_none(content: str, tmp_path: Path, cache: Path):
    remember(reading(tmp_path, RATE), 500)
    (note,) = (cache / "runs").iterdir()
    note.write_text(content)
    assert is_short(reading(tmp_path, RATE))


def test_a_cache_that_can_not_be_written_to_is_no_failure(tmp_path: Path, cache: Path):
    cache.write_text("a file")
    remember(reading(tmp_path, RATE), 500)
    assert is_short(reading(tmp_path, RATE))


@pytest.mark.parametrize("is_brief", [True, False])
def test_the_jvm_of_a_short_run_has_no_c2_unless_the_user_wants_it(is_brief: bool, monkeypatch: pytest.MonkeyPatch):
    given: list[dict[str, str]] = []
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr(session, "_started", given.append)
    own = {DRIVER_OPTIONS: "-XX:TieredStopAtLevel=4"}
    session.spark_session("p", own, is_short=is_brief)
    options = given[0][DRIVER_OPTIONS]
    assert (C1_ALONE in options) is is_brief
    assert options.endswith(own[DRIVER_OPTIONS])


def test_a_run_is_remembered(spark: SparkSession, tmp_path: Path, cache: Path):
    def run(**config: Any) -> Any:
        pipeline = reading(tmp_path, extract("fromRate", rowsPerSecond=1))
        return BatchRun(pipeline, spark, **config).run()

    run(selection=frozenset({"from_rate"}))
    assert not cache.exists()
    run()
    (note,) = (cache / "runs").iterdir()
    assert 0 < json.loads(note.read_text())["seconds"] < 600
