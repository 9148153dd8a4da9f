"""Topics that are watched on a real broker, without a JVM of our own: what is new in them, and what is not."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka import Consumer, IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    NewPartitions,  # pyright: ignore[reportPrivateImportUsage]
    OffsetSpec,  # pyright: ignore[reportPrivateImportUsage]
)
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import extract, load, run
from devtools.services.kafka import PASSWORD, Kafka
from devtools.services.process import free_port
from pipeline_platform.connectors.kafka import cluster
from pipeline_platform.connectors.kafka.topic_pattern import topic_pattern
from pipeline_platform.connectors.kafka.watching import state_of_topics
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.resources.vault import VaultResource
from pipeline_platform.steps.extract import SourceState
from pipeline_platform_tests.connectors.databases import until

_numbers = itertools.count(1)


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic of two partitions."""
    name = f"watched-{next(_numbers)}"
    kafka.make_topic(name, 2)
    return name


@pytest.fixture
def client(kafka: Kafka) -> Any:
    return AdminClient({"bootstrap.servers": kafka.address})


def produce(kafka: Kafka, topic: str, partition: int = 0, messages: int = 1) -> None:
    producer = Producer({"bootstrap.servers": kafka.address})
    for _ in range(messages):
        producer.produce(topic, b"x", partition=partition)
    assert producer.flush(30) == 0


def state(kafka: Kafka, topics: Iterable[str] | str, **properties: str) -> SourceState | None:
    """Of the topics with these names, or of those that match a pattern."""
    wanted = topic_pattern(topics) if isinstance(topics, str) else topics
    assert wanted is not None
    return state_of_topics({**kafka.credentials(), **properties}, wanted)


def text(kafka: Kafka, topics: Iterable[str] | str, **properties: str) -> str:
    found = state(kafka, topics, **properties)
    assert found is not None
    return found.text


def test_a_topic_has_something_new_when_a_message_came_and_not_when_others_expired(
    kafka: Kafka, topic: str, client: Any
):
    assert state(kafka, [topic]) is None
    produce(kafka, topic, 0)
    first = text(kafka, [topic])
    assert state(kafka, [topic]) == SourceState(first)
    produce(kafka, topic, 1, 3)
    second = text(kafka, [topic])
    assert second != first
    for expired in ({1: 2}, {0: 1, 1: 3}):
        places = [TopicPartition(topic, partition, offset) for partition, offset in expired.items()]
        for deleted in client.delete_records(places).values():
            deleted.result(30)
        assert state(kafka, [topic]) == SourceState(second, is_empty=len(expired) == 2)
    # What nothing was written to yet is nothing new either.
    for made in client.create_partitions([NewPartitions(topic, 4)]).values():
        made.result(30)
    until(lambda: len(client.list_topics(topic, timeout=10).topics[topic].partitions) == 4)
    assert text(kafka, [topic]) == second
    produce(kafka, topic, 3)
    assert state(kafka, [topic]) == SourceState(text(kafka, [topic]))
    assert text(kafka, [topic]) not in (first, second)


def test_a_topic_that_was_recreated_is_another_one_though_it_ends_where_the_old_one_did(
    kafka: Kafka, topic: str, client: Any
):
    produce(kafka, topic)
    before = text(kafka, [topic])
    for deleted in client.delete_topics([topic]).values():
        deleted.result(30)
    until(lambda: topic not in client.list_topics(timeout=10).topics)
    with pytest.raises(PipelineExecutionException, match=f"there is no topic {topic} at {kafka.address}"):
        state(kafka, [topic])
    assert topic not in client.list_topics(timeout=10).topics
    kafka.make_topic(topic, 2)
    assert state(kafka, [topic]) is None
    produce(kafka, topic)
    assert text(kafka, [topic]) != before


