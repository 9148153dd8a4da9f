"""A secret that turns up in an error is in nothing that leaves the process, in whatever encoding it turns up."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from openlineage.client.serde import Serde

from pipeline_platform import redaction
from pipeline_platform.engine.record import RunRecord
from pipeline_platform.exceptions import PipelineExecutionException, StepLocation
from pipeline_platform.logs import LOG_VARIABLE, configure_logs, jvm_line
from pipeline_platform.metrics.json_lines import JsonLinesExporter
from pipeline_platform.metrics.openlineage import run_event
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.orchestration.results import failing_as_dagster_does
from pipeline_platform.redaction import MASK, remember_secret
from pipeline_platform.resources.alert_model import Alert
from pipeline_platform.resources.notifiers import deliver, recipient
from pipeline_platform_tests.config.reading import extract, load, pipeline, read
from pipeline_platform_tests.orchestration.alert_servers import Webhook
from pipeline_platform_tests.test_redaction import ENCODINGS, SECRETS


class Kept:
    """An exporter that keeps what it is told."""

    def __init__(self) -> None:
        self.run: RunMetrics | None = None

    def export(self, run: RunMetrics) -> None:
        self.run = run


def failed_run(text: str) -> RunMetrics:
    """The record of a run that has failed with this text."""
    kept = Kept()
    record = RunRecord(read(pipeline(extract(), load())), str(uuid4()), [kept])
    record.hints.append(f"a hint: {text}")
    with suppress(PipelineExecutionException), record.exported():
        raise PipelineExecutionException(text)
    assert kept.run is not None
    return kept.run


def logged(text: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the log has of a warning with this text, and of an exception with it."""
    logger, shown = logging.getLogger("pipeline_platform"), io.StringIO()
    with monkeypatch.context() as patch:
        patch.setenv(LOG_VARIABLE, kind)
        patch.setattr(logger, "handlers", [])
        patch.setattr(sys, "stderr", shown)
        configure_logs()
        logger.getChild("tested").warning("it says %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logger.getChild("tested").exception("it fails")
        jvm = json.dumps({"level": "ERROR", "message": text}, ensure_ascii=False) if kind == "json" else text
        lines = shown.getvalue() + jvm_line(jvm)
    if kind == "text":
        return lines
    return "\n".join(text for line in lines.splitlines() for text in json.loads(line).values())


def as_dagster_shows(text: str) -> str:
    """Description and metadata of a failed run."""
    location = StepLocation("flights", step="to_delta_lake")
    with pytest.raises(dg.Failure) as raised, failing_as_dagster_does(cast("Any", None)):
        raise PipelineExecutionException(text, location=location, hint=f"do without {text}")
    return f"{raised.value.description} {[value.value for value in raised.value.metadata.values()]}"


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    yield from Webhook().serve()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SECRETS)
def test_a_secret_is_in_no_output_in_no_encoding(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, secret: str
):
    redaction._known.clear()
    remember_secret(secret)
    encoded = {name: encode(secret) for name, encode in ENCODINGS.items()}
    text = "".join(f"<{spelled}> " for spelled in encoded.values())

    def exported() -> str:
        file = tmp_path_factory.mktemp("metrics") / "runs.jsonl"
        JsonLinesExporter(file).export(failed_run(text))
        run = json.loads(file.read_text())
        return " ".join([run["error"], *run["hints"]])

    def posted() -> str:
        alert = Alert(kind="run_failed", pipeline="flights", run_id="r", at=datetime.now(UTC), text=text)
        deliver([(alert, recipient(f"webhook:{webhook.url}"))])
        return str(webhook.posted[-1]["text"]) + str(webhook.posted[-1]["alert"]["text"])

    def emitted() -> str:
        event = json.loads(Serde.to_json(run_event(failed_run(text), "default")))
        return event["run"]["facets"]["errorMessage"]["message"]

    outputs: dict[str, Callable[[], str]] = {
        "log": lambda: logged(text, "text", monkeypatch),
        "JSON log": lambda: logged(text, "json", monkeypatch),
        "exception": lambda: str(PipelineExecutionException(text, hint=text)),
        "configuration": lambda: json.dumps(PipelineExecutionException("x", config={"a": [text]}).config["a"]),
        "Dagster": lambda: as_dagster_shows(text),
        "metrics": exported,
        "OpenLineage": emitted,
        "webhook": posted,
    }
    for place, shown in outputs.items():
        found = shown()
        assert MASK in found, place
        assert [name for name, spelled in encoded.items() if spelled in found] == [], place
