"""The topics of a cluster, and the pipeline that would load each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from pipeline_platform.config.values import reveal
from pipeline_platform.connectors.kafka.cluster import Cluster, Place
from pipeline_platform.connectors.kafka.credentials import KafkaCredentials
from pipeline_platform.connectors.kafka.samples import ValueLook, last_values, look_of
from pipeline_platform.connectors.kafka.source import FromKafka
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.extras import Extra
from pipeline_platform.steps.discovery import (
    Care,
    Discovery,
    Finding,
    Wishes,
    lake_settings,
    mapped_care,
    pipeline_names,
)

_EXTRA = Extra("kafka", "'discover kafka'", ("confluent_kafka",))
_CHOSEN = "topics"
_SHOWN_PARTITIONS = 3
_ALL = re.compile(r".*", re.DOTALL)
_UNKNOWN = "unknown"


class KafkaDiscovery(Discovery[FromKafka]):
    """The topics of a Kafka cluster; the last few messages of each say what its values look like."""

    method = FromKafka
    keys = ("bootstrap.servers", "credentialPath")
    asked_with: ClassVar[Mapping[str, Any]] = {"topic": "any"}
    patterns: ClassVar[Mapping[str, str]] = {
        _CHOSEN: "Only topics of these names, such as 'shop.*'. May be given repeatedly.",
    }
    things = "topics"

    def findings(self, config: FromKafka, credentials: Credentials | None, wishes: Wishes) -> Sequence[Finding]:
        assert isinstance(credentials, KafkaCredentials)
        _EXTRA.require()
        properties = reveal(credentials.properties)
        cluster = Cluster.enter(properties)
        names = cluster.names(_ALL)
        called = pipeline_names({name: name for name in names})
        chosen = [name for name in names if not wishes.given(_CHOSEN) or wishes.match(_CHOSEN, name)]
        topics = {name: topic for name, topic in cluster.topics(chosen).items() if not topic.is_internal}
        starts = cluster.offsets(topics, at_the_end=False)
        ends = cluster.offsets(topics, at_the_end=True)
        ranges = {place: (starts[place], ends[place]) for place in ends}
        settings = cluster.settings(topics)
        values = last_values(properties, ranges)
        return [
            _finding(
                name,
                called[name],
                {place: ends for place, ends in ranges.items() if place[0] == name},
                settings.get(name, {}),
                look_of(values.get(name, ())),
                wishes,
            )
            for name in sorted(topics)
        ]


def _finding(
    topic: str,
    name: str,
    ranges: Mapping[Place, tuple[int, int]],
    settings: Mapping[str, str],
    look: ValueLook,
    wishes: Wishes,
) -> Finding:
    messages = sum(end - start for start, end in ranges.values())
    places = [f"{place[1]}: {start}–{end}" for place, (start, end) in sorted(ranges.items())]
    more = ["…"] if len(places) > _SHOWN_PARTITIONS else []
    shown = {
        "topic": topic,
        "partitions": str(len(ranges)),
        "offsets": ", ".join([*places[:_SHOWN_PARTITIONS], *more]),
        "messages, at most": f"{messages:,}",
        "retention": _retention(settings),
        "values look like": look.looks,
    }
    told = {
        "name": topic,
        "partitions": [
            {"partition": place[1], "first": start, "end": end} for place, (start, end) in sorted(ranges.items())
        ],
        "messages": messages,
        "retention_ms": int(settings["retention.ms"]) if "retention.ms" in settings else None,
        "cleanup_policy": settings.get("cleanup.policy"),
        "values": {"look_like": look.looks, "samples": look.samples, "schema": look.schema, "ids": list(look.ids)},
    }
    return Finding(topic, shown, told, _care(settings, look), _pipeline(topic, name, look, wishes))


def _pipeline(topic: str, name: str, look: ValueLook, wishes: Wishes) -> dict[str, Any]:
    """A stream from the first message on, as Kafka says itself where it has come."""
    source: dict[str, Any] = {"topic": topic, "startingOffsets": "earliest"}
    said = "values as they are"
    if look.schema is not None:
        source |= {"valueFormat": "json", "valueSchema": look.schema}
        source |= {"valueFraming": "confluent"} if look.looks != "json" else {}
        said = f"the schema was inferred from {look.samples} messages; one that does not fit is put into quarantine"
    elif look.looks in ("json", "text"):
        source |= {"valueFormat": "string"}
        said = "values as text; one that is not UTF-8 is put into quarantine"
    if "valueFormat" in source:
        source["onMalformed"] = "quarantine"
    config = {**source, **wishes.connection}
    return {
        "name": name,
        "mode": "streaming",
        "description": f"The topic {topic}: {said}.",
        **lake_settings(look.names),
        "steps": [
            {"type": "extract", "method": "fromKafka", "name": f"{name}_source", "config": config},
            {"type": "load", "method": "toDeltaLake", "name": name, "config": {"path": wishes.table_path(name)}},
        ],
    }


def _care(settings: Mapping[str, str], look: ValueLook) -> list[Care]:
    found = [*mapped_care(look.names)]
    if look.schema is not None:
        note = "inferred from the last messages: look through 'valueSchema' for fields and types that others have"
        found.append(Care("", "schema", note))
    if look.looks == "avro with a registry's header":
        ids = ", ".join(map(str, look.ids))
        note = "read as bytes until 'valueFormat' avro and 'schemaRegistry' say what they are"
        found.append(Care(f"ids {ids}", "Avro", note))
    if "compact" in settings.get("cleanup.policy", ""):
        note = "keeps the last message of each key, and one without a value deletes it; the table gets every message"
        found.append(Care("", "compacted", note))
    return found


def _retention(settings: Mapping[str, str]) -> str:
    if "retention.ms" not in settings:
        return _UNKNOWN
    if "delete" not in settings.get("cleanup.policy", "delete"):
        return "compacted"
    milliseconds = int(settings["retention.ms"])
    return "for ever" if milliseconds < 0 else str(timedelta(milliseconds=milliseconds)).removesuffix(", 0:00:00")
