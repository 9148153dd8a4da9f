"""Secrets are replaced wherever text, configs or URLs are shown."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape as escape_xml

import psycopg.sql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.converters import escape_string

from pipeline_platform import redaction
from pipeline_platform.exceptions import PipelineException
from pipeline_platform.redaction import (
    MASK,
    looks_secret,
    redact,
    redact_config,
    redact_urls,
    remember_secret,
    remember_value,
)

SECRET = 'p@ss/w"ord ü1'


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
    ids=["plain", "url", "base64", "base64 without padding", "json", "json in unicode"],
)
def test_a_secret_that_was_handed_out_is_redacted_however_it_is_spelled(spelled: str):
    remember_secret(SECRET)
    assert redact(f"no such user <{spelled}> here") == f"no such user <{MASK}> here"


def test_the_longest_of_overlapping_secrets_is_redacted_whole():
    remember_secret("opensesame")
    remember_secret("opensesame-and-more")
    assert redact("opensesame-and-more!") == f"{MASK}!"


def test_a_secret_too_short_to_be_one_is_left_alone():
    remember_secret("abc")
    assert redact("abcd abc") == "abcd abc"


def test_a_secret_that_is_no_text_is_redacted_too():
    secret = b"caf\xe9-secret".decode(errors="surrogateescape")
    remember_secret(secret)
    assert redact(f"<{secret}>") == f"<{MASK}>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:p/w@db/x", "postgres://***@db/x"),
        ("postgres://u:p@w@db/x", "postgres://***@db/x"),
        ("postgres://u:p@w/x@db/x, and more", "postgres://***@db/x, and more"),
        ("s3a://key:se/cret@lake/a and s3a://key:se+cret@lake/b", "s3a://***@lake/a and s3a://***@lake/b"),
        ("a://u:p@h1,b://u:p@h2", "a://***@h1,b://***@h2"),
        ("https://token-1@host/x", "https://***@host/x"),
        ("s3a://${env:BUCKET}/a@b", "s3a://${env:BUCKET}/a@b"),
        ("s3a://u:${env:PASSWORD}@lake", "s3a://***@lake"),
        (
            "abfss://container@account.dfs.core.windows.net/a:b@c",
            "abfss://container@account.dfs.core.windows.net/a:b@c",
        ),
        ("http://[::1]:8080/x@y", "http://[::1]:8080/x@y"),
        ("hdfs://namenode:8020/a@b http://h:80?q=a@b", "hdfs://namenode:8020/a@b http://h:80?q=a@b"),
        ("jdbc:postgresql://u:pw@db/x", "jdbc:postgresql://***@db/x"),
        ("redis://:pw@db", "redis://***@db"),
        ("s3a://bucket/a:b@c", "s3a://bucket/a:b@c"),
        ("http://localhost:9092/x", "http://localhost:9092/x"),
    ],
)
def test_user_and_password_of_a_url_are_redacted(text: str, shown: str):
    assert redact(text) == redact_urls(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("jdbc:mysql://db/x?user=u&password=hunter22&ssl=true", "jdbc:mysql://db/x?user=u&password=***&ssl=true"),
        ('Module required username="u" password="hun;ter22";', 'Module required username="u" password="***";'),
        ('{"secretAccessKey": "hunter22", "a": 1}', '{"secretAccessKey": "***", "a": 1}'),
        ("fs.s3a.secret.key=hunter22 fs.s3a.endpoint=x", "fs.s3a.secret.key=*** fs.s3a.endpoint=x"),
        ("{'token': 'hunter22'}", "{'token': '***'}"),
        ('{"password": "hunter22', '{"password": "***'),
        ('{"credentialPath": "secret/pg"}', '{"credentialPath": "secret/pg"}'),
        ("token > 3 and password is null", "token > 3 and password is null"),
        ("Server=db;UID=sa;pwd=hunter22;x=1", "Server=db;UID=sa;pwd=***;x=1"),
        ("password: hunter22", "password: ***"),
        ("psql --password hunter22 --host db", "psql --password *** --host db"),
        ("--api-key=hunter22 x", "--api-key=*** x"),
        ("secret = 'hunt''er 22' and more", "secret = '***' and more"),
        ('token = "hunter22"', 'token = "***"'),
        ("Map(password -> hunter22, user -> u)", "Map(password -> ***, user -> u)"),
        ('"{\\"password\\": \\"hunter 22\\", \\"a\\": 1}"', '"{\\"password\\": \\"***\\", \\"a\\": 1}"'),
        ('{"token": 12345, "rows": 5}', '{"token": ***, "rows": 5}'),
        ("Authorization: Bearer hunter22", "Authorization: Bearer ***"),
        ("-H 'Authorization: Basic aHVudGVyMjI=' http://x", "-H 'Authorization: Basic ***' http://x"),
        ("{'Authorization': 'hunter22'}", "{'Authorization': '***'}"),
        ("sent Bearer abc.def-123 to x", "sent Bearer *** to x"),
        ("X-Vault-Token: hvs.x", "X-Vault-Token: ***"),
        ("login with hvs.CAESIJlU9JMYEhOPYv4igdhm9PnZDrabYTobQ4Ymnlq1qY failed", "login with *** failed"),
        ("https://s/b?sig=hunter%2F22&se=1", "https://s/b?sig=***&se=1"),
        ("https://s/b?X-Amz-Signature=hunter22", "https://s/b?X-Amz-Signature=***"),
        (
            'x.PlainLoginModule required username="u" password="a "&%+=;" b"; , c',
            "x.PlainLoginModule required *** , c",
        ),
        ('password="a "&%+=";', 'password="***";'),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
    ],
)
def test_what_is_assigned_to_a_secret_looking_key_is_redacted(text: str, shown: str):
    assert redact(text) == shown


HARD = {
    "words": "password",
    "dots": "a.",
    "backslashes": "\\",
    "quotes": '"',
    "open quotes": 'password="',
    "escaped quotes": 'password=\\"',
    "URLs": "a://b:",
    "URLs with variables": "a://${env:",
    "percents": "%25",
    "entities": "&amp;",
    "base64": "A",
    "logins": "LoginModule required ",
    "headers": "authorization: bearer ",
    "tokens": "eyJaaaaaaaaa.",
    "keys": "-----BEGIN PRIVATE KEY-----",
}


@pytest.mark.parametrize("piece", HARD.values(), ids=HARD)
def test_long_text_is_redacted_in_time_that_grows_with_it(piece: str):
    for number in range(5):
        remember_secret(f"{number}AAAA\\\\''{number}%25&amp;")

    def seconds(length: int) -> float:
        text = piece * (length // len(piece)) + "\\\n"
        times: list[float] = []
        for _ in range(3):
            start = time.process_time()
            redact(text)
            times.append(time.process_time() - start)
        return min(times)

    # Eight times the text would take 64 times as long if it were quadratic.
    assert seconds(80_000) < 30 * seconds(10_000) + 0.05


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: secret,
    "URL": lambda secret: quote(secret, safe=""),
    "URL, / kept": quote,
    "URL, blank as +": quote_plus,
    "URL, lower case": lambda secret: re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe="")),
    "URL, as browsers do": lambda secret: quote(secret, safe="!*'()~"),
    "URL, every byte": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "URL, twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64, no padding": lambda secret: base64.b64encode(secret.encode()).decode().rstrip("="),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "base64 in a URL": lambda secret: quote(base64.b64encode(secret.encode()), safe=""),
    "base64 after one byte": lambda secret: base64.b64encode(f"u{secret}".encode()).decode(),
    "base64 of user and secret": lambda secret: base64.b64encode(f"u:{secret}".encode()).decode(),
    "base64 for URLs of user and secret": lambda secret: base64.urlsafe_b64encode(f"me:{secret}:x".encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON in Unicode": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret))[3:-3],
    "JSON in a URL": lambda secret: quote(json.dumps(secret)[1:-1], safe=""),
    "JSON in HTML": lambda secret: html.escape(json.dumps(secret)[1:-1]),
    "Python": lambda secret: repr(secret)[1:-1],
    "SQL": lambda secret: secret.replace("'", "''"),
    "SQL identifier, CSV": lambda secret: secret.replace('"', '""'),
    "SQL of PostgreSQL": lambda secret: psycopg.sql.Literal(secret).as_string().strip(" E")[1:-1],
    "SQL of MySQL": escape_string,
    "JAAS": lambda secret: secret.replace("\\", "\\\\").replace('"', '\\"'),
    "Python in ASCII": lambda secret: ascii(secret)[1:-1],
    "Java properties": lambda secret: "".join(f"\\{c}" if c in "\\:=#! " else json.dumps(c)[1:-1] for c in secret),
    "regular expression": re.escape,
    "shell": lambda secret: shlex.quote(secret).strip("'"),
    "HTML": html.escape,
    "HTML, twice": lambda secret: html.escape(html.escape(secret)),
    "XML": lambda secret: escape_xml(secret, {'"': "&quot;", "'": "&apos;"}),
    "XML, by number": lambda secret: re.sub(r"[^a-zA-Z0-9]", lambda character: f"&#{ord(character[0])};", secret),
    "XML, by hexadecimal number": lambda secret: re.sub(r"[^a-zA-Z0-9]", lambda c: f"&#x{ord(c[0]):X};", secret),
}
SECRETS = st.text(
    st.sampled_from(
        "abcnrtuxAZ059" + "/+=%&<>;:@#!?$ ,.~|{}[]()^*-_" + "\\\"'`" * 3 + "\n\t" + "\u00fc\u20ac\U0001f511"
    ),
    min_size=8,
    max_size=40,
).filter(lambda secret: len(re.findall("[a-zA-Z0-9]", secret)) >= 6)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SECRETS)
def test_a_secret_is_redacted_however_it_is_encoded(secret: str):
    redaction._known.clear()
    remember_secret(secret)
    pieces = [piece for piece in re.findall("[a-zA-Z0-9]+", secret) if len(piece) >= 4]
    for name, encode in ENCODINGS.items():
        encoded = encode(secret)
        shown = redact(f"no such user <{encoded}> here")
        assert encoded not in shown, name
        assert MASK in shown, name
        assert not [piece for piece in pieces if piece in shown], name
        # The text around it stays.
        assert shown.startswith("no such user <"), name
        assert shown.endswith("> here"), name


def test_the_lines_of_a_key_and_the_password_of_a_login_are_redacted_by_themselves():
    remember_secret("-----BEGIN X-----\nMIIEvQIBADANBgkqhkiG\nAAAA\n-----END X-----")
    assert redact("read MIIEvQIBADANBgkqhkiG of -----BEGIN X-----") == "read *** of -----BEGIN X-----"
    remember_secret('x required username="somebody" password="can/ary \\"&%";')
    assert redact('somebody, can/ary "&%, can/ary \\"&%') == "somebody, ***, ***"
    remember_secret("https://user:hunter22@host")
    assert redact("user hunter22") == "user ***"


@pytest.mark.parametrize(
    "value", ["2013", "20131231", "2013-12-31", "2013-12-31T00:00:00Z", "-1.5", "dev", "true", "flights"]
)
def test_a_variable_that_holds_no_secret_is_not_masked_wherever_its_value_stands(value: str):
    remember_value("YEAR", value)
    assert redact(f"read {value} rows") == f"read {value} rows"


@pytest.mark.parametrize(("name", "value"), [("DB_PASSWORD", "2013"), ("PIN", "correct-horse")])
def test_a_variable_that_may_hold_a_secret_is(name: str, value: str):
    remember_value(name, value)
    assert redact(f"<{value}>") == "<***>"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "sslPassword",
        "secretAccessKey",
        "accessKeyId",
        "sessionToken",
        "sasl.jaas.config",
        "ssl.keystore.key",
        "ssl.key.password",
        "basic.auth.user.info",
        "private_key",
        "api-key",
        "spark.hadoop.fs.s3a.secret.key",
    ],
)
def test_a_key_that_holds_a_secret_looks_like_it(key: str):
    assert looks_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        "credentialPath",
        "credentialType",
        "ssl.truststore.location",
        "sasl.oauthbearer.token.endpoint.url",
        "username",
        "keyColumn",
        "foreignKey",
        "mergeKeys",
        "bootstrap.servers",
        "security.protocol",
    ],
)
def test_a_key_that_holds_none_does_not(key: str):
    assert not looks_secret(key)


def test_a_config_is_redacted_in_depth():
    remember_secret("opensesame")
    config = {
        "path": "s3a://u:p@bucket/x",
        "password": "hunter22",
        "properties": {"sslpassword": "hunter22", "user": "opensesame"},
        "list": [{"token": 5}, "opensesame"],
        "secret": "",
        "n": 3,
    }
    assert redact_config(config) == {
        "path": "s3a://***@bucket/x",
        "password": MASK,
        "properties": {"sslpassword": MASK, "user": MASK},
        "list": [{"token": MASK}, MASK],
        "secret": "",
        "n": 3,
    }


def test_an_exception_holds_no_secret():
    remember_secret("opensesame")
    error = PipelineException("refused for opensesame", config={"password": "hunter22"})
    assert "opensesame" not in str(error) + error.message + repr(error)
    assert error.config == {"password": MASK}
