"""Who is told when something needs a person: the log, or a webhook."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import entry_points
from typing import Literal, Protocol

import requests
from pydantic import BaseModel, ConfigDict
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import MASK, redact, remember_secret

ALERTS_VARIABLE = "PIPELINE_PLATFORM_ALERTS"
ENTRY_POINT_GROUP = "pipeline_platform.notifiers"
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 5.0
_FIRST_ERROR_STATUS, _FIRST_SERVER_ERROR, _TOO_MANY_REQUESTS = 400, 500, 429
_LOG = logging.getLogger(__name__)


class Alert(BaseModel):
    """Something that needs a person."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["run_failed", "stream_given_up"]
    pipeline: str
    run_id: str | None
    at: datetime
    text: str
    """What happened and what to do next."""


class Notifier(Protocol):
    """Tells somebody."""

    def notify(self, alert: Alert) -> None:
        """Tell it; raises whatever keeps it from being told."""
        ...


class LogNotifier:
    """Writes an error to the log."""

    def notify(self, alert: Alert) -> None:
        """Write one line."""
        _LOG.error("%s: %s", alert.pipeline, alert.text, extra={"alert": alert.model_dump(mode="json")})


class WebhookNotifier:
    """Posts JSON: `text`, as Slack, Mattermost and Teams show it, and `alert` with all its parts.

    Args:
        url: Where to; whoever knows it may post, so it is treated as a secret.
    """

    def __init__(self, url: str) -> None:
        remember_secret(url)
        self._url = url

    def notify(self, alert: Alert) -> None:
        """Post it, up to three times if the other side is away or busy.

        Raises:
            requests.RequestException: It did not take it.
        """
        body = {"text": f"{alert.pipeline}: {alert.text}", "alert": alert.model_dump(mode="json")}
        attempts = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(multiplier=0.5),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        for attempt in attempts:
            with attempt:
                requests.post(self._url, json=body, timeout=_TIMEOUT_SECONDS).raise_for_status()


def _may_pass(error: BaseException) -> bool:
    answer = error.response if isinstance(error, requests.RequestException) else None
    if answer is None:
        return isinstance(error, (requests.ConnectionError, requests.Timeout))
    return answer.status_code >= _FIRST_SERVER_ERROR or answer.status_code == _TOO_MANY_REQUESTS


def send(notifiers: Sequence[Notifier], alert: Alert) -> None:
    """Tell everybody, without secrets; one who can't be told keeps nobody else from it.

    Args:
        notifiers: Whom to tell.
        alert: What.
    """
    redacted = alert.model_copy(update={"text": redact(alert.text)})
    for notifier in notifiers:
        try:
            notifier.notify(redacted)
        except Exception as error:  # noqa: BLE001 - whatever keeps one from being told; the next may still be.
            _LOG.error("%s can't be notified: %s; %s", type(notifier).__name__, redact(str(error)), redacted.text)


def notifiers_from_environment() -> list[Notifier]:
    """Those that `PIPELINE_PLATFORM_ALERTS` lists, with commas between them: `log`, the default, and `webhook:URL`.

    Any other is looked for among the entry points `pipeline_platform.notifiers` of the environment's packages; it is
    called with what stands behind its colon.

    One whose package fails is left out, with an error in the log; if nobody is left, the log is told.

    Raises:
        PipelineConfigurationException: It lists something else.
    """
    listed = os.environ.get(ALERTS_VARIABLE) or "log"
    found = [_notifier(entry.strip()) for entry in listed.split(",") if entry.strip()]
    return [notifier for notifier in found if notifier is not None] or [LogNotifier()]


def _notifier(entry: str) -> Notifier | None:
    kind, _, url = entry.partition(":")
    if kind == "webhook" and url.startswith(("http://", "https://")):
        return WebhookNotifier(url)
    if entry == "log":
        return LogNotifier()
    known = entry_points(group=ENTRY_POINT_GROUP)
    if kind in known.names:
        try:
            return known[kind].load()(url)
        # A package may raise anything when it is imported, and exit: the others must be told all the same.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            reason = redact(f"{type(error).__name__}: {str(error).replace(url, MASK) if url else error}")
            _LOG.error("the plug-in '%s' that %s names can't be used: %s", kind, ALERTS_VARIABLE, reason)
            return None
    others = "".join(f", {name}" for name in sorted(known.names))
    raise PipelineConfigurationException(
        f"'{kind}' in {ALERTS_VARIABLE} is not a notifier", hint=f"valid: log, webhook:URL{others}"
    )
