"""Each way to notify somebody, to a real server: it arrives, is tried again where that helps, and shows no secret."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
import trustme

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.extras import Extra
from pipeline_platform.redaction import remember_secret
from pipeline_platform.resources import slack as slack_module
from pipeline_platform.resources.alert_model import Alert
from pipeline_platform.resources.mail import SENDER_VARIABLE, SERVER_VARIABLE
from pipeline_platform.resources.notifiers import ENTRY_POINT_GROUP, Recipient, deliver, recipient
from pipeline_platform.resources.slack import API_VARIABLE, TOKEN_VARIABLE
from pipeline_platform_tests.orchestration.alert_servers import Slack, Webhook, mail_server

ALERT = Alert(
    kind="run_failed",
    pipeline="flow",
    run_id="r",
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    text="password=hush-hush-9 failed at <b> & co",
    owners=("team:weather",),
    url="http://dagster/runs/r",
)
WARNED = ALERT.model_copy(update={"kind": "check_warned"})


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    yield from Webhook().serve()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    made = Slack()
    monkeypatch.setenv(TOKEN_VARIABLE, made.token)
    monkeypatch.setenv(API_VARIABLE, made.url)
    yield from made.serve()


def notify(*entries: str, alert: Alert = ALERT) -> None:
    deliver([(alert, recipient(entry)) for entry in entries])


def test_a_webhook_gets_text_and_all_parts_and_is_tried_again_when_busy(webhook: Webhook):
    webhook.answers = [503, 429]
    notify(f"webhook:{webhook.url}")
    (told,) = webhook.posted
    assert told["text"] == "flow: password=*** failed at <b> & co\nhttp://dagster/runs/r"
    assert told["alert"] == {
        "kind": "run_failed",
        "pipeline": "flow",
        "run_id": "r",
        "at": "2026-01-02T03:04:05Z",
        "text": "password=*** failed at <b> & co",
        "owners": ["team:weather"],
        "tags": {},
        "assets": [],
        "url": "http://dagster/runs/r",
    }


def test_a_webhook_that_refuses_is_not_tried_again_and_the_log_is_told(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
):
    webhook.answers = [404, 200]
    notify(f"webhook:{webhook.url}")
    assert webhook.posted == []
    assert "WebhookNotifier can't be notified: 404" in caplog.text
    assert "password=*** failed" in caplog.text


def test_neither_the_alert_nor_the_log_bears_a_secret(webhook: Webhook, caplog: pytest.LogCaptureFixture):
    remember_secret("hush-hush-9")
    webhook.answers = [200, 404]
    with caplog.at_level(logging.DEBUG, logger="pipeline_platform"):
        notify(f"webhook:{webhook.url}")
        notify(f"webhook:{webhook.url}")
    assert "***" in webhook.posted[0]["text"]
    assert "hush-hush-9" not in json.dumps(webhook.posted) + caplog.text
    assert "hook-token-1" not in caplog.text


def test_the_log_has_an_error_and_of_a_check_that_warned_a_warning(caplog: pytest.LogCaptureFixture):
    notify("log")
    notify("log", alert=WARNED)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "flow: password=*** failed at <b> & co"),
        ("WARNING", "flow: password=*** failed at <b> & co"),
    ]


def test_slack_gets_a_message_without_mentions_or_secrets_and_is_tried_again_when_busy(
    slack: Slack, caplog: pytest.LogCaptureFixture
):
    slack.answers = [429, 503]
    notify("slack:#data")
    (told,) = slack.posted
    assert told["channel"] == "#data"
    # As Slack asks for: https://docs.slack.dev/messaging/formatting-message-text#escaping
    assert told["text"] == (
        "*flow: run failed*\n```password=*** failed at &lt;b&gt; &amp; co```\n<http://dagster/runs/r|Open in Dagster>"
    )
    notify("slack:#nowhere")
    assert "SlackNotifier can't be notified" in caplog.text
    assert "channel_not_found" in caplog.text
    assert slack.token not in caplog.text


def test_what_slack_lacks_is_named_with_what_to_do(slack: Slack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(PipelineConfigurationException, match=f"{TOKEN_VARIABLE}, which is not set"):
        recipient("slack:#data")
    # The extra as it is where it is not installed; that its packages are asked for shows in `test_extras.py`.
    monkeypatch.setattr(slack_module, "SLACK_EXTRA", Extra("slack", "an alert to Slack", ("not_slack_sdk",)))
    with pytest.raises(PipelineConfigurationException, match=r"pip install 'pipeline-platform\[slack\]'"):
        recipient("slack:#data")


def test_mail_is_sent_over_tls_with_a_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv(SENDER_VARIABLE, "Dagster <dagster@example.org>")
    with mail_server(context, login=True) as box:
        monkeypatch.setenv(SERVER_VARIABLE, f"smtp://alerts:hush%20mail%3A1@127.0.0.1:{box.port}")
        box.answers = ["451 try again"]
        notify("email:data@example.org")
        monkeypatch.setenv(SERVER_VARIABLE, f"smtp://alerts:hush-wrong-1@127.0.0.1:{box.port}")
        notify("email:data@example.org")
        monkeypatch.delenv("SSL_CERT_FILE")
        notify("email:data@example.org")
    (mail,) = box.received
    assert box.recipients == ["data@example.org"]
    assert box.encrypted == [True]
    # Again after 451.
    assert box.logins == ["alerts", "alerts"]
    assert mail["Subject"] == "flow: run failed"
    assert mail["From"] == "Dagster <dagster@example.org>"
    assert mail["To"] == "data@example.org"
    assert mail["Date"].datetime == ALERT.at
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail.get_content().splitlines() == ["password=*** failed at <b> & co", "", "http://dagster/runs/r"]
    assert caplog.text.count("MailNotifier can't be notified") == 2
    assert "535" in caplog.text
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert "hush" not in caplog.text


def test_a_relay_without_tls_gets_mail_but_never_a_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv(SENDER_VARIABLE, "dagster@example.org")
    with mail_server() as box:
        monkeypatch.setenv(SERVER_VARIABLE, f"smtp://127.0.0.1:{box.port}")
        notify("email:data@example.org")
        monkeypatch.setenv(SERVER_VARIABLE, f"smtp://alerts:hush-hush-7@127.0.0.1:{box.port}")
        notify("email:data@example.org")
    assert box.recipients == ["data@example.org"]
    assert box.logins == []
    assert "a password is not sent without" in caplog.text


@pytest.mark.parametrize("server", ["mail.example.org", "http://mail.example.org", "smtp://", "smtp://a:x/b"])
def test_a_mail_server_that_is_none_is_not_accepted_nor_shown(monkeypatch: pytest.MonkeyPatch, server: str):
    monkeypatch.setenv(SENDER_VARIABLE, "dagster@example.org")
    monkeypatch.setenv(SERVER_VARIABLE, server)
    with pytest.raises(PipelineConfigurationException, match=f"{SERVER_VARIABLE} is not the URL of a mail") as raised:
        recipient("email:data@example.org")
    assert server not in str(raised.value).replace("mail.example.org:587", "")


def test_one_who_does_not_answer_keeps_nobody_waiting(webhook: Webhook, caplog: pytest.LogCaptureFixture):
    released = threading.Event()

    class Hanging:
        def notify(self, alert: Alert) -> None:
            released.wait(60)

    done: list[str] = []
    began = monotonic()
    others = [(ALERT, Recipient("hanging", Hanging())), (ALERT, recipient(f"webhook:{webhook.url}"))]
    deliver(others, lambda delivery: done.append(type(delivery[1].notifier).__name__), seconds=0.5)
    assert monotonic() - began < 5
    released.set()
    assert done == ["WebhookNotifier"]
    assert "Hanging has not answered" in caplog.text


def test_a_package_may_bring_a_notifier_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    lines = ["class Bell:", "  def __init__(self, place): self.rung = [place]"]
    lines += ["  def notify(self, alert): self.rung.append(alert.text)"]
    (tmp_path / "bells.py").write_text("\n".join(lines))
    metadata = tmp_path / "bells-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bells\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nbell = bells:Bell\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    bell = recipient("bell:tower")
    deliver([(ALERT, bell)])
    assert getattr(bell.notifier, "rung", None) == ["tower", "password=*** failed at <b> & co"]
