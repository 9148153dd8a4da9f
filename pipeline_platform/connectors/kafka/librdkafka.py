"""The properties of Kafka's Java client that say how to enter a cluster, for librdkafka, which needs no JVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline_platform.connectors.kafka.jaas import login_of
from pipeline_platform.exceptions import PipelineConfigurationException

Properties = Mapping[str, str | None]
"""Properties by name; None stands for a value that is not known yet."""

# Kafka's own where a property is missing.
_DEFAULTS = {
    "security.protocol": "PLAINTEXT",
    "sasl.mechanism": "GSSAPI",
    "ssl.truststore.type": "JKS",
    "ssl.keystore.type": "JKS",
}
_ONLY_JAVA = "only Kafka's Java client knows it"
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_LOGINS = {"PLAIN": "PlainLoginModule", "SCRAM-SHA-256": "ScramLoginModule", "SCRAM-SHA-512": "ScramLoginModule"}
# Java's names, and where librdkafka has the same thing. Of PEM one file holds both key and certificate.
_TRUST = {"ssl.truststore.location": ("ssl.ca.location",), "ssl.truststore.certificates": ("ssl.ca.pem",)}
_KEYS = {
    "PEM": {
        "ssl.keystore.location": ("ssl.certificate.location", "ssl.key.location"),
        "ssl.keystore.certificate.chain": ("ssl.certificate.pem",),
        "ssl.keystore.key": ("ssl.key.pem",),
        "ssl.key.password": ("ssl.key.password",),
    },
    "PKCS12": {
        "ssl.keystore.location": ("ssl.keystore.location",),
        "ssl.keystore.password": ("ssl.keystore.password",),
    },
}
_STORES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ssl.truststore.type": (tuple(_TRUST), ("PEM",)),
    "ssl.keystore.type": (
        ("ssl.keystore.location", "ssl.keystore.certificate.chain", "ssl.keystore.key"),
        tuple(_KEYS),
    ),
}
_KNOWN = {
    "sasl.mechanism",
    "sasl.jaas.config",
    "ssl.truststore.password",
    "ssl.endpoint.identification.algorithm",
    *_STORES,
    *_TRUST,
    *(name for names in _KEYS.values() for name in names),
}
# What both clients know under one name, with the same values.
_SAME = ("client.id", "client.dns.lookup")


def refusals(properties: Properties, *, is_whole: bool) -> Iterator[str]:
    """What of the way into a cluster librdkafka has no counterpart for, in sentences without any secret.

    What has nothing to do with it, such as `max.poll.records`, is not looked at: it is about how messages are read.

    Args:
        properties: Of Kafka's Java client.
        is_whole: Whether there are no others, so that the defaults hold for those that are missing.
    """

    def value_of(name: str) -> str | None:
        return properties.get(name, _DEFAULTS.get(name) if is_whole else None)

    def unknown(prefix: str) -> Iterator[str]:
        return (name for name in sorted(properties) if name.startswith(prefix) and name not in _KNOWN)

    protocol = value_of("security.protocol")
    # What is missing is only missed by a protocol that needs it.
    is_whole = is_whole and protocol is not None
    if protocol is not None and protocol.upper() not in _PROTOCOLS:
        yield _refusal(f"'security.protocol' {protocol}", f"it is none of {', '.join(_PROTOCOLS)}")
        return
    if protocol is None or protocol.upper().startswith("SASL_"):
        yield from (_refusal(f"'{name}'", _ONLY_JAVA) for name in unknown("sasl."))
        yield from _login_refusals(
            value_of("sasl.mechanism"), properties.get("sasl.jaas.config", "" if is_whole else None)
        )
    if protocol is None or protocol.upper().endswith("SSL"):
        yield from (_refusal(f"'{name}'", _ONLY_JAVA) for name in unknown("ssl."))
        for name, (stores, kinds) in _STORES.items():
            kind = value_of(name) if any(store in properties for store in stores) else None
            if kind is not None and kind.upper() not in kinds:
                yield _refusal(f"'{name}' {kind}", f"without Java it has to be {' or '.join(kinds)}")


def _refusal(what: str, why: str) -> str:
    return f"a cluster can't be asked without Spark with {what}: {why}"


def _login_refusals(mechanism: str | None, text: str | None) -> Iterator[str]:
    if mechanism is not None and mechanism not in _LOGINS:
        yield _refusal(f"'sasl.mechanism' {mechanism}", f"without Java it has to be one of {', '.join(_LOGINS)}")
    elif text is not None:
        login = login_of(text)
        if login is None:
            why = "it is no login that Kafka could read" if text else "it is missing"
            yield _refusal("'sasl.jaas.config'", why)
        elif mechanism is not None and login.module != _LOGINS[mechanism]:
            yield _refusal("'sasl.jaas.config'", f"its login module is not that of {mechanism}")
        elif {*login.options} != {"username", "password"}:
            found = ", ".join(sorted(login.options)) or "none"
            yield _refusal("'sasl.jaas.config'", f"its options have to be username and password, not {found}")


def client_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """What librdkafka enters the same cluster with, as the same user.

    Args:
        properties: Of Kafka's Java client, secrets legible.

    Raises:
        PipelineConfigurationException: Some have no counterpart.
    """
    refused = list(refusals(properties, is_whole=True))
    if refused:
        raise PipelineConfigurationException(
            "; ".join(refused),
            hint="change the credentials, or do without 'watch' and 'discover', which ask without Spark",
        )
    known = {**_DEFAULTS, **properties}
    protocol = known["security.protocol"].upper()
    found = {name: properties[name] for name in _SAME if name in properties}
    servers = properties["bootstrap.servers"].split(",")
    found["bootstrap.servers"] = ",".join(server.strip() for server in servers if server.strip())
    found["security.protocol"] = protocol.lower()
    if protocol.startswith("SASL_"):
        login = login_of(properties["sasl.jaas.config"])
        assert login is not None
        found["sasl.mechanism"] = known["sasl.mechanism"]
        found |= {f"sasl.{name}": value for name, value in login.options.items()}
    if protocol.endswith("SSL"):
        algorithm = properties.get("ssl.endpoint.identification.algorithm", "https")
        found["ssl.endpoint.identification.algorithm"] = algorithm.lower() or "none"
        names = {**_TRUST, **_KEYS.get(known["ssl.keystore.type"].upper(), {})}
        found |= {name: properties[java] for java, others in names.items() if java in properties for name in others}
    return found
