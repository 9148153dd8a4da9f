"""What is exported of a run agrees with what is in the target, and nothing that an exporter does reaches the run."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from prometheus_client.parser import text_string_to_metric_families
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform, validate
from devtools.services.prometheus import promtool
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import PipelineCancelledException, PipelineConfigurationException, PipelineException
from pipeline_platform.metrics.exporter import METRICS_VARIABLE, exporters_from_environment
from pipeline_platform.metrics.openlineage import dataset_name
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.redaction import remember_secret

PREFIX = "pipeline_platform_"


class Kept:
    """An exporter that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[RunMetrics] = []

    def export(self, run: RunMetrics) -> None:
        self.runs.append(run)


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> Path:
    """A Delta table of a hundred numbers, ten of them negative."""
    frame = spark.range(100).selectExpr("IF(id < 10, -id - 1, id) AS id", "concat('k', id % 4) AS kind")
    frame.repartition(4).write.format("delta").save(str(tmp_path / "in"))
    return tmp_path / "in"


def steps_of(table: Path, out: Path, on_failure: str = "quarantine") -> list[StepValue]:
    return [
        extract("fromDeltaLake", path=str(table)),
        transform("enrichData", columns={"word": "upper(kind)", "both": "concat(kind, '-', id)"}),
        validate("validateRanges", ranges={"id": {"min": 0}}, onFailure=on_failure),
        load("toDeltaLake", path=str(out), mode="append"),
    ]


def exported(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, steps: list[StepValue], where: str, **keys: Any
) -> RunMetrics:
    """Run with the exporters that the variable says; the record of the run, however it ended."""
    monkeypatch.setenv(METRICS_VARIABLE, where)
    run = BatchRun(pipeline_of(steps, name="flow", **keys), spark, exporters=exporters_from_environment())
    with contextlib.suppress(PipelineException):
        run.run()
    return run.record.metrics()


def samples(folder: Path) -> dict[tuple[str, ...], float]:
    """What Prometheus's own parser reads from a folder of text files: by name, step and status."""
    found: dict[tuple[str, ...], float] = {}
    for file in folder.glob("*.prom"):
        for family in text_string_to_metric_families(file.read_text()):
            for sample in family.samples:
                labels = [sample.labels[name] for name in ("step", "status") if name in sample.labels]
                found[sample.name.removeprefix(PREFIX), *labels] = sample.value
    return found


def test_prometheus_json_lines_and_the_target_agree(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
):
    where = f"log, textfile:{tmp_path}/prom, jsonl:{tmp_path}/runs.jsonl"
    exported(spark, monkeypatch, steps_of(table, tmp_path / "out"), where)
    out, aside = DeltaTable(tmp_path / "out"), DeltaTable(tmp_path / "out_quarantine")
    rows = duckdb.connect().read_parquet(out.file_uris()).count("*").fetchall()[0][0]
    kept_aside = duckdb.connect().read_parquet(aside.file_uris()).count("*").fetchall()[0][0]
    written = sum(Path(file).stat().st_size for file in out.file_uris())
    assert (rows, kept_aside) == (90, 10)

    found = samples(tmp_path / "prom")
    assert found["run_status", "COMPLETED"] == 1
    assert found["run_status", "RUNNING"] == found["run_status", "FAILED"] == 0
    assert found["run_read_rows",] == found["step_rows", "from_delta_lake"] == rows + kept_aside
    assert found["step_input_rows", "enrich_data"] == rows + kept_aside
    assert found["run_written_rows",] == found["step_rows", "to_delta_lake"] == rows
    assert found["run_written_bytes",] == found["step_written_bytes", "to_delta_lake"] == written
    assert found["step_violations", "validate_ranges"] == kept_aside
    assert found["step_quarantined_rows", "validate_ranges"] == kept_aside
    assert found["last_success_timestamp_seconds",] == found["run_end_timestamp_seconds",]

    begun, ended = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert (begun["status"], begun["ended"], ended["status"]) == ("RUNNING", None, "COMPLETED")
    assert (ended["rows_read"], ended["rows_written"], ended["bytes_written"]) == (100, rows, written)
    for file in (tmp_path / "prom").glob("*.prom"):
        checked = promtool("check", "metrics", given=file.read_text())
        assert (checked.returncode, checked.stderr) == (0, "")


def test_a_step_that_failed_is_the_only_failed_one_and_the_last_success_stays(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
):
    where = f"textfile:{tmp_path}/prom"
    exported(spark, monkeypatch, steps_of(table, tmp_path / "out"), where)
    success = samples(tmp_path / "prom")["last_success_timestamp_seconds",]
    ended = exported(spark, monkeypatch, steps_of(table, tmp_path / "out", on_failure="fail"), where)
    assert [step.name for step in ended.steps if step.status == "FAILED"] == ["validate_ranges"]
    assert ended.rows_written == 0
    broken = [*steps_of(table, tmp_path / "out"), load("toDeltaLake", path=str(tmp_path / "new"), partitionBy="no")]
    ended = exported(spark, monkeypatch, broken, where)
    assert [(step.index, step.status) for step in ended.steps] == [(4, "FAILED")]
    found = samples(tmp_path / "prom")
    assert found["run_status", "FAILED"] == found["step_status", "to_delta_lake_2", "FAILED"] == 1
    assert found["last_success_timestamp_seconds",] == success


