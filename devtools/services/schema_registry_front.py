"""What stands in front of a schema registry where one has to log in: TLS, and a check of who asks."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

import trustme

from devtools.services.http import serving
from devtools.services.schema_registry import SchemaRegistry


@dataclass(frozen=True)
class Front:
    """A way into a registry.

    Args:
        url: Of Confluent's API.
        authority: The certificate, in PEM, of who signed that of the front.
    """

    url: str
    authority: str


@contextmanager
def front_of(registry: SchemaRegistry, authorizations: Collection[str]) -> Generator[Front]:
    """Have a registry behind TLS, for those alone who send one of these headers.

    Args:
        registry: The registry.
        authorizations: Values of the header `Authorization`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") not in authorizations:
                self._answer(401, b'{"error_code": 401, "message": "Unauthorized"}')
                return
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length) if length else None
            kinds = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            request = urllib.request.Request(f"{registry.url}{self.path}", body, kinds, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self._answer(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                self._answer(error.code, error.read())

        do_POST = do_GET  # noqa: N815 - the same

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate: Any = authority.issue_cert("127.0.0.1")
    certificate.configure_cert(context)
    with serving(Handler, context) as url:
        yield Front(url, authority.cert_pem.bytes().decode())
