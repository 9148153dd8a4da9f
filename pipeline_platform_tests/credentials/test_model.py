"""Typed credentials: what a secret has to have, and what is said when it has not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.credentials.model import CredentialFieldsError, credentials_of
from pipeline_platform.redaction import redact

JDBC: dict[str, Any] = {
    "host": "db",
    "port": "5432",
    "database": "shop",
    "username": "reader",
    "password": "sesame-jdbc",
}


def test_a_database_is_entered_with_jdbc_credentials():
    credentials = credentials_of(JdbcCredentials, JDBC)
    assert isinstance(credentials, JdbcCredentials)
    assert (credentials.port, credentials.password.get_secret_value()) == (5432, "sesame-jdbc")


def test_a_port_may_be_a_number():
    credentials = credentials_of(JdbcCredentials, {**JDBC, "port": 3306, "password": 123456})
    assert isinstance(credentials, JdbcCredentials)
    assert (credentials.port, credentials.password.get_secret_value()) == (3306, "123456")


def test_properties_of_the_driver_are_taken():
    credentials = credentials_of(JdbcCredentials, {**JDBC, "properties": {"useSSL": "true"}})
    assert isinstance(credentials, JdbcCredentials)
    assert credentials.properties["useSSL"].get_secret_value() == "true"


def test_a_secret_among_the_properties_is_redacted_from_then_on():
    credentials_of(JdbcCredentials, {**JDBC, "properties": {"trustCertificateKeyStorePassword": "sesame-store"}})
    assert redact("it said: sesame-store") == "it said: ***"


def test_a_property_that_is_none_of_the_drivers_is_refused():
    with pytest.raises(CredentialFieldsError, match="'PGHOST' has a key of its own, 'host', beside 'properties'"):
        credentials_of(JdbcCredentials, {**JDBC, "properties": {"PGHOST": "elsewhere"}})


@pytest.mark.parametrize("field", list(JDBC))
def test_every_field_of_a_database_is_needed(field: str):
    with pytest.raises(CredentialFieldsError, match=f"^the field '{field}' is missing$"):
        credentials_of(JdbcCredentials, {key: value for key, value in JDBC.items() if key != field})


def test_all_that_is_wrong_is_said_at_once_and_no_value_is_shown():
    with pytest.raises(CredentialFieldsError) as refused:
        credentials_of(JdbcCredentials, {"host": "db", "port": "sesame-port", "username": "", "password": "sesame-pw"})
    message = str(refused.value)
    assert message.count("the field '") == 3
    assert "sesame" not in message
    assert refused.value.__cause__ is None


def test_s3_is_entered_with_an_access_key():
    fields = {"accessKeyId": "AKIA", "secretAccessKey": "sesame-s3", "pathStyleAccess": "true", "note": "ours"}
    credentials = credentials_of(S3Credentials, fields)
    assert isinstance(credentials, S3Credentials)
    assert (credentials.region, credentials.path_style_access, credentials.endpoint) == ("us-east-1", True, None)
    assert credentials.secret_access_key.get_secret_value() == "sesame-s3"


def test_an_access_key_has_two_parts():
    with pytest.raises(CredentialFieldsError, match="the field 'secretAccessKey' is missing"):
        credentials_of(S3Credentials, {"accessKeyId": "AKIA"})


def test_kafka_is_entered_with_a_map_of_client_properties():
    fields = {"bootstrap.servers": "b:9092", "sasl.jaas.config": 'x password="sesame-kafka";'}
    credentials = credentials_of(KafkaCredentials, fields)
    assert isinstance(credentials, KafkaCredentials)
    assert {key: value.get_secret_value() for key, value in credentials.properties.items()} == fields


def test_kafka_needs_its_servers():
    with pytest.raises(CredentialFieldsError, match=r"the field 'bootstrap\.servers' is missing"):
        credentials_of(KafkaCredentials, {"security.protocol": "PLAINTEXT"})


def test_credentials_show_no_secret_and_make_the_redactor_know_it():
    credentials = credentials_of(JdbcCredentials, {**JDBC, "password": "sesame-unseen"})
    assert "sesame" not in repr(credentials) + str(credentials) + credentials.model_dump_json()
    assert redact("login with sesame-unseen failed") == "login with *** failed"
