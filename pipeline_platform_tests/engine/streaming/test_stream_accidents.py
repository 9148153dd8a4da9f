"""What operators do to streams: nothing is lost or there twice, or it is refused before anything is written."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from devtools.pipelines import StepValue, extract, load, pipeline_text, transform, validate
from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres
from pipeline_platform.cli import app
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.engine.streaming.test_stream import (
    arrivals,
    arrive,
    file_of,
    ids_in,
    put,
    stream,
    to_delta,
)

BATCHES = (range(4), range(4, 7), range(7, 12))
NEW = range(12, 16)
WAYS_OUT = {"newest copy": None, "--keep-offsets": ["--keep-offsets"], "reset-checkpoint": []}


def checkpoint_of(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "tested" / "stream"


def ids_in_files(folder: Path) -> list[int]:
    return [number for [number] in duckdb.execute(f"SELECT id FROM '{folder}/*.parquet' ORDER BY id").fetchall()]


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


def again_by(way_out: str) -> Counter[int]:
    """What a way out loads once more of all that has come."""
    first = {"newest copy": NEW.stop, "--keep-offsets": BATCHES[0].stop, "reset-checkpoint": 0}[way_out]
    return Counter(range(first, NEW.stop))


def test_a_checkpoint_that_is_older_than_the_table_is_refused_and_each_way_out_loses_nothing(
    spark: SparkSession, tmp_path: Path
):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    put_back_an_older_copy(spark, tmp_path, *steps)
    before = DeltaTable(tmp_path / "out").version()
    expected = Counter(range(NEW.stop))
    for way_out in WAYS_OUT:
        put_back(tmp_path, 0)
        for _ in range(2):
            with pytest.raises(PipelineConfigurationException) as raised:
                stream(spark, tmp_path, *steps)
            assert "ends with micro-batch 0" in raised.value.message
            assert "/out (toDeltaLake) holds micro-batch" in raised.value.message
            assert "reset-checkpoint tested.json --keep-offsets" in str(raised.value)
        assert DeltaTable(tmp_path / "out").version() == before
        take(way_out, tmp_path, *steps)
        stream(spark, tmp_path, *steps)
        expected += again_by(way_out)
        assert Counter(ids_in(tmp_path / "out")) == expected
        before = DeltaTable(tmp_path / "out").version()


def test_a_checkpoint_that_was_removed_is_told_and_reset_begins_anew(spark: SparkSession, tmp_path: Path):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    arrive(tmp_path / "in", "first", BATCHES[0])
    stream(spark, tmp_path, *steps)
    shutil.rmtree(tmp_path / "checkpoints")
    for _ in range(2):
        with pytest.raises(PipelineConfigurationException, match="from which it has loaded, is gone") as raised:
            stream(spark, tmp_path, *steps)
        assert "reset-checkpoint tested.json" in str(raised.value)
    assert ids_in(tmp_path / "out") == [*BATCHES[0]]
    take("reset-checkpoint", tmp_path, *steps)
    stream(spark, tmp_path, *steps)
    assert Counter(ids_in(tmp_path / "out")) == Counter([*BATCHES[0]] * 2)


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
        rows = {
            "postgres": postgres.query("SELECT id FROM accidents"),
            "mysql": mysql.query("SELECT id FROM accidents"),
        }
        return {
            "out": Counter(ids_in(tmp_path / "out")),
            "files": Counter(ids_in_files(tmp_path / "files")),
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
    again = range(BATCHES[0].stop, BATCHES[-1].stop)
    twice = {"good": Counter([*good, *(set(good) & set(again))]), "bad": Counter([*bad, *(set(bad) & set(again))])}
    assert found() == {**dict.fromkeys(sinks, twice["good"]), "quarantine": twice["bad"]}


def cut_off(tmp_path: Path) -> None:
    """Make the checkpoint that of a process that was killed after the sinks had taken the last micro-batch."""
    commits = checkpoint_of(tmp_path) / "commits"
    newest = max((path for path in commits.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    newest.unlink()
    (commits / f".{newest.name}.crc").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "killed"),
    [("replaced", False), ("put before", True), ("of the same kind put before", True), ("taken away", True)],
)
def test_a_stream_whose_loads_are_changed_goes_on_from_its_checkpoint(
    spark: SparkSession, tmp_path: Path, change: str, killed: bool
):
    """The sink that stays has every row once, and the new one every row from then on."""
    old, other = to_delta(tmp_path / "old"), to_delta(tmp_path / "other")
    files = load("toFiles", path=str(tmp_path / "new"), format="parquet", trigger="availableNow")
    new = to_delta(tmp_path / "new") if "same kind" in change else files
    before, after = {
        "replaced": ([old, other], [new, other]),
        "put before": ([old], [new, old]),
        "of the same kind put before": ([old], [new, old]),
        "taken away": ([old, other], [other]),
    }[change]
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, arrivals(tmp_path), *before)
    if killed:
        cut_off(tmp_path)
    arrive(tmp_path / "in", "b", range(5, 9))
    found = stream(spark, tmp_path, arrivals(tmp_path), *after)
    stays = "other" if other in before else "old"
    assert ids_in(tmp_path / stays) == list(range(9))
    if change == "taken away":
        assert found.hints == []
        return
    in_new = ids_in(tmp_path / "new") if "same kind" in change else ids_in_files(tmp_path / "new")
    assert in_new == list(range(0 if killed else 5, 9))
    told = "/new is new to this stream: it gets what comes after micro-batch 0"
    assert killed or any(told in hint for hint in found.hints)


def test_a_checkpoint_of_the_version_before_is_found_and_gone_on_from(spark: SparkSession, tmp_path: Path):
    """It lies in a folder with the name of the first load, and its record says less."""
    files = load("toFiles", path=str(tmp_path / "files"), format="parquet", trigger="availableNow")
    steps = arrivals(tmp_path), to_delta(tmp_path / "out"), files
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, *steps)
    cut_off(tmp_path)
    now = checkpoint_of(tmp_path)
    now.rename(now.with_name("to_delta_lake"))
    record = now.with_name("stream.made_with.json")
    said = json.loads(record.read_text())
    record.unlink()
    as_before = json.dumps({key: said[key] for key in ("pipeline", "steps")})
    now.with_name("to_delta_lake.made_with.json").write_text(as_before)
    state_file("tested").unlink()
    arrive(tmp_path / "in", "b", range(5, 9))
    # A load put before the one that the folder is named after.
    stream(spark, tmp_path, steps[0], steps[2], steps[1])
    assert ids_in(tmp_path / "out") == list(range(9))
    assert ids_in_files(tmp_path / "files") == list(range(9))
    assert not now.exists()
    state = StreamState.read(state_file("tested"))
    assert state is not None
    assert state.checkpoint == str(now.with_name("to_delta_lake"))


@pytest.mark.parametrize("way_out", ["checkpointLocation", "reset-checkpoint"])
def test_a_change_that_would_begin_anew_is_refused_with_the_way_out(spark: SparkSession, tmp_path: Path, way_out: str):
    source, elsewhere = arrivals(tmp_path), tmp_path / "elsewhere"
    arrive(tmp_path / "in", "a", range(5))
    stream(spark, tmp_path, source, to_delta(tmp_path / "out"))
    arrive(tmp_path / "in", "b", range(5, 9))
    steps = source, to_delta(tmp_path / "out", checkpointLocation=str(elsewhere))
    for _ in range(2):
        with pytest.raises(PipelineConfigurationException) as raised:
            stream(spark, tmp_path, *steps)
        assert f"its checkpoint is at {checkpoint_of(tmp_path)}, and there is none at {elsewhere}" in str(raised.value)
    assert ids_in(tmp_path / "out") == list(range(5))
    if way_out == "checkpointLocation":
        steps = source, to_delta(tmp_path / "out", checkpointLocation=str(checkpoint_of(tmp_path)))
    else:
        result = CliRunner().invoke(app, ["reset-checkpoint", str(file_of(tmp_path, *steps))])
        assert str(checkpoint_of(tmp_path)) in result.stderr
    stream(spark, tmp_path, *steps)
    again = range(5) if way_out == "reset-checkpoint" else ()
    assert ids_in(tmp_path / "out") == sorted([*range(9), *again])


def test_a_pipeline_that_gets_another_name_goes_on_once_its_checkpoint_is_moved(spark: SparkSession, tmp_path: Path):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    file = tmp_path / "flow.json"
    options = {"mode": "streaming", "streaming": {"checkpointRoot": str(tmp_path / "checkpoints")}}

    def run_as(name: str) -> RunMetrics:
        file.write_text(pipeline_text(steps, name, **options))
        return StreamRun(load_pipeline(file, method_registry()), spark).run()

    arrive(tmp_path / "in", "a", range(5))
    run_as("before")
    arrive(tmp_path / "in", "b", range(5, 9))
    for _ in range(2):
        with pytest.raises(PipelineConfigurationException) as raised:
            run_as("after")
        assert "under the name 'before' it has a checkpoint" in raised.value.message
        assert str(state_file("before")) in str(raised.value)
    assert ids_in(tmp_path / "out") == list(range(5))
    (tmp_path / "checkpoints" / "before").rename(tmp_path / "checkpoints" / "after")
    run_as("after")
    assert ids_in(tmp_path / "out") == list(range(9))


def test_a_second_stream_that_loads_the_same_is_told(spark: SparkSession, tmp_path: Path):
    arrive(tmp_path / "in", "a", range(5))
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    now = datetime.now(UTC)
    sinks = ((tmp_path / "out").as_uri(),)
    StreamState(
        pipeline="other",
        checkpoint="c",
        run_id="r",
        phase="running",
        started=now,
        heartbeat=now,
        sinks=sinks,
        file="/x",
    ).write(state_file("other"))
    found = stream(spark, tmp_path, *steps)
    assert [hint for hint in found.hints if "the stream 'other' is running too, and loads" in hint]
    result = CliRunner().invoke(app, ["streams", str(file_of(tmp_path, *steps).parent), "--json"])
    assert [row["stream"] for row in json.loads(result.stdout)] == ["tested"]


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("metadata", "'metadata', which names the query, is missing"),
        ("offsets", "micro-batch 1 is done, but has no offsets"),
    ],
)
def test_a_checkpoint_that_has_lost_files_is_refused_with_the_way_out(
    spark: SparkSession, tmp_path: Path, lost: str, told: str
):
    steps = arrivals(tmp_path), to_delta(tmp_path / "out")
    for name, ids in (("a", range(5)), ("b", range(5, 9))):
        arrive(tmp_path / "in", name, ids)
        stream(spark, tmp_path, *steps)
    arrive(tmp_path / "in", "c", range(9, 12))
    for name in ("metadata", ".metadata.crc") if lost == "metadata" else ("offsets/1", "offsets/.1.crc"):
        (checkpoint_of(tmp_path) / name).unlink()
    with pytest.raises(PipelineConfigurationException) as raised:
        stream(spark, tmp_path, *steps)
    assert told in raised.value.message
    assert ids_in(tmp_path / "out") == list(range(9))
    if lost == "metadata":
        take("--keep-offsets", tmp_path, *steps)
        stream(spark, tmp_path, *steps)
        assert ids_in(tmp_path / "out") == list(range(12))


@pytest.mark.parametrize("bound", [None, "1 day"], ids=["no bound", "maxFuture"])
def test_rows_that_a_watermark_leaves_out_are_counted_and_told(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture, bound: str | None
):
    """One row from the year 2200 makes all that follow late; with a bound it is the one that is left out."""
    watermark = {"column": "at", "delay": "1 hour", **({"maxFuture": bound} if bound else {})}
    source = extract("fromFiles", path=str(tmp_path / "in"), format="json", schema="id INT, at TIMESTAMP")
    steps = source, transform("deduplicate", columns=["id"], watermark=watermark), to_delta(tmp_path / "out")
    seen: list[StreamProgress] = []
    hints: Sequence[str] = ()
    for number, (first, year) in enumerate([(0, 2200), (10, 2026), (20, 2026)]):
        rows = [{"id": first + n, "at": f"{year if n == 0 else 2026}-01-01T01:00:00Z"} for n in range(4)]
        put(tmp_path / "in", f"{number}", rows)
        hints = stream(spark, tmp_path, *steps, listener=seen.append).hints
    late, future = sum(progress.late_rows for progress in seen), sum(progress.future_rows for progress in seen)
    ids = ids_in(tmp_path / "out")
    assert (late, future) == ((8, 0) if bound is None else (0, 1))
    assert len(ids) + late + future == 12
    state = StreamState.read(state_file("tested"))
    assert state is not None
    if bound is None:
        assert ids == [0, 1, 2, 3]
        assert state.totals.late_rows == 4
        assert hints == ["left out: 4 rows came too late for the watermark"]
        told = "4 rows came too late for the watermark, since the run began; the watermark is at 2200-01-01T00:00"
        assert told in caplog.text
    else:
        assert ids == [1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
        assert "1 rows have a time further ahead than 'maxFuture'" in caplog.text


def test_what_spark_can_t_run_as_a_stream_is_told_at_planning_and_not_tried_again(spark: SparkSession, tmp_path: Path):
    query = transform("sqlQuery", query="SELECT kind, count(*) AS n FROM arrived GROUP BY kind")
    source = arrivals(tmp_path)
    source["config"]["registerAs"] = "arrived"
    arrive(tmp_path / "in", "a", range(5))
    with pytest.raises(PipelineConfigurationException, match=r"can't run these steps as a stream.*watermark"):
        stream(spark, tmp_path, source, query, to_delta(tmp_path / "out"))
    state = StreamState.read(state_file("tested"))
    assert state is not None
    assert state.lasting
    assert not checkpoint_of(tmp_path).exists()
