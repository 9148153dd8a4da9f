"""What the values of a topic look like, told by the last few of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pipeline_platform.connectors.kafka.cluster import Place
from pipeline_platform.connectors.kafka.librdkafka import client_properties

Looks = Literal["json", "json with a registry's header", "avro with a registry's header", "text", "binary", "nothing"]
Samples = Mapping[str, Sequence[bytes | None]]
"""Values by topic; None is a tombstone."""

_PER_PARTITION = 20
_SECONDS = 10.0
_POLL_SECONDS = 0.5
_AT_ONCE = 500
_HEADER = 5
_LARGEST, _DIGITS = 2**63 - 1, 38
_QUOTED = re.compile(r"`((?:[^`]|``)+)`")
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def last_values(properties: Mapping[str, str], ranges: Mapping[Place, tuple[int, int]]) -> Samples:
    """The last values of topics, as many as arrive within some seconds; nobody's position is changed.

    Args:
        properties: Of Kafka's Java client, secrets legible.
        ranges: Where each partition begins and ends.
    """
    from confluent_kafka import Consumer, TopicPartition

    settings = {
        **client_properties(properties),
        # Needed, and not joined: partitions are assigned, and no position is committed.
        "group.id": "pipeline_platform_discover",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "log_level": 0,
    }
    filled = {place: ends for place, ends in ranges.items() if ends[1] > ends[0]}
    found: dict[str, list[bytes | None]] = {}
    if not filled:
        return found
    make: Any = Consumer
    consumer = make(settings)
    try:
        consumer.assign(
            [TopicPartition(*place, max(start, end - _PER_PARTITION)) for place, (start, end) in filled.items()]
        )
        left, deadline = set(filled), time.monotonic() + _SECONDS
        while left and time.monotonic() < deadline:
            for message in consumer.consume(_AT_ONCE, _POLL_SECONDS):
                place = (message.topic(), message.partition())
                if message.error() is not None:
                    # The end of the partition, or that it can't be read.
                    left.discard(place)
                    continue
                found.setdefault(place[0], []).append(message.value())
    finally:
        consumer.close()
    return found


@dataclass(frozen=True)
class ValueLook:
    """What values look like.

    Args:
        looks: All of them.
        schema: Of JSON the schema that all fit, in Spark's DDL; None if no schema has its fields.
        names: Those of its fields that have to be quoted, also within others.
        ids: Of Avro the ids of schemas in the registry.
        samples: How many there were.
    """

    looks: Looks
    schema: str | None = None
    names: Sequence[str] = ()
    ids: Sequence[int] = ()
    samples: int = 0


def look_of(values: Iterable[bytes | None]) -> ValueLook:
    """What the values of a topic look like.

    Args:
        values: Some of them.
    """
    present = [value for value in values if value is not None]
    if not present:
        return ValueLook("nothing")
    objects = [_json_object(value) for value in present]
    if all(one is not None for one in objects):
        return _json_look("json", objects)
    if all(len(value) > _HEADER and value[0] == 0 for value in present):
        objects = [_json_object(value[_HEADER:]) for value in present]
        if all(one is not None for one in objects):
            return _json_look("json with a registry's header", objects)
        ids = tuple(sorted({int.from_bytes(value[1:_HEADER]) for value in present}))
        return ValueLook("avro with a registry's header", ids=ids, samples=len(present))
    return ValueLook("text" if all(map(_is_text, present)) else "binary", samples=len(present))


def _json_look(looks: Looks, objects: Sequence[dict[str, Any] | None]) -> ValueLook:
    rows = [one for one in objects if one is not None]
    fields = _fields(rows)
    names = list(fields or ())
    # Spark could not tell names from each other that differ in their case alone.
    if not names or len({name.casefold() for name in names}) < len(names) or any("${" in name for name in names):
        return ValueLook(looks, samples=len(rows))
    schema = ", ".join(f"{_quoted(name)} {type_}" for name, type_ in (fields or {}).items())
    return ValueLook(looks, schema, tuple(_QUOTED.findall(schema)), samples=len(rows))


def _fields(rows: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not all(names):
        return None
    return {name: _type([row[name] for row in rows if name in row]) for name in names}


def _type(values: Sequence[Any]) -> str:
    """The narrowest type that holds all; text holds any value, as its JSON."""
    present: list[Any] = [value for value in values if value is not None]
    kinds: set[type[Any]] = {type(value) for value in present}
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int}:
        largest: int = max(abs(value) for value in present)
        return "BIGINT" if largest <= _LARGEST else "DECIMAL(38,0)" if len(str(largest)) <= _DIGITS else "STRING"
    if kinds and kinds <= {int, float}:
        return "DOUBLE"
    if kinds == {list}:
        elements = [element for value in present for element in value]
        return f"ARRAY<{_type(elements)}>" if elements else "STRING"
    if kinds == {dict}:
        fields = _fields(cast("list[dict[str, Any]]", present))
        if fields and len({name.casefold() for name in fields}) == len(fields):
            return f"STRUCT<{', '.join(f'{_quoted(name)}: {type_}' for name, type_ in fields.items())}>"
    return "STRING"


def _quoted(name: str) -> str:
    return name if _SIMPLE.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def _json_object(value: bytes) -> dict[str, Any] | None:
    try:
        found: object = json.loads(value.decode())
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _is_text(value: bytes) -> bool:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)