def test_a_topic_ends_where_a_run_stops_before_the_first_open_transaction(
    spark: SparkSession, kafka: Kafka, topic: str, client: Any, tmp_path: Path
):
    produce(kafka, topic, 1)
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": f"{topic}-writer"})
    producer.init_transactions(30)
    uncommitted = {"isolation.level": "read_uncommitted"}

    def ends(level: IsolationLevel) -> int:
        place = TopicPartition(topic, 1)
        asked = client.list_offsets({place: OffsetSpec.latest()}, isolation_level=level)
        return asked[place].result(30).offset

    def both() -> tuple[str, str]:
        return text(kafka, [topic]), text(kafka, [topic], **uncommitted)

    seen = [both()]
    for end in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce(topic, b"y", partition=1)
        producer.flush(30)
        # After it, and committed, but no reader comes so far.
        produce(kafka, topic, 1)
        seen.append(both())
        end(30)
        # The coordinator answers before it has told the partition.
        until(lambda: ends(IsolationLevel.READ_COMMITTED) == ends(IsolationLevel.READ_UNCOMMITTED))
        seen.append(both())
    nothing, open_, aborted, open_again, committed = seen
    assert open_[0] == nothing[0]
    assert open_[1] != nothing[1]
    # Only to read them would tell the one from the other.
    assert len({nothing[0], aborted[0], committed[0]}) == 3
    assert open_again[0] == aborted[0]
    assert committed[0] == committed[1]
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=1)
    producer.flush(30)
    # Java's client, with the same properties, over TLS and with the same password, stops there too.
    assert text(kafka, [topic], **kafka.secure_credentials()) == committed[0]
    source = extract("fromKafka", topic=topic, valueFormat="string", watch=True, **kafka.secure_credentials())
    run(spark, source, load("toDeltaLake", path=str(tmp_path / "out")))
    assert sorted(DeltaTable(tmp_path / "out").to_pyarrow_table()["value"].to_pylist()) == ["x", "x", "x", "y"]
    producer.abort_transaction(30)


def test_of_a_pattern_all_topics_count_that_hold_something_but_kafka_s_own(kafka: Kafka, client: Any):
    name = f"pattern-{next(_numbers)}"
    kafka.make_topic(f"not-{name}-a")
    produce(kafka, f"not-{name}-a")
    assert state(kafka, f"{name}-.+") is None
    kafka.make_topic(f"{name}-a")
    kafka.make_topic(f"{name}-b")
    produce(kafka, f"{name}-a")
    first = text(kafka, f"{name}-.+")
    # An empty one changes nothing.
    assert first == text(kafka, [f"{name}-a"])
    produce(kafka, f"{name}-b")
    both = text(kafka, f"{name}-.+")
    assert both != first
    assert both == text(kafka, [f"{name}-b", f"{name}-a", f"{name}-b"])
    # The topic of what others have read, which changes whenever they read.
    reader = Consumer({"bootstrap.servers": kafka.address, "group.id": name})
    reader.commit(offsets=[TopicPartition(f"{name}-a", 0, 1)], asynchronous=False)
    reader.close()
    assert "__consumer_offsets" in client.list_topics(timeout=10).topics
    assert state(kafka, "__.+") is None


