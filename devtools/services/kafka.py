"""Kafka: one broker that is its own controller."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from devtools.services.process import (
    ServerProcess,
    ServerUnavailableError,
    free_port,
    new_folder,
    program,
    ran,
)
from pipeline_platform.engine.spark.home import spark_home
from pipeline_platform.engine.spark.jars import connector_jars
from pipeline_platform.exceptions import PipelineExecutionException

COORDINATES = ("org.apache.kafka:kafka_2.13:4.1.0", "org.apache.kafka:kafka-tools:4.1.0")
_SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={folder}/server.pem
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
"""
_TOPIC_SECONDS = 60
USER, PASSWORD = "reader", 'it\'s "secret"; \\ = 1'


def _in_quotes(text: str) -> str:
    """As it stands within quotes in a login of Kafka's."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def broker_jars() -> list[str]:
    """The jars of the broker, from the cache or fetched into it first.

    Raises:
        ServerUnavailableError: They can't be had.
    """
    try:
        jars = connector_jars(COORDINATES, beside_spark=False)
    except PipelineExecutionException as error:
        raise ServerUnavailableError(f"Kafka's jars can't be had: {error}") from error
    # Ivy, as Spark uses it, takes Scala for granted.
    scala = (spark_home() / "jars").glob("scala-library-*.jar")
    return [*map(str, jars), *map(str, scala)]


@dataclass
class Kafka:
    """A running broker without topics.

    Args:
        address: `host:port`.
        server: The process.
        secure_address: `host:port` of the listener with TLS, where one has to log in.
        authority: The certificate, in PEM, of who signed that of the secure listener.
    """

    address: str
    server: ServerProcess
    secure_address: str
    authority: str

    def make_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic, and wait until the broker leads all its partitions: the controller answers before that."""
        client: Any = AdminClient({"bootstrap.servers": self.address})
        for made in client.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result()
        deadline = time.monotonic() + _TOPIC_SECONDS
        while not _is_led(client.list_topics(timeout=_TOPIC_SECONDS).topics.get(name), partitions):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody leads topic {name}")
            time.sleep(0.05)

    def credentials(self) -> dict[str, str]:
        """The fields of its secret in Vault."""
        return {"bootstrap.servers": self.address}

    def secure_credentials(self, password: str = PASSWORD) -> dict[str, str]:
        """The properties of Kafka's Java client for the secure listener.

        Args:
            password: The right one by default.
        """
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return {
            "bootstrap.servers": self.secure_address,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": f'{module} required username="{USER}" password="{_in_quotes(password)}";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.certificates": self.authority,
        }

    def stop(self) -> None:
        """End it and remove its data."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_kafka(outlives: bool = False) -> Kafka:
    """Start a broker of its own.

    Args:
        outlives: Go on when this process ends.

    Raises:
        ServerUnavailableError: There is no Java, or its jars can't be had.
    """
    run = [program("java"), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", ":".join(broker_jars())]
    folder, port, secure, controller = new_folder("kafka"), free_port(), free_port(), free_port()
    settings, authority = folder / "server.properties", trustme.CA()
    _write_key(folder / "server.pem", authority.issue_cert("127.0.0.1"))
    password = _in_quotes(PASSWORD).replace("\\", "\\\\")
    ports = {"port": port, "secure": secure, "controller": controller}
    settings.write_text(_SETTINGS.format(**ports, folder=folder, user=USER, password=password))
    tool = [*run, "kafka.tools.StorageTool"]
    ran([*tool, "format", "-t", ran([*tool, "random-uuid"]).split()[-1], "-c", str(settings)])
    address = f"127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return bool(AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    server = ServerProcess("kafka", [*run, "kafka.Kafka", str(settings)], folder, answers, outlives=outlives)
    server.start()
    return Kafka(address, server, f"127.0.0.1:{secure}", authority.cert_pem.bytes().decode())


def _is_led(topic: Any, partitions: int) -> bool:
    """Whether a broker knows as many partitions of a topic, and who leads each."""
    return topic is not None and sum(place.leader >= 0 for place in topic.partitions.values()) == partitions


def _write_key(path: Path, key: trustme.LeafCert) -> None:
    # Kafka reads no other form of a key in PEM.
    private = load_pem_private_key(key.private_key_pem.bytes(), None)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with path.open("ab") as file:
        file.writelines(certificate.bytes() for certificate in key.cert_chain_pems)
