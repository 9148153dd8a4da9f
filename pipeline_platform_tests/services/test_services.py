"""Each server answers its own client, and keeps its port and its data when it is started again."""

from __future__ import annotations

import socket
import time

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from devtools.services.kafka import Kafka
from devtools.services.mariadb import MariaDB
from devtools.services.postgres import Postgres, start_postgres
from devtools.services.process import REQUIRED_VARIABLE, ServerUnavailableError
from devtools.services.s3 import S3Server
from devtools.services.vault import VaultServer
from pipeline_platform_tests.services.fixtures import running


def test_postgres_keeps_its_rows_when_it_is_started_again(postgres: Postgres):
    postgres.query("CREATE TABLE kept_rows AS SELECT 1 AS id")
    postgres.server.stop()
    postgres.server.start()
    assert postgres.query("SELECT id FROM kept_rows") == [(1,)]
    assert "SELECT id FROM kept_rows" in postgres.log()


def test_a_stopped_postgres_lets_go_of_its_clients_at_once():
    server = start_postgres()
    try:
        client = server.connect()
        began = time.monotonic()
        server.server.stop()
        assert time.monotonic() - began < 10
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
    finally:
        server.stop()


def test_the_mysql_password_is_not_in_its_log(mysql: MariaDB):
    assert "GRANT" not in mysql.log()
    assert mysql.password not in mysql.log().replace("\\", "")


def test_mysql_keeps_its_rows_when_it_is_started_again(mysql: MariaDB):
    mysql.query("CREATE TABLE kept_rows AS SELECT 1 AS id")
    mysql.server.stop()
    mysql.server.start()
    assert mysql.query("SELECT id FROM kept_rows") == [(1,)]
    assert "SELECT id FROM kept_rows" in mysql.log()


def test_kafka_keeps_its_messages_when_it_is_started_again(kafka: Kafka):
    kafka.make_topic("kept-messages")
    producer = Producer({"bootstrap.servers": kafka.address})
    producer.produce("kept-messages", b"one")
    assert producer.flush(30) == 0
    kafka.server.stop()
    kafka.server.start()
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["kept-messages"])
    message = consumer.poll(60)
    assert message is not None
    assert message.value() == b"one"
    consumer.close()
    assert "kept-messages" in AdminClient({"bootstrap.servers": kafka.address}).list_topics(timeout=10).topics


def test_s3_keeps_its_objects_and_gives_a_bucket_to_its_owner_alone(s3: S3Server):
    s3.make_bucket("kept-objects")
    s3.client().put_object(Bucket="kept-objects", Key="a/b", Body=b"one")
    s3.server.stop()
    s3.server.start()
    assert s3.keys("kept-objects") == ["a/b"]
    owner = s3.make_owner("owned-bucket", "someone", "some/secret+")
    client = s3.client(accessKeyId=owner["accessKeyId"], secretAccessKey=owner["secretAccessKey"])
    client.put_object(Bucket="owned-bucket", Key="c", Body=b"two")
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket="kept-objects")


def test_vault_gives_a_secret_to_its_role_unless_it_is_sealed(vault: VaultServer):
    vault.write("kept", {"field": "value"})
    login = vault.client("").auth.approle.login(vault.role_id, vault.secret_id)
    reader = vault.client(login["auth"]["client_token"])
    vault.seal()
    assert vault.client().sys.is_sealed()
    vault.unseal()
    found = reader.secrets.kv.v2.read_secret_version("kept", raise_on_deleted_version=True)
    assert found["data"]["data"] == {"field": "value"}


def test_a_stopped_server_leaves_no_process_and_no_folder():
    server = start_postgres()
    pid = server.server.process.pid if server.server.process else 0
    assert psutil.pid_exists(pid)
    server.stop()
    assert not psutil.pid_exists(pid)
    assert not server.server.folder.exists()
    with socket.socket() as probe:
        assert probe.connect_ex((server.host, server.port)) != 0


def unavailable() -> Postgres:
    raise ServerUnavailableError("there is no program 'initdb'")


def test_a_test_is_skipped_with_the_reason_where_its_server_cannot_be_had(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(REQUIRED_VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no program 'initdb'"):
        next(running(unavailable))


def test_a_server_that_cannot_be_had_is_a_failure_where_servers_are_required(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(REQUIRED_VARIABLE, "1")
    # A skip that got through would skip this test too.
    with pytest.raises((ServerUnavailableError, pytest.skip.Exception)) as raised:
        next(running(unavailable))
    assert raised.type is ServerUnavailableError