def test_an_attempt_that_was_repeated_is_told_apart_and_counted_once(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
):
    from pipeline_platform.connectors.delta.write import DeltaWrite

    write, calls = DeltaWrite.write, list[int]()

    def once_refused(self: DeltaWrite):
        calls.append(1)
        written = write(self)
        if len(calls) == 1:
            # After the commit, so that the second attempt finds that it is done.
            raise ConnectionError("connection refused")
        return written

    monkeypatch.setattr(DeltaWrite, "write", once_refused)
    retry = {"maxAttempts": 3, "delaySeconds": 0.01}
    steps = [step for step in steps_of(table, tmp_path / "out") if step["type"] != "validate"]
    ended = exported(spark, monkeypatch, steps, f"textfile:{tmp_path}/prom", retry=retry)
    assert DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == 100
    assert (ended.status, ended.attempts, len(ended.retried)) == ("COMPLETED", 2, 1)
    assert "connection refused" in ended.retried[0]
    assert samples(tmp_path / "prom")["run_attempts",] == 2


def test_a_run_that_was_stopped_is_cancelled_and_no_step_failed(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
):
    def stop(*_: object) -> None:
        raise PipelineCancelledException("the run was stopped")

    kept = Kept()
    run = BatchRun(pipeline_of(steps_of(table, tmp_path / "out")), spark, listener=stop, exporters=[kept])
    with pytest.raises(PipelineCancelledException):
        run.run()
    assert [told.status for told in kept.runs] == ["RUNNING", "CANCELLED"]
    assert not any(step.status == "FAILED" for step in kept.runs[-1].steps)


def test_an_exporter_that_fails_is_warned_of_and_the_others_go_on(
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    table: Path,
    tmp_path: Path,
):
    (tmp_path / "file").touch()
    where = f"pushgateway:http://127.0.0.1:1,jsonl:{tmp_path}/file/no.jsonl,textfile:{tmp_path}/file,jsonl:{tmp_path}/y"
    with caplog.at_level(logging.WARNING):
        assert exported(spark, monkeypatch, steps_of(table, tmp_path / "out"), where).status == "COMPLETED"
    warned = {record.getMessage().split(":")[0] for record in caplog.records if "can't be exported" in record.message}
    assert warned == {"PushgatewayExporter", "JsonLinesExporter", "TextfileExporter"}
    assert len((tmp_path / "y").read_text().splitlines()) == 2


def test_no_exporter_lets_a_secret_out(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    remember_secret("hush-hush-7")
    lines = {"type": "file", "log_file_path": str(tmp_path / "lineage.jsonl"), "append": True}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(lines))
    where = f"log,openlineage,textfile:{tmp_path}/prom,jsonl:{tmp_path}/runs.jsonl"
    steps = [
        extract("fromFiles", path=str(tmp_path / "hush-hush-7"), format="json"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    ]
    with caplog.at_level(logging.INFO):
        ended = exported(spark, monkeypatch, steps, where)
    assert ended.status == "FAILED"
    assert "***" in (ended.error or "")
    files = [tmp_path / "lineage.jsonl", tmp_path / "runs.jsonl", *(tmp_path / "prom").iterdir()]
    assert not [file for file in files if "hush-hush-7" in file.read_text()]
    assert "hush-hush-7" not in caplog.text


def test_openlineage_says_what_was_read_and_written_and_where_each_column_is_from(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path
):
    lines = {"type": "file", "log_file_path": str(tmp_path / "lineage.jsonl"), "append": True}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(lines))
    run = exported(spark, monkeypatch, steps_of(table, tmp_path / "out"), "openlineage")
    start, complete = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text().splitlines()]
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert complete["run"]["runId"].replace("-", "") == run.run_id
    assert complete["job"]["name"] == "flow"
    [read], [written] = complete["inputs"], complete["outputs"]
    assert (read["namespace"], read["name"]) == ("file", str(table))
    assert (written["namespace"], written["name"]) == ("file", str(tmp_path / "out"))
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == 100
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 90
    assert [field["name"] for field in written["facets"]["schema"]["fields"]] == ["id", "kind", "word", "both"]
    origins = {
        column: sorted((source["name"], source["field"]) for source in lineage["inputFields"])
        for column, lineage in written["facets"]["columnLineage"]["fields"].items()
    }
    name = str(table)
    assert origins == {
        "id": [(name, "id")],
        "kind": [(name, "kind")],
        "word": [(name, "kind")],
        "both": [(name, "id"), (name, "kind")],
    }


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("file:///data/a%20b", ("file", "/data/a b")),
        ("s3://lake/orders/2026", ("s3://lake", "orders/2026")),
        ("kafka://broker:9092/events", ("kafka://broker:9092", "events")),
        ("postgres://db:5432/shop/public/orders", ("postgres://db:5432", "shop.public.orders")),
        ("mysql://db:3306/shop/orders", ("mysql://db:3306", "shop.orders")),
    ],
)
def test_datasets_are_named_as_openlineage_names_them(uri: str, named: tuple[str, str]):
    assert dataset_name(uri) == named


@pytest.mark.parametrize("where", ["prometheus", "textfile", "log:/x", "jsonl"])
def test_a_place_for_metrics_that_there_is_not_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, where: str
):
    monkeypatch.setenv(METRICS_VARIABLE, where)
    with pytest.raises(PipelineConfigurationException, match=f"'{where}' in {METRICS_VARIABLE}") as raised:
        exporters_from_environment()
    assert "pushgateway:URL" in str(raised.value)
