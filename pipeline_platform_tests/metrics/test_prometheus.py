"""A real Prometheus reads what is exported: every query of the dashboard and of the alerts finds something."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, pipeline_of, transform, validate
from devtools.services.kafka import Kafka
from devtools.services.prometheus import Prometheus, Pushgateway, promtool, start_prometheus
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_state import STREAMS_VARIABLE, StreamState, state_file
from pipeline_platform.metrics.prometheus import PushgatewayExporter
from pipeline_platform.stream_metrics import serve_stream_metrics
from pipeline_platform_tests.services.fixtures import running

DOCKER = Path(__file__).parent.parent.parent / "docker"
ALERTS = DOCKER / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DOCKER / "grafana" / "pipeline_platform.json").read_text())
SCRAPES = 4


class Observation(NamedTuple):
    """What Prometheus has seen by a time at which no scrape had failed, and what the target of the stream holds."""

    prometheus: Prometheus
    at: float
    endpoint: str
    rows: int
    quarantined: int

    def values(self, query: str) -> list[tuple[dict[str, str], float]]:
        return self.prometheus.values(query, self.at)


@pytest.fixture(scope="module")
def seen(
    spark: SparkSession, kafka: Kafka, pushgateway: Pushgateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observation]:
    """A batch was pushed and a stream is served, to a Prometheus that has scraped both a few times."""
    folder = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(STREAMS_VARIABLE, str(folder / "streams"))
        run_batch(spark, folder, pushgateway)
        run_stream(spark, folder, kafka)
        (folder / "pipelines").mkdir()
        for name in ("served", "pushed"):
            (folder / "pipelines" / f"{name}.json").write_text(json.dumps({"name": name}))
        left_behind = StreamState.read(state_file("served"))
        assert left_behind is not None
        left_behind.model_copy(update={"pipeline": "removed"}).write(state_file("removed"))
        endpoint = serve_stream_metrics(folder / "pipelines", "127.0.0.1", 0)
        targets = [pushgateway.address, f"127.0.0.1:{endpoint.server_port}"]
        for prometheus in running(lambda: start_prometheus(targets, ALERTS)):
            time_series = 'count_over_time(pipeline_platform_stream_up{pipeline="served"}[1m])'
            until, at = time.monotonic() + 60, time.time()
            while not (
                [value for _, value in prometheus.values(time_series, at) if value >= SCRAPES]
                and {value for _, value in prometheus.values("up", at)} == {1}
            ):
                assert time.monotonic() < until
                time.sleep(0.2)
                at = time.time()
            tables = (DeltaTable(folder / name).to_pyarrow_table().num_rows for name in ("out", "out_quarantine"))
            yield Observation(prometheus, at, f"http://{targets[1]}/metrics", *tables)
        endpoint.shutdown()
        endpoint.server_close()


def run_batch(spark: SparkSession, folder: Path, pushgateway: Pushgateway) -> None:
    rule = validate("validateRanges", ranges={"value": {"min": 5}}, onFailure="quarantine")
    sink = load("toDeltaLake", path=str(folder / "batch"))
    pipeline = pipeline_of([extract("fromRate", rowsPerSecond=60), rule, sink], name="pushed")
    BatchRun(pipeline, spark, exporters=[PushgatewayExporter(pushgateway.address)]).run()


def run_stream(spark: SparkSession, folder: Path, kafka: Kafka) -> None:
    kafka.make_topic("served", 2)
    producer = Producer({"bootstrap.servers": kafka.address})
    for number in range(100):
        producer.produce("served", json.dumps({"id": number % 80, "at": "2026-11-23T10:00:00Z"}))
    assert producer.flush(30) == 0
    server = {"bootstrap.servers": kafka.address, "topic": "served", "startingOffsets": "earliest"}
    steps = [
        extract("fromKafka", valueFormat="json", valueSchema="id BIGINT, at TIMESTAMP", **server),
        transform("deduplicate", columns=["id", "at"], watermark={"column": "at", "delay": "1 hour"}),
        validate("validateRanges", ranges={"id": {"min": 5}}, onFailure="quarantine"),
        load("toDeltaLake", path=str(folder / "out"), trigger="availableNow"),
    ]
    checkpoints = {"checkpointRoot": str(folder / "checkpoints")}
    StreamRun(pipeline_of(steps, name="served", mode="streaming", streaming=checkpoints), spark).run()


def dashboard_queries() -> list[str]:
    targets = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [target["expr"].replace("$pipeline", ".*") for target in targets]


@pytest.mark.parametrize("query", dashboard_queries())
def test_every_query_of_the_dashboard_finds_something(seen: Observation, query: str):
    assert seen.values(query)


def test_every_metric_of_the_alerts_is_exported(seen: Observation):
    named = set(re.findall(r"pipeline_platform_[a-z_]+", ALERTS.read_text()))
    assert len(named) > 5
    assert [metric for metric in sorted(named) if not seen.values(metric)] == []


def test_what_prometheus_has_agrees_with_the_target_of_the_stream(seen: Observation):
    def value(query: str) -> float:
        [(_, found)] = seen.values(query)
        return found

    assert (seen.rows, seen.quarantined) == (75, 5)
    prefix = "pipeline_platform_stream"
    assert value(f"{prefix}_read_rows_total") == 100
    assert value(f'{prefix}_step_rows_total{{step="to_delta_lake"}}') == seen.rows
    assert value(f'{prefix}_step_quarantined_rows_total{{type="validate"}}') == seen.quarantined
    assert value(f'{prefix}_step_violations_total{{type="validate"}}') == seen.quarantined
    assert value(f"sum({prefix}_lag_records)") == 0
    assert value(f"{prefix}_state_rows") == 80
    assert value(f"{prefix}_micro_batch_duration_seconds_count") == value(
        f'{prefix}_micro_batch_duration_seconds_bucket{{le="+Inf"}}'
    )


def test_the_endpoint_is_valid_for_prometheus_s_own_checker_and_as_openmetrics(seen: Observation):
    with urlopen(seen.endpoint) as response:
        checked = promtool("check", "metrics", given=response.read().decode())
    assert (checked.returncode, checked.stderr) == (0, "")
    with urlopen(Request(seen.endpoint, headers={"Accept": "application/openmetrics-text; version=1.0.0"})) as response:
        families = list(open_metrics(response.read().decode()))
    assert {"counter", "histogram", "gauge"} <= {family.type for family in families}


def test_a_stream_whose_file_was_removed_is_not_served(seen: Observation):
    assert {labels["pipeline"] for labels, _ in seen.values("pipeline_platform_stream_up")} == {"served"}


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    told = ", ".join(f'{label}="{value}"' for label, value in {"pipeline": "p", **labels}.items())
    return {"series": f"pipeline_platform_{name}{{{told}}}", "values": values}


@pytest.mark.parametrize(
    ("alert", "given", "after", "fires"),
    [
        ("PipelineFailed", [series("run_status", "1x5", status="FAILED")], "5m", True),
        ("PipelineFailed", [series("run_status", "0x5", status="FAILED")], "5m", False),
        ("PipelineNotSucceededForADay", [series("last_success_timestamp_seconds", "0x3000")], "25h", True),
        ("PipelineNotSucceededForADay", [series("last_success_timestamp_seconds", "0x3000")], "23h", False),
        ("StreamDown", [series("stream_up", "0x20"), series("stream_phase", "1x20", phase="failed")], "10m", True),
        ("StreamDown", [series("stream_up", "0x20"), series("stream_phase", "1x20", phase="stopped")], "10m", False),
        (
            "StreamStuck",
            [series("stream_up", "1x40"), series("stream_progress_timestamp_seconds", "0x40")],
            "20m",
            True,
        ),
        ("StreamRestarts", [series("stream_restarts", "3x5")], "2m", True),
        ("StreamFallsBehind", [series("stream_lag_records", "200000+100x60", partition="t/0")], "40m", True),
        ("StreamFallsBehind", [series("stream_lag_records", "200000-100x60", partition="t/0")], "40m", False),
        ("RowsQuarantined", [series("step_quarantined_rows", "3x5", step="s")], "2m", True),
    ],
)
def test_an_alert_fires_when_it_should(
    tmp_path: Path, alert: str, given: list[dict[str, str]], after: str, fires: bool
):
    rule = ALERTS.read_text().split(f"alert: {alert}\n", 1)[1].split("- alert:", 1)[0]
    severity = re.findall(r"severity: (\w+)", rule)[0]
    labels = dict(re.findall(r'(\w+)="([^"]*)"', given[0]["series"]))
    if alert == "StreamFallsBehind":
        labels = {"pipeline": "p"}
    test: dict[str, Any] = {"interval": "1m", "input_series": given, "alert_rule_test": []}
    # Left out, the annotations would be expected to be empty: only whether it fires is looked at.
    expression = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
    told = ", ".join(f'{label}="{value}"' for label, value in {**labels, "severity": severity}.items())
    name = f'ALERTS{{alertname="{alert}", alertstate="firing", {told}}}'
    expected = [{"labels": name, "value": 1}] if fires else []
    test["promql_expr_test"] = [{"expr": expression, "eval_time": after, "exp_samples": expected}]
    file = tmp_path / "alerts_test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    checked = promtool("test", "rules", str(file))
    assert checked.returncode == 0, checked.stdout + checked.stderr
