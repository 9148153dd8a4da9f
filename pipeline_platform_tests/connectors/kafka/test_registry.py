"""Avro by the ids of a schema registry, on a real one beside a real broker; Confluent's own client writes it."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, run, transform
from devtools.services.kafka import Kafka
from devtools.services.schema_registry import SchemaRegistry
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.kafka.avro_values import WriteWithRegistry, schema_in_registry
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineExecutionException,
)
from pipeline_platform.metrics.run import StepMetrics
from pipeline_platform_tests.connectors.databases import until
from pipeline_platform_tests.connectors.kafka.test_kafka import consumed

Json = dict[str, Any]
_numbers = itertools.count(1)
ID: Json = {"name": "id", "type": "long"}
WHAT: Json = {"name": "what", "type": ["null", "string"], "default": None}


def record(*fields: Json, name: str = "Event") -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"registry-{next(_numbers)}"
    kafka.make_topic(name)
    return name


@pytest.fixture(scope="session")
def client(schema_registry: SchemaRegistry) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": schema_registry.url})


def framed(client: SchemaRegistryClient, topic: str, schema: str, value: Mapping[str, Any]) -> bytes:
    """A value as Confluent's serializer writes it, which registers the schema."""
    make: Any = AvroSerializer
    return make(client, schema)(dict(value), SerializationContext(topic, MessageField.VALUE)) or b""


def send(kafka: Kafka, topic: str, *values: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": kafka.address})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def read_from(
    kafka: Kafka, registry: SchemaRegistry, topic: str, *, keys: Json | None = None, **config: Any
) -> StepValue:
    keys = {"url": registry.url, **(keys or {})}
    common = {"topic": topic, "bootstrap.servers": kafka.address, "valueFormat": "avro", "schemaRegistry": keys}
    return extract("fromKafka", **{**common, **config})


def rows_of(table: Path, *columns: str) -> list[tuple[Any, ...]]:
    rows = DeltaTable(table).to_pyarrow_table().to_pylist() if DeltaTable.is_deltatable(str(table)) else []
    return sorted(tuple(row[name] for name in columns) for row in rows)


def test_each_message_is_read_with_the_schema_of_its_id_and_becomes_the_latest_version(
    spark: SparkSession,
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    client: SchemaRegistryClient,
    topic: str,
    tmp_path: Path,
):
    first = framed(client, topic, record(ID), {"id": 1})
    second = framed(client, topic, record(ID, WHAT), {"id": 2, "what": "b"})
    # Of another subject, as with a naming strategy by records.
    elsewhere = framed(
        client, f"{topic}-other", record(WHAT, ID, {"name": "more", "type": "int"}), {"id": 3, "what": "c", "more": 9}
    )
    send(kafka, topic, first, second, elsewhere, None)
    run(spark, read_from(kafka, schema_registry, topic, tombstones="drop"), load("toDeltaLake", path=str(tmp_path)))
    assert rows_of(tmp_path, "id", "what") == [(1, None), (2, "b"), (3, "c")]


def test_a_stream_reads_on_where_a_new_version_comes_while_it_runs_with_the_columns_it_began_with(
    spark: SparkSession,
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    client: SchemaRegistryClient,
    topic: str,
    tmp_path: Path,
):
    send(kafka, topic, framed(client, topic, record(ID), {"id": 1}))
    source = read_from(kafka, schema_registry, topic, startingOffsets="earliest")
    sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="1 second", schemaPolicy={"newColumns": "add"})
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    pipeline = pipeline_of([source, sink], mode="streaming", streaming=checkpoints)
    stop = CancellationToken()
    with ThreadPoolExecutor(1) as beside:
        ended = beside.submit(StreamRun(pipeline, spark).run_until, stop)
        try:
            until(lambda: ended.done() or rows_of(tmp_path / "out", "id") == [(1,)])
            send(kafka, topic, framed(client, topic, record(ID, WHAT), {"id": 2, "what": "b"}))
            until(lambda: ended.done() or rows_of(tmp_path / "out", "id") == [(1,), (2,)])
            assert "what" not in DeltaTable(tmp_path / "out").to_pyarrow_table().column_names
        finally:
            stop.cancel()
        with pytest.raises(PipelineCancelledException):
            ended.result()
    send(kafka, topic, framed(client, topic, record(ID, WHAT), {"id": 3, "what": "c"}))
    sink["config"]["trigger"] = "availableNow"
    StreamRun(pipeline_of([source, sink], mode="streaming", streaming=checkpoints), spark).run()
    assert rows_of(tmp_path / "out", "id", "what") == [(1, None), (2, None), (3, "c")]


