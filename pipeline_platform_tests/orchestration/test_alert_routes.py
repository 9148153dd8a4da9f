"""Routes: who is told of which alert, and what is wrong with a file of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.resources.alert_model import KINDS, Alert, Kind
from pipeline_platform.resources.alert_routes import (
    ALERTS_VARIABLE,
    ROUTES_VARIABLE,
    read_routes,
    routing_from_environment,
)
from pipeline_platform.resources.alerts import AlertsResource, alert_warnings
from pipeline_platform.resources.mail import SENDER_VARIABLE, SERVER_VARIABLE
from pipeline_platform.resources.notifiers import deliver
from pipeline_platform.resources.slack import API_VARIABLE, TOKEN_VARIABLE
from pipeline_platform_tests.docs.page import fences
from pipeline_platform_tests.orchestration.alert_servers import Slack, Webhook, mail_server

PRODUCTION = Path(__file__).parents[2] / "docs" / "how-to" / "go-to-production.md"
HOOK = "https://hooks.example.org/T0/hush-hook-5"


def alert(kind: Kind = "run_failed", *owners: str, **tags: str) -> Alert:
    return Alert(
        kind=kind, pipeline="flow", run_id=None, at=datetime.now(UTC), text="it failed", owners=owners, tags=tags
    )


@pytest.fixture(autouse=True)
def senders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "xoxb-hush-slack-1")
    monkeypatch.setenv(SERVER_VARIABLE, "smtp://127.0.0.1:9")
    monkeypatch.setenv(SENDER_VARIABLE, "dagster@example.org")


def routed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *routes: dict[str, Any], default: str = "log") -> Any:
    """A function that says how many are told of an alert, by what notifies them."""
    file = tmp_path / "alerts.json"
    file.write_text(json.dumps({"routes": routes}))
    monkeypatch.setenv(ALERTS_VARIABLE, default)
    monkeypatch.setenv(ROUTES_VARIABLE, str(file))

    def names(one: Alert) -> list[str]:
        found = [recipient.notifier for recipient in routing_from_environment().recipients(one)]
        places = [getattr(notifier, "_channel", getattr(notifier, "_address", "")) for notifier in found]
        return [f"{type(notifier).__name__[:-8]} {at}".strip() for notifier, at in zip(found, places, strict=True)]

    return names


def test_an_alert_goes_to_those_of_its_owner_tag_and_kind_and_to_each_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    names = routed(
        monkeypatch,
        tmp_path,
        {"owner": "team:weather", "to": ["slack:#weather"]},
        {"owner": "Weather", "to": ["slack:#weather"]},
        {"tag": "a b", "to": ["email:tagged@example.org"]},
        {"tag": "tier=gold", "kinds": ["check_warned"], "to": ["slack:#gold"]},
        {"owner": "weather", "tag": "pii", "to": ["slack:#privacy"]},
    )
    assert names(alert("run_failed", "team:weather")) == ["Slack #weather"]
    assert names(alert("run_failed", "team:weather", pii="")) == ["Slack #weather", "Slack #privacy"]
    # As the tag `a b` of a pipeline is spelled in Dagster.
    assert names(alert("late_rows", a_b="")) == ["Mail tagged@example.org"]
    assert names(alert("check_warned", tier="gold")) == ["Slack #gold"]
    # What no route is for goes where it went without routes.
    assert names(alert("run_failed", "team:other", tier="gold", pii="")) == ["Log"]
    assert names(alert("run_failed", "team:Weather")) == ["Slack #weather"]


def test_a_check_that_warns_is_told_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    names = routed(monkeypatch, tmp_path, {"to": ["slack:#all"]}, default=f"log, webhook:{HOOK}")
    assert {kind: names(alert(kind)) for kind in KINDS} == {
        **{kind: ["Slack #all"] for kind in KINDS},
        "check_warned": [],
    }


def test_owners_get_mail_at_their_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    names = routed(monkeypatch, tmp_path, {"to": ["email:owners"]})
    assert names(alert("run_failed", "a@example.org", "team:x", "b@example.org")) == [
        "Mail a@example.org",
        "Mail b@example.org",
    ]
    # A team has no address.
    assert names(alert("run_failed", "team:x")) == ["Log"]


def test_secrets_of_a_route_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    names = routed(monkeypatch, tmp_path, {"to": ["webhook:${env:TEAM_HOOK}"]})
    monkeypatch.setenv("TEAM_HOOK", HOOK)
    assert names(alert()) == ["Webhook"]


def test_one_who_cannot_be_notified_is_left_out_with_the_reason_and_somebody_is_always_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    names = routed(monkeypatch, tmp_path, {"to": ["webhook:${env:NO_HOOK}", "slack:#data"]}, default="email:a@b")
    assert names(alert()) == ["Slack #data"]
    assert "the environment variable NO_HOOK of 'webhook:${env:NO_HOOK}' is not set" in caplog.text
    monkeypatch.delenv(TOKEN_VARIABLE)
    assert names(alert()) == ["Mail a@b"]
    assert f"{TOKEN_VARIABLE}, which is not set" in caplog.text
    monkeypatch.delenv(SERVER_VARIABLE)
    assert names(alert()) == ["Log"]
    assert [warning.partition(",")[0] for warning in alert_warnings(strict=True)] == [
        f"alerts: an alert by e-mail needs the environment variable {SERVER_VARIABLE}",
        "alerts: the environment variable NO_HOOK of 'webhook:${env:NO_HOOK}' is not set",
        f"alerts: an alert to Slack needs the environment variable {TOKEN_VARIABLE}",
    ]


WRONG = {
    "[]": [":1:1: expected an object with 'routes', not a list"],
    '{"routes": []}': [":1:12: expected at least 1, found 0"],
    '{"routes": [{"to": ["log"]}], "route": 1}': [":1:31: unknown key 'route' (did you mean 'routes'?)"],
    '{"routes": [{"owner": "team:", "to": ["log"]}]}': [":1:23: expected an email address, or the name of a team"],
    '{"routes": [{"kinds": ["check_fail"], "to": ["log"]}]}': ["(did you mean 'check_failed'?)"],
    '{"routes": [{"kinds": [], "to": ["log"]}]}': [":1:23: expected at least 1, found 0"],
    '{"routes": [{"tag": "a"}]}': [":1:13: the key 'to' is missing (expected owner, tag, kinds, to)"],
    '{"routes": [{"to": "log"}]}': [":1:20: expected a list"],
    '{"routes": [{"to": ["slak:#a"]}]}': [":1:21: 'slak' is not a notifier (did you mean 'slack'? valid: log, "],
    '{"routes": [{"to": ["slack:"]}]}': [":1:21: 'slack' needs a channel, such as slack:#data"],
    '{"routes": [{"to": ["email:me"]}]}': [":1:21: 'email' needs an address"],
    '{"routes": [{"to": ["webhook:ftp://x"]}]}': [":1:21: 'webhook' needs a URL"],
    '{"routes": [{"to": ["log"], "to": ["log"]}]}': ["'to'"],
    f'{{"routes": [{{"to": ["webhook:{HOOK}", "mail"], "tags": 1}}]}}': [
        "'mail' is not a notifier",
        "unknown key 'tags'",
    ],
    f'{{"routes": [{{"to": ["webhook:{HOOK}",]}}]}}': ["not JSON"],
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_file_is_told_with_its_place_and_without_addresses(text: str, tmp_path: Path):
    file = tmp_path / "alerts.json"
    file.write_text(text)
    with pytest.raises(PipelineConfigurationException) as raised:
        read_routes(file)
    assert len(raised.value.problems) == len(WRONG[text])
    for expected in WRONG[text]:
        assert expected in str(raised.value)
    assert f"{file}:1:" in str(raised.value)
    assert "hush" not in str(raised.value)


def test_a_file_that_is_wrong_or_missing_loses_no_alert_and_is_an_error_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv(ALERTS_VARIABLE, "slack:#ops")
    monkeypatch.setenv(ROUTES_VARIABLE, str(tmp_path / "nowhere.json"))
    assert len(AlertsResource().routing().recipients(alert())) == 1
    assert "nowhere.json" in caplog.text
    assert "nowhere.json" in alert_warnings(strict=False)[0]
    with pytest.raises(PipelineConfigurationException, match=r"nowhere\.json"):
        alert_warnings(strict=True)


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("mail", "valid: log, webhook:URL"),
        ("webhook:", "needs a URL"),
        ("webhook:ftp://x", "needs a URL"),
        ("log:x", "'log'"),
    ],
)
def test_nobody_that_there_is_not_can_be_named(monkeypatch: pytest.MonkeyPatch, who: str, why: str):
    monkeypatch.setenv(ALERTS_VARIABLE, who)
    with pytest.raises(PipelineConfigurationException, match=why):
        AlertsResource().routing()


def test_a_package_whose_notifier_fails_keeps_nobody_else_from_being_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "cracked.py").write_text("raise ImportError('no clapper')\n")
    (tmp_path / "rusty.py").write_text("def rusty(place): raise OSError(f'{place} is shut')\n")
    metadata = tmp_path / "cracked-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cracked\nVersion: 1\n")
    points = "cracked = cracked:Bell\nrusty = rusty:rusty\n"
    (metadata / "entry_points.txt").write_text(f"[pipeline_platform.notifiers]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = routed(monkeypatch, tmp_path, {"to": ["cracked:tower", "rusty:secret-place", "slack:#data"]})
    assert names(alert()) == ["Slack #data"]
    assert "the plug-in 'cracked' can't be used: ImportError: no clapper" in caplog.text
    assert "OSError: *** is shut" in caplog.text


def test_the_routes_of_the_page_tell_those_that_the_page_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (page,) = (fence for fence in fences(PRODUCTION) if fence.title == "alerts.json")
    (tmp_path / "alerts.json").write_text(page.text)
    monkeypatch.setenv(ROUTES_VARIABLE, str(tmp_path / "alerts.json"))
    slack, hook = Slack(), Webhook()
    monkeypatch.setenv(API_VARIABLE, slack.url)
    monkeypatch.setenv("PIPELINE_PLATFORM_OPS_HOOK", hook.url)
    serving = [slack.serve(), hook.serve()]
    for server in serving:
        next(server)
    with mail_server() as box:
        monkeypatch.setenv(SERVER_VARIABLE, f"smtp://127.0.0.1:{box.port}")
        alerts = [
            alert("check_warned", "team:weather"),
            alert("run_failed", "team:weather", "ada@example.org"),
            alert("freshness_missed", "team:sales", critical=""),
        ]
        routing = routing_from_environment()
        deliver([(one, recipient) for one in alerts for recipient in routing.recipients(one)])
    for server in serving:
        next(server, None)
    assert [message["channel"] for message in slack.posted] == ["#weather", "#weather"]
    assert box.recipients == ["ada@example.org"]
    assert [posted["alert"]["kind"] for posted in hook.posted] == ["freshness_missed"]
