"""Topics, both ways, on a real broker; what is in them is written and read by Kafka's own client."""

from __future__ import annotations

import base64
import datetime as dt
import io
import itertools
import json
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import (
    StepValue,
    extract,
    json_rows,
    listing,
    load,
    pipeline_of,
    run,
    run_by_name,
    transform,
    validate,
)
from devtools.services.kafka import Kafka
from devtools.services.process import free_port
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.model import credentials_of
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.engine.streaming.stream_state import StreamState, state_file
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    PipelineExecutionException,
)
from pipeline_platform.metrics.stream import StreamProgress
from pipeline_platform_tests.connectors.databases import until

_numbers = itertools.count(1)
Messages = Sequence[tuple[int, str | None, bytes | None]]
"""Partition, key and value of each."""
AVRO = {
    "type": "record",
    "name": "Event",
    "fields": [{"name": "id", "type": "int"}, {"name": "what", "type": "string"}],
}


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic of two partitions."""
    name = f"topic-{next(_numbers)}"
    kafka.make_topic(name, 2)
    return name


def produce(kafka: Kafka, topic: str, messages: Messages) -> None:
    producer = Producer({"bootstrap.servers": kafka.address})
    for partition, key, value in messages:
        producer.produce(topic, value, key, partition)
    assert producer.flush(30) == 0


def consumed(kafka: Kafka, topic: str) -> list[Any]:
    """Every message of a topic."""
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "reader", "enable.auto.commit": False})
    found: list[Any] = []
    for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
        end = consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]
        consumer.assign([TopicPartition(topic, partition, 0)])
        for _ in range(end):
            message = consumer.poll(30)
            assert message is not None
            found.append(message)
    consumer.close()
    return found


def read_from(kafka: Kafka, topic: str | list[str], **config: Any) -> StepValue:
    return extract("fromKafka", **{"topic": topic, "bootstrap.servers": kafka.address, **config})


def loaded(spark: SparkSession, out: Path, *steps: StepValue) -> list[dict[str, Any]]:
    """The rows that a pipeline of these steps loads."""
    run(spark, *steps, load("toDeltaLake", path=str(out)))
    return DeltaTable(out).to_pyarrow_table().to_pylist()


NUMBERS: Messages = [(number % 2, f"k{number}", str(number).encode()) for number in range(10)]


def test_a_topic_of_an_environment_is_there_once_it_was_made(spark: SparkSession, kafka: Kafka, topic: str):
    steps = [extract("fromKafka", topic=topic, **{"bootstrap.servers": kafka.address})]
    config: Any = pipeline_of([*steps, load("toFiles", path="out", format="csv")]).steps[0].config
    need = config.credential_request()
    credentials = credentials_of(need.model, need.written)
    there = config.read_from(Redirection("dev_"))
    assert (config.is_there(spark, credentials), there.is_there(spark, credentials)) == (True, False)
    kafka.make_topic(f"dev_{topic}")
    assert there.is_there(spark, credentials)


def test_raw_records_have_kafka_s_own_columns(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    produce(kafka, topic, NUMBERS)
    rows = loaded(spark, tmp_path / "out", read_from(kafka, topic))
    assert sorted((row["partition"], row["key"].decode(), row["value"]) for row in rows) == sorted(NUMBERS)
    assert {row["topic"] for row in rows} == {topic}
    assert sorted(row["offset"] for row in rows) == sorted([*range(5), *range(5)])


def test_values_are_decoded_as_text(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    produce(kafka, topic, [(0, None, "grün".encode()), (1, None, None)])
    rows = loaded(spark, tmp_path / "out", read_from(kafka, topic, valueFormat="string"))
    assert sorted((row["value"] for row in rows), key=str) == [None, "grün"]


def test_a_text_that_is_not_utf8_is_kept_aside_and_tombstones_are_left_out_where_asked(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    latin = "grün".encode("latin-1")
    produce(kafka, topic, [(0, "a", "grün".encode()), (1, "b", latin), (0, "c", None), (1, "d", b"")])
    source = read_from(kafka, topic, valueFormat="string", onMalformed="quarantine", tombstones="drop")
    found = run_by_name(spark, source, load("toDeltaLake", path=str(tmp_path / "out")))
    rows = DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist()
    assert sorted((row["key"], row["value"]) for row in rows) == [(b"a", "grün"), (b"d", "")]
    [kept] = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().to_pylist()
    assert (kept["value"], kept["partition"], kept["offset"], kept["reason"]) == (latin, 1, 0, "not UTF-8")
    assert (found["from_kafka"].malformed, found["to_delta_lake"].rows) == (1, 2)


def send_in_transactions(kafka: Kafka, topic: str) -> Producer:
    """Two messages of a transaction that is committed, one of one that is aborted, two plain ones, one more aborted.

    And one of a transaction that stays open: its producer is returned.
    """
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": f"{topic}-writer"})
    producer.init_transactions(30)
    for value, ends in (
        (b"committed", producer.commit_transaction),
        (b"aborted", producer.abort_transaction),
        (b"committed too", producer.commit_transaction),
        (b"aborted too", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        # What an aborted transaction had not sent yet would never be in the topic.
        producer.flush(30)
        ends(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(30)
    return producer


def test_messages_of_transactions_that_were_not_committed_are_not_loaded(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    seen: list[StreamProgress] = []
    open_one = send_in_transactions(kafka, topic)
    by_default = loaded(spark, tmp_path / "batch", read_from(kafka, topic, valueFormat="string"))
    uncommitted = read_from(kafka, topic, valueFormat="string", **{"isolation.level": "read_uncommitted"})
    everything = loaded(spark, tmp_path / "everything", uncommitted)
    assert sorted(row["value"] for row in by_default) == ["committed", "committed too"]
    assert sorted(row["value"] for row in everything) == [
        "aborted",
        "aborted too",
        "committed",
        "committed too",
        "open",
    ]
    for values in (["committed", "committed too"], ["committed", "committed too", "open"]):
        # The gaps of what was aborted, and of the markers that end a transaction, are no loss of data.
        found = StreamRun(flow_of(kafka, topic, tmp_path, failOnDataLoss=True), spark, listener=seen.append).run()
        rows = DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist()
        assert sorted(row["value"] for row in rows) == values
        assert seen[-1].lag == 0
        assert sum(step.rows or 0 for step in found.steps if step.type == "load") in (2, 1)
        if len(values) == 2:
            open_one.commit_transaction(30)
    # An end that lies behind the last message is reached too.
    assert len(loaded(spark, tmp_path / "again", read_from(kafka, topic, valueFormat="string"))) == 3


def test_fields_of_json_become_columns_and_one_of_kafka_s_name_wins(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    produce(kafka, topic, [(0, "a", b'{"id": 1, "topic": "mine"}'), (1, None, None), (1, "b", b'{"id": 2}')])
    schema = "id INT, topic STRING"
    rows = loaded(spark, tmp_path / "out", read_from(kafka, topic, valueFormat="json", valueSchema=schema))
    assert sorted((row["id"], row["topic"]) for row in rows if row["id"]) == [(1, "mine"), (2, None)]
    assert {row["kafka_topic"] for row in rows} == {topic}
    assert [row["key"] for row in rows if row["id"] is None] == [None]
    assert set(rows[0]) == {"key", "kafka_topic", "partition", "offset", "timestamp", "id", "topic"}


def avro(value: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), value)
    return out.getvalue()


def test_avro_of_another_implementation_is_read(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    produce(kafka, topic, [(number % 2, None, avro({"id": number, "what": f"é{number}"})) for number in range(6)])
    rows = loaded(spark, tmp_path / "out", read_from(kafka, topic, valueFormat="avro", valueSchema=AVRO))
    assert sorted((row["id"], row["what"]) for row in rows) == [(number, f"é{number}") for number in range(6)]


MALFORMED = [b"no json", b"[1]", b"7", b'{"id": "x"}', b'{"id": 1', b'{"id":8}{"id":9}', b" "]
MIXED: Messages = [
    *((number % 2, "good", json.dumps({"id": number}).encode()) for number in range(20)),
    *((number % 2, "bad", value) for number, value in enumerate(MALFORMED)),
    (0, "gone", None),
]


@pytest.mark.parametrize("mode", ["quarantine", "null"])
def test_each_message_is_let_through_or_kept_aside_once(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path, mode: str
):
    produce(kafka, topic, MIXED)
    source = read_from(kafka, topic, valueFormat="json", valueSchema="id INT", onMalformed=mode)
    found = run_by_name(spark, source, load("toDeltaLake", path=str(tmp_path / "out")))
    rows = DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist()
    assert sorted(row["id"] for row in rows if row["id"] is not None) == list(range(20))
    assert found["from_kafka"].malformed == len(MALFORMED)
    if mode == "null":
        assert len(rows) == len(MIXED)
        return
    kept = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().to_pylist()
    assert sorted(row["value"] for row in kept) == sorted(MALFORMED)
    assert {row["value"]: row["reason"] for row in kept} == {
        b"no json": "not JSON",
        b"[1]": "not a JSON object",
        b"7": "not a JSON object",
        b'{"id": "x"}': "'id' is not INT",
        b'{"id": 1': "not JSON",
        b'{"id":8}{"id":9}': "something follows the JSON object",
        b" ": "empty",
    }
    places = {(row["partition"], row["offset"]) for row in [*rows, *kept]}
    assert len(places) == len(rows) + len(kept) == len(MIXED)
    assert found["from_kafka"].quarantined == len(MALFORMED)


def test_a_stream_reads_each_message_once_across_its_runs(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parsed = {"valueFormat": "json", "valueSchema": "id INT", "onMalformed": "quarantine"}
    source = read_from(kafka, topic, startingOffsets="earliest", maxOffsetsPerTrigger=7, **parsed)
    sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="availableNow")
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    seen: list[StreamProgress] = []
    for _ in range(2):
        produce(kafka, topic, MIXED)
        pipeline = pipeline_of([source, sink], mode="streaming", streaming=checkpoints)
        found = StreamRun(pipeline, spark, listener=seen.append).run()
        assert sum(step.quarantined or 0 for step in found.steps) == len(MALFORMED)
        assert seen[-1].lag == 0
        assert seen[-1].sources[0].lag_by_partition == {f"{topic}/0": 0, f"{topic}/1": 0}
    rows = DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist()
    kept = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().to_pylist()
    places = {(row["partition"], row["offset"]) for row in [*rows, *kept]}
    assert len(places) == len(rows) + len(kept) == 2 * len(MIXED)
    assert sorted(row["value"] for row in kept) == sorted([*MALFORMED, *MALFORMED])


@pytest.mark.parametrize("plain", [True, False], ids=["Spark's own sink", "validated"])
def test_a_micro_batch_that_was_cut_off_before_its_commit_is_repeated_without_a_failure(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path, plain: bool
):
    produce(kafka, topic, NUMBERS)
    source = read_from(kafka, topic, startingOffsets="earliest", valueFormat="string")
    rules = [] if plain else [validate("validateNulls", notNullColumns=["value"])]
    sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="availableNow")
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    pipeline = pipeline_of([source, *rules, sink], mode="streaming", streaming=checkpoints)
    StreamRun(pipeline, spark).run()
    [commits] = (tmp_path / "checkpoints").rglob("commits")
    for path in commits.iterdir():
        path.unlink()
    produce(kafka, topic, NUMBERS)
    StreamRun(pipeline, spark).run()
    values = [row["value"] for row in DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist()]
    assert sorted(values) == sorted(2 * [(value or b"").decode() for _, _, value in NUMBERS])


def test_a_stream_into_spark_s_own_sink_counts_the_values_that_it_made_null(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    produce(kafka, topic, MIXED)
    parsed = {"valueFormat": "json", "valueSchema": "id INT", "onMalformed": "null"}
    source = read_from(kafka, topic, startingOffsets="earliest", maxOffsetsPerTrigger=7, **parsed)
    sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="availableNow")
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    found = StreamRun(pipeline_of([source, sink], mode="streaming", streaming=checkpoints), spark).run()
    assert DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == len(MIXED)
    assert {step.name: step.malformed for step in found.steps} == {"from_kafka": len(MALFORMED), "to_delta_lake": None}


def test_a_malformed_value_stops_the_run_and_is_told_by_its_place(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    produce(kafka, topic, [(1, None, b'{"id": 1}'), (1, None, b"sesame-value")])
    source = read_from(kafka, topic, valueFormat="json", valueSchema="id INT")
    with pytest.raises(PipelineExecutionException) as raised:
        loaded(spark, tmp_path / "out", source)
    assert f"not JSON: topic {topic}, partition 1, offset 1" in raised.value.message
    assert "onMalformed" in str(raised.value)
    assert "sesame-value" not in str(raised.value)
    assert not raised.value.retryable
    assert not DeltaTable.is_deltatable(str(tmp_path / "out"))


def test_offsets_say_what_is_read_of_each_partition(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    produce(kafka, topic, NUMBERS)
    bounds = {"startingOffsets": {topic: {"0": 2, "1": -2}}, "endingOffsets": {topic: {"0": 4, "1": 3}}}
    rows = loaded(spark, tmp_path / "out", read_from(kafka, topic, **bounds))
    assert sorted((row["partition"], row["offset"]) for row in rows) == [(0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]


def test_several_topics_are_read_as_one(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    other = f"{topic}-more"
    kafka.make_topic(other)
    produce(kafka, topic, [(0, None, b"a")])
    produce(kafka, other, [(0, None, b"b")])
    by_list = loaded(spark, tmp_path / "list", read_from(kafka, [topic, other]))
    pattern = extract("fromKafka", **{"topicPattern": f"{topic}(-more)?", "bootstrap.servers": kafka.address})
    by_pattern = loaded(spark, tmp_path / "pattern", pattern)
    for rows in (by_list, by_pattern):
        assert sorted((row["topic"], row["value"]) for row in rows) == [(topic, b"a"), (other, b"b")]


def test_messages_that_come_after_the_validation_are_not_loaded(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    produce(kafka, topic, NUMBERS)

    def add_unvalidated(event: str, step: Step, _: Any) -> None:
        if event == "finished" and step.type == "validate":
            produce(kafka, topic, [(0, None, b"unvalidated")])

    steps = [
        read_from(kafka, topic),
        validate("validateNulls", notNullColumns="key"),
        load("toDeltaLake", path=str(tmp_path / "out")),
    ]
    BatchRun(pipeline_of(steps), spark, listener=add_unvalidated).run()
    assert DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == len(NUMBERS)


def write_to(kafka: Kafka, topic: str, **config: Any) -> StepValue:
    return load("toKafka", **{"topic": topic, "bootstrap.servers": kafka.address, **config})


ROWS = [{"id": 1, "name": "one"}, {"id": 2, "name": None}]


def test_a_row_becomes_a_json_message_with_its_key_and_the_run_in_its_headers(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    rows = json_rows(tmp_path / "rows.json", ROWS, "id INT, name STRING")
    found = run(spark, rows, write_to(kafka, topic, keyColumn="id"), load_id="load-1")
    messages = consumed(kafka, topic)
    assert {message.key(): json.loads(message.value()) for message in messages} == {
        b"1": {"id": 1, "name": "one"},
        b"2": {"id": 2},
    }
    headers = [dict(message.headers()) for message in messages]
    assert {head["pipeline_platform.run_id"].decode() for head in headers} == {found.run_id}
    assert {head["pipeline_platform.load_id"].decode() for head in headers} == {"load-1/to_kafka"}
    assert [step.rows for step in found.steps if step.type == "load"] == [2]


def test_columns_key_and_value_are_sent_as_they_are(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    rows = json_rows(tmp_path / "rows.json", ROWS, "id INT, name STRING")
    as_they_are = transform("enrichData", columns={"key": "CAST(id AS STRING)", "value": "encode(name, 'UTF-8')"})
    run(spark, rows, as_they_are, write_to(kafka, topic))
    assert {message.key(): message.value() for message in consumed(kafka, topic)} == {b"1": b"one", b"2": None}


def wide_rows(chance: random.Random) -> Any:
    """Rows with any text, number, date and time that JSON and Avro have a way to write."""
    characters = 'aZ 09\0\n\r\t"\\/{}é€\u2028\ufffd\U0001f600'

    def some(make: Callable[[], Any]) -> list[Any]:
        return [make() if chance.random() < 0.9 else None for _ in range(300)]

    first, span = dt.datetime(1700, 1, 1), 500 * 365 * 86400 * 10**6
    columns: dict[str, Any] = {
        "id": pa.array(range(300), pa.int64()),
        "text": pa.array(some(lambda: "".join(chance.choices(characters, k=chance.randrange(9))))),
        "large": pa.array(some(lambda: chance.choice([-(2**63), 2**63 - 1, chance.randrange(2**62)])), pa.int64()),
        "real": pa.array(some(lambda: chance.choice([0.1, -0.0, 5e-324, 1.7976931348623157e308, chance.random()]))),
        "price": pa.array(
            some(lambda: Decimal(chance.randrange(-(10**20), 10**20)).scaleb(-10)), pa.decimal128(20, 10)
        ),
        "yes": pa.array(some(lambda: chance.random() < 0.5)),
        "day": pa.array(some(lambda: dt.date(chance.randrange(1, 10000), 2, 28)), pa.date32()),
        "at": pa.array(
            some(lambda: first + dt.timedelta(microseconds=chance.randrange(span))), pa.timestamp("us", "UTC")
        ),
        "local": pa.array(some(lambda: first + dt.timedelta(microseconds=chance.randrange(span))), pa.timestamp("us")),
        "data": pa.array(some(lambda: chance.randbytes(chance.randrange(5))), pa.binary()),
    }
    return pa.table(columns)


WIDE = (
    "id BIGINT NOT NULL, text STRING, large BIGINT, real DOUBLE, price DECIMAL(20,10), yes BOOLEAN, day DATE, "
    "at TIMESTAMP, local TIMESTAMP_NTZ, data BINARY"
)
WIDE_AVRO = {
    "type": "record",
    "name": "Wide",
    "fields": [
        {"name": "id", "type": "long"},
        *(
            {"name": name, "type": ["null", kind]}
            for name, kind in {
                "text": "string",
                "large": "long",
                "real": "double",
                "price": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 10},
                "yes": "boolean",
                "day": {"type": "int", "logicalType": "date"},
                "at": {"type": "long", "logicalType": "timestamp-micros"},
                "local": {"type": "long", "logicalType": "local-timestamp-micros"},
                "data": "bytes",
            }.items()
        ),
    ],
}


@pytest.mark.parametrize("kind", ["json", "avro"])
def test_texts_numbers_dates_and_times_are_sent_and_read_back_unchanged(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path, kind: str
):
    table = wide_rows(random.Random(12))
    pq.write_table(table, tmp_path / "rows.parquet")
    rows = extract("fromFiles", path=str(tmp_path / "rows.parquet"), format="parquet")
    encoded = f"to_avro(struct({', '.join(table.column_names)}), '{json.dumps(WIDE_AVRO)}')"
    steps = [transform("enrichData", columns={"key": "CAST(id AS STRING)", "value": encoded})] if kind == "avro" else []
    keys = {"keyColumn": "id"} if kind == "json" else {}
    run(spark, rows, *steps, write_to(kafka, topic, **keys))
    wanted = {row["id"]: row for row in table.to_pylist()}
    sent = {int(message.key()): message.value() for message in consumed(kafka, topic)}
    if kind == "avro":
        schema = fastavro.parse_schema(WIDE_AVRO)
        assert {
            key: fastavro.schemaless_reader(io.BytesIO(value), schema, None) for key, value in sent.items()
        } == wanted
    else:
        texts: dict[str, Callable[[Any], Any]] = {
            "price": lambda value: json.loads(str(value), parse_int=Decimal, parse_float=Decimal),
            "day": dt.date.isoformat,
            "at": lambda value: value.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "local": lambda value: value.strftime("%Y-%m-%dT%H:%M:%S.%f"),
            "data": lambda value: base64.b64encode(value).decode(),
        }
        found = {key: json.loads(value, parse_float=Decimal) for key, value in sent.items()}
        assert {
            key: {name: float(value) if name == "real" else value for name, value in row.items()}
            for key, row in found.items()
        } == {
            key: {
                name: texts[name](value) if name in texts else value for name, value in row.items() if value is not None
            }
            for key, row in wanted.items()
        }
    source = read_from(kafka, topic, valueFormat=kind, valueSchema=WIDE if kind == "json" else WIDE_AVRO)
    columns = {
        row["id"]: {name: row[name] for name in table.column_names} for row in loaded(spark, tmp_path / "out", source)
    }
    assert columns == wanted


def no_such_topic(kafka: Kafka, topic: str) -> StepValue:
    return read_from(kafka, "topic-nowhere")


def no_such_sink(kafka: Kafka, topic: str) -> StepValue:
    return write_to(kafka, "topic-nowhere")


def a_number_for_a_value(kafka: Kafka, topic: str) -> StepValue:
    return transform("enrichData", columns={"value": "1"})


def no_such_key(kafka: Kafka, topic: str) -> StepValue:
    return write_to(kafka, topic, keyColumn="nothing")


def no_broker(kafka: Kafka, topic: str) -> StepValue:
    return read_from(kafka, topic, **{"bootstrap.servers": f"127.0.0.1:{free_port()}", **QUICK})


QUICK = {"request.timeout.ms": 1500, "default.api.timeout.ms": 3000}
MISTAKES: list[tuple[Callable[[Kafka, str], StepValue], str, bool]] = [
    (no_such_topic, "there is no topic topic-nowhere", False),
    (no_such_sink, "there is no topic topic-nowhere", False),
    (a_number_for_a_value, "neither text nor bytes", False),
    (no_such_key, "'keyColumn' names the column 'nothing'", False),
    (no_broker, "Timed out waiting for a node assignment", True),
]


@pytest.mark.parametrize(("mistake", "told", "passes"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_wrong_with_a_topic_is_told_at_planning_and_nothing_is_written(
    spark: SparkSession,
    kafka: Kafka,
    topic: str,
    tmp_path: Path,
    mistake: Callable[[Kafka, str], StepValue],
    told: str,
    passes: bool,
):
    step = mistake(kafka, topic)
    first = [] if step["type"] == "extract" else [json_rows(tmp_path / "rows.json", ROWS, "id INT, name STRING")]
    last = [] if step["type"] == "load" else [write_to(kafka, topic)]
    steps = [*first, *([step] if step["type"] != "load" else []), load("toDeltaLake", path=str(tmp_path / "out"))]
    steps += [step] if step["type"] == "load" else last
    with pytest.raises(PipelineException) as raised:
        run(spark, *steps, retry={"maxAttempts": 1})
    assert told in raised.value.message
    assert raised.value.hint
    assert raised.value.retryable is passes
    assert listing(tmp_path / "out") == []
    assert consumed(kafka, topic) == []


def test_a_broker_that_comes_back_is_waited_for(spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path):
    produce(kafka, topic, NUMBERS)
    steps = [
        read_from(kafka, topic, **QUICK),
        validate("validateNulls", notNullColumns="key"),
        load("toDeltaLake", path=str(tmp_path / "out")),
        write_to(kafka, topic, **{**QUICK, "max.block.ms": 3000, "delivery.timeout.ms": 3000}),
    ]
    waits: list[float] = []

    def stop_before_sending(event: str, step: Step, _: Any) -> None:
        if (event, step.name) == ("started", "to_kafka") and not waits:
            kafka.server.stop()

    def start_while_waiting(stop: CancellationToken, seconds: float) -> None:
        waits.append(seconds)
        if kafka.server.process is None:
            kafka.server.start()
        sleep(stop, seconds)

    sleep = CancellationToken.sleep
    pipeline = pipeline_of(steps, retry={"maxAttempts": 20, "delaySeconds": 1})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CancellationToken, "sleep", start_while_waiting)
            found = BatchRun(pipeline, spark, listener=stop_before_sending).run()
    finally:
        if kafka.server.process is None:
            kafka.server.start()
    assert found.attempts == len(waits) + 1 > 1
    assert DeltaTable(tmp_path / "out").to_pyarrow_table().num_rows == len(NUMBERS)
    assert len(consumed(kafka, topic)) == 2 * len(NUMBERS)


def flow_of(kafka: Kafka, topic: str, tmp_path: Path, trigger: str = "availableNow", **source: Any) -> PipelineConfig:
    """A stream from a topic to a table."""
    first = read_from(kafka, topic, valueFormat="string", **{"startingOffsets": "earliest", **source})
    sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger=trigger)
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    return pipeline_of([first, sink], mode="streaming", streaming=checkpoints)


def values_of(tmp_path: Path) -> list[int]:
    return sorted(int(row["value"]) for row in DeltaTable(tmp_path / "out").to_pyarrow_table().to_pylist())


@pytest.mark.parametrize("fails", [True, False])
def test_offsets_that_have_expired_stop_a_stream_unless_it_may_lose_data(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path, fails: bool
):
    produce(kafka, topic, NUMBERS)
    pipeline = flow_of(kafka, topic, tmp_path, failOnDataLoss=fails)
    StreamRun(pipeline, spark).run()
    produce(kafka, topic, NUMBERS)
    gone = [TopicPartition(topic, partition, 7) for partition in range(2)]
    client = AdminClient({"bootstrap.servers": kafka.address})
    for deleted in client.delete_records(gone).values():
        deleted.result(60)
    if fails:
        with pytest.raises(PipelineException) as raised:
            StreamRun(pipeline, spark).run()
        assert "failOnDataLoss" in str(raised.value)
        assert not raised.value.retryable
        assert len(values_of(tmp_path)) == len(NUMBERS)
        return
    StreamRun(pipeline, spark).run()
    assert len(values_of(tmp_path)) == len(NUMBERS) + 2 * 3


def test_messages_that_expire_under_a_micro_batch_are_told_by_their_offsets(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    """The micro-batch was planned, and is repeated when part of it is gone."""
    produce(kafka, topic, NUMBERS)
    pipeline = flow_of(kafka, topic, tmp_path)
    StreamRun(pipeline, spark).run()
    [commits] = (tmp_path / "checkpoints").rglob("commits")
    shutil.rmtree(commits)
    # Of a sink that has not taken it.
    shutil.rmtree(tmp_path / "out")
    client = AdminClient({"bootstrap.servers": kafka.address})
    for deleted in client.delete_records([TopicPartition(topic, partition, 3) for partition in range(2)]).values():
        deleted.result(60)
    with pytest.raises(PipelineException) as raised:
        StreamRun(pipeline, spark).run()
    assert re.search(rf"{topic}-[01]\b", raised.value.message), raised.value.message
    assert "failOnDataLoss" in str(raised.value)
    assert not raised.value.retryable
    assert not DeltaTable.is_deltatable(str(tmp_path / "out"))


@pytest.mark.parametrize("change", ["named", "by pattern", "may lose data", "fewer partitions"])
def test_a_topic_that_was_made_anew_is_told_before_anything_is_read(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path, change: str
):
    """It has more messages than were read of the old one, so that the offsets fit."""
    pipeline = flow_of(kafka, topic, tmp_path, failOnDataLoss=change != "may lose data")
    if change == "by pattern":
        step = {"topicPattern": f"{topic[:-1]}[{topic[-1]}]", "startingOffsets": "earliest", "valueFormat": "string"}
        sink = load("toDeltaLake", path=str(tmp_path / "out"), trigger="availableNow")
        checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
        source = extract("fromKafka", **kafka.credentials(), **step)
        pipeline = pipeline_of([source, sink], mode="streaming", streaming=checkpoints)
    produce(kafka, topic, NUMBERS)
    StreamRun(pipeline, spark).run()
    client = AdminClient({"bootstrap.servers": kafka.address})
    for deleted in client.delete_topics([topic]).values():
        deleted.result(60)
    until(lambda: topic not in client.list_topics(timeout=10).topics)
    kafka.make_topic(topic, 1 if change == "fewer partitions" else 2)
    again = [(partition % (1 if change == "fewer partitions" else 2), key, value) for partition, key, value in NUMBERS]
    produce(kafka, topic, again + again)
    if change == "may lose data":
        StreamRun(pipeline, spark).run()
        assert len(values_of(tmp_path)) == 2 * len(NUMBERS)
        return
    if change == "fewer partitions":
        # Found out by Spark, where an earlier version has noted no id.
        [record] = (tmp_path / "checkpoints").rglob("*.made_with.json")
        record.write_text(json.dumps({**json.loads(record.read_text()), "sources": {}}))
        with pytest.raises(PipelineException) as told_by_spark:
            StreamRun(pipeline, spark).run()
        assert "reset-checkpoint" in str(told_by_spark.value)
        assert len(values_of(tmp_path)) == len(NUMBERS)
        return
    with pytest.raises(PipelineConfigurationException) as raised:
        StreamRun(pipeline, spark).run()
    assert f"'{topic}' was deleted and recreated" in raised.value.message
    assert "'startingOffsets' earliest" in str(raised.value)
    assert len(values_of(tmp_path)) == len(NUMBERS)
    if change == "named":
        shutil.rmtree(tmp_path / "checkpoints")
        state_file(pipeline.name).unlink()
        StreamRun(pipeline, spark).run()
        assert len(values_of(tmp_path)) == 3 * len(NUMBERS)


def test_a_topic_that_is_deleted_under_a_running_stream_stops_it_saying_so(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    produce(kafka, topic, NUMBERS)
    client, deleted = AdminClient({"bootstrap.servers": kafka.address}), threading.Event()

    def delete(_: StreamProgress) -> None:
        if not deleted.is_set():
            deleted.set()
            for done in client.delete_topics([topic]).values():
                done.result(60)

    with pytest.raises(PipelineException) as raised:
        StreamRun(flow_of(kafka, topic, tmp_path, trigger="200 milliseconds"), spark, listener=delete).run()
    assert "check 'topic'" in str(raised.value)
    state = StreamState.read(state_file("tested"))
    assert state is not None
    assert state.phase == "failed"
    assert state.error == str(raised.value)


def test_thirty_seconds_of_a_stream_have_every_message_once_before_and_after_it_was_stopped(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    """Messages are produced the whole time, also while it is stopped."""
    produced, over = [0], threading.Event()

    def produce_on() -> None:
        producer = Producer({"bootstrap.servers": kafka.address, "enable.idempotence": True})
        while not over.wait(0.005):
            producer.produce(topic, str(produced[0]))
            produced[0] += 1
            producer.poll(0)
        assert producer.flush(30) == 0

    thread = threading.Thread(target=produce_on)
    thread.start()
    pipeline = flow_of(kafka, topic, tmp_path, trigger="1 second")
    try:
        for _ in range(2):
            until = time.monotonic() + 15
            with pytest.raises(PipelineCancelledException):
                StreamRun(pipeline, spark, is_wanted=lambda until=until: time.monotonic() < until).run()
            found = values_of(tmp_path)
            assert found == list(range(len(found)))
            assert len(found) > 1000
    finally:
        over.set()
        thread.join()
    StreamRun(flow_of(kafka, topic, tmp_path), spark).run()
    assert values_of(tmp_path) == list(range(produced[0]))


def test_a_continuous_stream_hands_messages_on_and_goes_on_from_its_checkpoint(
    spark: SparkSession, kafka: Kafka, topic: str, tmp_path: Path
):
    out = f"{topic}-out"
    kafka.make_topic(out, 1)
    source = read_from(kafka, topic, valueFormat="string", startingOffsets="earliest")
    even = transform("filterRows", condition="CAST(value AS INT) % 2 = 0")
    sink = write_to(kafka, out, trigger="continuous=200 milliseconds")
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    pipeline = pipeline_of([source, even, sink], mode="streaming", streaming=checkpoints)
    for numbers in (range(10), range(10, 20)):
        produce(kafka, topic, [(number % 2, None, str(number).encode()) for number in numbers])
        until, wanted = time.monotonic() + 60, {number for number in range(numbers.stop) if number % 2 == 0}

        def lacks_some(until: float = until, wanted: set[int] = wanted) -> bool:
            assert time.monotonic() < until
            return {int(message.value()) for message in consumed(kafka, out)} != wanted

        with pytest.raises(PipelineCancelledException):
            StreamRun(pipeline, spark, is_wanted=lacks_some).run()
