"""Topics of a real broker, what is said of them, and the pipelines that are written for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from devtools.services.kafka import Kafka
from devtools.services.process import free_port
from pipeline_platform.cli import app
from pipeline_platform.connectors.kafka import cluster
from pipeline_platform.connectors.kafka.samples import ValueLook, look_of


def test_a_topic_is_told_with_its_offsets_and_a_stream_is_written_for_it(kafka: Kafka, tmp_path: Path):
    kafka.make_topic("found.Orders", 2)
    kafka.make_topic("found.empty")
    producer = Producer({"bootstrap.servers": kafka.address})
    for number in range(50):
        value = {"id": number, "amount": 0.5 if number % 2 else 1, "who": {"first name": "Ada"}, "tags": ["a"]}
        producer.produce("found.Orders", json.dumps(value).encode(), partition=number % 2)
    producer.produce("found.Orders", None, key=b"1", partition=0)
    assert producer.flush(30) == 0
    options = ["--bootstrap-servers", kafka.address, "--topics", "found.*"]
    result = CliRunner().invoke(app, ["discover", "kafka", *options, "--json", "--write", str(tmp_path / "streams")])
    assert result.exit_code == 0, result.output
    orders, empty = json.loads(result.stdout)
    assert orders["partitions"] == [
        {"partition": 0, "first": 0, "end": 26},
        {"partition": 1, "first": 0, "end": 25},
    ]
    assert orders["retention_ms"] == 7 * 24 * 3_600_000
    assert empty["values"]["look_like"] == "nothing"
    source = json.loads((tmp_path / "streams" / "found_orders.json").read_text())["steps"][0]["config"]
    assert source == {
        "topic": "found.Orders",
        "startingOffsets": "earliest",
        "valueFormat": "json",
        "valueSchema": "id BIGINT, amount DOUBLE, who STRUCT<`first name`: STRING>, tags ARRAY<STRING>",
        "onMalformed": "quarantine",
        "bootstrap.servers": kafka.address,
    }
    assert CliRunner().invoke(app, ["check", str(tmp_path / "streams")]).output == ""


def test_a_cluster_that_is_away_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "_SECONDS", 1.0)
    result = CliRunner().invoke(app, ["discover", "kafka", "--bootstrap-servers", f"127.0.0.1:{free_port()}"])
    assert result.exit_code == 1
    assert "has not answered" in result.stderr


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None], ValueLook("nothing")),
        ([b"hello", "wörld\n".encode()], ValueLook("text", samples=2)),
        ([b"\xff\xfe"], ValueLook("binary", samples=1)),
        (
            [b"\0\0\0\0\x11\x02\xff", b"\0\0\0\0\x03\x02"],
            ValueLook("avro with a registry's header", ids=(3, 17), samples=2),
        ),
        ([b'\0\0\0\0\x03{"a": 1}'], ValueLook("json with a registry's header", "a BIGINT", samples=1)),
        ([b'{"a": 1}', b'{"a": "x", "b": null}'], ValueLook("json", "a STRING, b STRING", samples=2)),
        ([b'{"a": 9223372036854775808}'], ValueLook("json", "a DECIMAL(38,0)", samples=1)),
        ([b'{"a": [], "b": [1, null, 2.5]}'], ValueLook("json", "a STRING, b ARRAY<DOUBLE>", samples=1)),
        ([b'{"a": 1, "A": 2}'], ValueLook("json", samples=1)),
        ([b'{"${env:HOME}": 1}'], ValueLook("json", samples=1)),
        ([b"[1]"], ValueLook("text", samples=1)),
    ],
    ids=str,
)
def test_values_look_like_what_all_of_them_are(values: Sequence[bytes | None], expected: ValueLook):
    found: Any = look_of(values)
    assert found == expected
