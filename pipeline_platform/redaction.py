"""The one redactor: it knows the secrets that were handed out, and the keys that usually hold one."""

from __future__ import annotations

import base64
import html
import json
import re
import sys
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, quote_plus

MASK = "***"
# A shorter value would blank out half of every message and is no secret worth the name.
SHORTEST_SECRET = 4
# Of a value that nothing marks as a secret.
SHORTEST_VALUE = 8
# A line of a key that spans lines, such as PEM; each may be shown by itself.
_SHORTEST_LINE = 16

_SECRET_WORDS = (
    r"password|passwd|pwd|passphrase|secret|token|private[-_. ]?key|access[-_. ]?key|api[-_. ]?key|keystore\.key"
    r"|credential|jaas|user\.info"
)
_SECRET_KEY = re.compile(_SECRET_WORDS, re.IGNORECASE)
# Keys such as `credentialPath`, `ssl.truststore.location` or `sasl.oauthbearer.token.endpoint.url` say where a
# secret is, not what it is.
_ABOUT_A_SECRET = re.compile(r"(path|type|url|location|file|class|timeout|expiry)$", re.IGNORECASE)
# What no one would take for a secret: numbers, dates, times, flags.
_PLAIN_VALUE = re.compile(r"[\d\s.,:+TZ/-]*|true|false", re.IGNORECASE)

# A password may hold `/` and `@`, but what is a number and ends with the host is a port.
_URL_USERINFO = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]{0,40}://)"
    r"(?:(?:\$\{env:[^}$]*\}|[^\s/@:$\[\]\"'<>]|\$(?!\{env:))*:(?!\d{1,5}(?:[/?#;,\s]|$))"
    r"(?P<password>(?:(?!://)[^\s\"'<>])+)"
    r"|(?:(?<=http://)|(?<=https://)|(?<=s3://)|(?<=s3a://)|(?<=s3n://))(?P<user>[^\s/@:\[\]\"'<>?#]+))@"
)
_QUOTED = "|".join(
    # A quote that nothing follows which ends a value is a part of it.
    rf"{quote}(?:[^{quote}\\\n]|\\.|\\(?=\n|\Z)|{quote}(?![\s,;:)\]}}/>|]|\Z))*(?:{quote}|$)"
    for quote in "\"'"
)
_ESCAPED = r"(?P<escape>\\{1,4}[\"'])[^\n]{0,2000}?(?P=escape)"
_VALUE = rf"(?P<value>{_ESCAPED}|{_QUOTED}|[^\s&;,\"']+)"
_KEY = rf"[\w.-]{{0,60}}(?:{_SECRET_WORDS}|signature)[\w.-]{{0,60}}"
_FLAGS = re.IGNORECASE | re.MULTILINE
_ASSIGNMENTS = (
    re.compile(
        rf"(?P<key>(?<![\w.-]){_KEY})"
        r"(?P<sign>\s{0,3}=\s{0,3}(?!=)|\s{0,3}->\s{0,3}|:[ \t]{0,3}|\\{0,4}[\"']\s{0,3}:\s{0,3}(?=\\{0,4}[\"']|\d))"
        + _VALUE,
        _FLAGS,
    ),
    re.compile(rf"(?P<key>(?<![\w.-])--{_KEY})(?P<sign>[ \t]{{1,3}}){_VALUE}", _FLAGS),
    re.compile(r"(?P<key>(?<=[?&])sig)(?P<sign>=)" + _VALUE, _FLAGS),
)
_MARKED = (
    # A login of Kafka: any of its options may be a secret.
    re.compile(
        r"(?P<mark>LoginModule\s{1,3}\w{1,20}\s{1,3})"
        r"(?:[^\n]{1,2000}?(?:[\"'];(?=[\"'\\,)\s\]}]|$)|\w;(?=[,)\s\]}]|$))|[^\n]{1,2000})",
        _FLAGS,
    ),
    re.compile(
        r"(?P<mark>\bauthorization\\{0,4}[\"']?\s{0,3}[:=]\s{0,3}\\{0,4}[\"']?"
        r"(?:(?:bearer|basic|digest|negotiate|token|apikey)\s{1,3})?)[^\s\"',;\\]+",
        _FLAGS,
    ),
    re.compile(r"(?P<mark>\bbearer\s{1,3})(?=\S{0,200}\d)[\w.~+/=-]{8,}", _FLAGS),
    # A token of Vault, a JSON web token, a private key.
    re.compile(r"(?P<mark>\b)(?:hv[sbr]\.[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"),
    re.compile(r"(?P<mark>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)[^-]+"),
)

