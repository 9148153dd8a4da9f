"""The one redactor: it knows the secrets that were handed out, and the keys that usually hold one."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter value would blank out half of every message and is no secret worth the name.
SHORTEST_SECRET = 4

_SECRET_WORDS = (
    r"password|passwd|passphrase|secret|token|private[-_. ]?key|access[-_. ]?key|api[-_. ]?key|keystore\.key"
    r"|credential|jaas|user\.info"
)
_SECRET_KEY = re.compile(_SECRET_WORDS, re.IGNORECASE)
# Keys such as `credentialPath`, `ssl.truststore.location` or `sasl.oauthbearer.token.endpoint.url` say where a
# secret is, not what it is.
_ABOUT_A_SECRET = re.compile(r"(path|type|url|location|file|class|timeout|expiry)$", re.IGNORECASE)
_URL_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]{0,40}://)[^\s/@:]*:[^\s/@]+@")
_ASSIGNMENT = re.compile(
    rf"(?P<key>(?<![\w.-])[\w.-]{{0,60}}(?:{_SECRET_WORDS})[\w.-]{{0,60}})"
    r"(?P<sign>=|[\"']\s*:\s*(?=[\"']))(?P<value>\"(?:[^\"\\\n]|\\.)*(?:\"|$)|'(?:[^'\\\n]|\\.)*(?:'|$)|[^\s&;,\"']+)",
    re.IGNORECASE | re.MULTILINE,
)

_known: set[str] = set()
_lock = threading.Lock()


def looks_secret(key: str) -> bool:
    """Whether a config key's name says that its value is a secret."""
    return _SECRET_KEY.search(key) is not None and _ABOUT_A_SECRET.search(key) is None


def remember_secret(value: str) -> None:
    """Make `redact` hide this value from now on: plain, URL-encoded, in base64 and as it stands in JSON.

    Args:
        value: A secret that was handed out; ones shorter than four characters are ignored.
    """
    if len(value) < SHORTEST_SECRET:
        return
    # An environment variable that is not UTF-8 has lone surrogates in it.
    raw = value.encode(errors="surrogateescape")
    encoded = base64.b64encode(raw).decode()
    spellings = {
        value,
        quote(raw, safe=""),
        quote_plus(raw),
        encoded,
        encoded.rstrip("="),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }
    with _lock:
        _known.update(spellings)


def redact(text: str) -> str:
    """Return the text without its secrets.

    Replaced by `***` are every known secret, `user:password@` in a URL, and what is assigned to a secret-looking
    key, as in `password=…` or `"password": "…"`.
    """
    with _lock:
        secrets = sorted(_known, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _ASSIGNMENT.sub(_without_value, redact_urls(text))


def redact_urls(text: str) -> str:
    """Return the text with every `user:password@` in a URL replaced by `***@`.

    Unlike `redact` this depends on the text alone, so that what is hashed or stored is the same in every process.
    """
    return _URL_USERINFO.sub(rf"\g<scheme>{MASK}@", text)


def redact_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a step's config in which secret-looking keys and known secrets are masked."""
    return {key: MASK if looks_secret(key) and value else _redact_value(value) for key, value in config.items()}


def redact_strings(value: Any) -> Any:
    """Return a copy of a JSON-like value in which every string, keys too, is redacted."""
    if isinstance(value, Mapping):
        return {redact_strings(key): redact_strings(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_strings(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def _without_value(assignment: re.Match[str]) -> str:
    if not looks_secret(assignment["key"]):
        return assignment[0]
    value = assignment["value"]
    opening = value[0] if value[0] in "\"'" else ""
    closing = opening if opening and value[1:].endswith(opening) else ""
    return f"{assignment['key']}{assignment['sign']}{opening}{MASK}{closing}"


def _redact_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact_config(value)
    if isinstance(value, (list, tuple)):
        return [_redact_value(item) for item in value]
    return redact(value) if isinstance(value, str) else value
