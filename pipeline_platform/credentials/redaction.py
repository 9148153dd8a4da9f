"""The one redactor: it knows the secrets that were handed out, and the keys that usually hold one."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter value would blank out half of every message and is no secret worth the name.
SHORTEST_SECRET = 4

_SECRET_KEY = re.compile(
    r"password|passwd|secret|token|private.?key|access.?key|api.?key|credential(?!path|type)|jaas",
    re.IGNORECASE,
)
_URL_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^\s/@:]+:[^\s/@]+@")

_known: set[str] = set()
_lock = threading.Lock()


def looks_secret(key: str) -> bool:
    """Whether a config key's name says that its value is a secret."""
    return _SECRET_KEY.search(key) is not None


def remember_secret(value: str) -> None:
    """Make `redact` hide this value from now on, plain, URL-encoded and in base64.

    Args:
        value: A secret that was handed out; ones shorter than four characters are ignored.
    """
    if len(value) < SHORTEST_SECRET:
        return
    encoded = base64.b64encode(value.encode()).decode()
    with _lock:
        _known.update({value, quote(value, safe=""), quote_plus(value), encoded, encoded.rstrip("=")})


def redact(text: str) -> str:
    """Return the text with every known secret, and every `user:password@` in a URL, replaced by `***`."""
    with _lock:
        secrets = sorted(_known, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _URL_USERINFO.sub(rf"\g<scheme>{MASK}@", text)


def redact_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a step's config in which secret-looking keys and known secrets are masked."""
    return {key: MASK if looks_secret(key) and value else _redact_value(value) for key, value in config.items()}


def _redact_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact_config(value)
    if isinstance(value, (list, tuple)):
        return [_redact_value(item) for item in value]
    return redact(value) if isinstance(value, str) else value
