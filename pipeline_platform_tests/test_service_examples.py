"""The shipped examples that talk to servers, against the real ones; every row is read by the system's own client."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Producer
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from devtools.services import seed
from devtools.services.kafka import Kafka
from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres
from devtools.services.s3 import S3Server, delta_rs_options
from devtools.services.vault import VaultServer
from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import (
    CredentialException,
    PipelineException,
    PipelineExecutionException,
    ValidationException,
)
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.registry import method_registry

PIPELINES = Path(__file__).parent.parent / "pipelines"
# pyarrow comes without types.
ArrowTable = Any
Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Services:
    """The seeded servers, and a session that runs examples against them."""

    postgres: Postgres
    mysql: MariaDB
    kafka: Kafka
    s3: S3Server
    spark: SparkSession
    _ran: set[str] = field(default_factory=set)

    def has_run(self, *names: str) -> None:
        """Run examples that have not run yet, in this order."""
        for name in names:
            if name not in self._ran:
                self.run(name)

    def run(self, name: str, change: Change = lambda _: None) -> RunMetrics:
        """Run an example, perhaps changed first."""
        found = BatchRun(self._example(name, change), self.spark).run()
        self._ran.add(name)
        return found

    def stream(self, name: str, change: Change) -> RunMetrics:
        """Run an example that is a stream, changed first so that it ends."""
        return StreamRun(self._example(name, change), self.spark).run()

    def _example(self, name: str, change: Change) -> PipelineConfig:
        value = json.loads((PIPELINES / f"{name}.json").read_text())
        value["retry"] = {"maxAttempts": 1}
        change(value)
        return parse_pipeline(json.dumps(value, indent=2), method_registry(), PIPELINES / f"{name}.json")

    def delta(self, path: str) -> ArrowTable:
        """All rows of a Delta table in the bucket."""
        return self.delta_table(path).to_pyarrow_table()

    def delta_table(self, path: str) -> DeltaTable:
        """A Delta table in the bucket."""
        return DeltaTable(f"s3://lake/{path}", storage_options=delta_rs_options(self.s3.credentials()))

    def objects(self, prefix: str, suffix: str) -> Iterator[tuple[str, io.BytesIO]]:
        """The data files below a folder of the bucket."""
        for key in self.s3.keys("lake", f"{prefix}/"):
            if key.endswith(suffix) and "_pipeline_platform" not in key:
                yield key, io.BytesIO(self.s3.client().get_object(Bucket="lake", Key=key)["Body"].read())

    def database(self) -> duckdb.DuckDBPyConnection:
        """DuckDB with the tables of both databases, and the readings as they lie in the bucket."""
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        tables = {
            "customers": (self.postgres, "id, name, email, country, created_at, active, balance"),
            "orders": (self.postgres, "id, customer_id, amount, status, ordered_at"),
            "products": (self.mysql, "id, name, category, price"),
            "order_items": (self.mysql, "order_id, product_id, quantity"),
        }
        for table, (server, columns) in tables.items():
            rows = server.query(f"SELECT {columns} FROM {table}")
            names = columns.split(", ")
            connection.register(
                f"{table}_rows", pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
            )
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM {table}_rows")
        text = [body.read().decode() for _, body in self.objects("raw/readings", ".csv")]
        readings = [row for part in text for row in csv.DictReader(io.StringIO(part))]
        connection.register("readings_rows", pa.Table.from_pylist(readings))
        times, degrees = 'CAST("at" AS TIMESTAMPTZ) AS "at"', "CAST(celsius AS DOUBLE) AS celsius"
        connection.execute(f"CREATE TABLE readings AS SELECT sensor, {times}, {degrees} FROM readings_rows")
        return connection


@pytest.fixture(scope="module")
def services(
    postgres: Postgres, mysql: MariaDB, kafka: Kafka, s3: S3Server, vault: VaultServer, spark: SparkSession
) -> Iterator[Services]:
    seed.seed_postgres(postgres.credentials())
    seed.seed_mysql(mysql.credentials())
    seed.seed_kafka(kafka.credentials())
    seed.seed_s3(s3.credentials())
    secrets = seed.Credentials(postgres.credentials(), mysql.credentials(), kafka.credentials(), s3.credentials())
    seed.seed_vault(vault.client(), secrets)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in vault.environment().items():
            patch.setenv(name, value)
        patch.setenv("VAULT_REQUIRED", "true")
        yield Services(postgres, mysql, kafka, s3, spark)


def by_column(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> ArrowTable:
    """Rows of a database's client as a table."""
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def assert_same_rows(db: duckdb.DuckDBPyConnection, found: ArrowTable, columns: str, expected: str) -> None:
    """Compare all rows as multisets."""
    db.register("found_rows", found)
    actual = f"SELECT {columns} FROM found_rows"
    assert db.sql(f"SELECT count(*) FROM ({expected})").fetchall()[0][0] > 0
    assert db.sql(f"({actual}) EXCEPT ALL ({expected}) LIMIT 5").fetchall() == []
    assert db.sql(f"({expected}) EXCEPT ALL ({actual}) LIMIT 5").fetchall() == []


