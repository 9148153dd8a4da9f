"""Records what Debezium and Apicurio's Avro converter write of a table: `python -m devtools.debezium_avro_recording`.

Confluent's converter, from which Apicurio's is derived, is not on Maven Central. The recording has the messages in
base64, and the schemas that they were written with as the registry has them.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from devtools.services.debezium import PREFIX, VERSION, start_debezium
from devtools.services.kafka import Kafka, start_kafka
from devtools.services.postgres import start_postgres
from devtools.services.schema_registry import VERSION as APICURIO
from devtools.services.schema_registry import start_schema_registry
from pipeline_platform.connectors.kafka.registry import Registry

AVRO_RECORDING = Path(__file__).parents[1] / "pipeline_platform_tests/connectors/kafka/debezium_avro.json"
_CONVERTER = f"io.apicurio:apicurio-registry-utils-converter:{APICURIO}"
_SECONDS = 90
_TABLE = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE kinds (id INT PRIMARY KEY, small SMALLINT, big BIGINT, flag BOOLEAN, single REAL, twice DOUBLE PRECISION,
    price NUMERIC(10,2), free NUMERIC, day DATE, at TIMESTAMP, at_milli TIMESTAMP(3), at_zone TIMESTAMPTZ, body TEXT,
    data BYTEA, doc JSONB, uid UUID, mood mood, tags TEXT[], numbers INT[], days DATE[], prices NUMERIC(8,3)[]);
INSERT INTO kinds VALUES (1, -2, 9007199254740993, true, 0.1, 'NaN', -12.34, 1.5, '1583-01-31',
    '2026-01-31 12:00:00.123456', '2026-01-31 12:00:00.123', '2026-01-31 12:00:00.123456+01', 'é', '\\x00ff',
    '{"a": 1}', '123e4567-e89b-12d3-a456-426614174000', 'ok', '{a,NULL}', '{1,2}', '{2026-01-31}', '{1.234,NULL}');
INSERT INTO kinds (id) VALUES (2)
"""
_CHANGES = (
    "UPDATE kinds SET big = 5 WHERE id = 2",
    "ALTER TABLE kinds ADD more TEXT",
    "DELETE FROM kinds WHERE id = 1",
)
_VALUES = 4


def main() -> None:
    """Start the servers, change rows, and write down what comes of them."""
    registry, kafka, postgres = start_schema_registry(), start_kafka(), start_postgres(wal_level="logical")
    try:
        postgres.query(_TABLE)
        converter = {
            "": "io.apicurio.registry.utils.converter.AvroConverter",
            ".apicurio.registry.url": registry.url.replace("/ccompat/v7", "/registry/v2"),
            ".apicurio.registry.auto-register": "true",
            # With these, messages begin as Confluent's do.
            ".apicurio.registry.headers.enabled": "false",
            ".apicurio.registry.id-handler": "io.apicurio.registry.serde.Legacy4ByteIdHandler",
            ".apicurio.registry.use-id": "contentId",
        }
        settings: dict[str, Any] = {f"value.converter{name}": value for name, value in converter.items()}
        settings["schema.name.adjustment.mode"] = "avro"
        debezium = start_debezium(kafka, postgres, ["public.kinds"], more=[_CONVERTER], **settings)
        for change in _CHANGES:
            postgres.query(change)
        values = _values(kafka)
        debezium.stop()
        asked = Registry.enter({"schema.registry.url": registry.url})
        ids = sorted({int.from_bytes(value[1:5], "big") for value in values})
        recording = {
            "recorded": f"Debezium {VERSION}, Apicurio's converter {APICURIO}",
            "schemas": {schema_id: json.loads(asked.schema(schema_id) or "") for schema_id in ids},
            "values": [base64.b64encode(value).decode() for value in values],
        }
        AVRO_RECORDING.write_text(json.dumps(recording, indent=1, ensure_ascii=False) + "\n")
    finally:
        for server in (postgres, kafka, registry):
            server.stop()


def _values(kafka: Kafka) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "recorder", "enable.auto.commit": False})
    consumer.assign([TopicPartition(f"{PREFIX}.public.kinds", 0, 0)])
    found: list[bytes] = []
    deadline = time.monotonic() + _SECONDS
    while len(found) < _VALUES:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(found)} of {_VALUES} values came")
        message = consumer.poll(1)
        value = message.value() if message is not None and not message.error() else None
        if isinstance(value, bytes):
            found.append(value)
    consumer.close()
    return found


if __name__ == "__main__":
    main()
