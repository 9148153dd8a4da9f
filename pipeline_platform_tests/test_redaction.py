"""Secrets are replaced wherever text, configs or URLs are shown."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from pipeline_platform.exceptions import PipelineException
from pipeline_platform.redaction import (
    MASK,
    looks_secret,
    redact,
    redact_config,
    redact_urls,
    remember_secret,
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
    ],
)
def test_what_is_assigned_to_a_secret_looking_key_is_redacted(text: str, shown: str):
    assert redact(text) == shown


def test_long_text_is_redacted_in_time_that_grows_with_it():
    assert len(redact("password" * 50_000)) == 400_000
    assert len(redact("a." * 200_000)) == 400_000


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
