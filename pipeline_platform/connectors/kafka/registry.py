"""A schema registry that answers Confluent's HTTP API: Confluent's own, Apicurio's, Karapace and others."""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_fixed

from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, PipelineExecutionException
from pipeline_platform.extras import Extra
from pipeline_platform.redaction import redact_urls

REGISTRY_EXTRA = Extra("kafka", "a schema registry", ("confluent_kafka", "attr", "authlib", "cachetools"))
REGISTRY_PREFIX = "schema.registry."
"""What the properties begin with that a registry is entered with; those of Confluent's serializers."""
REGISTRY_URL = f"{REGISTRY_PREFIX}url"

_USER_INFO = "basic.auth.user.info"
_TOKEN = "bearer.auth.token"
_LOGICAL_CLUSTER, _IDENTITY_POOL = "bearer.auth.logical.cluster", "bearer.auth.identity.pool.id"
_TRUST_TYPE, _TRUST_FILE, _TRUST = "ssl.truststore.type", "ssl.truststore.location", "ssl.truststore.certificates"
_KNOWN = ("url", _USER_INFO, _TOKEN, _LOGICAL_CLUSTER, _IDENTITY_POOL, _TRUST_TYPE, _TRUST_FILE, _TRUST)
_PATIENCE = {"timeout": 10, "max.retries": 2, "retries.wait.ms": 500, "retries.max.wait.ms": 2000}
_LOGIN_REFUSED = (401, 403)
_MISSING = 404
# No such subject, version or schema; other answers of this status come from what is no registry.
_NOTHING_THERE = (40401, 40402, 40403)
_INCOMPATIBLE = 409
_ELSEWHERE = range(300, 400)
# What the client raises at an answer that is not JSON, or other JSON than it expects; what the network raises is none.
_NO_ANSWERS = (ValueError, TypeError, LookupError, AttributeError)
# A registry of several servers: one that has not heard yet of a schema that another one has registered.
_ATTEMPTS, _SECONDS = 3, 0.5
_FASTAVRO_NOTES = "__"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Registered:
    """A schema as a registry has it.

    Args:
        id: What messages carry that were written with it.
        schema: In Avro's JSON, with the schemas in it that it refers to.
    """

    id: int
    schema: str


class NoAvroError(ValueError):
    """A schema is there that nothing can be read with; says why."""