def test_what_the_registry_does_not_have_or_avro_can_t_resolve_is_set_aside_saying_why(
    spark: SparkSession,
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    client: SchemaRegistryClient,
    topic: str,
    tmp_path: Path,
):
    text = record({"name": "id", "type": "string"})
    other = framed(client, topic, text, {"id": "x"})
    stranger = framed(client, f"{topic}-else", record(ID, name="Refund"), {"id": 4})
    good = framed(client, topic, record(ID), {"id": 1})
    send(kafka, topic, good, other, stranger, b"\0\x7f\0\0\1x", b"{}", good[:-1], b"")
    source = read_from(kafka, schema_registry, topic, onMalformed="quarantine", quarantinePath=str(tmp_path / "kept"))
    run(spark, source, load("toDeltaLake", path=str(tmp_path / "out")))
    assert rows_of(tmp_path / "out", "id") == [(1,)]
    [written, refund] = (int.from_bytes(value[1:5], "big") for value in (other, stranger))
    at = schema_registry.url
    assert [reason for _, reason in rows_of(tmp_path / "kept", "offset", "reason")] == [
        f"written with schema {written}, which can't be read as the wanted one: /fields/0/type: "
        "reader type: LONG not compatible with writer type: STRING",
        f"written with schema {refund}, which can't be read as the wanted one: /name: shop.Refund is not shop.Event",
        f"written with schema {0x7F000001}, which the schema registry at {at} does not have",
        "without the header of a schema registry",
        "empty",
        "without the header of a schema registry",
    ]


NOW = dt.datetime(1583, 1, 31, 12, 0, 0, 123456)
ROWS: list[Json] = [
    {
        "id": 1,
        "small": -3,
        "price": Decimal("-1234567.89"),
        "at": NOW.replace(tzinfo=dt.UTC),
        "local": NOW,
        "day": dt.date(1583, 1, 31),
        "bytes": b"\0\xff",
        "value": "é\U0001f600",
        "tags": ["a", None],
        "by_name": {"k": {"x": 0.5, "d": Decimal("0.01")}},
    },
    dict.fromkeys(("small", "price", "at", "local", "day", "bytes", "value", "tags", "by_name")) | {"id": 2},
]
TYPES = pa.schema(
    {
        "id": pa.int64(),
        "small": pa.int16(),
        "price": pa.decimal128(20, 2),
        "at": pa.timestamp("us", "UTC"),
        "local": pa.timestamp("us"),
        "day": pa.date32(),
        "bytes": pa.binary(),
        "value": pa.string(),
        "tags": pa.list_(pa.string()),
        "by_name": pa.map_(pa.string(), pa.struct({"x": pa.float64(), "d": pa.decimal128(9, 2)})),
    }
)


def write_to(
    kafka: Kafka, registry: SchemaRegistry, topic: str, *, keys: Json | None = None, **config: Any
) -> StepValue:
    keys = {"url": registry.url, **(keys or {})}
    common = {"topic": topic, "bootstrap.servers": kafka.address, "valueFormat": "avro", "schemaRegistry": keys}
    return load("toKafka", **{**common, **config})


