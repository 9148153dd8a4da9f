"""Records what Debezium writes of tables, for the tests: `python -m devtools.debezium_recording [postgres] [mariadb]`.

The tests read the recordings, as each takes a minute to make, and has transactions in it that meet at the moment of the
snapshot. A recording has all messages as they came, their schemas once, and what the database had in the tables in the
end. That of MariaDB is by the connector for MySQL, which writes the same as that for MariaDB, but for the GTIDs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from devtools import debezium_mariadb, debezium_postgres
from devtools.services.debezium import PREFIX, VERSION
from devtools.services.kafka import Kafka, start_kafka

FOLDER = Path(__file__).parents[1] / "pipeline_platform_tests/connectors/kafka"
_DATABASES = {"postgres": debezium_postgres.record, "mariadb": debezium_mariadb.record}
_SECONDS = 90


def recording_of(database: str) -> Path:
    """The file of a recording.

    Args:
        database: `postgres` or `mariadb`.
    """
    return FOLDER / f"debezium_{database}.json"


def main() -> None:
    """Record the databases that are named, by default all."""
    parser = argparse.ArgumentParser(prog="debezium_recording", description=__doc__)
    parser.add_argument("databases", nargs="*", default=list(_DATABASES), help=", ".join(_DATABASES))
    for database in parser.parse_args().databases:
        text = json.dumps(_recorded(database), indent=1, ensure_ascii=False)
        recording_of(database).write_text(text + "\n")


def _recorded(database: str) -> dict[str, Any]:
    """Start the servers, change rows, and give what Debezium says of them."""
    messages: list[tuple[str, bytes | None, bytes | None]] = []
    kafka = start_kafka()
    try:
        rows = _DATABASES[database](kafka, lambda topic: messages.extend(_messages(kafka, topic)))
    finally:
        kafka.stop()
    return _recording(messages, rows)


def _messages(kafka: Kafka, last_topic: str) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """All messages by topic, once that of the last change is there."""
    settings = {"bootstrap.servers": kafka.address, "group.id": "recording", "enable.partition.eof": True}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(last_topic, 0, 0)])
    deadline = time.monotonic() + _SECONDS
    while (last := consumer.poll(1)) is None or last.error() is not None:
        if time.monotonic() > deadline:
            raise TimeoutError("the last change did not come")
    for topic in sorted(name for name in consumer.list_topics(timeout=10).topics if PREFIX in name):
        consumer.assign([TopicPartition(topic, 0, 0)])
        while (message := consumer.poll(10)) is not None and message.error() is None:
            yield topic, message.key(), message.value()
    consumer.close()


def _recording(messages: list[tuple[str, bytes | None, bytes | None]], rows: Any) -> dict[str, Any]:
    schemas: list[str] = []
    kept: list[dict[str, Any]] = []
    for topic, key, value in messages:
        found: dict[str, Any] = {"topic": topic, "key": None if key is None else key.decode(), "payload": None}
        if value is not None:
            schema, found["payload"] = _split(value.decode())
            if schema not in schemas:
                schemas.append(schema)
            found["schema"] = schemas.index(schema)
        kept.append(found)
    how = f"by devtools/debezium_recording.py, of Debezium {VERSION}"
    return {"recorded": how, "schemas": schemas, "messages": kept, "tables": rows}


def _split(text: str) -> tuple[str, str]:
    """The texts of the schema and of the payload."""
    start = '{"schema":'
    assert text.startswith(start)
    _, end = json.JSONDecoder().raw_decode(text, len(start))
    between = ',"payload":'
    assert text[end:].startswith(between)
    return text[len(start) : end], text[end + len(between) : -1]


if __name__ == "__main__":
    main()
