"""What librdkafka is given for the properties of Kafka's Java client, and what of them is refused, without a broker."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from pipeline_platform.connectors.kafka.jaas import Login, login_of
from pipeline_platform.connectors.kafka.librdkafka import client_properties, refusals
from pipeline_platform.connectors.kafka.topic_pattern import topic_pattern
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform_tests.config.reading import extract, load, pipeline, problems_of, read

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
SERVERS = {"bootstrap.servers": "one:9092, two:9092"}
SASL = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}


@pytest.mark.parametrize(
    ("text", "login"),
    [
        (f'{PLAIN} required username="u" password="p";', Login("PlainLoginModule", {"username": "u", "password": "p"})),
        (
            f'{SCRAM}\n  required\n  username=\'u\'\n  password = "a\\"b\\\\c\\td\\101;" ;\n',
            Login("ScramLoginModule", {"username": "u", "password": 'a"b\\c\tdA;'}),
        ),
        (
            f'/* who */ {PLAIN} REQUIRED // as\n username=some-one /* and */ password="p // q";',
            Login("PlainLoginModule", {"username": "some-one", "password": "p // q"}),
        ),
        (f"{PLAIN} required;", Login("PlainLoginModule", {})),
        (f'{PLAIN} required username="u" password="p"', None),
        (f'{PLAIN} username="u" password="p";', None),
        (f'{PLAIN} required username="u" password=;', None),
        (f'{PLAIN} required username="u password="p";', None),
        (f"{PLAIN} required password=1234;", None),
        (f"{PLAIN} required {' ' * 20_000}", None),
        ("", None),
    ],
)
def test_a_login_is_read_as_kafka_reads_it_and_what_kafka_could_not_read_is_none(text: str, login: Login | None):
    assert login_of(text) == login


def test_a_password_is_in_no_text_of_a_login():
    assert "hidden" not in repr(login_of(f'{PLAIN} required username="u" password="hidden";'))


@pytest.mark.parametrize(
    ("java", "expected"),
    [
        ({"max.poll.records": "5", "isolation.level": "read_uncommitted"}, {"security.protocol": "plaintext"}),
        (
            {"client.id": "me", "ssl.truststore.type": "JKS", "ssl.truststore.location": "a.jks"},
            {"client.id": "me", "security.protocol": "plaintext"},
        ),
        (
            {**SASL, "sasl.jaas.config": f'{PLAIN} required username="u" password="a\\"b";'},
            {
                "security.protocol": "sasl_ssl",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "u",
                "sasl.password": 'a"b',
                "ssl.endpoint.identification.algorithm": "https",
            },
        ),
        (
            {
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.jaas.config": f"{SCRAM} required username='u' password='p';",
                "ssl.engine.factory.class": "of.Java",
            },
            {
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "u",
                "sasl.password": "p",
            },
        ),
        (
            {
                "security.protocol": "SSL",
                "ssl.endpoint.identification.algorithm": "",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": "ca.pem",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": "me.pem",
                "ssl.key.password": "p",
            },
            {
                "security.protocol": "ssl",
                "ssl.endpoint.identification.algorithm": "none",
                "ssl.ca.location": "ca.pem",
                "ssl.certificate.location": "me.pem",
                "ssl.key.location": "me.pem",
                "ssl.key.password": "p",
            },
        ),
        (
            {
                "security.protocol": "SSL",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.certificates": "CA",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": "CERT",
                "ssl.keystore.key": "KEY",
            },
            {
                "security.protocol": "ssl",
                "ssl.endpoint.identification.algorithm": "https",
                "ssl.ca.pem": "CA",
                "ssl.certificate.pem": "CERT",
                "ssl.key.pem": "KEY",
            },
        ),
        (
            {
                "security.protocol": "SSL",
                "ssl.keystore.type": "PKCS12",
                "ssl.keystore.location": "me.p12",
                "ssl.keystore.password": "p",
                "ssl.key.password": "p",
            },
            {
                "security.protocol": "ssl",
                "ssl.endpoint.identification.algorithm": "https",
                "ssl.keystore.location": "me.p12",
                "ssl.keystore.password": "p",
            },
        ),
    ],
)
def test_the_way_into_a_cluster_is_the_same_one_for_librdkafka(java: dict[str, str], expected: dict[str, str]):
    found = client_properties({**SERVERS, **java})
    assert found == {"bootstrap.servers": "one:9092,two:9092", **expected}
    if not {"ssl.ca.location", "ssl.ca.pem", "ssl.keystore.location"} & {*found}:
        # It knows every one of these names, and takes their values.
        AdminClient({**found, "log_level": 0})


REFUSED = [
    ({"security.protocol": "TLS"}, "'security.protocol' TLS: it is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    ({"security.protocol": "SASL_SSL"}, "'sasl.mechanism' GSSAPI: without Java it has to be one of PLAIN,"),
    ({**SASL, "sasl.mechanism": "AWS_MSK_IAM"}, "'sasl.mechanism' AWS_MSK_IAM: without Java it has to be one of"),
    ({**SASL}, "'sasl.jaas.config': it is missing"),
    ({**SASL, "sasl.jaas.config": "PlainLogin"}, "'sasl.jaas.config': it is no login that Kafka could read"),
    (
        {**SASL, "sasl.jaas.config": f"{SCRAM} required username='u' password='hidden';"},
        "'sasl.jaas.config': its login module is not that of PLAIN",
    ),
    (
        {**SASL, "sasl.jaas.config": f"{PLAIN} required username='u' password='hidden' tokenauth='true';"},
        "'sasl.jaas.config': its options have to be username and password, not password, tokenauth, username",
    ),
    (
        {**SASL, "sasl.client.callback.handler.class": "of.Java", "sasl.jaas.config": f"{PLAIN} required;"},
        "'sasl.client.callback.handler.class': only Kafka's Java client knows it",
    ),
    (
        {"security.protocol": "SSL", "ssl.truststore.location": "a.jks"},
        "'ssl.truststore.type' JKS: without Java it has to be PEM",
    ),
    (
        {"security.protocol": "SSL", "ssl.keystore.type": "JKS", "ssl.keystore.location": "a.jks"},
        "'ssl.keystore.type' JKS: without Java it has to be PEM or PKCS12",
    ),
    (
        {"security.protocol": "SSL", "ssl.enabled.protocols": "TLSv1.3"},
        "'ssl.enabled.protocols': only Kafka's Java client knows it",
    ),
]


@pytest.mark.parametrize(("java", "message"), REFUSED)
def test_what_has_no_counterpart_is_refused_and_not_left_out(java: dict[str, str], message: str):
    with pytest.raises(PipelineConfigurationException) as refused:
        client_properties({**SERVERS, **java})
    assert f"a cluster can't be asked without Spark with {message}" in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(("java", "message"), REFUSED)
def test_what_has_no_counterpart_is_told_at_the_key_that_asks_for_it(java: dict[str, str], message: str):
    step = extract("fromKafka", topic="events", watch=True, **SERVERS, **java)
    [first, *_] = problems_of(pipeline(step, load()))
    assert f"a cluster can't be asked without Spark with {message}" in first.message
    lines = json.dumps(pipeline(step, load()), indent=2).splitlines()
    assert '"watch": true' in lines[first.line - 1]
    # Without the key it is nobody's matter.
    read(pipeline(extract("fromKafka", topic="events", **SERVERS, **java), load()))


def test_values_that_are_not_known_yet_are_not_judged():
    unknown: dict[str, str | None] = {"security.protocol": None, "sasl.mechanism": None, "sasl.jaas.config": None}
    assert list(refusals(unknown, is_whole=True)) == []
    # What is missing here, Vault may have.
    assert list(refusals({"security.protocol": "SASL_SSL"}, is_whole=False)) == []
    written = {"security.protocol": "${env:KAFKA_PROTOCOL}", "sasl.mechanism": "${env:KAFKA_MECHANISM:-GSSAPI}"}
    read(pipeline(extract("fromKafka", topic="events", watch=True, **SERVERS, **written), load()))
    vault = {"credentialPath": "secret/kafka", "security.protocol": "SASL_SSL"}
    read(pipeline(extract("fromKafka", topic="events", watch=True, **vault), load()))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "streaming"}, "a stream reads what is new by itself, so leave out 'watch'"),
        (
            {"partitions": {"type": "static", "keys": ["a"], "column": "key"}},
            "what is new does not say which partition to load, so leave out 'watch'",
        ),
        (
            {"variables": {"x": {}}},
            "the variable 'x' needs a default: the sensor that starts the pipeline gives it no value",
        ),
    ],
)
def test_where_nothing_can_be_watched_the_key_is_refused(keys: dict[str, Any], message: str):
    step = extract("fromKafka", topic="events", watch=True, **SERVERS)
    sink = load(path="out", mode="overwrite") if "partitions" in keys else load()
    assert message in [problem.message for problem in problems_of(pipeline(step, sink, **keys))]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"topic": "events", "endingOffsets": {"events": {"0": 5}}},
            "what is new comes after 'endingOffsets', so leave out one of the two",
        ),
        (
            {"topicPattern": r"\p{Alpha}+"},
            "only Java understands this 'topicPattern': write it more simply, or name the topics, to watch them",
        ),
    ],
)
def test_what_is_not_read_to_its_end_can_not_be_watched(config: dict[str, Any], message: str):
    step = extract("fromKafka", watch=True, **config, **SERVERS)
    assert message in [problem.message for problem in problems_of(pipeline(step, load()))]
    read(pipeline(extract("fromKafka", **config, **SERVERS), load()))


@pytest.mark.parametrize("java", [r"events-\d+", "shop[.](orders|returns)", "[^_].*", r"\[a\[", "(?i)EVENTS", "a{2,}+"])
def test_a_pattern_that_both_languages_read_alike_is_taken(java: str):
    assert topic_pattern(java) == re.compile(java)


@pytest.mark.parametrize(
    "java", [r"\p{Alpha}+", "[a-z&&[^b]]+", "[a[bc]]", "[[a]b]", r"\Qa.b\E", "(?<x>a)", "(a", "a**"]
)
def test_a_pattern_that_python_would_read_otherwise_is_not_taken(java: str):
    assert topic_pattern(java) is None
