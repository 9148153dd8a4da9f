"""What operators do to streams: nothing is lost, nothing is there twice, or it is refused before anything is written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform_tests.engine.test_stream import arrivals, arrive, file_of, ids_in, stream, to_delta
from pipeline_platform_tests.runs import StepValue, load, validate
from pipeline_platform_tests.services.mariadb import MariaDB
from pipeline_platform_tests.services.postgres import Postgres

BATCHES = (range(4), range(4, 7), range(7, 12))
NEW = range(12, 16)
WAYS_OUT = {"newest copy": None, "--keep-offsets": ["--keep-offsets"], "reset-checkpoint": []}


def checkpoint_of(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "tested" / "stream"


def put_back_an_older_copy(spark: SparkSession, tmp_path: Path, *steps: StepValue) -> None:
    """A micro-batch, a copy of the checkpoint, two more of which there is a copy too, and the first one put back."""
    for number, ids in enumerate(BATCHES):
        arrive(tmp_path / "in", f"{number}", ids)
        stream(spark, tmp_path, *steps)
        shutil.copytree(checkpoint_of(tmp_path), tmp_path / f"copy {number}")
    put_back(tmp_path, 0)
    arrive(tmp_path / "in", "new", NEW)


def put_back(tmp_path: Path, number: int) -> None:
    shutil.rmtree(checkpoint_of(tmp_path))
    shutil.copytree(tmp_path / f"copy {number}", checkpoint_of(tmp_path))


def take(way_out: str, tmp_path: Path, *steps: StepValue) -> None:
    """Do what the message says."""
    options = WAYS_OUT[way_out]
    if options is None:
        put_back(tmp_path, len(BATCHES) - 1)
        return
    result = CliRunner().invoke(app, ["reset-checkpoint", *options, str(file_of(tmp_path, *steps))])
    assert result.exit_code == 0, result.stderr


def left_by(way_out: str, kept: Iterable[int] = range(NEW.stop)) -> Counter[int]:
    """How often each of these numbers is in a sink in the end."""
    again = {"newest copy": (), "--keep-offsets": range(BATCHES[0].stop, BATCHES[-1].stop)}.get(
        way_out, range(BATCHES[-1].stop)
    )
    return Counter(number for number in [*range(NEW.stop), *again] if number in set(kept))


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_a_checkpoint_that_is_older_than_the_table_is_refused_and_each_way_out_loses_nothing(
    spark: SparkSession, tmp_path: Path, way_out: str
):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    put_back_an_older_copy(spark, tmp_path, *steps)
    before = DeltaTable(tmp_path / "out").version()
    for _ in range(2):
        with pytest.raises(PipelineConfigurationException) as raised:
            stream(spark, tmp_path, *steps)
        assert "ends with micro-batch 0" in raised.value.message
        assert "/out (toDeltaLake) holds micro-batch 2" in raised.value.message
        assert "reset-checkpoint tested.json --keep-offsets" in str(raised.value)
    assert DeltaTable(tmp_path / "out").version() == before
    take(way_out, tmp_path, *steps)
    stream(spark, tmp_path, *steps)
    assert Counter(ids_in(tmp_path / "out")) == left_by(way_out)


def test_every_sink_that_is_ahead_of_its_checkpoint_is_named(
    spark: SparkSession, tmp_path: Path, postgres: Postgres, mysql: MariaDB
):
    rule = validate("validateBusinessRules", rules=["kind <> 'k1'"], onFailure="quarantine")
    files = load("toFiles", path=str(tmp_path / "files"), format="parquet")
    databases = [
        load("toPostgres", table="accidents", **postgres.credentials()),
        load("toMySQL", table="accidents", **mysql.credentials()),
    ]
    steps = arrivals(tmp_path), rule, to_delta(tmp_path / "out"), files, *databases
    put_back_an_older_copy(spark, tmp_path, *steps)
    with pytest.raises(PipelineConfigurationException) as raised:
        stream(spark, tmp_path, *steps)
    ahead = raised.value.message.count("holds micro-batch 2")
    for sink in ("/out (toDeltaLake)", "/files (toFiles)", "(toPostgres)", "(toMySQL)", "/out_quarantine (validate"):
        assert sink in raised.value.message
    assert ahead == 5

    def found() -> dict[str, Counter[int]]:
        in_files = duckdb.sql(f"SELECT id FROM '{tmp_path}/files/*.parquet'").fetchall()
        rows = {
            "files": in_files,
            "postgres": postgres.query("SELECT id FROM accidents"),
            "mysql": mysql.query("SELECT id FROM accidents"),
        }
        return {
            "out": Counter(ids_in(tmp_path / "out")),
            "quarantine": Counter(ids_in(tmp_path / "out_quarantine")),
            **{sink: Counter(number for [number] in of_sink) for sink, of_sink in rows.items()},
        }

    good = [number for number in range(NEW.stop) if number % 3 != 1]
    loaded = Counter(number for number in good if number < BATCHES[-1].stop)
    sinks = ("out", "files", "postgres", "mysql")
    assert {sink: count for sink, count in found().items() if sink in sinks} == dict.fromkeys(sinks, loaded)
    take("--keep-offsets", tmp_path, *steps)
    stream(spark, tmp_path, *steps)
    bad = [number for number in range(NEW.stop) if number % 3 == 1]
    expected = dict.fromkeys(sinks, left_by("--keep-offsets", good))
    assert found() == {**expected, "quarantine": left_by("--keep-offsets", bad)}
