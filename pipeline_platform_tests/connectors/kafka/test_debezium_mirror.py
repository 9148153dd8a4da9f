"""Tables that follow those of a database by what Debezium wrote of them: in the end they are what the database says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, run
from devtools.services.kafka import Kafka
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineExecutionException
from pipeline_platform_tests.connectors.kafka.debezium_recording import MARIADB, POSTGRES, Recording
from pipeline_platform_tests.connectors.kafka.test_kafka import produce

CUSTOMER = (
    "id INT NOT NULL, name STRING NOT NULL, balance DECIMAL(10,2), joined DATE, seen TIMESTAMP_NTZ, called TIMESTAMP, "
    "note STRING, city STRING"
)
COLUMNS = ["id", "name", "balance", "joined", "seen", "called", "note", "city"]
CHANGES = {"keys": ["id"], "sequenceBy": "change_sequence", "deleteWhen": "change_op = 'd'"}
Recorded = Sequence[tuple[str | None, bytes | None]]


def topic_of(kafka: Kafka, name: str, found: Recorded) -> str:
    kafka.make_topic(name)
    send(kafka, name, found)
    return name


def send(kafka: Kafka, topic: str, found: Recorded) -> None:
    produce(kafka, topic, [(0, key, value) for key, value in found])


def changes_of(kafka: Kafka, topic: str, schema: str, **config: Any) -> StepValue:
    given = {"topic": topic, "bootstrap.servers": kafka.address, "valueSchema": schema}
    return extract("fromKafka", **{**given, "valueFormat": "debezium", **config})


def mirror(path: Path, columns: list[str], trigger: str | None = None, **changes: Any) -> StepValue:
    given = {**CHANGES, "columns": columns, **changes}
    when = {"trigger": trigger} if trigger is not None else {}
    return load("toDeltaLake", path=str(path), mode="applyChanges", changes=given, **when)


def rows_in(path: Path) -> list[dict[str, Any]]:
    return DeltaTable(path).to_pyarrow_table().sort_by("id").to_pylist()


def rows_of(recording: Recording, table: str) -> list[dict[str, Any]]:
    """What the database has in the end."""
    parse: dict[str, Callable[[Any], Any]] = {
        "id": int,
        "balance": Decimal,
        "joined": dt.date.fromisoformat,
        "seen": dt.datetime.fromisoformat,
        # MariaDB tells it in UTC.
        "called": lambda text: in_utc(dt.datetime.fromisoformat(text)),
    }
    return [
        {name: parse.get(name, str)(value) if value is not None else None for name, value in row.items()}
        for row in recording.rows_of(table, parse_float=Decimal)
    ]


def in_utc(time: dt.datetime) -> dt.datetime:
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


@pytest.mark.parametrize("recording", [POSTGRES, MARIADB], ids=["PostgreSQL", "MariaDB"])
def test_a_table_is_that_of_the_database_also_after_debezium_has_sent_some_changes_again(
    spark: SparkSession, kafka: Kafka, tmp_path: Path, recording: Recording
):
    recorded = recording.messages("customers")
    topic, out = topic_of(kafka, f"customers_{recording.database}", recorded[: len(recorded) // 2]), tmp_path / "out"
    source = changes_of(kafka, topic, CUSTOMER, startingOffsets="earliest")
    checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
    sink = mirror(out, COLUMNS, trigger="availableNow")
    pipeline = pipeline_of([source, sink], mode="streaming", streaming=checkpoints)
    StreamRun(pipeline, spark).run()
    # As after a restart that forgot what had been sent last.
    send(kafka, topic, recorded[len(recorded) // 4 :])
    StreamRun(pipeline, spark).run()
    assert [{name: row[name] for name in COLUMNS} for row in rows_in(out)] == rows_of(recording, "customers")


def test_a_history_has_each_version_once(spark: SparkSession, kafka: Kafka, tmp_path: Path):
    recorded = POSTGRES.messages("customers", schemas=False)
    topic, out = topic_of(kafka, "history", [*recorded, *recorded[len(recorded) // 4 :]]), tmp_path / "out"
    types = {"valueTypes": {"balance": "Decimal(2)", "seen": "MicroTimestamp"}}
    run(spark, changes_of(kafka, topic, CUSTOMER, **types), mirror(out, COLUMNS, scdType=2))
    rows = rows_in(out)
    assert [{name: row[name] for name in COLUMNS} for row in rows if row["current"]] == rows_of(POSTGRES, "customers")
    versions = {key: [row["name"] for row in sorted(rows, key=validity) if row["id"] == key] for key in (1, 2, 14)}
    # Of 2, one version is of another balance.
    assert versions == {1: ["Ada", "Ada L."], 2: ["Bob", "a", "b"], 14: ["n14", "n14", "again"]}


def validity(row: dict[str, Any]) -> str:
    return row["validFrom"]


@pytest.mark.parametrize("recording", [POSTGRES, MARIADB], ids=["PostgreSQL", "MariaDB"])
def test_a_truncation_empties_the_table_in_its_place(
    spark: SparkSession, kafka: Kafka, tmp_path: Path, recording: Recording
):
    recorded = recording.messages("visits", schemas=False)
    topic, out = topic_of(kafka, f"visits_{recording.database}", recorded), tmp_path / "out"
    step = mirror(out, ["id", "page"], truncateWhen="change_op = 't'")
    run(spark, changes_of(kafka, topic, "id INT, page STRING"), step)
    assert [{"id": row["id"], "page": row["page"]} for row in rows_in(out)] == rows_of(recording, "visits")


def test_a_stream_stops_at_a_value_that_is_too_wide_and_goes_on_there_with_a_wider_type(
    spark: SparkSession, kafka: Kafka, tmp_path: Path
):
    [first, second, third, *_] = POSTGRES.messages("visits")
    topic, out = topic_of(kafka, "wider", [first, second]), tmp_path / "out"
    policy = {"newColumns": "add", "typeChanges": "widen"}
    sink = mirror(out, ["id", "page"], trigger="availableNow")
    sink["config"]["schemaPolicy"] = policy

    def follow(schema: str) -> None:
        source = changes_of(kafka, topic, schema, startingOffsets="earliest")
        checkpoints = {"checkpointRoot": str(tmp_path / "checkpoints")}
        StreamRun(pipeline_of([source, sink], mode="streaming", streaming=checkpoints), spark).run()

    follow("id INT, page STRING")
    assert third[1] is not None
    large = third[1].replace(b'"id":3', b'"id":8589934592').replace(b"int32", b"int64")
    # What a table of wider rows still takes for an int is one.
    send(kafka, topic, [(third[0], large), (first[0], (first[1] or b"").replace(b"int32", b"int64"))])
    with pytest.raises(PipelineExecutionException, match="'id' is not INT"):
        follow("id INT, page STRING")
    assert DeltaTable(out).version() == 0
    follow("id BIGINT, page STRING")
    read = spark.read.format("delta").load(str(out)).orderBy("id").select("id", "page")
    assert [tuple(row) for row in read.collect()] == [(1, "before"), (2, "before"), (2**33, "between")]


def test_what_is_no_change_of_a_row_stops_the_load_or_is_set_aside(spark: SparkSession, kafka: Kafka, tmp_path: Path):
    letters, others = POSTGRES.messages("letters"), POSTGRES.messages_in("dbz.transaction")
    topic = topic_of(kafka, "letters", [*letters, *others])
    schema = "id INT, title STRING, body STRING"
    ignored = {"ignoredColumns": ["pages", "tags", "scan", "doc"]}
    with pytest.raises(PipelineExecutionException, match=r"'body' was left out, as it had not changed.*offset 1"):
        run(spark, changes_of(kafka, topic, schema, **ignored), mirror(tmp_path / "a", ["id", "title", "body"]))
    assert not (tmp_path / "a" / "_delta_log").exists()
    kept = {**ignored, "onMalformed": "quarantine", "quarantinePath": str(tmp_path / "kept"), "tombstones": "keep"}
    run(spark, changes_of(kafka, topic, schema, **kept), load("toDeltaLake", path=str(tmp_path / "b")))
    rows = DeltaTable(tmp_path / "b").to_pyarrow_table().to_pylist()
    set_aside = DeltaTable(tmp_path / "kept").to_pyarrow_table().to_pylist()
    tombstones = [key for key, value in letters if value is None]
    assert [row["change_op"] for row in rows].count(None) == len(tombstones) > 0
    assert len(rows) + len(set_aside) == len(letters) + len(others)
    assert {row["value"] for row in set_aside} >= {value for _, value in others}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"onMalformed": "null"}, "a change that can't be read would overwrite a row with null"),
        ({"valueFormat": "json", "ignoredColumns": ["a"]}, "'ignoredColumns' needs 'valueFormat' debezium"),
        ({"valueTypes": {"a": "Decimal"}}, "expected one of Timestamp"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(config: dict[str, Any], message: str):
    given = {"topic": "t", "bootstrap.servers": "b:1", "valueFormat": "debezium", "valueSchema": "a INT", **config}
    step = {"type": "extract", "method": "fromKafka", "config": given}
    with pytest.raises(PipelineConfigurationException, match=message):
        pipeline_of([step, load("toDeltaLake", path="out")])