def test_customers_to_lake_writes_the_active_ones_a_folder_for_each_country(services: Services):
    services.run("customers_to_lake")
    services.run("customers_to_lake")
    parts: list[ArrowTable] = []
    for key, body in services.objects("shop/customers", ".parquet"):
        part = pq.read_table(body)
        country = key.split("country=")[1].split("/")[0]
        parts.append(part.append_column("country", pa.array([country] * part.num_rows)))
    assert_same_rows(
        services.database(),
        pa.concat_tables(parts),
        "id, name, email, country, created_at, balance, customer_since, has_mail",
        "SELECT id, name, email, country, created_at, balance, CAST(created_at AS DATE), email IS NOT NULL "
        "FROM customers WHERE active",
    )


ORDER_LINES = (
    "SELECT o.id, o.customer_id, o.status, i.quantity, p.name AS product, p.category, p.price, "
    "CAST(i.quantity * p.price AS DECIMAL(12, 2)) AS line_total "
    "FROM orders o JOIN order_items i ON o.id = i.order_id JOIN products p ON p.id = i.product_id"
)


def test_order_lines_joins_both_databases(services: Services):
    services.run("order_lines")
    columns = "id, customer_id, status, quantity, product, category, price, line_total"
    assert_same_rows(services.database(), services.delta("shop/order_lines"), columns, ORDER_LINES)


def test_sensor_readings_are_merged_however_often_they_are_loaded(services: Services):
    services.run("sensor_readings")
    services.run("sensor_readings")
    assert_same_rows(
        services.database(),
        services.delta("sensors/readings"),
        'sensor, "at", celsius, day, fahrenheit',
        'SELECT sensor, "at", celsius, CAST("at" AS DATE), round(celsius * 9 / 5 + 32, 1) FROM readings '
        "WHERE celsius BETWEEN -60 AND 60",
    )


def avro_rows(services: Services, folder: str) -> ArrowTable:
    return pa.Table.from_pylist([row for _, body in services.objects(folder, ".avro") for row in fastavro.reader(body)])


def test_customers_avro_is_read_by_another_implementation_and_evolves(services: Services):
    services.run("customers_avro")
    services.run("customers_avro_evolution")
    db = services.database()
    first = avro_rows(services, "shop/customers_avro")
    assert_same_rows(
        db, first, "id, name, email, country, active", "SELECT id, name, email, country, active FROM customers"
    )
    evolved = avro_rows(services, "shop/customers_avro_v2")
    assert evolved.column_names == ["id", "name", "country", "tier"]
    assert_same_rows(db, evolved, "id, name, country, tier", "SELECT id, name, country, 'standard' FROM customers")


def test_sensor_readings_quality_loads_what_is_right_and_keeps_the_rest_with_its_reasons(services: Services):
    services.has_run("sensor_readings")
    before = len(services.database().sql("SELECT * FROM readings").fetchall())
    found = services.run("sensor_readings_quality")
    loaded, kept = services.delta("sensors/checked"), services.delta("sensors/checked_quarantine")
    db = services.database()
    assert_same_rows(db, loaded, 'sensor, "at", celsius', "SELECT * FROM readings WHERE celsius BETWEEN -60 AND 60")
    assert_same_rows(db, kept, 'sensor, "at", celsius', "SELECT * FROM readings WHERE celsius NOT BETWEEN -60 AND 60")
    assert loaded.num_rows + kept.num_rows == before
    assert [step.passed for step in found.steps if step.type == "validate"].count(False) == 1


