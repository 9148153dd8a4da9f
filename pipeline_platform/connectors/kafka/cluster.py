"""A cluster that is asked about its topics by librdkafka, which needs no JVM, and for a few seconds only."""

from __future__ import annotations

import concurrent.futures
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline_platform.connectors.kafka.librdkafka import client_properties
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.extras import Extra

KAFKA_EXTRA = Extra("kafka", "asking Kafka without Spark", ("confluent_kafka",))
# Whatever is asked. A tick of a sensor must not wait longer for a cluster that is away.
_SECONDS = 8.0
_POLL_SECONDS = 0.1
# Else the client tries again ten times a second, and writes to standard error what it also reports as errors.
_CALM = {"reconnect.backoff.ms": 1000, "reconnect.backoff.max.ms": 4000, "log_level": 0}
# Names of errors, as librdkafka has them.
_NO_ANSWER = ("_TIMED_OUT", "_TRANSPORT")
_NO_LEADER = ("NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE")
_REFUSED = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED")
# What a cluster says that gives its topics no ids.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"

Place = tuple[str, int]
"""A topic's name, and the number of one of its partitions."""


class _NoLeaderError(Exception):
    """Nobody leads a partition for a moment."""


@dataclass(frozen=True)
class Topic:
    """A topic.

    Args:
        id: What tells it from another one that is made under its name later; empty where the cluster gives none.
        is_internal: Whether it is one of Kafka's own.
        partitions: Their numbers.
    """

    id: str
    is_internal: bool
    partitions: tuple[int, ...]


@dataclass
class Cluster:
    """A cluster, which can be asked until its time is up.

    Args:
        servers: Where it is.
        client: Of confluent-kafka, which has few types.
        errors: What the client has met so far.
        deadline: When its time is up, by the monotonic clock.
    """

    servers: str
    client: Any
    errors: list[Any]
    deadline: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    @classmethod
    def enter(cls, properties: Mapping[str, str]) -> Cluster:
        """Prepare to ask a cluster; it is not asked yet.

        Args:
            properties: Of Kafka's Java client, secrets legible.

        Raises:
            PipelineConfigurationException: The package for it is missing, or librdkafka can't enter the cluster so.
        """
        KAFKA_EXTRA.require()
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        settings = client_properties(properties)
        servers, errors = settings["bootstrap.servers"], list[Any]()
        make: Any = AdminClient
        try:
            client = make({**_CALM, **settings, "error_cb": errors.append})
        except KafkaException as error:
            raise PipelineExecutionException(f"Kafka at {servers} can't be entered: {_told(error)}") from None
        return cls(servers, client, errors)

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """The topics whose names match a pattern as a whole.

        Raises:
            PipelineExecutionException: The cluster does not answer, or refuses the login.
        """
        from confluent_kafka import KafkaException

        try:
            found = self.client.list_topics(timeout=self._seconds())
        except KafkaException:
            raise self._no_answer() from None
        return sorted(name for name in found.topics if pattern.fullmatch(name))

    def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """What the cluster says of topics, by name.

        Args:
            names: Of the topics.

        Raises:
            PipelineExecutionException: As `names`; or there is no such topic, or it must not be looked at.
        """
        from confluent_kafka import TopicCollection

        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        asked = self.client.describe_topics(TopicCollection(wanted), request_timeout=self._seconds())
        found = {name: self._answer(answer, name) for name, answer in asked.items()}
        return {
            name: Topic(
                str(topic.topic_id).removeprefix(_NO_ID), topic.is_internal, tuple(part.id for part in topic.partitions)
            )
            for name, topic in found.items()
        }

    def offsets(self, topics: Mapping[str, Topic], *, at_the_end: bool, uncommitted: bool = False) -> dict[Place, int]:
        """Where the partitions of topics begin or end.

        Args:
            topics: By name.
            at_the_end: Where a reader stops, and not where it starts.
            uncommitted: The reader does not stop before a transaction that is open.

        Raises:
            PipelineExecutionException: As `topics`.
        """
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import OffsetSpec  # pyright: ignore[reportPrivateImportUsage]

        spec: Any = OffsetSpec.latest() if at_the_end else OffsetSpec.earliest()
        wanted = {TopicPartition(name, part): spec for name, topic in topics.items() for part in topic.partitions}
        if not wanted:
            return {}
        level = IsolationLevel.READ_UNCOMMITTED if uncommitted else IsolationLevel.READ_COMMITTED
        while True:
            asked = self.client.list_offsets(wanted, isolation_level=level, request_timeout=self._seconds())
            try:
                answers = {place: self._answer(answer, place.topic) for place, answer in asked.items()}
            except _NoLeaderError as error:
                # A topic that was just made, or a broker that was restarted.
                if time.monotonic() >= self.deadline:
                    raise PipelineExecutionException(str(error)) from None
                time.sleep(_POLL_SECONDS)
                continue
            return {(place.topic, place.partition): answer.offset for place, answer in answers.items()}

    def settings(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """The settings of topics, by name; a topic whose settings the user must not see is left out.

        Args:
            names: Of the topics.

        Raises:
            PipelineExecutionException: As `names`.
        """
        from confluent_kafka.admin import ConfigResource, ResourceType  # pyright: ignore[reportPrivateImportUsage]

        wanted: list[Any] = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        if not wanted:
            return {}
        found: dict[str, dict[str, str]] = {}
        for resource, answer in self.client.describe_configs(wanted, request_timeout=self._seconds()).items():
            try:
                entries = self._answer(answer, resource.name)
            except PipelineExecutionException:
                if self._refusal() is not None:
                    raise
                continue
            found[resource.name] = {entry.name: entry.value for entry in entries.values() if entry.value is not None}
        return found

    def _seconds(self) -> float:
        return max(self.deadline - time.monotonic(), _POLL_SECONDS)

    def _answer(self, asked: concurrent.futures.Future[Any], topic: str) -> Any:
        from confluent_kafka import KafkaException

        while not asked.done() and time.monotonic() < self.deadline and self._refusal() is None:
            concurrent.futures.wait([asked], timeout=_POLL_SECONDS)
            self.client.poll(0)
        try:
            return asked.result(0)
        except TimeoutError:
            raise self._no_answer() from None
        except KafkaException as error:
            name = error.args[0].name()
            if name in _NO_ANSWER:
                raise self._no_answer() from None
            if name == "UNKNOWN_TOPIC_OR_PART":
                hint = "check 'topic'; if there is no such topic yet, create it first"
                raise PipelineExecutionException(f"there is no topic {topic} at {self.servers}", hint=hint) from None
            message = f"the topic {topic} at {self.servers}: {_told(error)}"
            raise (_NoLeaderError if name in _NO_LEADER else PipelineExecutionException)(message) from None

    def _refusal(self) -> Any:
        return next((error for error in self.errors if error.name() in _REFUSED), None)

    def _no_answer(self) -> PipelineExecutionException:
        self.client.poll(0)
        if (refusal := self._refusal()) is not None:
            hint = "check the user, the password and the rights that the credentials for Kafka give"
            return PipelineExecutionException(f"Kafka at {self.servers} refuses the login: {refusal.str()}", hint=hint)
        # That all are down says less than why one is.
        met = [error.str() for error in self.errors if error.name() != "_ALL_BROKERS_DOWN"]
        reason = f": {met[-1]}" if met else ""
        return PipelineExecutionException(f"Kafka at {self.servers} has not answered for {_SECONDS:g} s{reason}")


def _told(error: Any) -> str:
    return str(error.args[0].str())
