"""Real servers that alerts are sent to, each on a free port of this machine."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from devtools.services.process import free_port


class HttpServer:
    """Takes what is posted to it, and answers as it is told, then with 200.

    While `hold` is not set, nothing is taken; what comes from a process that is gone by then is lost.
    """

    path = "/"

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        server = self

        class Taker(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not server.hold.is_set():
                    server.hold.wait(60)
                    if self.connection.recv(1, socket.MSG_PEEK) == b"":
                        return
                status = server.answers.pop(0) if server.answers else 200
                answer, headers = server.answer(status, self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server.server_port}{self.path}"

    def answer(self, status: int, path: str, headers: dict[str, str], body: bytes) -> tuple[bytes, dict[str, str]]:
        if status == 200:
            self.posted.append(json.loads(body))
        return b"", {}

    def serve(self) -> Generator[Any]:
        thread = threading.Thread(target=self.server.serve_forever, daemon=True, args=(0.05,))
        thread.start()
        yield self
        self.server.shutdown()
        self.server.server_close()
        thread.join()


class Webhook(HttpServer):
    """Takes JSON, as a webhook of Slack, Mattermost or Teams does."""

    path = "/services/T0/hook-token-1"


class Slack(HttpServer):
    """Answers as Slack's API does to `chat.postMessage`; see https://docs.slack.dev/reference/methods/chat.postMessage."""

    path = "/api/"
    token = "xoxb-hush-slack-1"

    def __init__(self) -> None:
        super().__init__()
        self.channels = {"#data", "#weather"}

    def answer(self, status: int, path: str, headers: dict[str, str], body: bytes) -> tuple[bytes, dict[str, str]]:
        if status != 200:
            return b"{}", {"Retry-After": "0"}
        is_json = headers["Content-Type"].startswith("application/json")
        message = json.loads(body) if is_json else {key: one for key, (one,) in parse_qs(body.decode()).items()}
        return json.dumps(self._posted(path, headers, message)).encode(), {"Content-Type": "application/json"}

    def _posted(self, path: str, headers: dict[str, str], message: dict[str, Any]) -> dict[str, Any]:
        if path != "/api/chat.postMessage":
            return {"ok": False, "error": "unknown_method"}
        if headers.get("Authorization") != f"Bearer {self.token}":
            return {"ok": False, "error": "invalid_auth"}
        if message["channel"] not in self.channels:
            return {"ok": False, "error": "channel_not_found"}
        self.posted.append(message)
        return {"ok": True, "channel": "C1", "ts": "1"}


@dataclass
class Mailbox:
    """What a mail server has taken."""

    port: int
    received: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[str] = field(default_factory=list[str])
    logins: list[str] = field(default_factory=list[str])
    answers: list[str] = field(default_factory=list[str])
    encrypted: list[bool] = field(default_factory=list[bool])

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append(message)
        self.recipients += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        is_right = isinstance(data, LoginPassword) and data.password == b"hush mail:1"
        self.logins += [data.login.decode()] if is_right else []
        # Not handled: it is the server that answers 535.
        return AuthResult(success=is_right, handled=False)


@contextmanager
def mail_server(certificate: ssl.SSLContext | None = None, *, login: bool = False) -> Generator[Mailbox]:
    """A mail server.

    Args:
        certificate: Its certificate, for STARTTLS; None for a server without TLS.
        login: Whether it asks for a login.
    """
    box = Mailbox(free_port())
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        tls_context=certificate,
        require_starttls=certificate is not None,
        auth_required=login,
        auth_require_tls=certificate is not None,
        authenticator=box.authenticate if login else None,
    )
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