def test_orders_increment_adds_what_is_new_and_nothing_twice(services: Services):
    services.run("orders_increment")
    columns = "id, customer_id, amount, status, ordered_at"
    late = "SELECT max(id) + 1, min(customer_id), 1, 'open', max(ordered_at) - interval '1 minute' FROM orders"
    [[number]] = services.postgres.query(f"INSERT INTO orders ({columns}) {late} RETURNING id")
    try:
        assert services.run("orders_increment").rows_written == 1
        assert_same_rows(services.database(), services.delta("shop/orders"), columns, f"SELECT {columns} FROM orders")
    finally:
        services.postgres.query(f"DELETE FROM orders WHERE id = {number}")


def test_sales_report_adds_up_the_first_version_to_postgres_and_s3(services: Services):
    services.has_run("order_lines")
    services.run("sales_report")
    rows = services.postgres.query(
        "SELECT category, status, line_total_sum, quantity_sum, lines FROM sales_by_category"
    )
    names = ("category", "status", "total", "quantity", "lines")
    table = by_column(names, rows)
    db = services.database()
    sums = "SELECT category, status, sum(line_total), sum(quantity), count(*)"
    assert_same_rows(db, table, ", ".join(names), f"{sums} FROM ({ORDER_LINES}) GROUP BY ALL")
    text = [body.read().decode() for _, body in services.objects("shop/sales_pivot", ".csv")]
    pivot = pa.Table.from_pylist([row for part in text for row in csv.DictReader(io.StringIO(part))])
    cells = ", ".join(f"sum(line_total) FILTER (status = '{status}')" for status in ("open", "paid", "returned"))
    decimals = ", ".join(f"CAST({status} AS DECIMAL(38, 2))" for status in ("open", "paid", "returned"))
    assert_same_rows(db, pivot, f"category, {decimals}", f"SELECT category, {cells} FROM ({ORDER_LINES}) GROUP BY ALL")


