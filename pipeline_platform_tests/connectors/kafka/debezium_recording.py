"""What Debezium wrote of tables in PostgreSQL, as `devtools/debezium_recording.py` recorded it."""

from __future__ import annotations

import functools
import json
from typing import Any

from devtools.debezium_recording import RECORDING

Json = dict[str, Any]


@functools.cache
def recording() -> Json:
    return json.loads(RECORDING.read_text())


def messages(table: str, *, schemas: bool = True) -> list[tuple[str | None, bytes | None]]:
    """Key and value of each message of a table, in their order."""
    return messages_in(f"dbz.public.{table}", schemas=schemas)


def messages_in(topic: str, *, schemas: bool = True) -> list[tuple[str | None, bytes | None]]:
    """Key and value of each message of a topic, in their order.

    Args:
        topic: The topic.
        schemas: With the schema, as recorded, or as Kafka Connect writes it without.
    """
    found: list[tuple[str | None, bytes | None]] = []
    for message in recording()["messages"]:
        if message["topic"] == topic:
            payload = message["payload"]
            if payload is not None and schemas:
                payload = f'{{"schema":{recording()["schemas"][message["schema"]]},"payload":{payload}}}'
            found.append((message["key"], None if payload is None else payload.encode()))
    return found


def events(table: str, *, schemas: bool = True) -> list[bytes]:
    """The values of the messages of a table, without tombstones."""
    return [value for _, value in messages(table, schemas=schemas) if value is not None]


def rows_of(table: str, **numbers: Any) -> list[Json]:
    """The rows that PostgreSQL had in the end, as it writes them in JSON."""
    return [json.loads(text, **numbers) for text in recording()["tables"][table]]