def test_columns_are_written_as_confluent_s_client_reads_them_and_nothing_where_they_are_incompatible(
    spark: SparkSession,
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    client: SchemaRegistryClient,
    topic: str,
    tmp_path: Path,
):
    pq.write_table(pa.Table.from_pylist(ROWS, TYPES), tmp_path / "rows.parquet")
    rows = extract("fromFiles", path=str(tmp_path / "rows.parquet"), format="parquet")
    lookup = write_to(kafka, schema_registry, topic, keys={"autoRegister": False})
    with pytest.raises(PipelineExecutionException, match=rf"the subject {topic}-value .* has no version"):
        run(spark, rows, lookup)
    assert f"{topic}-value" not in client.get_subjects()
    run(spark, rows, write_to(kafka, schema_registry, topic, keyColumn="id"))
    run(spark, rows, lookup)
    make: Any = AvroDeserializer
    read, context = make(client), SerializationContext(topic, MessageField.VALUE)
    sent = consumed(kafka, topic)
    found = sorted((read(message.value(), context) for message in sent), key=lambda row: row["id"])
    assert found == [ROWS[0], ROWS[0], ROWS[1], ROWS[1]]
    assert {message.key() for message in sent} == {b"1", b"2", None}
    client.set_compatibility(f"{topic}-value", "BACKWARD")
    changed = transform("enrichData", columns={"small": "'text'"})
    with pytest.raises(PipelineExecutionException, match=r"refuses the schema as incompatible: .*INT.* is 'small'"):
        run(spark, rows, changed, write_to(kafka, schema_registry, topic))
    assert len(consumed(kafka, topic)) == len(sent)
    # What is not known to be null in one plan and is in another makes no new version; another column does.
    known = transform("enrichData", columns={"id": "coalesce(id, 0)"})
    run(spark, rows, known, write_to(kafka, schema_registry, topic))
    assert client.get_versions(f"{topic}-value") == [1]
    run(spark, rows, transform("enrichData", columns={"more": "1"}), write_to(kafka, schema_registry, topic))
    assert client.get_versions(f"{topic}-value") == [1, 2]


@pytest.mark.parametrize("topic", ["int", "string", "7.a-b"])
def test_a_topic_may_be_called_as_a_type_of_avro_and_a_column_only_as_the_specification_allows_it(
    spark: SparkSession, schema_registry: SchemaRegistry, topic: str
):
    properties, keys = {"schema.registry.url": schema_registry.url}, WriteWithRegistry()
    schema = schema_in_registry(spark.range(1), keys, properties, topic)
    parsed: Any = fastavro.parse_schema(json.loads(schema.schema))
    assert parsed["name"] == f"_{re.sub(r'[.-]', '_', topic)}"
    assert schema.id() > 0
    for name in ("é", "a-b", "1a"):
        with pytest.raises(PipelineConfigurationException, match=f"the column '{name}': only the letters A to Z"):
            schema_in_registry(spark.range(1).withColumnRenamed("id", name), keys, properties, topic)


def test_a_new_version_that_can_t_become_the_columns_ends_the_attempt_and_the_next_one_has_its_columns(
    spark: SparkSession,
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    client: SchemaRegistryClient,
    topic: str,
    tmp_path: Path,
):
    required: Json = {"name": "what", "type": "string"}
    send(kafka, topic, framed(client, topic, record(ID, required), {"id": 1, "what": "a"}))
    sent: list[str] = []

    def send_when_the_load_begins(event: str, step: Step, metrics: StepMetrics | None) -> None:
        if event == "started" and step.type == "load" and not sent:
            sent.append(step.name)
            send(kafka, topic, framed(client, topic, record(ID), {"id": 2}))

    retry = {"maxAttempts": 2, "delaySeconds": 0}
    steps = [read_from(kafka, schema_registry, topic), load("toDeltaLake", path=str(tmp_path))]
    running = BatchRun(pipeline_of(steps, retry=retry), spark, listener=send_when_the_load_begins)
    running.run()
    [told] = running.record.retried
    assert re.search(
        rf"{topic}-value has a new version: messages were written with schema \d+, .*/fields/1: what", told
    )
    assert rows_of(tmp_path, "id") == [(1,), (2,)]
    assert "what" not in DeltaTable(tmp_path).to_pyarrow_table().column_names


DECIMAL: Json = {
    "type": "bytes",
    "scale": 2,
    "precision": 10,
    "connect.version": 1,
    "connect.parameters": {"scale": "2", "connect.decimal.precision": "10"},
    "connect.name": "org.apache.kafka.connect.data.Decimal",
    "logicalType": "decimal",
}
SEEN: Json = {"type": "long", "connect.version": 1, "connect.name": "io.debezium.time.MicroTimestamp"}