@dataclass(frozen=True)
class Registry:
    """A registry, entered.

    Args:
        url: Where it is, without any secret.
        client: Of confluent-kafka, which has few types.
    """

    url: str
    client: Any

    @classmethod
    def enter(cls, properties: Mapping[str, str]) -> Registry:
        """Prepare to ask a registry; it is not asked yet.

        Args:
            properties: Those of Kafka's credentials, secrets legible; what begins with `schema.registry.` counts.

        Raises:
            PipelineConfigurationException: A package is missing, or a property that is needed, or one is not known.
        """
        REGISTRY_EXTRA.require()
        from confluent_kafka.schema_registry import SchemaRegistryClient

        own = {
            name.removeprefix(REGISTRY_PREFIX): value
            for name, value in properties.items()
            if name.startswith(REGISTRY_PREFIX)
        }
        _require_known(own)
        make: Any = SchemaRegistryClient
        with _authorities(own) as authorities:
            client = make({**_PATIENCE, "url": own["url"], **_login(own), **authorities})
        return cls(redact_urls(own["url"]), client)

    def latest(self, subject: str) -> Registered:
        """The latest version of a subject.

        Raises:
            PipelineException: There is none, it can't be had, or it is no Avro schema.
        """
        return self._registered(subject, lambda: self.client.get_latest_version(subject))

    def version(self, subject: str, version: int) -> Registered:
        """A version of a subject.

        Raises:
            PipelineException: As `latest`.
        """
        ask = partial(self.client.get_version, subject, version)
        found = self._asked(ask)
        if found is None:
            there = self._had(subject, partial(self.client.get_versions, subject))
            raise PipelineExecutionException(
                f"the subject {subject} of the schema registry at {self.url} has no version {version}; it has "
                f"{', '.join(map(str, there))}",
                hint="give one of these as 'version' in 'schemaRegistry', or leave it out for the latest",
            )
        return self._registered(f"{subject}, version {version}", lambda: found)

    def ids(self, subject: str) -> list[int]:
        """The ids of all versions of a subject, the oldest first.

        Raises:
            PipelineException: As `latest`.
        """
        versions = self._had(subject, lambda: self.client.get_versions(subject))
        return [self._had(subject, partial(self.client.get_version, subject, each)).schema_id for each in versions]

    def schema(self, schema_id: int) -> str | None:
        """The schema of an id, whatever its subject; None if the registry has none of this id.

        Raises:
            NoAvroError: It is no Avro schema, or refers to one that is not there.
            PipelineException: It can't be had.
        """
        attempts = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_fixed(_SECONDS),
            retry=retry_if_result(_is_none),
            retry_error_callback=_none,
        )
        found = attempts(self._asked, lambda: self.client.get_schema(schema_id))
        return None if found is None else self._whole(found)

    def latest_or_none(self, subject: str) -> str | None:
        """The schema of the latest version of a subject; None if there is no such subject.

        Raises:
            PipelineException: It can't be had, or it is no Avro schema.
        """
        found = self._asked(partial(self.client.get_latest_version, subject))
        return self._registered(subject, lambda: found).schema if found is not None else None

    def accepts(self, subject: str, schema: str) -> bool:
        """Whether a schema may become the latest version of a subject; nothing is registered.

        Raises:
            PipelineException: It can't be told.
        """
        # Of a subject that is not there yet, nothing is known that it could contradict.
        return self._asked(partial(self.client.test_compatibility, subject, _avro(schema))) is not False

    def registered(self, subject: str, schema: str) -> int | None:
        """The id of a schema in a subject, as it is; None if the subject lacks it.

        Raises:
            PipelineException: It can't be told.
        """
        found = self._asked(lambda: self.client.lookup_schema(subject, _avro(schema)))
        return None if found is None else found.schema_id

    def register(self, subject: str, schema: str) -> int:
        """Make a schema the latest version of a subject, unless it has it already; gives its id.

        Raises:
            PipelineException: The registry refuses it, by its rules of compatibility for one, or can't be reached.
        """
        return self._had(subject, lambda: self.client.register_schema(subject, _avro(schema)))

    def _registered(self, subject: str, ask: Callable[[], Any]) -> Registered:
        found = self._had(subject, ask)
        try:
            return Registered(found.schema_id, self._whole(found.schema))
        except NoAvroError as error:
            raise PipelineConfigurationException(
                f"the subject {subject} of the schema registry at {self.url} can't be used: {error}",
                hint="name the subject of the Avro schema with 'subject' in 'schemaRegistry'",
            ) from None

    def _whole(self, schema: Any) -> str:
        """A schema of the client's with those in it that it refers to."""
        kind = schema.schema_type or "AVRO"
        if kind != "AVRO":
            raise NoAvroError(f"its schema is {kind}, not Avro")
        try:
            if not schema.references:
                return json.dumps(json.loads(schema.schema_str))
            return _with_references(schema.schema_str, self._referenced(schema, {}))
        except ValueError as error:
            raise NoAvroError(f"its schema is not right: {error}") from error

    def _referenced(self, schema: Any, found: dict[str, str]) -> dict[str, str]:
        """Those that a schema refers to, and those that they refer to, by the names of the types."""
        for reference in schema.references or ():
            if reference.name in found:
                continue
            other = self._asked(partial(self.client.get_version, reference.subject, reference.version))
            if other is None:
                place = f"version {reference.version} of {reference.subject}"
                raise NoAvroError(f"it refers to {reference.name}, {place}, which is not there")
            found[reference.name] = other.schema.schema_str
            self._referenced(other.schema, found)
        return found

    def _had(self, subject: str, ask: Callable[[], _Answer]) -> _Answer:
        found = self._asked(ask)
        if found is None:
            raise PipelineExecutionException(
                f"there is no subject {subject} in the schema registry at {self.url}",
                hint="check 'subject' in 'schemaRegistry', by default <topic>-value; if nothing was written yet, "
                "register the schema first",
            )
        return found

    def _asked(self, ask: Callable[[], _Answer]) -> _Answer | None:
        """What the registry answers; None if it has nothing of the kind."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return _answer(ask())
        except SchemaRegistryError as error:
            if error.http_status_code == _MISSING and error.error_code in _NOTHING_THERE:
                return None
            raise self._refusal(error.http_status_code, str(error.error_message)) from None
        except PipelineException:
            raise
        except Exception as error:  # noqa: BLE001 - of whichever HTTP library this confluent-kafka uses.
            if isinstance(error, _NO_ANSWERS) and not isinstance(error, ssl.SSLError):
                raise self._none_such(f"its answer is not what a registry says ({error})") from None
            raise self._no_answer(error) from None

    def _refusal(self, status: int, told: str) -> PipelineException:
        place = f"the schema registry at {self.url}"
        if status in _LOGIN_REFUSED:
            hint = f"check '{REGISTRY_PREFIX}{_USER_INFO}' or '{REGISTRY_PREFIX}{_TOKEN}' in the credentials for Kafka"
            return PipelineExecutionException(f"{place} refuses the login (HTTP {status}): {told}", hint=hint)
        if status == _INCOMPATIBLE:
            hint = "change the columns so that readers of the subject can go on, or its compatibility in the registry"
            return PipelineExecutionException(f"{place} refuses the schema as incompatible: {told}", hint=hint)
        if status == _MISSING:
            return self._none_such(told)
        if status in _ELSEWHERE:
            return self._none_such(f"it sends to another address (HTTP {status}), as a page for the login does")
        hint = "look into the log of the schema registry"
        is_its_own = status >= 500
        return PipelineExecutionException(f"{place} answers (HTTP {status}): {told}", hint=hint, retryable=is_its_own)

    def _none_such(self, told: str) -> PipelineException:
        hint = "check the URL of the registry, also its path, such as /apis/ccompat/v7 for Apicurio"
        return PipelineExecutionException(f"the schema registry at {self.url} is none: {told}", hint=hint)

    def _no_answer(self, error: Exception) -> PipelineException:
        told = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in told:
            hint = f"give the certificate of who signed it, in PEM, as '{REGISTRY_PREFIX}{_TRUST}'"
            return PipelineExecutionException(f"the schema registry at {self.url} is not trusted: {told}", hint=hint)
        return PipelineExecutionException(
            f"the schema registry at {self.url} can't be asked: {told}",
            hint="check the URL, and that the registry is up",
            retryable=True,
        )


def _require_known(own: Mapping[str, str]) -> None:
    unknown = sorted(set(own) - set(_KNOWN))
    if unknown:
        names = ", ".join(f"'{REGISTRY_PREFIX}{name}'" for name in unknown)
        known = ", ".join(f"{REGISTRY_PREFIX}{name}" for name in _KNOWN)
        message = f"a schema registry can't be entered with {names}"
        raise PipelineConfigurationException(message, hint=f"take some of {known}")
    if not own.get("url"):
        raise PipelineConfigurationException(
            "nothing says where the schema registry is",
            hint=f"give 'url' in 'schemaRegistry', or '{REGISTRY_URL}' in the credentials for Kafka",
        )
    if not all(url.strip().startswith(("http://", "https://")) for url in own["url"].split(",")):
        message = f"'{REGISTRY_URL}' is no URL that begins with http:// or https://"
        raise PipelineConfigurationException(message, hint="correct it in the credentials for Kafka")
    if _USER_INFO in own and ":" not in own[_USER_INFO]:
        message = f"'{REGISTRY_PREFIX}{_USER_INFO}' is not of the form user:password"
        raise PipelineConfigurationException(message, hint="correct it in the credentials for Kafka")
    if own.get(_TRUST_TYPE, "PEM").upper() != "PEM":
        message = f"'{REGISTRY_PREFIX}{_TRUST_TYPE}' is not PEM"
        raise PipelineConfigurationException(message, hint="give the certificates in PEM, for which no Java is needed")


def _login(own: Mapping[str, str]) -> dict[str, str]:
    login = {_USER_INFO: own[_USER_INFO]} if _USER_INFO in own else {}
    if _TOKEN in own:
        login |= {"bearer.auth.credentials.source": "STATIC_TOKEN", _TOKEN: own[_TOKEN]}
        # A header for Confluent Cloud, which the client can't do without.
        login |= {_LOGICAL_CLUSTER: own.get(_LOGICAL_CLUSTER, "")}
        login |= {_IDENTITY_POOL: own[_IDENTITY_POOL]} if _IDENTITY_POOL in own else {}
    return login


@contextmanager
def _authorities(own: Mapping[str, str]) -> Generator[dict[str, str]]:
    """Where the client finds whom to trust while it is made."""
    if _TRUST not in own:
        yield {"ssl.ca.location": own[_TRUST_FILE]} if _TRUST_FILE in own else {}
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(own[_TRUST])
        file.flush()
        yield {"ssl.ca.location": file.name}


def _with_references(schema: str, referenced: Mapping[str, str]) -> str:
    """A schema in which each type that it refers to is defined where it is first named.

    Raises:
        ValueError: It is not right.
    """
    from fastavro.repository.base import AbstractSchemaRepository, SchemaRepositoryError
    from fastavro.schema import SchemaParseException, UnknownType, load_schema

    class References(AbstractSchemaRepository):
        def load(self, name: str) -> Any:
            if name and name not in referenced:
                raise SchemaRepositoryError(f"there is no {name}")
            return json.loads(referenced[name] if name else schema)

    try:
        whole: Any = load_schema("", repo=References())
    except (SchemaParseException, UnknownType, SchemaRepositoryError) as error:
        raise ValueError(str(error)) from error
    return json.dumps({name: value for name, value in whole.items() if not name.startswith(_FASTAVRO_NOTES)})


def _answer(said: _Answer) -> _Answer:
    """What the client made of an answer, of which it looks at nothing.

    Raises:
        ValueError: A registry says something else.
    """
    from confluent_kafka.schema_registry import RegisteredSchema, Schema

    # The client's types are not known.
    found: Any = said
    schema: Any = found.schema if isinstance(found, RegisteredSchema) else found
    if isinstance(schema, Schema) and not isinstance(cast("Any", schema).schema_str, str):
        raise ValueError("it has no schema")
    if isinstance(found, RegisteredSchema) and not isinstance(cast("Any", found).schema_id, int):
        raise ValueError("it has no id of a schema")
    if isinstance(found, list) and not all(isinstance(each, int) for each in cast("list[Any]", found)):
        raise ValueError("it has no versions")
    if not isinstance(found, (RegisteredSchema, Schema, list, int)):
        raise ValueError(f"it is {type(found).__name__}")
    return said


def _avro(schema: str) -> Any:
    from confluent_kafka.schema_registry import Schema

    return Schema(schema, "AVRO")


def _is_none(found: Any) -> bool:
    return found is None


def _none(_: Any) -> None:
    return None
