"""Alerts: who needs to know is told once, without secrets, and a webhook that is away keeps nobody from working."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.alerts import GIVEN_UP_SENSOR, RUN_FAILED_SENSOR
from pipeline_platform.orchestration.streams_sensor import SENSOR
from pipeline_platform.orchestration.supervisor import STREAM_TAG
from pipeline_platform.redaction import remember_secret
from pipeline_platform.resources.notifiers import (
    ALERTS_VARIABLE,
    ENTRY_POINT_GROUP,
    Alert,
    notifiers_from_environment,
    send,
)
from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta
from pipeline_platform_tests.orchestration.test_streams_sensor import Ticking, stream_of_rates

ALERT = Alert(kind="run_failed", pipeline="flow", run_id="r", at=datetime.now(UTC), text="password=hush-hush-9 failed")


class Webhook:
    """A server that takes what is posted to it, and answers as it is told, then with 200."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[int] = []
        hook = self

        class Taker(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = hook.answers.pop(0) if hook.answers else 200
                if status == 200:
                    hook.posted.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/T0/hook-token-1"

    def serve(self) -> Generator[Webhook]:
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        yield self
        self.server.shutdown()
        self.server.server_close()
        thread.join()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    made = Webhook()
    monkeypatch.setenv(ALERTS_VARIABLE, f"log, webhook:{made.url}")
    yield from made.serve()


def alerts_of(definitions: dg.Definitions) -> dict[str, Any]:
    assert definitions.resources is not None
    return {"alerts": definitions.resources["alerts"]}


def failed_run(definitions: dg.Definitions, instance: dg.DagsterInstance, **tags: str) -> None:
    """Run the job, which fails, and evaluate the sensor for it as the daemon does."""
    job = definitions.resolve_job_def("flow")
    result = job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    assert not result.success
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    context = dg.build_run_status_sensor_context(
        RUN_FAILED_SENSOR,
        result.get_run_failure_event(),
        instance,
        run,
        resources=alerts_of(definitions),
        repository_def=definitions.get_repository_def(),
    ).for_run_failure()
    definitions.resolve_sensor_def(RUN_FAILED_SENSOR)(context)


def test_a_run_that_failed_is_told_with_its_step_and_what_to_do(
    define: MakeDefinitions, webhook: Webhook, tmp_path: Path, spark: SparkSession
):
    definitions = define(rate_to_delta("flow", tmp_path / "t", partitionBy="nowhere"))
    with dg.DagsterInstance.ephemeral() as instance:
        failed_run(definitions, instance)
    [told] = webhook.posted
    assert told["alert"]["kind"] == "run_failed"
    assert told["alert"]["run_id"] in told["text"]
    assert "step 2 (load toDeltaLake), " in told["text"]
    assert "next: " in told["text"]
    assert "Traceback" not in told["text"]


def test_a_run_of_a_supervised_stream_is_left_to_its_supervisor(
    define: MakeDefinitions, webhook: Webhook, tmp_path: Path, spark: SparkSession
):
    definitions = define(rate_to_delta("flow", tmp_path / "t", partitionBy="nowhere"))
    with dg.DagsterInstance.ephemeral() as instance:
        failed_run(definitions, instance, **{STREAM_TAG: "flow"})
    assert webhook.posted == []


def test_a_stream_that_is_given_up_is_told_once(define: MakeDefinitions, webhook: Webhook, tmp_path: Path):
    definitions = define(stream_of_rates("flow", tmp_path, maxRestarts=1))
    with dg.DagsterInstance.ephemeral() as instance:
        ticking = Ticking(definitions, instance)
        cursor: str | None = None

        def alerts() -> int:
            nonlocal cursor
            context = dg.build_sensor_context(
                instance,
                cursor=cursor,
                repository_def=definitions.get_repository_def(),
                resources=alerts_of(definitions),
            )
            told = definitions.resolve_sensor_def(GIVEN_UP_SENSOR)(context)
            assert isinstance(told, dg.SensorResult)
            cursor = told.cursor
            return len(webhook.posted)

        assert alerts() == 0
        for _ in range(2):
            ticking.tick()
            ticking.says(phase="failed", error="no such column", lasting=False)
            assert ticking.run is not None
            found = instance.get_run_by_id(ticking.run.run_id)
            assert found is not None
            instance.report_run_failed(found)
            for event in ticking.tick().asset_events:
                instance.report_runless_asset_event(event)
            ticking.passes(3600)
        assert '"given_up"' in (ticking.cursor or ""), SENSOR
        assert alerts() == 1
        assert alerts() == 1
    [told] = webhook.posted
    assert told["alert"]["kind"] == "stream_given_up"
    assert "given up" in told["text"]
    assert "pipeline-platform resume" in told["text"]


def test_a_webhook_that_is_busy_is_tried_again(webhook: Webhook):
    webhook.answers = [503, 429]
    send(notifiers_from_environment(), ALERT)
    assert len(webhook.posted) == 1


def test_a_webhook_that_refuses_is_not_tried_again_and_the_log_is_told(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
):
    webhook.answers = [404, 200]
    with caplog.at_level(logging.ERROR):
        send(notifiers_from_environment(), ALERT)
    assert webhook.posted == []
    assert "WebhookNotifier can't be notified: 404" in caplog.text


def test_neither_the_alert_nor_the_log_bears_a_secret(webhook: Webhook, caplog: pytest.LogCaptureFixture):
    remember_secret("hush-hush-9")
    webhook.answers = [200, 404]
    with caplog.at_level(logging.DEBUG, logger="pipeline_platform"):
        send(notifiers_from_environment(), ALERT)
        send(notifiers_from_environment(), ALERT)
    assert "***" in webhook.posted[0]["text"]
    assert "hush-hush-9" not in json.dumps(webhook.posted) + caplog.text
    assert "hook-token-1" not in caplog.text


def test_a_package_may_bring_a_notifier_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    lines = ["class Bell:", "  def __init__(self, place): self.rung = [place]"]
    lines += ["  def notify(self, alert): self.rung.append(alert.text)"]
    (tmp_path / "bells.py").write_text("\n".join(lines))
    metadata = tmp_path / "bells-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bells\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nbell = bells:Bell\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ALERTS_VARIABLE, "bell:tower")
    [bell] = notifiers_from_environment()
    send([bell], ALERT)
    assert getattr(bell, "rung", None) == ["tower", "password=*** failed"]


def test_a_package_whose_notifier_fails_keeps_nobody_else_from_being_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "cracked.py").write_text("raise ImportError('no clapper')\n")
    (tmp_path / "rusty.py").write_text("def rusty(place): raise OSError(f'{place} is shut')\n")
    metadata = tmp_path / "cracked-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cracked\nVersion: 1\n")
    points = "cracked = cracked:Bell\nrusty = rusty:rusty\n"
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(ALERTS_VARIABLE, "cracked:tower,rusty:secret-place,log")
    assert [type(notifier).__name__ for notifier in notifiers_from_environment()] == ["LogNotifier"]
    assert "'cracked' that PIPELINE_PLATFORM_ALERTS names can't be used: ImportError: no clapper" in caplog.text
    assert "OSError: *** is shut" in caplog.text
    monkeypatch.setenv(ALERTS_VARIABLE, "cracked:tower")
    assert [type(notifier).__name__ for notifier in notifiers_from_environment()] == ["LogNotifier"]


@pytest.mark.parametrize("who", ["mail", "webhook:", "webhook:ftp://x"])
def test_nobody_that_there_is_not_can_be_named(monkeypatch: pytest.MonkeyPatch, who: str):
    monkeypatch.setenv(ALERTS_VARIABLE, who)
    with pytest.raises(PipelineConfigurationException, match="valid: log, webhook:URL"):
        notifiers_from_environment()
