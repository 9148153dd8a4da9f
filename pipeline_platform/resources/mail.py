"""Alerts by e-mail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid
from urllib.parse import unquote, urlsplit

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import remember_secret
from pipeline_platform.resources.alert_model import Alert, environment_setting
from pipeline_platform.resources.delivery import delivery_attempts

SERVER_VARIABLE = "PIPELINE_PLATFORM_SMTP"
SENDER_VARIABLE = "PIPELINE_PLATFORM_SMTP_FROM"
_PORTS = {"smtp": 587, "smtps": 465}
_TIMEOUT_SECONDS = 5.0
_FIRST_TRANSIENT, _FIRST_PERMANENT = 400, 500


@dataclass(frozen=True)
class MailServer:
    """Where mail is sent.

    Args:
        host: The server.
        port: Its port.
        is_encrypted: Whether the connection begins with TLS; otherwise it gets TLS by STARTTLS.
        username: The login; None for a server that needs none.
        password: Its password.
    """

    host: str
    port: int
    is_encrypted: bool
    username: str | None = None
    password: str = field(default="", repr=False)


class MailNotifier:
    """Sends a plain text through the server in `PIPELINE_PLATFORM_SMTP`.

    Args:
        address: To whom.

    Raises:
        PipelineConfigurationException: `PIPELINE_PLATFORM_SMTP` or `PIPELINE_PLATFORM_SMTP_FROM` is missing or wrong.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._server = _server()
        self._sender = environment_setting(SENDER_VARIABLE, "an alert by e-mail", "dagster@example.org")

    def notify(self, alert: Alert) -> None:
        """Send it, up to three times if the server is away or busy.

        Raises:
            OSError: The server can't be reached, or did not take it; `smtplib.SMTPException` is one.
        """
        message = self._message(alert)
        for attempt in delivery_attempts(_may_pass):
            with attempt, _connection(self._server) as server:
                server.send_message(message)

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = " ".join(alert.title.split())
        message["From"] = self._sender
        message["To"] = self._address
        message["Date"] = alert.at
        message["Message-ID"] = make_msgid("alert", self._sender.rpartition("@")[2].strip("> "))
        # Out-of-office replies to it are of no use to anybody (RFC 3834).
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(alert.text + (f"\n\n{alert.url}" if alert.url else ""))
        return message


def _server() -> MailServer:
    example = "smtp://user:password@mail.example.org:587"
    value = environment_setting(SERVER_VARIABLE, "an alert by e-mail", example)
    remember_secret(value)
    try:
        url = urlsplit(value)
        host, port = url.hostname, url.port or _PORTS[url.scheme]
    except (KeyError, ValueError):
        host, port, url = None, 0, urlsplit("")
    if not host or url.path.strip("/") or url.query or url.fragment:
        raise PipelineConfigurationException(
            f"{SERVER_VARIABLE} is not the URL of a mail server",
            hint=f"set it, such as {example}, or smtps://… for a server that begins with TLS; "
            "percent-encode what is not a letter or a digit in the password",
        )
    password = unquote(url.password or "")
    remember_secret(password)
    username = unquote(url.username) if url.username else None
    return MailServer(host, port, url.scheme == "smtps", username, password)


@contextmanager
def _connection(server: MailServer) -> Generator[smtplib.SMTP]:
    context = ssl.create_default_context()
    if server.is_encrypted:
        opened = smtplib.SMTP_SSL(server.host, server.port, timeout=_TIMEOUT_SECONDS, context=context)
    else:
        opened = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_SECONDS)
    try:
        opened.ehlo()
        if not server.is_encrypted and opened.has_extn("starttls"):
            opened.starttls(context=context)
            opened.ehlo()
        elif not server.is_encrypted and server.username is not None:
            raise smtplib.SMTPNotSupportedError(
                "the mail server offers no TLS (STARTTLS), and a password is not sent without"
            )
        if server.username is not None:
            opened.login(server.username, server.password)
        yield opened
        # The mail is sent: what happens from here on must not send it again.
        with suppress(OSError):
            opened.quit()
    finally:
        opened.close()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return all(_FIRST_TRANSIENT <= code < _FIRST_PERMANENT for code in codes)
    if isinstance(error, smtplib.SMTPResponseException):
        return _FIRST_TRANSIENT <= error.smtp_code < _FIRST_PERMANENT
    if isinstance(error, (smtplib.SMTPNotSupportedError, ssl.SSLCertVerificationError)):
        return False
    return isinstance(error, (OSError, smtplib.SMTPServerDisconnected))
