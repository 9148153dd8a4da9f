"""What the services hold for the examples: tables, topics, objects and secrets, the same whoever started them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import psycopg
from botocore.exceptions import ClientError
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]
from pymysql.connections import Connection

from devtools.services.names import DOCKER

CUSTOMERS = 2_000
ORDERS = 20_000
PRODUCTS = 300
EVENTS = 10_000
BUCKET = "lake"
TOPICS = {"user-events": 4, "enriched-events": 2, "event-counts": 1}
_COUNTRIES = ("AT", "BR", "DE", "FR", "JP", "KE", "US")
_STATUSES = ("open", "paid", "paid", "paid", "returned")
_EVENTS = ("view", "view", "view", "cart", "purchase")
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Credentials:
    """The fields of each service's secret, as the format page names them."""

    postgres: Mapping[str, Any]
    mysql: Mapping[str, Any]
    kafka: Mapping[str, Any]
    s3: Mapping[str, Any]


def seed_postgres(entry: Mapping[str, Any]) -> str:
    """Make the tables `customers` and `orders`."""
    with psycopg.connect(
        host=entry["host"],
        port=entry["port"],
        dbname=entry["database"],
        user=entry["username"],
        password=entry["password"],
    ) as connection:
        connection.execute((DOCKER / "seed" / "postgres.sql").read_bytes())
        cursor = connection.cursor()
        for table, rows in (("customers", _customers()), ("orders", _orders())):
            with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
    return f"customers ({CUSTOMERS:,}), orders ({ORDERS:,})"


def seed_mysql(entry: Mapping[str, Any]) -> str:
    """Make the tables `products` and `order_items`."""
    with Connection(
        host=entry["host"],
        port=int(entry["port"]),
        database=entry["database"],
        user=entry["username"],
        password=entry["password"],
    ) as connection:
        with connection.cursor() as cursor:
            for statement in (DOCKER / "seed" / "mysql.sql").read_text().split(";"):
                if statement.strip():
                    cursor.execute(statement)
            cursor.executemany("INSERT INTO products VALUES (%s, %s, %s, %s)", list(_products()))
            cursor.executemany("INSERT INTO order_items VALUES (%s, %s, %s)", list(_order_items()))
        connection.commit()
    return f"products ({PRODUCTS:,}), order_items ({ORDERS:,})"


def seed_kafka(entry: Mapping[str, Any]) -> str:
    """Make the topics, with messages in `user-events` if it is new."""
    settings = {"bootstrap.servers": entry["bootstrap.servers"]}
    # Without a name for it, the client is gone before the broker has answered.
    client: Any = AdminClient(settings)
    made = client.create_topics([NewTopic(name, count, 1) for name, count in TOPICS.items()])
    for name, future in made.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            if name == "user-events":
                _send_events(settings)
    return f"topics {', '.join(TOPICS)}; {EVENTS:,} messages"


def seed_s3(entry: Mapping[str, Any]) -> str:
    """Make the bucket with readings of sensors as CSV files."""
    aws: Any = boto3
    client = aws.client(
        "s3",
        endpoint_url=entry["endpoint"],
        region_name=entry["region"],
        aws_access_key_id=entry["accessKeyId"],
        aws_secret_access_key=entry["secretAccessKey"],
    )
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        answer: Any = error.response
        if answer.get("Error", {}).get("Code") not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    for day in range(7):
        client.put_object(Bucket=BUCKET, Key=f"raw/readings/day-{day}.csv", Body=_readings(day).encode())
    return f"bucket {BUCKET}, raw/readings (7 files)"


def seed_vault(client: Any, credentials: Credentials) -> str:
    """Write the secrets, to the engine of each version."""
    secrets = {
        "postgres": credentials.postgres,
        "mysql": credentials.mysql,
        "kafka": credentials.kafka,
        "s3": credentials.s3,
    }
    for name, fields in secrets.items():
        client.secrets.kv.v2.create_or_update_secret(name, secret=dict(fields))
        client.secrets.kv.v1.create_or_update_secret(name, secret=dict(fields), mount_point="kv1")
    return ", ".join(f"secret/{name}" for name in secrets)


def _customers() -> Iterator[tuple[Any, ...]]:
    chance = random.Random("customers")
    for number in range(1, CUSTOMERS + 1):
        created = _BEGIN + timedelta(minutes=chance.randrange(200_000))
        country = chance.choice(_COUNTRIES)
        mail = None if number % 97 == 0 else f"customer{number}@example.com"
        balance = None if number % 89 == 0 else f"{chance.uniform(-50, 900):.2f}"
        yield number, f"Customer {number}", mail, country, created, chance.random() < 0.9, balance


def _orders() -> Iterator[tuple[Any, ...]]:
    chance = random.Random("orders")
    for number in range(1, ORDERS + 1):
        ordered = _BEGIN + timedelta(minutes=number * 10)
        # Some are of customers that are not there.
        customer = chance.randrange(1, CUSTOMERS + 20)
        yield number, customer, f"{chance.uniform(1, 400):.2f}", chance.choice(_STATUSES), ordered


def _products() -> Iterator[tuple[Any, ...]]:
    chance = random.Random("products")
    for number in range(1, PRODUCTS + 1):
        yield number, f"Product {number}", chance.choice(("book", "game", "tool")), f"{chance.uniform(1, 99):.2f}"


def _order_items() -> Iterator[tuple[Any, ...]]:
    chance = random.Random("items")
    for number in range(1, ORDERS + 1):
        yield number, chance.randrange(1, PRODUCTS + 1), chance.randrange(1, 6)


def _readings(day: int) -> str:
    chance = random.Random(f"readings of day {day}")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("sensor", "at", "celsius"))
    for minute in range(0, 1440, 10):
        for sensor in range(5):
            at = _BEGIN + timedelta(days=day, minutes=minute)
            celsius = 999.0 if chance.random() < 0.005 else round(chance.gauss(12, 6), 1)
            writer.writerow((f"s{sensor}", at.strftime("%Y-%m-%d %H:%M:%S"), celsius))
    return text.getvalue()


def _send_events(settings: dict[str, Any]) -> None:
    chance = random.Random("events")
    producer = Producer(settings)
    for number in range(EVENTS):
        user = chance.randrange(1, CUSTOMERS + 1)
        event = {
            "id": number,
            "user_id": user,
            "event": chance.choice(_EVENTS),
            "amount": round(chance.uniform(1, 400), 2),
            "at": (_BEGIN + timedelta(seconds=number)).isoformat(),
        }
        producer.produce("user-events", json.dumps(event), key=str(user))
        producer.poll(0)
    if producer.flush(60):
        raise RuntimeError("the broker did not take every message")