def envelope(*more: Json) -> str:
    """As Kafka Connect's Avro converter makes it of what Debezium hands it of a table in PostgreSQL."""
    fields: list[Json] = [
        {"name": "id", "type": "int"},
        {"name": "small", "type": ["null", {"type": "int", "connect.type": "int16"}], "default": None},
        {"name": "balance", "type": ["null", DECIMAL], "default": None},
        {"name": "seen", "type": ["null", SEEN], "default": None},
        {"name": "data", "type": ["null", "bytes"], "default": None},
        {"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}], "default": None},
        *more,
    ]
    row: Json = {"type": "record", "name": "Value", "fields": fields, "connect.name": "dbz.public.t.Value"}
    snapshot: Json = {"type": "string", "connect.name": "io.debezium.data.Enum", "connect.parameters": {"allowed": "x"}}
    place: list[Json] = [{"name": name, "type": "string"} for name in ("connector", "name")]
    place += [{"name": "ts_ms", "type": "long"}, {"name": "snapshot", "type": [snapshot, "null"], "default": "false"}]
    place += [{"name": name, "type": ["null", kind], "default": None} for name, kind in SOURCE.items()]
    source: Json = {
        "type": "record",
        "name": "Source",
        "namespace": "io.debezium.connector.postgresql",
        "fields": place,
    }
    parts: list[Json] = [
        {"name": "before", "type": ["null", row], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": source},
        {"name": "op", "type": "string"},
    ]
    whole = {"type": "record", "name": "Envelope", "namespace": "dbz.public.t", "fields": parts}
    return json.dumps({**whole, "connect.name": "dbz.public.t.Envelope"})


SOURCE = {"sequence": "string", "lsn": "long", "txId": "long"}
AT = {"connector": "postgresql", "name": "dbz", "ts_ms": 1000, "snapshot": "false", "sequence": '["5","6"]', "lsn": 6}


def test_changes_of_debezium_in_avro_are_the_rows_and_a_column_that_is_added_is_told(
    spark: SparkSession,
    kafka: Kafka,
    schema_registry: SchemaRegistry,
    client: SchemaRegistryClient,
    topic: str,
    tmp_path: Path,
):
    row: Json = {"id": 1, "small": -2, "balance": Decimal("-12.34"), "seen": 1_600_000_000_123_456, "data": b"\0\xff"}
    row |= {"tags": ["a", None, "é"]}
    created = framed(client, topic, envelope(), {"after": row, "source": AT, "op": "c"})
    deleted = framed(client, topic, envelope(), {"before": {"id": 2}, "source": {**AT, "lsn": 7}, "op": "d"})
    # After the run was planned, for what the planned one knows.
    added = {"name": "more", "type": ["null", "string"], "default": None}
    other = framed(client, f"{topic}-new", envelope(added), {"after": {"id": 3}, "source": AT, "op": "c"})
    send(kafka, topic, created, deleted, None, other, created[:-1], created + b"\0", b"\0\x7f\0\0\1x")
    source = read_from(
        kafka,
        schema_registry,
        topic,
        valueFormat="debezium",
        valueSchema="id INT, small INT, balance DECIMAL(10,2), seen TIMESTAMP_NTZ, data BINARY, tags ARRAY<STRING>",
        onMalformed="quarantine",
        quarantinePath=str(tmp_path / "kept"),
    )
    run(spark, source, load("toDeltaLake", path=str(tmp_path / "out")))
    seen = dt.datetime(2020, 9, 13, 12, 26, 40, 123456)
    assert rows_of(tmp_path / "out", "id", "change_op", "small", "balance", "seen", "data", "tags") == [
        (1, "c", -2, Decimal("-12.34"), seen, b"\0\xff", ["a", None, "é"]),
        (2, "d", None, None, None, None, None),
    ]
    assert [reason for _, reason in rows_of(tmp_path / "kept", "offset", "reason")] == [
        "'valueSchema' lacks the column 'more'",
        "not Avro of the schema, or cut off",
        "bytes follow the Avro record",
        f"written with schema {0x7F000001}, which the schema registry at {schema_registry.url} does not have",
    ]
