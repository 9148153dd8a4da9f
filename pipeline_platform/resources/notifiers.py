"""Who can be notified, by what stands for them in a setting, and how alerts are sent to them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from queue import Empty, SimpleQueue
from time import monotonic

import requests

from pipeline_platform.config.config_error import did_you_mean
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import MASK, redact, remember_secret
from pipeline_platform.resources.alert_model import Alert, Notifier
from pipeline_platform.resources.delivery import delivery_attempts

ENTRY_POINT_GROUP = "pipeline_platform.notifiers"
OWNERS = "owners"
"""What stands for the address in `email:owners`: those of the owners of what the alert is about."""
_BUILT_IN = ("log", "webhook", "slack", "email")
_TIMEOUT_SECONDS = 5.0
_DELIVERY_SECONDS = 40.0
"""For all alerts of a tick: Dagster ends a tick after 60 s."""
_FIRST_ERROR_STATUS, _FIRST_SERVER_ERROR, _TOO_MANY_REQUESTS = 400, 500, 429
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipient:
    """Somebody who is notified.

    Args:
        id: The same for the same recipient, in every process; shows nothing of who it is.
        notifier: Notifies them.
    """

    id: str
    notifier: Notifier


class LogNotifier:
    """Writes an error to the log; a warning for a check that warned."""

    def notify(self, alert: Alert) -> None:
        """Write one line."""
        level = logging.WARNING if alert.kind == "check_warned" else logging.ERROR
        _LOG.log(level, "%s: %s", alert.pipeline, alert.text, extra={"alert": alert.model_dump(mode="json")})


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
        link = f"\n{alert.url}" if alert.url else ""
        body = {"text": f"{alert.pipeline}: {alert.text}{link}", "alert": alert.model_dump(mode="json")}
        for attempt in delivery_attempts(_may_pass):
            with attempt:
                requests.post(self._url, json=body, timeout=_TIMEOUT_SECONDS).raise_for_status()


def _may_pass(error: BaseException) -> bool:
    answer = error.response if isinstance(error, requests.RequestException) else None
    if answer is None:
        return isinstance(error, (requests.ConnectionError, requests.Timeout))
    return answer.status_code >= _FIRST_SERVER_ERROR or answer.status_code == _TOO_MANY_REQUESTS


Delivery = tuple[Alert, Recipient]


def deliver(
    deliveries: Sequence[Delivery],
    on_done: Callable[[Delivery], None] = lambda _: None,
    seconds: float = _DELIVERY_SECONDS,
) -> None:
    """Send alerts, without secrets, to all recipients at the same time.

    One that fails, or does not answer, keeps no other from being notified; the log has what they were to be told.

    Args:
        deliveries: Which alert is for whom; each recipient gets theirs in this order.
        on_done: Called with each delivery that has succeeded or failed for good.
        seconds: How long to wait for all; a recipient who takes longer is notified in the background.
    """
    done: SimpleQueue[Delivery] = SimpleQueue()

    def notify(own: Sequence[Delivery]) -> None:
        for alert, recipient in own:
            _notify(alert.redacted(), recipient.notifier)
            done.put((alert, recipient))

    by_recipient: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        by_recipient.setdefault(delivery[1].id, []).append(delivery)
    for own in by_recipient.values():
        threading.Thread(target=notify, args=(own,), daemon=True, name="alerts").start()
    pending = list(deliveries)
    end = monotonic() + seconds
    while pending:
        try:
            delivery = done.get(timeout=max(0.0, end - monotonic()))
        except Empty:
            for alert, recipient in pending:
                notifier, text = type(recipient.notifier).__name__, alert.redacted().text
                _LOG.error("%s has not answered for %.0f s and is still tried; %s", notifier, seconds, text)
            return
        pending.remove(delivery)
        on_done(delivery)


def _notify(alert: Alert, notifier: Notifier) -> None:
    try:
        notifier.notify(alert)
    # Whatever keeps one from being told, an exit of a plug-in included; the next may still be.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _LOG.error("%s can't be notified: %s; %s", type(notifier).__name__, redact(str(error)), alert.text)


def entry_error(entry: str) -> str | None:
    """Why nobody can be notified by this entry; None if it is right.

    Args:
        entry: `log`, `webhook:URL`, `slack:CHANNEL`, `email:ADDRESS`, `email:owners`, or the name of an entry point
            `pipeline_platform.notifiers`, with what it is called with behind a colon.
    """
    kind, _, place = entry.partition(":")
    match kind:
        case "log":
            return "'log' takes nothing behind it" if ":" in entry else None
        case "webhook":
            is_address = place.startswith(("http://", "https://")) or place.startswith("${env:")
            return None if is_address else "'webhook' needs a URL, such as webhook:https://example.org/hook"
        case "slack":
            return None if place.strip("#") else "'slack' needs a channel, such as slack:#data"
        case "email":
            is_address = place == OWNERS or (all(place.partition("@")) and len(place.split()) == 1)
            return None if is_address else "'email' needs an address, such as email:data@example.org, or 'owners'"
        case _ if kind in _plugins().names:
            return None
        case _:
            return f"'{kind}' is not a notifier"


def entry_hint(entry: str) -> str | None:
    """What was probably meant by an entry whose notifier does not exist.

    Args:
        entry: The entry.
    """
    names = _plugins().names
    kind = entry.partition(":")[0]
    if kind in (*_BUILT_IN, *names):
        return None
    nearest = did_you_mean(kind, (*_BUILT_IN, *names))
    others = "".join(f", {name}" for name in sorted(names))
    valid = f"valid: log, webhook:URL, slack:CHANNEL, email:ADDRESS{others}"
    return valid if nearest is None or nearest.startswith("valid") else f"{nearest} {valid}"


def hide_entries(entries: Iterable[str]) -> None:
    """Keep what entries say of where to send from being shown, if it may be a secret.

    Args:
        entries: The entries, right or not.
    """
    places = [(kind, place) for kind, _, place in (entry.partition(":") for entry in entries) if place]
    others = {kind for kind, _ in places} - {*_BUILT_IN}
    hidden = {"webhook", *(_plugins().names if others else ())}
    for kind, place in places:
        # What stands in a variable is hidden when it is used.
        if kind in hidden and "${env:" not in place:
            remember_secret(place)


def recipient(entry: str) -> Recipient:
    """Who is notified by an entry.

    Args:
        entry: As for `entry_error`, and right.

    Raises:
        PipelineConfigurationException: A package or a setting that it needs is missing, or a plug-in fails.
    """
    return Recipient(hashlib.sha256(entry.encode()).hexdigest()[:16], _notifier(entry))


def _notifier(entry: str) -> Notifier:
    kind, _, place = entry.partition(":")
    match kind:
        case "log":
            return LogNotifier()
        case "webhook":
            return WebhookNotifier(place)
        case "slack":
            from pipeline_platform.resources.slack import SlackNotifier

            return SlackNotifier(place)
        case "email":
            from pipeline_platform.resources.mail import MailNotifier

            return MailNotifier(place)
        case _:
            try:
                return _plugins()[kind].load()(place)
            # A package may raise anything when it is imported, and exit: the others must be told all the same.
            except (Exception, SystemExit) as error:  # noqa: BLE001
                reason = f"{type(error).__name__}: {str(error).replace(place, MASK) if place else error}"
                raise PipelineConfigurationException(f"the plug-in '{kind}' can't be used: {reason}") from None


def _plugins() -> EntryPoints:
    return entry_points(group=ENTRY_POINT_GROUP)