_known: set[str] = set()
_lock = threading.Lock()


def looks_secret(key: str) -> bool:
    """Whether a config key's name says that its value is a secret."""
    return _SECRET_KEY.search(key) is not None and _ABOUT_A_SECRET.search(key) is None


def remember_secret(value: str) -> None:
    """Make `redact` hide this value from now on, however it is encoded: in URLs, JSON, SQL, XML, base64 and so on.

    Args:
        value: A secret that was handed out; ones shorter than four characters are ignored.
    """
    parts = {value, *_parts(value)}
    with _lock:
        _known.update(part for part in parts if len(part) >= SHORTEST_SECRET)


def remember_value(name: str, value: str) -> None:
    """Make `redact` hide the value of a variable, which may be a secret or not.

    Args:
        name: Of the variable; where it looks like one of a secret, this is `remember_secret`.
        value: Else numbers, dates and times, and what is shorter than eight characters, are left as they are.
    """
    if looks_secret(name) or (len(value) >= SHORTEST_VALUE and not _PLAIN_VALUE.fullmatch(value)):
        remember_secret(value)


def redact(text: str) -> str:
    """Return the text without its secrets.

    Replaced by `***` are every known secret, `user:password@` in a URL, what is assigned to a secret-looking
    key, as in `password=…`, `"password": "…"` or `--password …`, and what follows `Authorization:`.
    """
    with _lock:
        known = frozenset(_known)
    if known:
        text = _without_known(text, _wanted(known))
    text = redact_urls(text)
    for pattern in _MARKED:
        text = pattern.sub(rf"\g<mark>{MASK}", text)
    for pattern in _ASSIGNMENTS:
        text = pattern.sub(_without_value, text)
    return text


def redact_urls(text: str) -> str:
    """Return the text with every `user:password@` in a URL replaced by `***@`.

    Unlike `redact` this depends on the text alone, so that what is hashed or stored is the same in every process.
    """
    return _URL_USERINFO.sub(rf"\g<scheme>{MASK}@", text)


def url_secrets(text: str) -> Iterator[str]:
    """The passwords in the URLs of a text; of one for HTTP or S3 that has none, the user."""
    for found in _URL_USERINFO.finditer(text):
        yield found["password"] or found["user"]


def redact_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a step's config in which secret-looking keys and known secrets are masked."""
    return {key: MASK if looks_secret(key) and value else _redact_value(value) for key, value in config.items()}