def test_who_has_the_wrong_password_is_told_at_once_and_once_and_nothing_of_it_is_shown(
    kafka: Kafka, topic: str, capfd: pytest.CaptureFixture[str]
):
    produce(kafka, topic)
    began = time.monotonic()
    with pytest.raises(PipelineExecutionException) as refused:
        state(kafka, [topic], **kafka.secure_credentials("hidden-password"))
    assert time.monotonic() - began < cluster._SECONDS / 2
    assert f"Kafka at {kafka.secure_address} refuses the login" in refused.value.message
    assert "hidden-password" not in str(refused.value)
    assert capfd.readouterr().err == ""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster has half a second to answer."""
    monkeypatch.setattr(cluster, "_SECONDS", 0.5)


def away(kafka: Kafka, case: str) -> tuple[dict[str, str], str]:
    """Properties that lead nowhere, and what is told."""
    nowhere = {"bootstrap.servers": f"127.0.0.1:{free_port()}"}
    no_trust = {**kafka.secure_credentials(), "ssl.truststore.type": "PEM"}
    del no_trust["ssl.truststore.certificates"]
    return {
        "refused": (nowhere, "Connection refused"),
        "unknown": ({"bootstrap.servers": "nowhere.invalid:9092"}, "Failed to resolve 'nowhere.invalid:9092'"),
        # It answers in plain text what it is asked with TLS.
        "no TLS": ({**kafka.secure_credentials(), **kafka.credentials()}, "SSL"),
        "not trusted": (no_trust, "certificate verify failed"),
    }[case]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("case", "pattern"),
    [("refused", False), ("refused", True), ("unknown", False), ("no TLS", False), ("not trusted", False)],
)
def test_a_cluster_that_does_not_answer_is_told_with_the_reason_and_nothing_beside_it(
    kafka: Kafka, case: str, pattern: bool, capfd: pytest.CaptureFixture[str]
):
    properties, reason = away(kafka, case)
    wanted = topic_pattern("a.*") if pattern else ["a"]
    assert wanted is not None
    with pytest.raises(PipelineExecutionException) as raised:
        state_of_topics(properties, wanted)
    assert f"Kafka at {properties['bootstrap.servers']} has not answered for 0.5 s: " in raised.value.message
    assert reason in raised.value.message
    assert len(raised.value.message.splitlines()) == 1
    assert capfd.readouterr().err == ""


class Sensor:
    """The sensor of a folder of pipelines from Kafka, which keeps its cursor."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **sources: dict[str, Any]) -> None:
        folder.mkdir()
        for name, config in sources.items():
            steps = [extract("fromKafka", watch=True, **config), load("toDeltaLake", path="out", mode="overwrite")]
            (folder / f"{name}.json").write_text(json.dumps({"name": name, "mode": "batch", "steps": steps}, indent=2))
        self.repository = project_definitions(folder).get_repository_def()
        self.instance = instance
        self.cursor: str | None = None
        self.log = ""

    def tick(self) -> list[str | None]:
        """The jobs that one look asks for."""
        context = dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            resources={"vault": VaultResource()},
            sensor_name="new_data",
        )
        with context:
            result: Any = self.repository.get_sensor_def("new_data").evaluate_tick(context)
        self.cursor = result.cursor
        return [request.job_name for request in result.run_requests]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_a_pipeline_runs_once_for_what_is_new_in_its_topic(
    kafka: Kafka, topic: str, client: Any, tmp_path: Path, instance: dg.DagsterInstance
):
    sensor = Sensor(tmp_path / "pipelines", instance, flow={"topic": topic, **kafka.credentials()})
    assert sensor.tick() == []
    produce(kafka, topic)
    assert [sensor.tick(), sensor.tick()] == [["flow"], []]
    produce(kafka, topic)
    assert [sensor.tick(), sensor.tick()] == [["flow"], []]
    for deleted in client.delete_records([TopicPartition(topic, 0, 2)]).values():
        deleted.result(30)
    assert [sensor.tick(), sensor.tick()] == [[], []]
    # Nor is it for who has never looked before.
    sensor.cursor = None
    assert [sensor.tick(), sensor.tick()] == [[], []]
    produce(kafka, topic)
    assert [sensor.tick(), sensor.tick()] == [["flow"], []]


@pytest.mark.usefixtures("hurried")
def test_clusters_that_are_away_are_a_line_each_and_cost_a_tick_no_more_than_one(
    kafka: Kafka,
    topic: str,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("THEIR_PASSWORD", "hidden-password")
    produce(kafka, topic)
    there = {"topic": topic, **kafka.credentials()}
    login = kafka.secure_credentials("placed").items()
    wrong = {key: value.replace("placed", "${env:THEIR_PASSWORD}") for key, value in login}
    nowhere = {"topic": topic, "bootstrap.servers": f"127.0.0.1:{free_port()}"}
    sources = {"first": there, **{f"away_{number}": nowhere for number in range(6)}, "last": {"topic": topic, **wrong}}
    sensor = Sensor(tmp_path / "pipelines", instance, **sources)
    began = time.monotonic()
    assert sensor.tick() == ["first"]
    assert time.monotonic() - began < 2
    told = [line for line in capfd.readouterr().err.splitlines() if "can't look at what it watches" in line]
    assert len(told) == 7
    assert all(f"127.0.0.1:{port}" in line for line in told[:6] for port in [nowhere["bootstrap.servers"][-5:]])
    assert "refuses the login" in told[6]
    assert "next: check the user" in told[6]
    assert str(tmp_path / "pipelines" / "last.json") in told[6]
    assert "hidden-password" not in "".join(told)
    assert os.environ["THEIR_PASSWORD"] != PASSWORD
