"""Kafka: one broker that is its own controller."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

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
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
"""


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
    """

    address: str
    server: ServerProcess

    def make_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        client: Any = AdminClient({"bootstrap.servers": self.address})
        for made in client.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result()

    def credentials(self) -> dict[str, str]:
        """The fields of its secret in Vault."""
        return {"bootstrap.servers": self.address}

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
    folder, port, controller = new_folder("kafka"), free_port(), free_port()
    settings = folder / "server.properties"
    settings.write_text(_SETTINGS.format(port=port, controller=controller, folder=folder))
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
    return Kafka(address, server)