def redact_strings(value: Any) -> Any:
    """Return a copy of a JSON-like value in which every string, keys too, is redacted."""
    if isinstance(value, Mapping):
        return {redact_strings(key): redact_strings(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [redact_strings(item) for item in cast("Sequence[Any]", value)]
    return redact(value) if isinstance(value, str) else value


def _redact_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact_config(cast("Mapping[str, Any]", value))
    if isinstance(value, (list, tuple)):
        return [_redact_value(item) for item in cast("Sequence[Any]", value)]
    return redact(value) if isinstance(value, str) else value


def _without_value(assignment: re.Match[str]) -> str:
    key, value = assignment["key"], assignment["value"]
    # In `***@` and the like nothing is left to hide.
    if not (looks_secret(key) or key.lower().endswith(("signature", "sig"))) or value.startswith(MASK):
        return assignment[0]
    opening = re.match(r"\\{0,4}[\"']|", value)
    assert opening is not None
    quotes = opening[0]
    closing = quotes if quotes and value[len(quotes) :].endswith(quotes) else ""
    return f"{key}{assignment['sign']}{quotes}{MASK}{closing}"


def _parts(secret: str) -> Iterator[str]:
    """What is shown of a secret by itself: the passwords in a login of Kafka or a URL, the lines of a key."""
    for option in re.finditer(r"(\w+)\s*=\s*\"((?:[^\"\\]|\\.|\"(?![\s;]|$))*)\"", secret):
        if looks_secret(option[1]):
            yield option[2]
            yield re.sub(r"\\(.)", r"\1", option[2])
    yield from url_secrets(secret)
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("-----"))


# Known secrets are found in the text's plain form: without escapes, whoever made them. A secret is brought into the
# same form, so that it does not matter what it holds itself.

_BACKSLASH = rb"(?:\\|%(?:25)*5[Cc]|&(?:amp;)*#(?:0*92|[xX]0*5[cC]);)"
_ESCAPE = re.compile(
    rb"(?P<control>"
    + _BACKSLASH
    + rb"+(?:u(?P<unit>[0-9a-fA-F]{4})|U(?P<code>[0-9a-fA-F]{8})|x(?P<byte>[0-9a-fA-F]{2})|(?P<letter>[nrtbf]))?)"
    rb"|%(?:25)*(?P<percent>[0-9a-fA-F]{2})"
    rb"|&(?:amp;)*(?P<entity>\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});"
    rb"|(?P<quote>[\"'`])"
    rb"|(?P<plus>\+)"
)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_QUOTES = (b'"', b"'", b"`")


@dataclass
class _PlainForm:
    """A text without escapes, and where in the text each of its bytes was."""

    text: bytearray = field(default_factory=bytearray)
    starts: list[int] = field(default_factory=list)
    """Where pieces begin in the plain form."""
    sources: list[tuple[int, int | None]] = field(default_factory=list)
    """Where they are in the text; one that was copied byte by byte has no end."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where in the text a part of the plain form was."""
        first, last = bisect_right(self.starts, start) - 1, bisect_right(self.starts, end - 1) - 1
        begin, stop = self.sources[first], self.sources[last]
        left = begin[0] if begin[1] is not None else begin[0] + start - self.starts[first]
        return left, stop[1] if stop[1] is not None else stop[0] + end - self.starts[last]

    def add(self, content: bytes, start: int, end: int | None) -> None:
        """Add what stands from `start` to `end`, or from `start` on byte by byte."""
        if content:
            self.starts.append(len(self.text))
            self.sources.append((start, end))
            self.text += content


def _plain_form(raw: bytes) -> _PlainForm:
    plain, place, high = _PlainForm(), 0, 0
    for escape in _ESCAPE.finditer(raw):
        start, kind = escape.start(), escape.lastgroup
        if kind == "quote":
            # Who escapes a quote by more quotes is not told from who does not.
            if not (raw.startswith(_QUOTES, start - 1) if start > place else plain.text.endswith(_QUOTES)):
                continue
            content = b""
        elif kind == "control" and escape["unit"]:
            unit = int(escape["unit"], 16)
            if 0xD800 <= unit < 0xDC00:
                content, high = b"", unit
            else:
                paired = high and 0xDC00 <= unit < 0xE000
                code = 0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00) if paired else unit
                content, high = chr(code).encode("utf-8", "surrogatepass"), 0
        else:
            content = _decoded(escape, kind)
        plain.add(raw[place:start], place, None)
        place = escape.end()
        if not (content in _QUOTES and plain.text.endswith(_QUOTES)):
            plain.add(content, start, place)
    plain.add(raw[place:], place, None)
    return plain