def messages(kafka: Kafka, topic: str) -> list[Any]:
    """Every message that is in a topic now."""
    settings = {"bootstrap.servers": kafka.address, "group.id": uuid4().hex, "enable.partition.eof": True}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[Any] = []
    partitions = len(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    while partitions:
        message = consumer.poll(60)
        assert message is not None, "the broker is silent"
        if message.error():
            partitions -= 1
        else:
            found.append(message)
    consumer.close()
    return found


def test_events_to_lake_loads_the_purchases_and_hands_them_on(services: Services):
    found = services.run("events_to_lake")
    events = [json.loads(message.value()) for message in messages(services.kafka, "user-events")]
    purchases = {event["id"]: event for event in events if event["event"] == "purchase"}
    assert len(events) == seed.EVENTS
    rows = services.delta("shop/purchases").to_pylist()
    assert len(rows) == len(purchases)
    for row in rows:
        event = purchases[row["id"]]
        assert (row["user_id"], row["amount"]) == (event["user_id"], event["amount"])
        assert row["timestamp"] is not None
        assert row["at"] == datetime.fromisoformat(event["at"]).astimezone(UTC)
    sent = messages(services.kafka, "enriched-events")
    assert sorted(json.loads(message.value())["id"] for message in sent) == sorted(purchases)
    assert all(int(message.key()) == json.loads(message.value())["user_id"] for message in sent)
    assert {dict(message.headers())["pipeline_platform.run_id"].decode() for message in sent} == {found.run_id}


def streamed(services: Services, name: str, folder: Path) -> RunMetrics:
    """Run a streaming example until it has read what is there."""

    def until_its_end(value: dict[str, Any]) -> None:
        value["streaming"]["checkpointRoot"] = str(folder / "checkpoints")
        next(step for step in value["steps"] if step["type"] == "load")["config"]["trigger"] = "availableNow"

    return services.stream(name, until_its_end)


@pytest.mark.parametrize("name", ["sensor_readings", "sensor_readings_quality"])
def test_an_example_that_can_stream_leaves_as_a_stream_what_it_leaves_as_a_batch(
    services: Services, tmp_path: Path, name: str
):
    services.has_run("sensor_readings", name)
    paths: list[str] = []

    def flipped(value: dict[str, Any]) -> None:
        value.update(mode="streaming", streaming={"checkpointRoot": str(tmp_path / "checkpoints")})
        [sink] = [step["config"] for step in value["steps"] if step["type"] == "load"]
        paths.append(sink["path"].removeprefix("s3a://lake/"))
        sink.update(path=f"{sink['path']}_streamed", trigger="availableNow")

    services.stream(name, flipped)
    db = duckdb.connect()
    db.register("as_batch", services.delta(paths[0]))
    assert_same_rows(db, services.delta(f"{paths[0]}_streamed"), "*", "SELECT * FROM as_batch")


def test_the_evolution_of_avro_leaves_as_a_stream_what_it_leaves_as_a_batch(services: Services, tmp_path: Path):
    services.has_run("customers_avro", "customers_avro_evolution")

    def flipped(value: dict[str, Any]) -> None:
        value.update(mode="streaming", streaming={"checkpointRoot": str(tmp_path / "checkpoints")})
        config(value, 2).update(path="s3a://lake/shop/customers_avro_streamed", trigger="availableNow", mode="append")

    services.stream("customers_avro_evolution", flipped)
    db = duckdb.connect()
    db.register("as_batch", avro_rows(services, "shop/customers_avro_v2"))
    assert_same_rows(db, avro_rows(services, "shop/customers_avro_streamed"), "*", "SELECT * FROM as_batch")


def test_events_to_lake_leaves_as_a_stream_what_it_leaves_as_a_batch(services: Services, tmp_path: Path):
    services.has_run("events_to_lake")
    services.kafka.make_topic("enriched-events-streamed", 1)

    def flipped(value: dict[str, Any]) -> None:
        value.update(mode="streaming", streaming={"checkpointRoot": str(tmp_path / "checkpoints")})
        config(value, 0).update(startingOffsets="earliest")
        config(value, 2).update(path="s3a://lake/shop/purchases_streamed", trigger="availableNow")
        config(value, 3).update(topic="enriched-events-streamed")

    services.stream("events_to_lake", flipped)
    db = duckdb.connect()
    db.register("as_batch", services.delta("shop/purchases"))
    assert_same_rows(db, services.delta("shop/purchases_streamed"), "*", "SELECT * FROM as_batch")
    batch, stream = (
        {json.loads(message.value())["id"] for message in messages(services.kafka, topic)}
        for topic in ("enriched-events", "enriched-events-streamed")
    )
    assert batch == stream


def more_events(services: Services, *events: Mapping[str, Any]) -> None:
    producer = Producer({"bootstrap.servers": services.kafka.address})
    for event in events:
        producer.produce("user-events", json.dumps(event))
    assert producer.flush(30) == 0


def test_purchase_events_loads_each_message_once_as_it_came(services: Services, tmp_path: Path):
    streamed(services, "purchase_events", tmp_path)
    more_events(services, {"id": 1_000_000, "event": "purchase"}, {"id": 1_000_001, "event": "view"})
    streamed(services, "purchase_events", tmp_path)
    sent = {
        (message.partition(), message.offset()): message.value()
        for message in messages(services.kafka, "user-events")
        if b"purchase" in message.value()
    }
    rows = services.delta("shop/purchase_events").to_pylist()
    assert len(rows) == len(sent)
    assert {(row["partition"], row["offset"]): row["value"] for row in rows} == sent


def test_high_value_purchases_are_in_delta_and_in_postgres_once(services: Services, tmp_path: Path):
    streamed(services, "high_value_purchases", tmp_path)
    late = {"id": 1_000_002, "user_id": 7, "event": "purchase", "amount": 999.5, "at": "2026-11-23T10:00:00Z"}
    more_events(services, late, {**late, "id": 1_000_003, "amount": 299.99})
    streamed(services, "high_value_purchases", tmp_path)
    events = [json.loads(message.value()) for message in messages(services.kafka, "user-events")]
    wanted = sorted(
        (event["id"], event["user_id"], event["amount"])
        for event in events
        if event["event"] == "purchase" and event.get("amount", 0) >= 300
    )
    assert late["id"] in {found[0] for found in wanted}
    rows = services.delta("shop/high_value_purchases").to_pylist()
    assert sorted((row["id"], row["user_id"], row["amount"]) for row in rows) == wanted
    assert sorted(services.postgres.query("SELECT id, user_id, amount FROM high_value_purchases")) == wanted


def test_spending_by_minute_sends_each_minute_once_it_is_over(services: Services, tmp_path: Path):
    streamed(services, "spending_by_minute", tmp_path)
    sent = [json.loads(message.value()) for message in messages(services.kafka, "event-counts")]
    events = [json.loads(message.value()) for message in messages(services.kafka, "user-events")]
    whole = [event for event in events if event.get("at")]
    newest = max(datetime.fromisoformat(event["at"]).astimezone(UTC) for event in whole)
    minutes: dict[tuple[datetime, str], list[float]] = {}
    for event in whole:
        at = datetime.fromisoformat(event["at"]).astimezone(UTC)
        minutes.setdefault((at.replace(second=0, microsecond=0), event["event"]), []).append(event["amount"])
    wanted = {
        key: (len(amounts), round(sum(amounts), 2))
        for key, amounts in minutes.items()
        if key[0] + timedelta(minutes=1) <= newest - timedelta(seconds=10)
    }
    found = {
        (datetime.fromisoformat(row["window"]["start"]).astimezone(UTC), row["event"]): (
            row["events"],
            round(row["spent"], 2),
        )
        for row in sent
    }
    assert len(sent) == len(found) > 100
    assert found == wanted


def config(value: dict[str, Any], index: int) -> dict[str, Any]:
    return value["steps"][index]["config"]


FAILURES: list[tuple[str, Change, type[PipelineException], str, int]] = [
    ("customers_to_lake", lambda p: config(p, 0).update(table="custmers"), PipelineExecutionException, "custmers", 0),
    (
        "order_lines",
        lambda p: config(p, 1).update(credentialPath="secret/data/mysqll"),
        CredentialException,
        "no secret 'secret/data/mysqll'",
        1,
    ),
    ("sensor_readings", lambda p: config(p, 0).update(bucket="lak"), PipelineExecutionException, "no bucket 'lak'", 0),
    (
        "customers_avro",
        lambda p: config(p, 0).update(query="SELECT id, nam FROM customers"),
        PipelineExecutionException,
        "nam",
        0,
    ),
    (
        "customers_avro_evolution",
        lambda p: config(p, 0).update(path="s3a://lake/nothing"),
        PipelineExecutionException,
        "lake/nothing",
        0,
    ),
    ("sensor_readings_quality", lambda p: config(p, 4).pop("onFailure"), ValidationException, "celsius between", 4),
    (
        "orders_increment",
        lambda p: config(p, 0)["incremental"].update(cursorColumn="ordered"),
        PipelineExecutionException,
        "there is no column 'ordered'",
        0,
    ),
    ("sales_report", lambda p: config(p, 0).update(version=4711), PipelineExecutionException, "4711", 0),
    ("events_to_lake", lambda p: config(p, 0).update(topic="user-event"), PipelineExecutionException, "user-event", 0),
]


@pytest.mark.parametrize(("name", "change", "kind", "told", "index"), FAILURES, ids=[row[0] for row in FAILURES])
def test_what_is_wrong_is_told_with_its_step_and_nothing_is_written(
    services: Services, name: str, change: Change, kind: type[PipelineException], told: str, index: int
):
    if name in ("sensor_readings_quality", "sales_report"):
        services.has_run("sensor_readings", "order_lines")
    before = state(services)
    with pytest.raises(kind) as raised:
        services.run(name, change)
    text = str(raised.value)
    assert told in text
    assert f"step {index + 1} (" in text
    assert f"pipelines/{name}.json:" in text
    assert "\n  next: " in text
    for secret in (services.postgres.password, services.mysql.password, services.s3.secret_access_key):
        assert secret not in text
    assert state(services) == before


def state(services: Services) -> Mapping[str, Any]:
    """What is in every place that the examples write to."""
    return {
        "bucket": services.s3.keys("lake"),
        "tables": services.postgres.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"),
        "messages": len(messages(services.kafka, "enriched-events")),
    }