def _decoded(escape: re.Match[bytes], kind: str | None) -> bytes:
    if kind == "control":
        code = int(escape["code"] or escape["byte"] or b"0", 16)
        content = chr(code).encode() if 0 < code <= sys.maxunicode else _CONTROLS.get(escape["letter"], b"")
    elif kind == "percent":
        content = bytes([int(escape["percent"], 16)])
    elif kind == "entity":
        content = html.unescape(f"&{escape['entity'].decode()};").encode("utf-8", "surrogatepass")
    else:
        content = escape[0]
    # Both are a blank in a URL.
    return b" " if content == b"+" else b"" if content == b"\\" else content


@dataclass(frozen=True)
class _Base64Part:
    """What base64 makes of a secret wherever it begins; the characters beside it hold bits of the secret too."""

    text: bytes
    left: int
    right: int


@dataclass(frozen=True)
class _Wanted:
    """What known secrets look like.

    Args:
        spellings: As they stand in a text.
        plain: As they stand in its plain form.
        base64: In base64, as it stands in the plain form.
    """

    spellings: frozenset[bytes]
    plain: frozenset[bytes]
    base64: frozenset[_Base64Part]


@lru_cache(maxsize=4)
def _wanted(secrets: frozenset[str]) -> _Wanted:
    spellings: set[bytes] = set()
    plain: set[bytes] = set()
    parts: set[_Base64Part] = set()
    for secret in secrets:
        # An environment variable that is not UTF-8 has lone surrogates in it.
        try:
            raw = secret.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raw = secret.encode(errors="surrogatepass")
        texts = (
            secret,
            quote(raw, safe=""),
            quote_plus(raw),
            *(json.dumps(secret, ensure_ascii=a)[1:-1] for a in (False, True)),
        )
        spellings |= {text.encode(errors="surrogatepass") for text in texts}
        spellings |= {raw.hex().encode(), raw.hex().upper().encode()}
        encoded = secret.encode(errors="surrogatepass")
        # What looks like an escape in a secret is one for who encodes it in the same way, and text for others.
        undone = re.sub(rb"([\"'`])[\"'`]+", rb"\1", encoded.replace(b"\\", b"")).replace(b"+", b" ")
        for form in (bytes(_plain_form(encoded).text), undone):
            # Quotes at the ends are left where they are: one may belong to what stands around it.
            stripped = form.strip(b"".join(_QUOTES))
            plain |= {stripped} if len(stripped) >= SHORTEST_SECRET else set()
        parts.update(_base64_parts(raw))
    return _Wanted(frozenset(spellings), frozenset(plain), frozenset(parts))


def _base64_parts(raw: bytes) -> Iterator[_Base64Part]:
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        text = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        for spelled in {text, text.translate(bytes.maketrans(b"+/", b"-_"))}:
            yield _Base64Part(spelled.replace(b"+", b" "), int(offset > 0), int((offset + len(raw)) % 3 > 0))


_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


def _without_known(text: str, wanted: _Wanted) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    spans = [(start, start + len(spelled)) for spelled in wanted.spellings for start in _places(spelled, raw)]
    form = _plain_form(raw)
    plain = bytes(form.text)
    spans += [form.span(start, start + len(secret)) for secret in wanted.plain for start in _places(secret, plain)]
    for part in wanted.base64:
        for place in _places(part.text, plain):
            start, end = form.span(place, place + len(part.text))
            if part.left and start and raw[start - 1] in _BASE64:
                start -= 1
            if part.right and raw[end : end + 1] and raw[end] in _BASE64:
                end += 1
            padding = raw[end : end + 2]
            end += len(padding) - len(padding.lstrip(b"="))
            spans.append((start, end))
    if not spans:
        return text
    kept: list[bytes] = []
    done = 0
    masked = -1
    for start, end in sorted(spans):
        if start >= masked:
            kept += [raw[done:start], MASK.encode()]
        masked = done = max(masked, end)
    kept.append(raw[done:])
    redacted = b"".join(kept)
    try:
        return redacted.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # A secret with bytes that are no UTF-8 was found within a character.
        return redacted.decode("utf-8", "replace")


def _places(part: bytes, text: bytes) -> Iterator[int]:
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + len(part))
